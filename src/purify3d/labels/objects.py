"""From labelled points to single objects: connected, cut where two of a kind merely touch, boxed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from scipy.sparse import coo_array, csr_array, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from purify3d.base.axes import z_up_from_world
from purify3d.base.settings import check, setting
from purify3d.grid.voxels import voxelize
from purify3d.labels.metrics import BACKGROUND
from purify3d.labels.segmentation import Segmentation
from purify3d.types import Affinity, PointCloud, Voxels

_LARGEST = 20_000  # cells of a part that is still looked at for cuts; more is no piece of furniture
_DENSE = 600  # cells up to which the eigenvectors of a dense matrix are quicker
_SIDE = 0.25  # of the points at least on each side of a cut: twins are of a size, what is less is a part
_PART = 0.5  # of what it stands over at most: what is larger is a thing of its own, as books on shelves are
_BRIDGE = 0.05  # weight between touching cells no voxels of which listen to each other: across a gap
_SAMPLE = 3000  # points that the yaw of a box is found from
_NOISE = 0.01  # metres by which points lie off a surface
_TRIM = 1.0  # percent of the points beyond each side of a box, so that a few stray ones do not stretch it


@dataclass(frozen=True)
class ObjectConfig:
    """What counts as one object.

    Attributes:
        reach: metres; points of one label belong together across smaller gaps.
        gap: metres; what stands over or under a part of its label, or is a mere crumb, belongs to it across
            gaps as wide as this: the sensor missed what is between.
        cut: two parts of a label are two objects where the normalised cut between them (what is cut, as a
            share of all that each side listens to, summed over both sides) is less; 0 never cuts. 0.01 finds
            more of what touches, and cuts more of what is one: see docs/objects.md.
        alike: how much the affinity counts in this, 0..1; with 0 only the width of the contact counts.
        stacked: share of the smaller footprint that lies over the other from which two parts are one thing.
        least: points of an object; what has fewer is no object.
    """

    reach: float = setting(0.05, stage="label", above=0, high=10)
    gap: float = setting(0.12, stage="label", low=0, high=10)
    cut: float = setting(0.0, stage="label", low=0, high=2)
    alike: float = setting(0.5, stage="label", low=0, high=1)
    stacked: float = setting(0.5, stage="label", low=0, high=1)
    least: int = setting(60, stage="label", low=1, high=10**9)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, eq=False)
class Object:
    """One thing of a scene.

    Attributes:
        label: its name; score: mean cosine of its points to it, -1..1.
        center: (3,) of the box, metres, world.
        size: (3,) of the box along its own axes, metres: the longer side, the shorter one, and along up.
        yaw: radians in [-pi/2, pi/2), the turn about up of the longer side: from the world's x axis where up
            is +z, else after the smallest rotation that brings up to +z.
        orientation: quaternion x, y, z, w of `world_from_box`.
        members: (P,) int64 numbers of its points, ascending.
    """

    label: str
    score: float
    center: np.ndarray
    size: np.ndarray
    yaw: float
    orientation: np.ndarray
    members: np.ndarray

    @property
    def points(self) -> int:
        return len(self.members)

    def corners(self) -> np.ndarray:
        """(8, 3) float64 corners, world; number 4 i + 2 j + k is at the low (0) or high (1) sides i, j, k."""
        signs = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])
        return self.center + Rotation.from_quat(self.orientation).apply(signs * self.size / 2)


def find_objects(
    points: PointCloud,
    result: Segmentation,
    voxels: Voxels,
    affinity: Affinity,
    *,
    up: np.ndarray,
    config: ObjectConfig | None = None,
) -> list[Object]:
    """The single objects of a labelled cloud, by label and then the best score first.

    Points of one label in touching cells of `reach` are a part, and parts that the sensor tore apart are
    joined. Walls, floor and ceiling stay whole; other parts are cut in two, again and again, at the weakest
    contact (spectral normalised cut of the voxels' affinities), unless the pieces stand over each other.

    Args:
        result: of the N points.
        voxels: of the same points.
        affinity: of these voxels; a few neighbours (26) are enough.
        up: (3,) unit vector against gravity.

    Raises:
        ValueError: labels or voxels of another number of points.
    """
    config = config or ObjectConfig()
    if not len(points) == len(result) == len(voxels.of_point):
        raise ValueError(
            f"found {len(points)} points, {len(result)} labels, voxels of {len(voxels.of_point)} points; "
            "expected as many"
        )
    xyz = points.xyz.numpy().astype(np.float64) @ z_up_from_world(up).T
    label, score = result.numpy(), result.score.numpy()
    found = []
    for number, name in enumerate(result.names):
        chosen = np.nonzero(label == number)[0]
        if len(chosen) < config.least:
            continue
        graph = _Graph.of(points, xyz, chosen, voxels, affinity, config)
        of_kind = [
            _boxed(name, chosen[members], xyz, score, up)
            for members in graph.objects(name.lower() in BACKGROUND)
            if len(members) >= config.least
        ]
        found += sorted(of_kind, key=lambda thing: -thing.score)
    return found


def plain_components(points: PointCloud, result: Segmentation, *, cell: float, least: int) -> np.ndarray:
    """(N,) int64 part of each point, -1 = none: touching cells of one label, the baseline."""
    part = np.full(len(points), -1)
    label, total = result.numpy(), 0
    for number in range(len(result.names)):
        chosen = np.nonzero(label == number)[0]
        if not len(chosen):
            continue
        cells = voxelize(points.xyz[chosen], cell)
        first, second = _touching(cells.index.numpy())
        member = _components(len(cells), first, second)[cells.of_point.numpy()]
        big = np.bincount(member)[member] >= least
        part[chosen[big]] = total + member[big]
        total += int(member.max()) + 1
    return part


@dataclass(frozen=True, eq=False)
class _Graph:
    """The points of one label as cells, and how strongly these hold together.

    `of_point` (P,) is the cell of each point, `place` (n, 3) the mean position of a cell's points with +z up,
    `count` (n,) how many, `weight` (n, n) symmetric.
    """

    of_point: np.ndarray
    place: np.ndarray
    count: np.ndarray
    weight: csr_array
    config: ObjectConfig

    @staticmethod
    def of(
        points: PointCloud,
        xyz: np.ndarray,
        chosen: np.ndarray,
        voxels: Voxels,
        affinity: Affinity,
        config: ObjectConfig,
    ) -> _Graph:
        cells = voxelize(points.xyz[chosen], config.reach)
        n, of_point, index = len(cells), cells.of_point.numpy(), cells.index.numpy()
        count = np.bincount(of_point, minlength=n)
        place = np.stack([np.bincount(of_point, xyz[chosen, i], n) / count for i in range(3)], axis=1)
        # Voxels are finer than cells: what cells say to each other is what their voxels do, added up.
        cell = np.full(len(voxels), -1)
        cell[voxels.of_point.numpy()[chosen]] = of_point
        rows = np.nonzero(cell >= 0)[0]
        neighbor, heard = affinity.neighbor.numpy()[rows], affinity.weight.numpy()[rows]
        distance = np.linalg.norm(voxels.index.numpy()[neighbor] - voxels.index.numpy()[rows, None], axis=2)
        near = (distance * voxels.size <= config.reach) & (cell[neighbor] >= 0)
        heard = heard / np.maximum(heard.max(axis=1, keepdims=True, initial=0), 1e-12)
        strength = (1 - config.alike + config.alike * heard)[near]
        first = np.broadcast_to(cell[rows, None], neighbor.shape)[near]
        second = cell[neighbor[near]]
        a, b = _touching(index)
        whole = coo_array(
            (
                np.concatenate([strength, np.full(len(a), _BRIDGE)]),
                (np.concatenate([first, a]), np.concatenate([second, b])),
            ),
            shape=(n, n),
        ).tocsr()
        whole = (whole + whole.T) / 2
        whole.setdiag(0)
        whole.eliminate_zeros()
        return _Graph(of_point, place, count, whole, config)

    def objects(self, whole: bool) -> list[np.ndarray]:
        """Numbers of the points of each object; `whole`: nothing is cut."""
        part = connected_components(self.weight, directed=False)[1]
        pieces = [np.nonzero(part == i)[0] for i in range(part.max() + 1)]
        if not whole:
            pieces = [piece for part in self._joined(pieces) for piece in self._cut(part)]
        owner = np.empty(len(self.count), dtype=np.int64)
        for i, piece in enumerate(pieces):
            owner[piece] = i
        of_point = owner[self.of_point]
        order = np.argsort(of_point, kind="stable")
        return np.split(order, np.searchsorted(of_point[order], np.arange(1, len(pieces))))

    def _joined(self, pieces: list[np.ndarray]) -> list[np.ndarray]:
        """Pieces with those that stand over or under them, or are mere crumbs of them, across the gap."""
        if len(pieces) < 2 or self.config.gap == 0:
            return pieces
        owner = np.empty(len(self.count), dtype=np.int64)
        for i, piece in enumerate(pieces):
            owner[piece] = i
        pairs = cKDTree(self.place).query_pairs(self.config.gap, output_type="ndarray")
        pairs = np.unique(np.sort(owner[pairs], axis=1), axis=0)
        joins = [(a, b) for a, b in pairs[pairs[:, 0] != pairs[:, 1]] if self._is_part(pieces[a], pieces[b])]
        if not joins:
            return pieces
        first, second = np.array(joins).T
        group = _components(len(pieces), first, second)
        return [
            np.concatenate([pieces[i] for i in np.nonzero(group == g)[0]]) for g in range(group.max() + 1)
        ]

    def _is_part(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether one of two pieces is a crumb, or a part of the other over or under it."""
        smaller, larger = sorted(self.count[piece].sum() for piece in (a, b))
        return smaller < self.config.least or (smaller <= _PART * larger and self._stacked(a, b))

    def _cut(self, piece: np.ndarray) -> Iterator[np.ndarray]:
        """The piece, or what remains when it has been cut as often as it should be."""
        sides = self._best_cut(piece)
        if sides is None:
            yield piece
        else:
            for side in sides:
                yield from self._cut(side)

    def _best_cut(self, piece: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """The weakest contact, if it is weaker than `cut` and what it parts are two things."""
        config, count = self.config, self.count[piece]
        least = max(config.least, _SIDE * count.sum())
        if config.cut == 0 or len(piece) < 8 or len(piece) > _LARGEST or count.sum() < 2 * least:
            return None
        weight = self.weight[piece][:, piece].tocoo()
        degree = np.maximum(np.asarray(weight.sum(axis=1)).ravel(), 1e-9)
        best, sides = config.cut, None
        for vector in _slow_vectors(weight.tocsr(), degree):
            order = np.argsort(vector, kind="stable")
            value, at = _sweep(weight, degree, count, order, least)
            if value < best:
                low, high = piece[order[:at]], piece[order[at:]]
                if not self._stacked(low, high):
                    best, sides = value, (low, high)
        return sides

    def _stacked(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether the smaller of two footprints lies over the other."""
        ground = [np.floor(self.place[part, :2] / self.config.reach).astype(np.int64) for part in (a, b)]
        first, second = ({(x, y) for x, y in cells.tolist()} for cells in ground)
        return len(first & second) >= self.config.stacked * min(len(first), len(second))


def _slow_vectors(weight: csr_array, degree: np.ndarray, wanted: int = 3) -> np.ndarray:
    """The (k, n) smoothest vectors over a graph but for the constant one, each of which orders its nodes from
    one loosely tied end to the other: eigenvectors of the normalised Laplacian."""
    n = len(degree)
    root = 1 / np.sqrt(degree)
    laplacian = diags_array(np.ones(n)) - diags_array(root) @ weight @ diags_array(root)
    k = min(wanted + 1, n - 1)
    if n <= _DENSE:
        _, vectors = eigh(laplacian.toarray(), subset_by_index=[0, k - 1])
    else:
        start = np.random.default_rng(0).standard_normal(n)
        _, vectors = eigsh(laplacian.tocsc(), k=k, sigma=-1e-3, v0=start)
    return np.asarray((vectors * root[:, None]).T[1:])


def _sweep(
    weight: coo_array, degree: np.ndarray, count: np.ndarray, order: np.ndarray, least: float
) -> tuple[float, int]:
    """The lowest normalised cut between the first and the other nodes of an order, and how many are first.

    Only cuts that leave `least` points on both sides are looked at; infinity where there is none.
    """
    n = len(order)
    rank = np.empty(n, dtype=np.int64)
    rank[order] = np.arange(n)
    first, second = rank[weight.row], rank[weight.col]
    once = first < second
    step = np.zeros(n)
    np.add.at(step, first[once], weight.data[once])
    np.add.at(step, second[once], -weight.data[once])
    cut = np.cumsum(step)[:-1]  # between rank i and i + 1
    volume, inside = np.cumsum(degree[order]), np.cumsum(count[order])
    value = cut / volume[:-1] + cut / (volume[-1] - volume[:-1])
    allowed = (inside[:-1] >= least) & (inside[-1] - inside[:-1] >= least)
    value = np.where(allowed, value, np.inf)
    at = int(value.argmin())
    return float(value[at]), at + 1


def _touching(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of cells (n, 3) that share a face, an edge or a corner, each once."""
    pairs = cKDTree(index).query_pairs(1.8, output_type="ndarray")
    return pairs[:, 0], pairs[:, 1]


def _components(count: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1])


def _boxed(name: str, members: np.ndarray, xyz: np.ndarray, score: np.ndarray, up: np.ndarray) -> Object:
    """An object of its points; xyz (N, 3) with +z up."""
    center, size, yaw = box(xyz[members])
    world_from_up = z_up_from_world(up).T
    turn = Rotation.from_matrix(world_from_up) * Rotation.from_euler("z", yaw)
    return Object(
        name,
        float(score[members].mean()),
        world_from_up @ center,
        size,
        yaw,
        turn.as_quat(canonical=True),
        members,
    )


def box(xyz: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The upright box that fits tightest around (P, 3) points with +z up, without the outermost hundredth
    beyond each side.

    Returns:
        center (3,); size (3,) along the longer side, the shorter one and +z; the yaw of the longer side in
        [-pi/2, pi/2).
    """
    sample = xyz[:: max(1, len(xyz) // _SAMPLE), :2]
    sample = sample - sample.mean(axis=0)
    angle = 0.0
    for width, steps in ((np.pi / 4, 90), (np.pi / 180, 40), (np.pi / 3600, 20)):
        tried = angle + np.linspace(-width, width, steps, endpoint=False)
        axes = np.stack([np.cos(tried), np.sin(tried)])
        along, across = sample @ axes, sample @ np.stack([-axes[1], axes[0]])
        angle = float(tried[_looseness(along, across).argmin()])
    turn = Rotation.from_euler("z", angle)
    low, high = _sides(turn.inv().apply(xyz))
    size, center = high - low, turn.apply((low + high) / 2)
    if size[1] > size[0]:
        size, angle = size[[1, 0, 2]], angle + np.pi / 2
    return center, size, float((angle + np.pi / 2) % np.pi - np.pi / 2)


def _looseness(along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """(A,) how badly rectangles fit, from (P, A) coordinates along their sides at A angles.

    It is their area times how far points lie from the nearest side. Of a thing seen from two sides, the
    rectangle over the diagonal is no larger than the one along the sides, but its points lie in the middle.
    """
    first, second = _sides(along), _sides(across)
    away = np.minimum(
        np.minimum(along - first[0], first[1] - along), np.minimum(across - second[0], second[1] - across)
    )
    area = (first[1] - first[0]) * (second[1] - second[0])
    return np.asarray((area + _NOISE**2) * (np.abs(away).mean(axis=0) + _NOISE))


def _sides(values: np.ndarray) -> np.ndarray:
    """(2, ...) where a box around the (P, ...) values begins and ends."""
    return np.asarray(np.percentile(values, [_TRIM, 100 - _TRIM], axis=0))

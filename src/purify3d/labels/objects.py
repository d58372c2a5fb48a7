"""From labelled points to single objects: connected components of one label, in upright boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from torch import Tensor

from purify3d.base.axes import z_up_from_world
from purify3d.grid.cells import components, touching
from purify3d.grid.voxels import voxelize
from purify3d.labels.config import ObjectConfig
from purify3d.labels.metrics import BACKGROUND
from purify3d.labels.segmentation import Segmentation
from purify3d.types import PointCloud

_PART = 0.5  # of what it stands over at most: what is larger is a thing of its own, as books on shelves are
_SAMPLE = 3000  # points that the yaw of a box is found from
_NOISE = 0.01  # metres by which points lie off a surface
_TRIM = 1.0  # percent of the points beyond each side of a box, so that a few stray ones do not stretch it


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


@dataclass(frozen=True, eq=False)
class Found:
    """An object as it is written and printed: with a name, and where the user's coordinates are.

    Attributes:
        id: its label and a number that starts at 1 with each label.
        thing: its box, in the world of the capture (`Scene.origin` added).
        photos: names of the frames that show most of it, the best first.
    """

    id: str
    thing: Object
    photos: tuple[str, ...]


def find_objects(
    points: PointCloud, result: Segmentation, *, up: np.ndarray, config: ObjectConfig | None = None
) -> list[Object]:
    """The single objects of a labelled cloud, by label and then the best score first.

    Points of one label in touching cells of `reach` are one object, and parts that the sensor tore apart are
    joined; walls, floor and ceiling are never joined.

    Args:
        result: of the N points.
        up: (3,) unit vector against gravity.

    Raises:
        ValueError: labels of another number of points.
    """
    config = config or ObjectConfig()
    if len(points) != len(result):
        raise ValueError(f"found {len(points)} points and {len(result)} labels; expected as many")
    xyz = points.xyz.numpy().astype(np.float64) @ z_up_from_world(up).T
    label, score = result.numpy(), result.score.numpy()
    found = []
    for number, name in enumerate(result.names):
        chosen = np.nonzero(label == number)[0]
        if len(chosen) < config.least:
            continue
        cells = _Cells.of(points.xyz[chosen], xyz[chosen], config)
        of_kind = [
            _boxed(name, chosen[members], xyz, score, up)
            for members in cells.objects(joined=name.lower() not in BACKGROUND)
            if len(members) >= config.least
        ]
        found += sorted(of_kind, key=lambda thing: -thing.score)
    return found


@dataclass(frozen=True, eq=False)
class _Cells:
    """The points of one label as cells of `reach`.

    `of_point` (P,) is the cell of each point, `place` (n, 3) the mean position of a cell's points with +z up,
    `count` (n,) how many, `part` (n,) the connected component that it is of.
    """

    of_point: np.ndarray
    place: np.ndarray
    count: np.ndarray
    part: np.ndarray
    config: ObjectConfig

    @staticmethod
    def of(points: Tensor, xyz: np.ndarray, config: ObjectConfig) -> _Cells:
        """Of (P, 3) points, in the world and with +z up."""
        cells = voxelize(points, config.reach)
        n, of_point = len(cells), cells.of_point.numpy()
        count = np.bincount(of_point, minlength=n)
        place = np.stack([np.bincount(of_point, xyz[:, i], n) / count for i in range(3)], axis=1)
        part = components(n, *touching(cells.index.numpy()).T)
        return _Cells(of_point, place, count, part, config)

    def objects(self, *, joined: bool) -> list[np.ndarray]:
        """Numbers of the points of each object; `joined`: parts that belong together are one."""
        of_point = (self._joined() if joined else self.part)[self.of_point]
        order = np.argsort(of_point, kind="stable")
        return np.split(order, np.searchsorted(of_point[order], np.arange(1, of_point.max() + 1)))

    def _joined(self) -> np.ndarray:
        """`part`, where a part is one with those over or under it, and with its crumbs, across the gap."""
        pieces = [np.nonzero(self.part == i)[0] for i in range(self.part.max() + 1)]
        if len(pieces) < 2 or self.config.gap == 0:
            return self.part
        pairs = cKDTree(self.place).query_pairs(self.config.gap, output_type="ndarray")
        pairs = np.unique(np.sort(self.part[pairs], axis=1), axis=0)
        joins = [(a, b) for a, b in pairs[pairs[:, 0] != pairs[:, 1]] if self._is_part(pieces[a], pieces[b])]
        return components(len(pieces), *np.array(joins, dtype=np.int64).reshape(-1, 2).T)[self.part]

    def _is_part(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether one of two pieces is a crumb, or a part of the other over or under it."""
        smaller, larger = sorted(self.count[piece].sum() for piece in (a, b))
        return smaller < self.config.least or (smaller <= _PART * larger and self._stacked(a, b))

    def _stacked(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether the smaller of two footprints lies over the other."""
        ground = [np.floor(self.place[part, :2] / self.config.reach).astype(np.int64) for part in (a, b)]
        first, second = ({(x, y) for x, y in cells.tolist()} for cells in ground)
        return len(first & second) >= self.config.stacked * min(len(first), len(second))


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

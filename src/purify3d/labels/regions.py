"""Where in the scene a heat map is hot."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from purify3d.base.devices import crossing
from purify3d.base.sorting import stable_order
from purify3d.grid.cells import components, key_steps, pack_cells
from purify3d.grid.neighbors import spacing
from purify3d.grid.voxels import voxelize
from purify3d.types import Voxels

_REACH = 0.05  # metres between points of one region at least, so that sensor holes do not split
_REACH_SPACINGS = 3.0  # ... and in spacings of the cloud, which bridges single missing points
_HOT = 0.6  # heat from which a point belongs to a region
_SMALLEST_AREA = 0.01  # square metres, at one spacing squared a point
_PAIRS = 1 << 22  # of cells, kept at a time
_WIDEST = (1 << 21) - 4  # cells of a grid along an axis, with room for two beside
_FEWEST = 8  # points, however sparse the cloud
#: Columns (x, y) around a cell, its own first; of two opposite ones one: both find the same pairs.
_COLUMNS = [(x, y) for x in range(3) for y in range(-2, 3) if (x, y) >= (0, 0)]
_BESIDE = [i for i, column in enumerate(_COLUMNS) if max(map(abs, column)) <= 1]
_BEYOND = [i for i, column in enumerate(_COLUMNS) if max(map(abs, column)) > 1]
#: What the key of the lowest near cell of each column has more than that of a cell.
_LOWEST = key_steps(np.array([(x, y, -2 if (x, y) > (0, 0) else 1) for x, y in _COLUMNS]))


@dataclass(frozen=True)
class Region:
    """A connected hot part of a scene.

    Attributes:
        center: (3,) mean position, metres, world.
        size: (3,) extent along the world axes, metres, from the 2nd to the 98th percentile.
        score: mean cosine of its points.
        points: how many.
    """

    center: tuple[float, float, float]
    size: tuple[float, float, float]
    score: float
    points: int

    def moved(self, offset: np.ndarray) -> Region:
        """The region in a world whose origin lies elsewhere, such as `Scene.origin`; offset (3,) metres."""
        x, y, z = (np.array(self.center) + offset).round(3).tolist()
        return replace(self, center=(x, y, z))


def heat(score: Tensor) -> Tensor:
    """(N,) cosines -> (N,) 0..1: the scene's median is 0, its hottest thousandth 1.

    Cosines of different models and wordings have different ranges; what counts is what stands out here. A
    score of exactly 0 belongs to a point that nothing is known of: it is cold, and no part of the median.
    """
    low, high = heat_range(score)

    def warmth(cosine: np.ndarray) -> tuple[np.ndarray]:
        risen = ((cosine - np.float32(low)) / np.float32(max(high - low, 1e-6))).clip(0, 1)
        return (np.where(_known(cosine), risen, np.float32(0)),)

    return crossing(warmth, score)[0]


def heat_range(score: Tensor) -> tuple[float, float]:
    """The cosines that heat 0 and heat 1 stand for; (0, 0) where nothing is known of any of (N,) points."""
    cosine = score.cpu().numpy()
    known = _known(cosine)
    cosine = cosine if known.all() else cosine[known]
    if len(cosine) == 0:
        return 0.0, 0.0
    return _quantile(cosine, 0.5), _quantile(cosine, 0.999)


def _quantile(values: np.ndarray, share: float) -> float:
    """`numpy.quantile` of (N,) float32, by looking for one place at a time, which is many times faster."""
    place = share * (len(values) - 1)
    below = int(place)
    order = np.partition(values, below)
    low, above = float(order[below]), order[below + 1 :]
    return low if not len(above) else low + (place - below) * (float(above.min()) - low)


def _known(cosine: np.ndarray) -> np.ndarray:
    return (cosine != 0) & np.isfinite(cosine)


@dataclass(frozen=True, eq=False, repr=False)
class Grid:
    """What of a cloud is the same for every heat on it.

    Attributes:
        distance: between its points, see `spacing`.
        reach: metres within which points are of one region.
        cells: voxels of half of it.
        keys: (V,) int64, packed cells, ascending.
        start: (columns, V) int32, the first cell that is not below the five of each column around a cell that
            it may be joined with; in its own column, the one above it.
    """

    distance: float
    reach: float
    cells: Voxels
    keys: np.ndarray
    start: np.ndarray

    @classmethod
    def of(cls, xyz: Tensor) -> Grid:
        """The grid of a cloud (N, 3), N > 0.

        Raises:
            ValueError: the cloud spans more than 2^21 - 4 cells (52 km where points lie within 2 cm).
        """
        distance = spacing(xyz)
        reach = max(_REACH, _REACH_SPACINGS * distance)
        cells = voxelize(xyz.cpu(), reach / 2)
        span = int(cells.index.max()) + 1
        if span > _WIDEST:
            raise ValueError(
                f"the cloud spans {span} cells of {reach / 2:.3g} m; expected {_WIDEST} at most. Are its "
                "coordinates in metres, and is there a single point far from all others?"
            )
        # Two cells from the edge of what can be packed: keys of neighbours must not run over.
        keys = pack_cells(cells.index.numpy().astype(np.int64) + 2)
        start = [np.searchsorted(keys, keys + low).astype(np.int32) for low in _LOWEST]
        return cls(distance, reach, cells, keys, np.stack(start))


def find_regions(
    xyz: Tensor,
    score: Tensor,
    *,
    limit: int = 5,
    grid: Grid | None = None,
    warmth: Tensor | None = None,
) -> list[Region]:
    """The regions that stand out, those with most heat in all first.

    How near points of one region lie, and how many make one, follows from how densely the cloud is sampled.

    Args:
        xyz: (N, 3) metres; score: (N,) cosines.
        limit: regions wanted; there may be fewer.
        grid: `Grid.of(xyz)`, if it is there already; warmth: `heat` of the score, likewise.
    """
    warmth = heat(score) if warmth is None else warmth
    hot = np.flatnonzero(warmth.cpu().numpy() >= _HOT)
    if not len(hot):
        return []
    grid = Grid.of(xyz) if grid is None else grid
    smallest = max(_FEWEST, _SMALLEST_AREA / max(grid.distance, 1e-3) ** 2)
    points, cosine, weight = (column.cpu().numpy().take(hot, axis=0) for column in (xyz, score, warmth))
    member = _connected(points, hot, grid)
    size = np.bincount(member)
    total = np.bincount(member, weights=weight)
    regions: list[Region] = []
    for number in np.argsort(-total, kind="stable"):
        if len(regions) == limit:
            break
        if size[number] < smallest:
            continue
        inside = np.flatnonzero(member == number)
        place = points.take(inside, axis=0).T.astype(np.float64)
        low, high = np.percentile(place, [2, 98], axis=1)
        regions.append(
            Region(
                center=tuple(place.mean(axis=1).round(3).tolist()),
                size=tuple((high - low).round(3).tolist()),
                score=float(cosine.take(inside).mean()),
                points=int(size[number]),
            )
        )
    return regions


def _connected(points: np.ndarray, hot: np.ndarray, grid: Grid) -> np.ndarray:
    """(M,) int number of the part that each of the points (M, 3), of number `hot` in the cloud, belongs to.

    Points of one cell of half the reach are one; cells are joined where the boxes around their points come
    within reach, so that no pair of points within reach is missed. Memory grows with the number of points and
    not with that of their pairs, which is thousands a point in a dense cloud.
    """
    cell = grid.cells.of_point.numpy().take(hot)
    occupied = np.zeros(len(grid.cells), dtype=bool)
    occupied[cell] = True
    before = np.append(0, occupied.cumsum())
    cell, occupied = before.take(cell), np.flatnonzero(occupied)
    keys, start = grid.keys.take(occupied), before.take(grid.start.take(occupied, axis=1))
    low, high = _boxes(points, cell)
    part = np.arange(len(keys))
    for columns in (_BESIDE, _BEYOND):  # most cells are joined by the first: few pairs are left to measure
        pairs: list[tuple[np.ndarray, np.ndarray]] = []
        for column in columns:
            pairs.append(_near(keys, start, low, high, grid.reach, part, column))
            if sum(len(one) for one, _ in pairs) > _PAIRS or column == columns[-1]:
                part, pairs = _joined(part, pairs), []
    return part.take(cell)


def _near(
    keys: np.ndarray,
    start: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    reach: float,
    part: np.ndarray,
    column: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of cells (P,), (P,) of different parts that come within reach, the second in this column.

    Keys ascend along a column, so its cells lie together, from `start` on where they are there.
    """
    height, lowest = (2 if column == 0 else 5), _LOWEST[column]
    padded = np.append(keys, np.full(height, np.iinfo(keys.dtype).max))
    pairs = []
    for place in range(height):
        second = start[column] + place
        first = np.flatnonzero(padded.take(second) - keys < lowest + height)
        second = second.take(first)
        other = part.take(first) != part.take(second)
        first, second = first[other], second[other]
        square = np.zeros(len(first), dtype=np.float32)
        for lower, upper in zip(low, high, strict=True):  # axis by axis, which is faster
            gap = np.maximum(
                lower.take(first) - upper.take(second), lower.take(second) - upper.take(first)
            ).clip(min=0)
            square += gap * gap
        near = square <= reach**2
        pairs.append((first[near], second[near]))
    firsts, seconds = zip(*pairs, strict=True)
    return np.concatenate(firsts), np.concatenate(seconds)


def _joined(part: np.ndarray, pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The number of the part of each cell when the parts of two cells that make a pair are one."""
    one, other = (part.take(np.concatenate([pair[i] for pair in pairs])) for i in (0, 1))
    return components(len(part), one, other).take(part)


def _boxes(points: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest coordinates of the (M, 3) points of each of V cells: two (3, V)."""
    place = torch.from_numpy(points.take(stable_order(cell), axis=0))
    size = torch.from_numpy(np.bincount(cell))
    low, high = (
        torch.segment_reduce(place, way, lengths=size, axis=0, unsafe=True).T.contiguous().numpy()
        for way in ("min", "max")
    )
    return low, high

"""Where in the scene a heat map is hot."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from purify3d.devices import crossing
from purify3d.spatial import pack_cells, spacing, voxelize
from purify3d.types import Voxels

_REACH = 0.05  # metres between points of one region at least, so that sensor holes do not split
_REACH_SPACINGS = 3.0  # ... and in spacings of the cloud, which bridges single missing points
_HOT = 0.6  # heat from which a point belongs to a region
_SMALLEST_AREA = 0.01  # square metres, at one spacing squared a point
_PAIRS = 1 << 22  # of cells, kept at a time
_FEWEST = 8  # points, however sparse the cloud


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


def find_regions(
    xyz: Tensor,
    score: Tensor,
    *,
    limit: int = 5,
    apart: float | None = None,
    warmth: Tensor | None = None,
) -> list[Region]:
    """The regions that stand out, those with most heat in all first.

    How near points of one region lie, and how many make one, follows from how densely the cloud is sampled.

    Args:
        xyz: (N, 3) metres; score: (N,) cosines.
        limit: regions wanted; there may be fewer.
        apart: `spacing` of the points, if it is known already; warmth: `heat` of the score, likewise.
    """
    warmth = heat(score) if warmth is None else warmth
    hot = np.flatnonzero(warmth.cpu().numpy() >= _HOT)
    if not len(hot):
        return []
    apart = spacing(xyz) if apart is None else apart
    smallest = max(_FEWEST, _SMALLEST_AREA / max(apart, 1e-3) ** 2)
    points, cosine, weight = (column.cpu().numpy()[hot] for column in (xyz, score, warmth))
    member = _connected(torch.from_numpy(points), max(_REACH, _REACH_SPACINGS * apart))
    size = np.bincount(member)
    total = np.bincount(member, weights=weight)
    regions: list[Region] = []
    for number in np.argsort(-total, kind="stable"):
        if len(regions) == limit:
            break
        if size[number] < smallest:
            continue
        inside = points[member == number].astype(np.float64)
        low, high = np.percentile(inside, [2, 98], axis=0)
        regions.append(
            Region(
                center=tuple(inside.mean(axis=0).round(3).tolist()),
                size=tuple((high - low).round(3).tolist()),
                score=float(cosine[member == number].mean()),
                points=int(size[number]),
            )
        )
    return regions


def _connected(xyz: Tensor, reach: float) -> np.ndarray:
    """(M,) int number of the part that each of (M, 3) points belongs to.

    Points of one cell of half the reach are one; cells are joined where the boxes around their points come
    within reach, so that no pair of points within reach is missed. One direction to a neighbouring cell is
    looked at after the other: memory grows with the number of points and not with that of their pairs, which
    is thousands a point in a dense cloud.
    """
    cells = voxelize(xyz, reach / 2)
    low, high = _boxes(xyz, cells)
    index = cells.index.cpu().numpy().astype(np.int64) + 2  # so that no neighbour has a negative coordinate
    keys = pack_cells(index)
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    part = np.arange(len(cells))
    for step in product(range(-2, 3), repeat=3):
        if step <= (0, 0, 0):
            continue  # the opposite direction finds the same pairs
        wanted = pack_cells(index + step)
        found = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
        first = np.nonzero(keys[found] == wanted)[0]
        second = found[first]
        gap = np.maximum(low[first] - high[second], low[second] - high[first]).clip(min=0)
        near = (gap**2).sum(axis=1) <= reach**2
        pairs.append((part[first[near]], part[second[near]]))
        if sum(len(one) for one, _ in pairs) > _PAIRS:
            part, pairs = _joined(part, pairs), []
    return _joined(part, pairs)[cells.of_point.cpu().numpy()]


def _joined(part: np.ndarray, pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The number of the part of each cell when parts that make a pair are one."""
    one, other = (np.concatenate([pair[i] for pair in pairs] or [part[:0]]) for i in (0, 1))
    graph = coo_array((np.ones(len(one), dtype=bool), (one, other)), shape=(len(part), len(part)))
    joined: np.ndarray = connected_components(graph, directed=False)[1][part]
    return joined


def _boxes(xyz: Tensor, cells: Voxels) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest coordinates of the (M, 3) points of each cell: two (V, 3) float32."""
    owner, place = cells.of_point.cpu().numpy(), xyz.numpy()
    order = np.argsort(owner, kind="stable")
    first = np.searchsorted(owner[order], np.arange(len(cells)))
    ordered = place[order]
    return np.minimum.reduceat(ordered, first), np.maximum.reduceat(ordered, first)

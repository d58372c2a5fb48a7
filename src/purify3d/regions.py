"""Where in the scene a heat map is hot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor

_REACH = 0.05  # metres between points of one region: two to three voxels, so that sensor holes do not split
_HOT = 0.6  # heat from which a point belongs to a region
_SMALLEST = 30  # points


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


def heat(score: Tensor) -> Tensor:
    """(N,) cosines -> 0..1: the scene's median is 0, its hottest thousandth 1.

    Cosines of different models and wordings have different ranges; what counts is what stands out here.
    """
    low, high = (float(np.quantile(score.numpy(), q)) for q in (0.5, 0.999))
    return ((score - low) / max(high - low, 1e-6)).clamp(0, 1)


def find_regions(xyz: Tensor, score: Tensor, *, limit: int = 5) -> list[Region]:
    """The regions that stand out, those with most heat in all first.

    Args:
        xyz: (N, 3) metres; score: (N,) cosines.
        limit: regions wanted; there may be fewer.
    """
    warmth = heat(score)
    hot = (warmth >= _HOT).numpy()
    points, cosine, weight = xyz.numpy()[hot], score.numpy()[hot], warmth.numpy()[hot]
    pairs = cKDTree(points).query_pairs(_REACH, output_type="ndarray")
    graph = coo_array((np.ones(len(pairs), dtype=bool), pairs.T), shape=(len(points), len(points)))
    count, member = connected_components(graph, directed=False)
    size = np.bincount(member, minlength=count)
    total = np.bincount(member, weights=weight, minlength=count)
    regions: list[Region] = []
    for number in np.argsort(-total, kind="stable"):
        if size[number] < _SMALLEST or len(regions) == limit:
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

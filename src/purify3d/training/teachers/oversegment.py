"""Nested over-segmentations of a scene by region merging, without any learning.

Regions start as single voxels and merge as in Koepfler, Lopez and Morel, "A multiscale algorithm for image
segmentation by variational method" (SIAM J. Numer. Anal. 31, 1994): two neighbours become one where that adds
less to the squared error of a piecewise constant description than their common boundary costs. A higher
price of boundaries gives a coarser segmentation, and each contains the finer ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.spatial import cKDTree

from purify3d.grid.cells import touching

_STEP = 1.5  # between prices: cheap merges come first, as if one by one
_FIRST = 0.01  # price at which merging begins
_FEW = 0.01  # share of regions; fewer merges in a round, and the price rises before the last ones are made
_LONELY = 6  # adjacent voxels, of 26, below which a voxel also looks across gaps
_ACROSS = 4  # nearest voxels it looks at


@dataclass(frozen=True)
class Links:
    """Which voxels touch. P pairs.

    Attributes:
        pairs: (P, 2) int64 voxels, lower first, each pair once.
        length: (P,) float64 how much boundary lies between the two: 1, less across a gap.
    """

    pairs: np.ndarray
    length: np.ndarray


def link(index: np.ndarray, gap: float) -> Links:
    """Voxels that touch by a face, an edge or a corner, and across small gaps those that nearly do.

    A voxel with few neighbours, as where a sensor saw a surface at a flat angle, is linked to its nearest
    ones too; the boundary counts as the inverse square of their distance in cells.

    Args:
        index: (V, 3) integer cells, all different.
        gap: cells, centre to centre, that are still a gap.
    """
    count = len(index)
    cells, pairs = index.astype(np.int64), touching(index)
    few = np.flatnonzero(np.bincount(pairs.ravel(), minlength=count) < _LONELY)
    distance, near = cKDTree(cells).query(cells[few], k=min(_ACROSS + 1, count), distance_upper_bound=gap)
    distance, near = distance.reshape(len(few), -1), near.reshape(len(few), -1)
    row, k = np.nonzero((distance**2 > 3.5) & (near < count))  # what touches is linked already
    across = np.stack([few[row], near[row, k]], axis=1)
    length = np.concatenate([np.ones(len(pairs)), distance[row, k] ** -2.0])
    both = np.sort(np.concatenate([pairs, across]), axis=1)
    key, first = np.unique(both[:, 0] * count + both[:, 1], return_index=True)
    return Links(np.stack(np.divmod(key, count), axis=1), length[first])


@dataclass(frozen=True)
class _Graph:
    """Regions and their boundaries. R regions, E boundaries, F attributes.

    Attributes:
        count: (R,) voxels; total: (R, F) sums of their attributes.
        side: (E, 2) regions on both sides of a boundary, lower first, every pair once.
        length: (E,) of it; convex: (E,) sum of convexity along it.
    """

    count: np.ndarray
    total: np.ndarray
    side: np.ndarray
    length: np.ndarray
    convex: np.ndarray

    def merged(self, into: np.ndarray) -> tuple[_Graph, np.ndarray]:
        """The graph with region r now part of region into[r], and the new number of each region (R,)."""
        kept = into == np.arange(len(into))
        number = (np.cumsum(kept) - 1)[into]
        regions = int(kept.sum())
        side = np.sort(number[self.side], axis=1)
        across = side[:, 0] != side[:, 1]
        key, row = np.unique(side[across, 0] * regions + side[across, 1], return_inverse=True)
        row = row.reshape(-1)
        graph = _Graph(
            count=np.bincount(number, self.count, regions),
            total=np.stack([np.bincount(number, column, regions) for column in self.total.T], axis=1),
            side=np.stack(np.divmod(key, regions), axis=1),
            length=np.bincount(row, self.length[across], len(key)),
            convex=np.bincount(row, self.convex[across], len(key)),
        )
        return graph, number

    def price(self, normals: slice, convex_discount: float) -> np.ndarray:
        """(E,) what the squared error grows by if both sides become one, per length of their boundary."""
        a, b = self.side.T
        mean = self.total / self.count[:, None]
        apart = mean[a] - mean[b]
        bent = np.einsum("ef,ef->e", apart[:, normals], apart[:, normals])
        rest = np.einsum("ef,ef->e", apart, apart) - bent
        discount = np.where(self.convex > 0, convex_discount, 1.0)
        weight = self.count[a] * self.count[b] / (self.count[a] + self.count[b])
        return weight * (rest + discount * bent) / self.length


def merge_regions(
    normal: np.ndarray,
    color: np.ndarray,
    links: Links,
    convexity: np.ndarray,
    prices: Sequence[float],
    *,
    convex_discount: float = 1.0,
    seed: int = 0,
) -> np.ndarray:
    """Nested segmentations, one for each price of a boundary.

    Args:
        normal, color: (V, 3) and (V, c) attributes of voxels in units of a notable difference.
        links: which voxels touch, P pairs.
        convexity: (P,) positive where the surface bends away from its normals between the two.
        prices: ascending; of a unit of boundary (one pair of neighbours).
        convex_discount: what a difference of normals across a convex edge counts, 0..1. Objects are mostly
            convex, and where one stands on another the edge between them is concave.
        seed: of the coins that decide in which order regions merge.

    Returns:
        (V, S) int64 region of each voxel, a column for each price, counted from 0 in each.

    Raises:
        ValueError: prices that are not positive and ascending.
    """
    if not prices or prices[0] <= 0 or any(b <= a for a, b in pairwise(prices)):
        raise ValueError(f"found prices {tuple(prices)}; expected positive numbers in ascending order")
    rng = np.random.default_rng(seed)
    attributes = np.concatenate([normal, color], axis=1).astype(np.float64)
    of_voxel = np.arange(len(attributes))
    graph = _Graph(
        count=np.ones(len(attributes)),
        total=attributes,
        side=links.pairs,
        length=links.length,
        convex=convexity.astype(np.float64),
    )
    columns = []
    price = min(_FIRST, prices[0])
    for wanted in prices:
        while True:
            into = _joined(graph, graph.price(slice(3), convex_discount), price, rng)
            if into is None and price >= wanted:
                break
            before = len(graph.count)
            if into is not None:
                graph, number = graph.merged(into)
                of_voxel = number[of_voxel]
            # At the wanted price itself merging goes on to the end.
            if before - len(graph.count) < _FEW * before:
                price = min(price * _STEP, wanted)
        columns.append(of_voxel)
    return np.stack(columns, axis=1)


def _joined(graph: _Graph, cost: np.ndarray, price: float, rng: np.random.Generator) -> np.ndarray | None:
    """(R,) the region each region joins, most their own; None when no boundary is below the price.

    A region may join the neighbour that it costs least to join. Coins decide who joins and who is joined, so
    that no chains form and many can join one large region at a time; two that want each other always merge,
    so that every round merges something.
    """
    cheap = np.flatnonzero(cost < price)
    if not len(cheap):
        return None
    regions = len(graph.count)
    # Dearest first: of equal indices the last assignment stays. The two sides of a boundary follow each
    # other, so costs that tie are told apart alike from both, and somewhere two want each other.
    side = graph.side[cheap[np.argsort(-cost[cheap], kind="stable")]]
    best = np.full(regions, -1)
    best[side.ravel()] = side[:, ::-1].ravel()
    own = np.arange(regions)
    wants = best >= 0
    mutual = wants & (best[best] == own)
    joins = wants & ~mutual & (rng.random(regions) < 0.5)
    # Of two that want each other the higher number joins. Nobody joins a region that itself moves.
    moves = np.where(mutual, own > best, joins)
    moves &= ~(joins & moves[best])
    return np.where(moves, best, own)

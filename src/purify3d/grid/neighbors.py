"""Nearest neighbours: of cells of a grid, and of points."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from purify3d.base.devices import crossing
from purify3d.base.progress import Progress, silent
from purify3d.base.threads import in_threads
from purify3d.grid.cells import BESIDE, BITS, find_keys, key_steps, pack_cells

_BRICK = 16  # edge in cells of the bricks that neighbours are looked up in
_TABLE = 1 << 20  # cells of the tables of some bricks: they stay in the cache
_AT_A_TIME = 1 << 18  # cells looked up at a time
_LARGEST_BALL = 64  # cells of a ball for each neighbour wanted; where more are needed a tree is faster


def grid_neighbors(
    index: Tensor, k: int, *, rows: Tensor | None = None, progress: Progress = silent
) -> Tensor:
    """The k nearest other cells of every cell of a grid.

    Distances on a grid tie (most cells tie at the 96th neighbour), so the order is part of the definition:
    by (squared distance, cell number). The result depends neither on the way of searching nor on threads.

    Cells in lexicographic order, as `voxelize` gives them, are looked up: of the offsets of a ball, sorted by
    (squared distance, offset), the first k occupied ones are the answer, ties and all. Where the ball would
    have to be large (lonely cells), and for cells in another order, a tree is asked.

    Args:
        index: (V, 3) integer cell coordinates, all different.
        k: neighbours wanted; a grid of V cells gives at most V - 1.
        rows: (M,) int64, ascending: whose neighbours are wanted; None: those of all.

    Returns:
        (V, min(k, V - 1)) int32, nearest first, self excluded; of `rows` (M, ...).
    """
    asked = torch.arange(len(index), device=index.device) if rows is None else rows
    (found,) = crossing(
        lambda cells, of: (_grid_neighbors(cells.astype(np.int64), of, k, progress),), index, asked
    )
    return found if rows is None else found[rows]


def _grid_neighbors(cells: np.ndarray, rows: np.ndarray, k: int, progress: Progress) -> np.ndarray:
    """Filled for these rows only."""
    k = min(k, len(cells) - 1)
    result = np.empty((len(cells), max(k, 0)), dtype=np.int32)
    if k > 0:
        tree, pending = cKDTree(cells, balanced_tree=False), rows
        for square in _ball_sizes(tree, cells, k):
            pending = _look_up(cells, pending, square, result, progress if pending is rows else silent)
        result[pending] = _ask_tree(tree, cells, pending, k, progress if pending is rows else silent)
    return result


def _ball_sizes(tree: cKDTree, cells: np.ndarray, k: int) -> list[int]:
    """Squared radii of the balls to look through, one after the other; none where a tree is faster."""
    low = cells - cells.min(axis=0)
    if low.max() >= 1 << BITS or not (np.diff(pack_cells(low)) > 0).all():
        return []  # ties go by cell number, which is the order of offsets only in this order of cells
    asked = np.arange(0, len(cells), max(1, len(cells) // 512))
    last = _ask_tree(tree, cells, asked, k)[:, -1]
    farthest = np.square(cells[last] - cells[asked]).sum(axis=1)
    # Voxels at borders and corners take a larger ball than most: looking these up twice is cheaper than
    # looking all up in the larger one.
    usual = int(np.quantile(farthest, 0.9))
    return [square for square in (usual, 2 * usual) if 4.2 * square**1.5 < _LARGEST_BALL * k]


def _ball(square: int) -> np.ndarray:
    """(M, 3) offsets but (0, 0, 0) of squared length up to `square`, by (squared length, lexicographic)."""
    axis = np.arange(-math.isqrt(square), math.isqrt(square) + 1)
    offset = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    length = np.square(offset).sum(axis=1)
    inside = (length > 0) & (length <= square)
    return offset[inside][length[inside].argsort(kind="stable")]


def _look_up(
    cells: np.ndarray, rows: np.ndarray, square: int, result: np.ndarray, progress: Progress
) -> np.ndarray:
    """Fill `result` (V, k) for those of `rows` that have k others within the ball; gives the other rows back.

    Cells are looked up in tables of the neighbourhoods of bricks of the grid, some bricks at a time: each
    table holds the cells of one brick and of a margin as wide as the ball.
    """
    if not len(rows):
        return rows
    offsets, margin, k = _ball(square), math.isqrt(square), result.shape[1]
    edge = max(_BRICK, margin)  # so that the margin lies within the 26 bricks around
    side = edge + 2 * margin
    step = offsets @ (side * side, side, 1)
    brick, inside = np.divmod(cells - cells.min(axis=0), edge)
    key = pack_cells(brick + 1)
    order = key.argsort(kind="stable")
    bricks, start = np.unique(key[order], return_index=True)
    end = np.append(start[1:], len(cells))
    wanted = np.zeros(len(cells), dtype=bool)
    wanted[rows] = True
    beside = key_steps(BESIDE)

    def members(of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(cell, place in `of`) of all cells of these bricks."""
        count = end[of] - start[of]
        place = np.repeat(np.arange(len(of)), count)
        first = start[of] - (count.cumsum() - count)
        return order[np.arange(len(place)) + first[place]], place

    def fill(of: np.ndarray) -> list[np.ndarray]:
        table = np.full(len(of) * side**3, -1, dtype=np.int32)
        there, at = find_keys(bricks, (bricks[of, None] + beside).ravel())
        cell, place = members(at)
        mine, direction = np.divmod(there[place], len(BESIDE))
        spot = inside[cell] + (BESIDE * edge + margin)[direction]
        near = np.flatnonzero(((spot >= 0) & (spot < side)).all(axis=1))
        table[mine[near] * side**3 + spot[near] @ (side * side, side, 1)] = cell[near]
        cell, mine = members(of)
        cell, mine = cell[wanted[cell]], mine[wanted[cell]]
        base = mine * side**3 + (inside[cell] + margin) @ (side * side, side, 1)
        occupied, left, block = table >= 0, [], max(1, _AT_A_TIME // len(step))
        for begin in range(0, len(cell), block):
            some, address = cell[begin : begin + block], base[begin : begin + block, None] + step
            hit = occupied.take(address)
            count = np.count_nonzero(hit, axis=1)
            full = count >= k
            first = (count.cumsum() - count)[full, None] + np.arange(k)
            nearest = np.flatnonzero(hit).take(first)
            result[some[full]] = table.take(address.ravel().take(nearest))
            left.append(some[~full])
        return left

    busy = np.unique(np.searchsorted(bricks, key[rows]))
    parts = np.array_split(busy, -(-len(busy) * side**3 // _TABLE))
    filled = progress(in_threads(fill, parts), name="neighbours", total=len(parts))
    left = [each for part in filled for each in part]
    return np.sort(np.concatenate(left))


def _ask_tree(
    tree: cKDTree, cells: np.ndarray, rows: np.ndarray, k: int, progress: Progress = silent
) -> np.ndarray:
    """(M, k) int32 the nearest others of M `rows` of cells (V, 3), of which the tree was made."""
    count, result = len(cells), np.empty((len(rows), k), dtype=np.int32)
    pending = np.arange(len(rows))
    wanted = k + 1 + 48  # room for the shell of equal distances that the k-th neighbour lies on
    while len(pending):
        wanted = min(wanted, count)
        unfinished = []
        parts = np.array_split(pending, max(1, len(pending) * wanted // 250_000))
        first = len(pending) == len(rows)
        for part in progress(parts, name="neighbours", total=len(parts)) if first else parts:
            here = cells[rows[part]]
            _, found = tree.query(here, k=wanted, workers=-1)
            squared = np.square(cells[found] - here[:, None]).sum(axis=2)
            # Self has distance 0 and no other cell has, so it sorts first.
            key = np.sort(squared * count + found, axis=1)[:, 1:]
            result[part] = key[:, :k] % count
            if wanted < count:
                unfinished.append(part[key[:, -1] // count == key[:, k - 1] // count])
        pending = np.concatenate(unfinished) if unfinished else np.empty(0, dtype=np.int64)
        wanted *= 2
    return result


def spacing(xyz: Tensor, *, sample: int = 4096) -> float:
    """How far apart the points of a cloud lie: the median distance to the nearest other position, metres.

    Every n-th of (N, 3) points is asked, `sample` in all, against the whole cloud; the result depends on
    nothing else. Points at the very same place, as at the seams of a mesh, count as one.

    Returns:
        0.0 where fewer than two different positions are found.
    """
    positions = xyz.cpu().numpy()
    asked = positions[:: max(1, len(positions) // sample)]
    copies = min(9, len(positions))  # enough that up to eight points at one place do not hide the next place
    if copies < 2:
        return 0.0
    # Asked so seldom, a tree is made faster than it would be balanced.
    distance, _ = cKDTree(positions, balanced_tree=False).query(asked, k=copies, workers=-1)
    nearest_other = np.where(distance > 0, distance, np.inf).min(axis=1)
    nearest_other = nearest_other[np.isfinite(nearest_other)]
    return float(np.median(nearest_other)) if len(nearest_other) else 0.0


def nearest(query: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """For each of (M, 3) query positions the nearest of (N, 3) points: index (M,) int64, distance (M,)."""

    def look_up(query: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        distance, found = cKDTree(points).query(query, workers=-1)
        return found.astype(np.int64), distance.astype(np.float32)

    found, distance = crossing(look_up, query, points)
    return found, distance


def nearest_known(known: Tensor, xyz: Tensor) -> tuple[Tensor, Tensor]:
    """For each of (N, 3) points the nearest that is `known` (N,) bool, itself if it is.

    Returns:
        source (N,) int64, gap (N,) float32 distance.

    Raises:
        ValueError: nothing is known.
    """
    if not known.any():
        raise ValueError("no point has a value to copy")
    source = torch.arange(len(known), device=known.device)
    gap = torch.zeros(len(known), device=known.device)
    if not known.all():
        found, distance = nearest(xyz[~known], xyz[known])
        source[~known], gap[~known] = source[known][found], distance
    return source, gap

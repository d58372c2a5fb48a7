"""Cells of a grid as single numbers, and the look-up of cells beside others."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

#: Cells along each axis, in bits: three coordinates of 21 bits fill a positive int64.
BITS = 21
#: (27, 3) steps to a cell and those around it, in lexicographic order.
BESIDE = np.array([(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)])


def pack_cells(cells: np.ndarray) -> np.ndarray:
    """(M, 3) integer cells in [0, 2^21) -> (M,) int64 keys that sort lexicographically.

    Raises:
        ValueError: a cell outside that range, which would share its key with another.
    """
    cells = cells.astype(np.int64, copy=False)
    if len(cells) and not (cells.min() >= 0 and cells.max() < 1 << BITS):
        raise ValueError(f"found cells {cells.min()} to {cells.max()}; expected 0 to {(1 << BITS) - 1}")
    return (cells[:, 0] << (2 * BITS)) | (cells[:, 1] << BITS) | cells[:, 2]


def unpack_cells(keys: np.ndarray) -> np.ndarray:
    """(M,) int64 keys -> (M, 3) int64 cells."""
    mask = (1 << BITS) - 1
    return np.stack([keys >> (2 * BITS), (keys >> BITS) & mask, keys & mask], axis=1)


def key_steps(offsets: np.ndarray) -> np.ndarray:
    """(M, 3) integer offsets -> (M,) int64, what each adds to the key of a cell: packing is linear.

    A step that leads out of [0, 2^21) along an axis ends at the key of another cell.
    """
    x, y, z = offsets.astype(np.int64).T
    return (x << (2 * BITS)) + (y << BITS) + z


def find_keys(keys: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where keys are among others.

    Args:
        keys: (V,) int64, ascending.
        wanted: (M,) int64.

    Returns:
        (H,) int64 which of the wanted keys are there, ascending, and (H,) int64 where.
    """
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    there = np.flatnonzero(keys[at] == wanted)
    return there, at[there]


def touching(cells: np.ndarray) -> np.ndarray:
    """(P, 2) int64 pairs of (V, 3) integer cells that share a face, an edge or a corner, each once.

    Raises:
        ValueError: the cells span more than 2^21 - 2 along an axis.
    """
    keys = pack_cells(cells.astype(np.int64) - cells.min(axis=0) + 1)
    order = np.argsort(keys)
    keys, pairs = keys[order], []
    for step in key_steps(BESIDE[:13]):  # of two opposite steps one
        here, there = find_keys(keys, keys + step)
        pairs.append(np.stack([order[here], order[there]], axis=1))
    return np.concatenate(pairs)


def components(count: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(count,) int32 the connected component of each of so many things, by pairs (P,), (P,) that touch."""
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1])

"""Cells of a grid as single numbers."""

from __future__ import annotations

import numpy as np

#: Cells along each axis, in bits: three coordinates of 21 bits fill a positive int64.
BITS = 21


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

"""Space-filling curves: an order of voxels in which those that follow each other lie close together.

Point Transformer V3 (Wu et al., CVPR 2024) lets voxels attend to those that are near them on such a curve.
The Hilbert curve is Skilling's ("Programming the Hilbert curve", AIP Conf. Proc. 707, 2004).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

#: In the order in which the blocks of a stage take turns; `-trans` exchanges x and y.
CURVES = ("z", "z-trans", "hilbert", "hilbert-trans")

MAX_DEPTH = 16  # three coordinates of 16 bits, as officially


def curve_depth(grid: Tensor) -> int:
    """Bits a coordinate has on the curves of a grid; one more than needed where the largest is 2^n - 1.

    The shape of a Hilbert curve depends on it.

    Args:
        grid: (V, 3) integer cells, 0 and up.

    Raises:
        ValueError: the grid spans more cells than the network was made for.
    """
    largest = int(grid.max())
    depth = (largest + 1).bit_length()
    if depth > MAX_DEPTH:
        raise ValueError(
            f"the cloud spans {largest + 1} voxels along an axis, at most {2**MAX_DEPTH - 1} fit: are the "
            "coordinates in metres?"
        )
    return depth


def curve_key(grid: Tensor, curve: str, depth: int) -> Tensor:
    """Where each cell lies on a curve.

    Args:
        grid: (V, 3) integer cells in [0, 2^depth).
        curve: one of CURVES.
        depth: bits of a coordinate.

    Returns:
        (V,) int64, different for different cells.
    """
    axes = list(grid.long().unbind(1))
    if curve.endswith("-trans"):
        axes[0], axes[1] = axes[1], axes[0]
    if curve.startswith("z"):
        return _interleave(axes, depth)
    for bit in reversed(range(depth)):
        lower = (1 << bit) - 1
        for axis in range(3):
            # Where this axis has the bit, axis 0 is mirrored; elsewhere the two are exchanged, both below it.
            has = (axes[axis] >> bit) & 1 == 1
            exchange = torch.where(has, 0, (axes[0] ^ axes[axis]) & lower)
            axes[axis] = axes[axis] ^ exchange
            axes[0] = axes[0] ^ torch.where(has, lower, exchange)
    key = _interleave(axes, depth)
    for shift in (1, 2, 4, 8, 16, 32):  # Gray code to binary: every bit becomes the parity of those above it
        key = key ^ (key >> shift)
    return key


def _interleave(axes: Sequence[Tensor], depth: int) -> Tensor:
    """Bits of x, y, z in turns, x the most significant of each triple."""
    key = torch.zeros_like(axes[0])
    for bit in range(depth):
        for axis, value in enumerate(axes):
            key |= ((value >> bit) & 1) << (3 * bit + 2 - axis)
    return key

"""Submanifold sparse convolution (Graham et al., "3D Semantic Segmentation with Submanifold Sparse
Convolutional Networks", CVPR 2018) in plain torch.

A 3x3x3 convolution that is evaluated at occupied voxels only and reads occupied voxels only. Which voxel
reads which is the same for every layer of a network, so it is found once per scene (`KernelMap.of`); a layer
then gathers what some voxels read side by side and multiplies it with the whole kernel at once. This needs no
compiler and runs on any device torch has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from purify3d.base.devices import Movable
from purify3d.grid.cells import find_keys, key_steps, pack_cells

#: The 27 offsets (x, y, z) of a kernel in the order of its weights: x runs fastest, offset 26 - k is minus
#: offset k, and the middle one reads the voxel itself.
OFFSETS = tuple((x, y, z) for z in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1))
CENTRE = len(OFFSETS) // 2

_MAX_EXTENT = (1 << 21) - 2  # what pack_cells takes, less a free layer on each side
_PIECE = 1 << 19  # values gathered at a time: they stay in the cache
_FEWEST = 256  # voxels at a time at least: fewer do not keep a multiplication busy
#: From so many channels on, multiplying the zeros of cells that are not occupied costs more than it saves to
#: multiply all offsets at once.
_WIDE, _WIDE_HALF = 96, 256
_PART = 2048  # voxels at a time where offsets are multiplied one after the other
_PADDED = 256  # to a multiple of so many rows in half precision, where every new shape is prepared for


@dataclass(frozen=True)
class KernelMap(Movable):
    """Which voxel reads which voxel through which offset of a 3x3x3 kernel.

    Attributes:
        source: (V, 27) int32, for each voxel the one at each of OFFSETS from it; V where none is.
    """

    source: Tensor

    def __len__(self) -> int:
        return len(self.source)

    @classmethod
    def of(cls, index: Tensor) -> KernelMap:
        """Find the neighbours of every voxel.

        Args:
            index: (V, 3) integer cell coordinates in any order, negative ones included (`Voxels.index`).

        Raises:
            ValueError: no voxels, a cell that occurs twice, or an extent of more than 2^21 - 2 cells.
        """
        cells = index.cpu().numpy().astype(np.int64)
        if not len(cells):
            raise ValueError("found no voxels; a kernel map needs at least one")
        cells -= cells.min(axis=0) - 1  # a free layer around, so that no offset borrows between coordinates
        if cells.max() > _MAX_EXTENT:
            raise ValueError(f"the voxels span {cells.max()} cells along an axis, at most {_MAX_EXTENT} fit")
        keys = pack_cells(cells)
        order = np.argsort(keys, kind="stable").astype(np.int32)
        keys = keys[order]
        if (keys[1:] == keys[:-1]).any():
            raise ValueError("a cell occurs twice; expected one row per occupied cell, as in Voxels.index")
        source = np.full((len(OFFSETS), len(cells)), len(cells), dtype=np.int32)
        source[CENTRE] = np.arange(len(cells))
        for k, step in enumerate(key_steps(np.array(OFFSETS[:CENTRE]))):
            hit, found = find_keys(keys, keys + step)
            here, there = order[hit], order[found]
            source[k, here] = there
            source[len(OFFSETS) - 1 - k, there] = here
        return cls(torch.from_numpy(np.ascontiguousarray(source.T))).to(index.device)


def submanifold_conv(features: Tensor, kernel: Tensor, kernel_map: KernelMap) -> Tensor:
    """out[t] = sum of features[s] @ kernel[k] over the offsets k at which voxel t has a neighbour s.

    Differentiable once in features and kernel, keeps nothing but its inputs for the backward pass, and gives
    the same bits on every call. Half precision is multiplied as such and summed in float32.

    Args:
        features: (V, Cin) floating point.
        kernel: (27, Cin, Cout) in the order of OFFSETS, same dtype.
        kernel_map: of the V voxels, on the same device.

    Returns:
        (V, Cout), dtype of the features.

    Raises:
        ValueError: shapes that do not fit together.
    """
    if (
        kernel.dim() != 3
        or len(kernel) != len(OFFSETS)
        or features.shape != (len(kernel_map), kernel.shape[1])
        or features.dtype != kernel.dtype
    ):
        raise ValueError(
            f"expected features ({len(kernel_map)}, Cin) and a kernel (27, Cin, Cout) of one dtype, found "
            f"{tuple(features.shape)} {features.dtype} and {tuple(kernel.shape)} {kernel.dtype}"
        )
    result: Tensor = _SubmanifoldConv.apply(features, kernel, kernel_map)
    return result


def _accumulator(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _at_once(kernel: Tensor) -> bool:
    """Whether all offsets are multiplied at once, zeros where nothing is, or one after the other."""
    return kernel.shape[1] < (_WIDE_HALF if _is_half(kernel) else _WIDE)


def _is_half(values: Tensor) -> bool:
    return values.dtype in (torch.bfloat16, torch.float16)


def _pieces(kernel: Tensor, kernel_map: KernelMap) -> Iterator[tuple[slice, Tensor]]:
    """(which voxels, what they read) of some voxels at a time."""
    rows = max(_FEWEST, _PIECE // (len(OFFSETS) * kernel.shape[1])) if _at_once(kernel) else _PART
    for start in range(0, len(kernel_map), rows):
        piece = slice(start, min(start + rows, len(kernel_map)))
        yield piece, kernel_map.source[piece]


def _with_nobody(features: Tensor) -> Tensor:
    """(V + 1, C): what is read where no voxel is comes last, zeros."""
    return torch.cat([features, features.new_zeros(1, features.shape[1])])


def _read(padded: Tensor, source: Tensor) -> Tensor:
    """(n, 27 C) what each of n voxels reads, offset after offset."""
    return padded.index_select(0, source.flatten()).view(len(source), -1)


def _hits(source: Tensor, nobody: int, multiple: int) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(offset, place among these n voxels, voxel that is read) for each offset, as many as a multiple of
    `multiple`; what fills them up is place n, and nobody."""
    for k in range(len(OFFSETS)):
        place = torch.nonzero(source[:, k] < nobody).squeeze(1)
        fill = -len(place) % multiple
        if len(place):
            read = pad(source[place, k], (0, fill), value=nobody)
            yield k, pad(place, (0, fill), value=len(source)), read


def _convolve(features: Tensor, kernel: Tensor, kernel_map: KernelMap) -> Tensor:
    out = features.new_empty(len(features), kernel.shape[2])
    padded, multiple = _with_nobody(features), _PADDED if _is_half(features) else 1
    for piece, source in _pieces(kernel, kernel_map):
        if _at_once(kernel):
            out[piece] = _read(padded, source) @ kernel.flatten(0, 1)
            continue
        part = out.new_zeros(len(source) + 1, out.shape[1], dtype=_accumulator(out.dtype))
        for k, place, read in _hits(source, len(kernel_map), multiple):
            # A voxel is met at most once at an offset: no order of addition to choose.
            part.index_add_(0, place, (padded.index_select(0, read) @ kernel[k]).to(part.dtype))
        out[piece] = part[:-1].to(out.dtype)
    return out


def _kernel_gradient(features: Tensor, grad: Tensor, kernel: Tensor, kernel_map: KernelMap) -> Tensor:
    out = torch.zeros(kernel.shape, dtype=_accumulator(features.dtype), device=features.device)
    padded, multiple = _with_nobody(features), _PADDED if _is_half(features) else 1
    for piece, source in _pieces(kernel, kernel_map):
        if _at_once(kernel):
            out += (_read(padded, source).T @ grad[piece]).view(kernel.shape)
            continue
        part = _with_nobody(grad[piece])
        for k, place, read in _hits(source, len(kernel_map), multiple):
            out[k] += padded.index_select(0, read).T @ part.index_select(0, place)
    return out.to(features.dtype)


class _SubmanifoldConv(torch.autograd.Function):
    """Gathers again in the backward pass; plain autograd would keep every gathered copy of the features."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, kernel: Tensor, kernel_map: KernelMap) -> Tensor:
        ctx.save_for_backward(features, kernel)
        ctx.kernel_map = kernel_map
        return _convolve(features, kernel, kernel_map)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        features, kernel = ctx.saved_tensors
        grad_features = grad_kernel = None
        if ctx.needs_input_grad[0]:
            # The transpose of this operator is a convolution over the same map with the kernel mirrored.
            grad_features = _convolve(grad, kernel.flip(0).transpose(1, 2).contiguous(), ctx.kernel_map)
        if ctx.needs_input_grad[1]:
            grad_kernel = _kernel_gradient(features, grad, kernel, ctx.kernel_map)
        return grad_features, grad_kernel, None

"""Submanifold sparse convolution (Graham et al., "3D Semantic Segmentation with Submanifold Sparse
Convolutional Networks", CVPR 2018) in plain torch.

A 3x3x3 convolution that is evaluated at occupied voxels only and reads occupied voxels only. Which voxel
reads which is the same for every layer of a network, so it is found once per scene (`KernelMap.of`); a layer
is then 27 times gather, multiply, add. This needs no compiler and runs on any device torch has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from purify3d.spatial import pack_cells

#: The 27 offsets (x, y, z) of a kernel in the order of its weights: x runs fastest, offset 26 - k is minus
#: offset k, and the middle one reads the voxel itself.
OFFSETS = tuple((x, y, z) for z in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1))
CENTRE = len(OFFSETS) // 2

_MAX_EXTENT = (1 << 21) - 2  # what pack_cells takes, less a free layer on each side
_PIECE = 1 << 22  # values gathered at a time: they stay in the cache, and narrow layers take few pieces


@dataclass(frozen=True)
class KernelMap:
    """Which voxel reads which voxel through which offset of a 3x3x3 kernel.

    Attributes:
        count: V, the number of voxels.
        half: for each of the first 13 offsets (source (P,), target (P,)) int64, where
            index[source] == index[target] + offset. The centre reads itself and the last 13 offsets are
            the first 13 with source and target exchanged, so neither is stored.
    """

    count: int
    half: tuple[tuple[Tensor, Tensor], ...]

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
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        if (keys[1:] == keys[:-1]).any():
            raise ValueError("a cell occurs twice; expected one row per occupied cell, as in Voxels.index")
        half = []
        for offset in np.array(OFFSETS[:CENTRE]):
            # Packing is linear: an offset moves every key by the same amount.
            step = pack_cells(offset[None] + 1) - pack_cells(np.ones((1, 3), dtype=np.int64))
            wanted = keys + step
            found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            hit = np.flatnonzero(keys[found] == wanted)
            half.append((torch.from_numpy(order[found[hit]]), torch.from_numpy(order[hit])))
        return cls(len(cells), tuple(half)).to(index.device)

    def pairs(self, k: int) -> tuple[Tensor, Tensor]:
        """(source, target) of offset k, both (P,) int64; no voxel occurs twice in either of them."""
        if k < CENTRE:
            return self.half[k]
        if k > CENTRE:
            source, target = self.half[len(OFFSETS) - 1 - k]
            return target, source
        device = self.half[0][0].device
        return torch.arange(self.count, device=device), torch.arange(self.count, device=device)

    def pairs_per_voxel(self) -> float:
        """Mean number of occupied cells under the kernel, 1 (isolated voxels) to 27."""
        return 1 + 2 * sum(len(source) for source, _ in self.half) / self.count

    def to(self, device: torch.device | str) -> KernelMap:
        """The same map on another device."""
        return KernelMap(self.count, tuple((s.to(device), t.to(device)) for s, t in self.half))


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
        or features.shape != (kernel_map.count, kernel.shape[1])
        or features.dtype != kernel.dtype
    ):
        raise ValueError(
            f"expected features ({kernel_map.count}, Cin) and a kernel (27, Cin, Cout) of one dtype, found "
            f"{tuple(features.shape)} {features.dtype} and {tuple(kernel.shape)} {kernel.dtype}"
        )
    result: Tensor = _SubmanifoldConv.apply(features, kernel, kernel_map)
    return result


def _accumulator(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _pieces(kernel_map: KernelMap, k: int, channels: int) -> Iterator[tuple[Tensor, Tensor]]:
    rows = max(1, _PIECE // channels)
    return zip(*(side.split(rows) for side in kernel_map.pairs(k)), strict=True)


def _convolve(features: Tensor, kernel: Tensor, kernel_map: KernelMap) -> Tensor:
    out = (features @ kernel[CENTRE]).to(_accumulator(features.dtype))
    for k in range(len(OFFSETS)):
        if k != CENTRE:
            for s, t in _pieces(kernel_map, k, features.shape[1]):
                # A voxel is the target of at most one pair of an offset: no order of addition to choose.
                out.index_add_(0, t, (features[s] @ kernel[k]).to(out.dtype))
    return out.to(features.dtype)


def _kernel_gradient(features: Tensor, grad: Tensor, kernel_map: KernelMap) -> Tensor:
    shape = (len(OFFSETS), features.shape[1], grad.shape[1])
    out = torch.zeros(shape, dtype=_accumulator(features.dtype), device=features.device)
    out[CENTRE] = features.T @ grad
    for k in range(len(OFFSETS)):
        if k != CENTRE:
            for s, t in _pieces(kernel_map, k, features.shape[1]):
                out[k] += features[s].T @ grad[t]
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
            grad_kernel = _kernel_gradient(features, grad, ctx.kernel_map)
        return grad_features, grad_kernel, None


def submanifold_conv_dense(features: Tensor, kernel: Tensor, index: Tensor) -> Tensor:
    """What `submanifold_conv` means: a dense convolution of the bounding box, read at the occupied cells.

    Slow and as large as the box; it defines the operation and is the oracle of its tests.

    Args:
        features: (V, Cin); kernel: (27, Cin, Cout); index: (V, 3) integer cells, all different.

    Returns:
        (V, Cout).
    """
    cells = (index - index.amin(0)).long()
    x, y, z = cells.unbind(1)
    width, height, depth = (cells.amax(0) + 1).tolist()
    # conv3d wants (Cin, depth, height, width); x is the fastest axis of the kernel, so it comes last here.
    grid = features.new_zeros(features.shape[1], depth, height, width).index_put(
        (torch.arange(features.shape[1])[:, None], z, y, x), features.T
    )
    weight = kernel.reshape(3, 3, 3, *kernel.shape[1:]).permute(4, 3, 0, 1, 2)
    return torch.nn.functional.conv3d(grid[None], weight, padding=1)[0][:, z, y, x].T

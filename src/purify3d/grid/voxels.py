"""Clouds cut into cubic cells."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from purify3d.base.devices import falling_back
from purify3d.grid.cells import BITS, pack_cells, unpack_cells
from purify3d.types import Voxels


def voxelize(xyz: Tensor, size: float) -> Voxels:
    """Cut points (N, 3) into cubic cells of `size` metres; only occupied cells are kept.

    Cells are counted from the cloud's minimum corner, snapped to a multiple of `size`, so that the same
    world position falls into the same cell whatever else the cloud holds.

    Raises:
        ValueError: no points, a size that is not positive, or an extent of more than 2^21 cells.
    """
    if len(xyz) == 0:
        raise ValueError("cannot voxelise an empty cloud")
    if not (size > 0 and np.isfinite(size)):
        raise ValueError(f"voxel size must be positive, found {size}")
    world = np.floor(xyz.cpu().numpy().astype(np.float64) / size)
    first = world.min(axis=0)
    span = float((world - first).max()) + 1
    if not span <= 1 << BITS:  # also where it is not a number
        raise ValueError(
            f"the cloud spans {span:.3g} voxels of {size:g} m, at most {1 << BITS} fit: are the coordinates "
            "and --voxel in metres?"
        )
    keys, of_point = np.unique(pack_cells(world - first), return_inverse=True)
    return Voxels(
        index=torch.from_numpy(unpack_cells(keys).astype(np.int32)),
        size=size,
        origin=torch.from_numpy(first * size),
        of_point=torch.from_numpy(of_point.reshape(-1).astype(np.int64)),
    ).to(xyz.device)


@falling_back
def first_points(of_point: Tensor, voxels: int) -> Tensor:
    """(V,) int64 the first point of each voxel, of (N,) int64 the voxel of each point (`Voxels.of_point`)."""
    device = of_point.device
    first = torch.full((voxels,), len(of_point), device=device)
    return first.scatter_reduce_(0, of_point, torch.arange(len(of_point), device=device), "amin")

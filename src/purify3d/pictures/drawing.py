"""Points as pixels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from purify3d.grid.neighbors import spacing
from purify3d.grid.projection import project
from purify3d.types import Camera, PointCloud

_BACKGROUND = 255
#: Of the cloud's spacing, what a point covers: where points are on no grid, holes are wider than the nearest
#: neighbours are far.
_COVER = 1.8
_WIDEST = 48  # pixels; nearer points leave gaps rather than cover everything
_DIM = 0.72  # brightness of what is seen edge-on: shapes show, and colours stay those of the legend
_NEAR = 1.0  # metres, or half of how far most points are: nearer points are drawn no larger than there


def paint(shown: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """(H, W) points of `visible` -> (H, W, 3) uint8 of their (N, 3) colours."""
    return np.concatenate([colors, np.full((1, 3), _BACKGROUND, dtype=np.uint8)])[shown]


def shading(points: PointCloud, shown: np.ndarray, world_from_camera: np.ndarray) -> np.ndarray:
    """(H, W) float32 brightness, 1 where a surface faces the camera and `_DIM` where it is seen edge-on.

    Args:
        shown: (H, W) points of `visible`; where there is none, or no normal, nothing is dimmed.
    """
    pixel = np.nonzero(shown >= 0)
    number = torch.from_numpy(shown[pixel])
    ray = torch.nn.functional.normalize(
        points.xyz[number] - torch.from_numpy(world_from_camera[:3, 3]).float(), dim=1
    )
    normal = points.normal[number]
    facing = (ray * normal).sum(1).abs()
    bright = np.ones(shown.shape, dtype=np.float32)
    bright[pixel] = torch.where(normal.any(1), _DIM + (1 - _DIM) * facing, 1.0).numpy()
    return bright


def visible(
    points: PointCloud,
    camera: Camera,
    world_from_camera: np.ndarray,
    *,
    cull: bool,
    between: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The point that each pixel shows, (H, W) int64, -1 = none; its depth, (H, W) float32 m, inf = none."""
    distance = spacing(points.xyz) if between is None else between
    uv, z = project(points.xyz, camera, world_from_camera)
    keep = z > 0.1
    if cull:
        keep &= _faces(points, world_from_camera)
    keep &= ((uv > -_WIDEST) & (uv < uv.new_tensor([camera.width, camera.height]) + _WIDEST)).all(1)
    index = torch.nonzero(keep)[:, 0]
    order = index[torch.from_numpy((-z[index]).numpy().argsort())]  # far points first: later writes win
    column, row = uv[order].round().long().numpy().T
    # What floats right before the camera is mostly noise, and drawn in full would hide the scene.
    near = z[order].clamp_min(min(_NEAR, float(z[order].median()) / 2) if len(order) else _NEAR)
    size = (_COVER * distance * camera.fx / near).ceil().clamp(1, _WIDEST).long().numpy()
    shown = np.full(camera.width * camera.height, -1, dtype=np.int64)
    nearest = np.full(len(shown), np.inf, dtype=np.float32)
    depth, number = z[order].numpy(), order.numpy()
    for wide in range(1, int(size.max(initial=0)) + 1):
        # Sizes grow with the order, so the points that are wide enough are the last ones.
        start = int(np.searchsorted(size, wide))
        half = size[start:] // 2
        ring = [(wide - 1, i) for i in range(wide)] + [(i, wide - 1) for i in range(wide - 1)]
        for dy, dx in ring:
            y, x = row[start:] + dy - half, column[start:] + dx - half
            inside = (y >= 0) & (y < camera.height) & (x >= 0) & (x < camera.width)
            pixel, d = (y * camera.width + x)[inside], depth[start:][inside]
            front = d < nearest[pixel]
            # Of several points at one pixel the last assignment stays: the nearest.
            nearest[pixel[front]] = d[front]
            shown[pixel[front]] = number[start:][inside][front]
    shape = (camera.height, camera.width)
    return shown.reshape(shape), nearest.reshape(shape)


def _faces(points: PointCloud, world_from_camera: np.ndarray) -> Tensor:
    """(N,) bool: does the normal point to the side that the camera is on?"""
    center = torch.from_numpy(world_from_camera[:3, 3]).float()
    return (points.normal * (center - points.xyz)).sum(1) > 0

"""From depth frames to one cloud with normals."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.base.progress import Progress, silent
from purify3d.base.sorting import stable_order
from purify3d.base.threads import in_threads
from purify3d.grid.cells import pack_cells, unpack_cells
from purify3d.grid.projection import map_pixels, pixel_rays
from purify3d.grid.voxels import voxelize
from purify3d.types import NO_LABEL, Frame, PointCloud, Scene

_HALF_GRID = 1 << 20  # cells are counted from the world's origin, which lies in the middle of the key range
_MERGE_ROWS = 4_000_000  # partial sums held at least before they are merged: about 200 MB
_FINEST_NORMALS = 0.01  # metres; across fewer than that, what depth cameras measure is mostly their noise
_JUMP = 0.05  # of the nearer depth, beyond which two pixels do not show one surface
_MIN_PIXELS = 2  # a voxel that a single pixel fell into is more often noise at an edge than surface
_ALONE = 0.02  # metres; in smaller voxels a pixel is alone because others lie farther away: wider cells count
_MOST = 0.5  # share of voxels with a single pixel, beyond which it is said


def with_points(scene: Scene, *, voxel: float = 0.02, progress: Progress = silent) -> Scene:
    """The scene with a cloud that has normals: its own where it has one, else its frames fused.

    Raises:
        CaptureError: the depth images hold nothing to fuse.
    """
    points = scene.points if scene.points is not None else fuse(scene.frames, voxel=voxel, progress=progress)
    if not points.normal.any():
        centers = torch.tensor(np.stack([f.world_from_camera[:3, 3] for f in scene.frames])).float()
        points = replace(points, normal=estimate_normals(points.xyz, _towards(points.xyz, centers)))
    return replace(scene, points=points)


def fuse(frames: Sequence[Frame], *, voxel: float = 0.02, progress: Progress = silent) -> PointCloud:
    """Average the depth pixels of all frames that fall into the same cube of `voxel` metres.

    Positions and colours are means over all pixels of a voxel, normals come from the fused cloud and point to
    the cameras. Pixels at depth jumps are left out: sensors interpolate there. Frames are read one after the
    other, in this thread; others add up what was read.

    Raises:
        CaptureError: there is no frame, none has depth, or one sees farther from the origin than cells can be
            counted.
    """
    if not frames:
        raise CaptureError("found no frame to fuse; expected at least one with depth")
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    held, room = 0, _MERGE_ROWS
    shown = progress(frames, name="fuse", total=len(frames))
    for keys, sums in in_threads(lambda read: _partial_sums(*read, voxel), map(_read, shown)):
        parts.append((keys, sums))
        held += len(keys)
        if held > room:
            parts = [_merge(parts)]
            held = len(parts[0][0])
            # Twice what the scene has by now: each row is merged a bounded number of times, however many
            # frames there are.
            room = max(_MERGE_ROWS, 2 * held)
    keys, sums = _merge(parts)
    del parts
    measured = float(sums[0].sum(dtype=np.float64))
    usual = _pixels_around(keys, sums[0], voxel) >= _MIN_PIXELS
    keys, sums = keys[usual], sums[:, usual]
    if len(keys) == 0:
        raise CaptureError(
            f"found no usable depth in any of the {len(frames)} frames (all zero, or never {_MIN_PIXELS} "
            f"pixels in one cell of {max(voxel, _ALONE):g} m); expected metres along the viewing direction, "
            "0 where nothing was measured. Check the depth images and their scale, or take a larger --voxel"
        )
    _say_what_is_fine(measured, sums[0], voxel)
    mean = sums[1:] / sums[0]
    corner = (unpack_cells(keys) - _HALF_GRID).T
    xyz = torch.from_numpy(((corner + mean[:3]) * voxel).T.astype(np.float32))
    towards = torch.from_numpy(np.ascontiguousarray(mean[6:].T))
    return PointCloud(
        xyz=xyz,
        rgb=torch.from_numpy(np.ascontiguousarray(mean[3:6].T.round().astype(np.uint8))),
        normal=_fused_normals(xyz, towards, voxel),
        label=torch.full((len(xyz),), NO_LABEL, dtype=torch.int32),
    )


def _pixels_around(keys: np.ndarray, pixels: np.ndarray, voxel: float) -> np.ndarray:
    """(M,) pixels in each voxel, of small ones in the cell of `_ALONE` metres that its middle lies in."""
    if voxel >= _ALONE:
        return pixels
    middle = (unpack_cells(keys) - _HALF_GRID + 0.5) * (voxel / _ALONE)
    wide = pack_cells(np.floor(middle).astype(np.int64) + _HALF_GRID)
    _, of_voxel = np.unique(wide, return_inverse=True)
    return np.bincount(of_voxel, weights=pixels)[of_voxel]


def _say_what_is_fine(measured: float, pixels: np.ndarray, voxel: float) -> None:
    """Warn where voxels are smaller than pixels lie apart.

    Args:
        measured: pixels of all frames; pixels: (M,) of them in each voxel that was kept.
    """
    lost, alone = 1 - float(pixels.sum(dtype=np.float64)) / measured, float((pixels < _MIN_PIXELS).mean())
    if alone > _MOST:
        warnings.warn(
            f"found a single pixel in {alone:.0%} of the {len(pixels):,} voxels of {voxel:g} m, which are "
            "smaller than pixels lie apart: no mean takes the noise of the depth away, and the neighbours "
            f"that each is pooled with lie within fewer centimetres. {lost:.1%} of the pixels, alone in "
            f"{_ALONE:g} m, were left out. Take a larger --voxel (usual are {_ALONE:g} m), or more frames",
            PurifyWarning,
            stacklevel=3,
        )


def _read(frame: Frame) -> tuple[Frame, np.ndarray, np.ndarray]:
    return frame, frame.depth(), frame.color()


def _partial_sums(
    frame: Frame, depth: np.ndarray, color: np.ndarray, voxel: float
) -> tuple[np.ndarray, np.ndarray]:
    """What a frame sees, by voxel: (M,) keys, and (10, M) float32 sums of 1, place in the voxel (as shares of
    its edge), colour and direction to the camera.

    Raises:
        CaptureError: a pixel lies farther from the world's origin than cells can be counted.
    """
    row, column = np.nonzero((depth > 0) & ~depth_jumps(depth))
    pixel = torch.from_numpy(np.stack([column, row], axis=1)).double()
    u, v = map_pixels(pixel, frame.depth_camera, frame.camera).round().long().numpy().T
    inside = (u >= 0) & (u < frame.camera.width) & (v >= 0) & (v < frame.camera.height)
    if not inside.all():
        row, column, u, v = row[inside], column[inside], u[inside], v[inside]
    measured = depth[row, column].astype(np.float64)
    right, down = pixel_rays(row, column, frame.depth_camera)
    length = np.sqrt(right * right + down * down + 1)
    columns = np.empty((10, len(row)), dtype=np.float32)
    columns[0] = 1
    columns[4:7] = color[v, u].T
    cells = np.empty((3, len(row)))  # floating: an integer would wrap before it could be looked at
    # Axis by axis: passes over what lies together are several times faster than over rows of three.
    for axis, (turn, center) in enumerate(
        zip(frame.world_from_camera[:3, :3], frame.world_from_camera[:3, 3], strict=True)
    ):
        ray = turn[0] * right + turn[1] * down + turn[2]
        place = (ray * measured + center) / voxel
        np.floor(place, out=cells[axis])
        columns[1 + axis] = place - cells[axis]
        columns[7 + axis] = -ray / length
    fits = ((cells >= -_HALF_GRID) & (cells < _HALF_GRID)).all(axis=0)
    if not fits.all():
        raise CaptureError(
            f"frame {frame.name}: found {np.count_nonzero(~fits)} of {cells.shape[1]} pixels beyond "
            f"{_HALF_GRID * voxel:.4g} m from the world's origin (camera at "
            f"{np.abs(frame.world_from_camera[:3, 3]).max():.4g} m, "
            f"depth up to {depth.max():.4g} m), where voxels of {voxel:g} m cannot be counted; expected a "
            "scan near the origin. Check the units of poses and depth, whether the pose of this frame is "
            "wrong, and whether --voxel is too small"
        )
    cells += _HALF_GRID
    x, y, z = (cells - cells.min(axis=1, initial=2 * _HALF_GRID, keepdims=True)).astype(np.int64)
    # Of a cell in the box of all: smaller than a key, which leaves more room to sort.
    number = (x * (y.max(initial=0) + 1) + y) * (z.max(initial=0) + 1) + z
    first, sums = _summed(number, stable_order(number), columns)
    return pack_cells(cells[:, first].T), sums


def _merge(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Add up what several parts say of the same keys; keys of each part, and those that come out, ascend."""
    keys, sums = (np.concatenate(each, axis=-1) for each in zip(*parts, strict=True))
    first, sums = _summed(keys, keys.argsort(kind="stable"), sums)  # which is fast where parts ascend
    return keys[first], sums


def _summed(number: np.ndarray, order: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of (C, M) columns over each of the different ones of (M,) numbers, and where each is met first.

    Columns of a number are added in their order, so that the last digits are the same on every machine.

    Args:
        order: (M,) places of the numbers, ascending, equal ones in their order.
    """
    number = number[order]
    start = np.flatnonzero(np.append(True, number[1:] != number[:-1])[: len(number)])
    sums = np.empty((len(columns), len(start)), dtype=columns.dtype)
    for column, total in zip(columns, sums, strict=True):
        np.add.reduceat(column[order], start, out=total)
    return order[start], sums


def depth_jumps(depth: np.ndarray) -> np.ndarray:
    """(h, w) bool: pixels whose depth differs from a measured 4-neighbour's by more than 5 %."""
    jump = np.zeros(depth.shape, dtype=bool)
    for seen, marked in ((depth, jump), (depth.T, jump.T)):
        a, b = seen[:-1], seen[1:]
        step = (a > 0) & (b > 0) & (np.abs(a - b) > _JUMP * np.minimum(a, b))
        marked[:-1] |= step
        marked[1:] |= step
    return jump


def _fused_normals(xyz: Tensor, towards: Tensor, voxel: float) -> Tensor:
    """(N, 3) normals of a cloud fused at `voxel` metres.

    Sixteen neighbours in very small voxels span no more than the noise of the depth. There the normals are
    those of a coarser grid.
    """
    if voxel >= _FINEST_NORMALS:
        return estimate_normals(xyz, towards)
    coarse = voxelize(xyz, 2 * _FINEST_NORMALS)
    # Relative to a corner: sums of 32-bit positions far from the origin would lose the millimetres.
    corner = xyz.amin(0)
    return coarse.to_points(estimate_normals(coarse.mean(xyz - corner), coarse.mean(towards)))


def estimate_normals(xyz: Tensor, towards: Tensor, *, neighbors: int = 16) -> Tensor:
    """(N, 3) unit normals: the direction in which the nearest `neighbors` points spread least.

    Where these lie on a line or in one place and span no plane, the direction is `towards` itself.

    Args:
        xyz: (N, 3) metres.
        towards: (N, 3) direction, any length, of the half space each normal shall point into.
    """
    points = xyz.numpy()
    facing = torch.nn.functional.normalize(towards, dim=1).numpy()
    k = min(neighbors, len(points))
    normal = np.empty_like(points)
    tree = cKDTree(points, balanced_tree=False)

    def fill(rows: np.ndarray) -> None:
        _, found = tree.query(points[rows], k=[*range(1, k + 1)])
        local = points[found].astype(np.float64) - points[rows, None]
        local -= local.mean(axis=1, keepdims=True)
        spread, axes = np.linalg.eigh(local.transpose(0, 2, 1) @ local)
        flat = spread[:, 1] > 1e-9 * spread[:, 2]
        normal[rows] = np.where(flat[:, None], axes[:, :, 0], facing[rows])

    for _ in in_threads(fill, np.array_split(np.arange(len(points)), len(points) // 20_000 + 1)):
        pass
    oriented = torch.from_numpy(normal)
    away = (oriented * towards).sum(1, keepdim=True) < 0
    return torch.where(away, -oriented, oriented)


def _towards(xyz: Tensor, centers: Tensor) -> Tensor:
    """Direction to the nearest camera, for clouds that did not come from these frames."""
    _, found = cKDTree(centers.numpy()).query(xyz.numpy(), workers=-1)
    return centers[torch.from_numpy(found)] - xyz

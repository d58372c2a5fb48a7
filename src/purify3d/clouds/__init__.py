"""Reading a mesh or point cloud file: one file a format, the same checks for all."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.base.files import check_file
from purify3d.clouds import gltf, las, obj, ply, stl
from purify3d.clouds.vertices import Vertices, no_colors, no_labels
from purify3d.types import PointCloud

_READERS: dict[str, Callable[[Path], Vertices]] = {
    ".ply": ply.read_vertices,
    ".obj": obj.read_vertices,
    ".stl": stl.read_vertices,
    **dict.fromkeys((".glb", ".gltf"), gltf.read_vertices),
    **dict.fromkeys((".las", ".laz"), las.read_vertices),
}
_COARSEST = 0.005  # metres between 32-bit numbers, beyond which the grid of voxels shows steps


def read_cloud(path: str | Path, *, origin: np.ndarray | None = None) -> PointCloud:
    """Points of a file, in its own order and world coordinates; of a mesh, the vertices.

    Args:
        origin: (3,) float64 metres that the positions are given relative to (`Scene.origin`).

    Returns:
        `rgb` is mid grey where the file has no colours; `normal` is the file's, else the mesh's own, else
        zero; `label` is the vertex property (PLY) or extra dimension (LAS) of that name, else -1; `instance`
        is the vertex property (PLY) of that name, else -1; `missing` are the rows of the file that are not
        finite and therefore no points.

    Raises:
        CaptureError: missing or unreadable, an unknown suffix, no point, or coordinates too far from the
            origin for float32.
        MissingPackageError: LAS without laspy.

    Warns:
        PurifyWarning: points with coordinates that are not finite are left out; the file has no colours.
    """
    path = Path(path)
    if not path.exists():
        raise CaptureError(f"{path}: found no such file; expected a point cloud or mesh. Check the path")
    check_file(path)
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise CaptureError(
            f"{path}: found suffix {suffix!r}; expected one of {', '.join(_READERS)}. Export the cloud as PLY"
        )
    read = _READERS[suffix](path)
    finite = np.isfinite(read.xyz).all(axis=1)
    if not finite.any():
        raise CaptureError(
            f"{path}: found no point with finite coordinates among {len(finite)}; expected at least one. "
            "Check what wrote the file"
        )
    if not finite.all():
        warnings.warn(
            f"{path}: {int((~finite).sum())} of {len(finite)} points are left out, their coordinates are not "
            "finite; they keep their rows in results, without a label",
            PurifyWarning,
            stacklevel=2,
        )
    place = read.xyz[finite] if origin is None else read.xyz[finite] - origin
    reach = np.abs(place).max()
    apart = np.spacing(np.float32(min(reach, 1e38)))
    if not apart <= _COARSEST:
        raise CaptureError(
            f"{path}: found coordinates up to {reach:.0f} m, where 32-bit numbers are {apart:.3f} m apart; "
            "expected a cloud in the world of the "
            "camera poses. Move one of them by the offset between the two"
        )
    if read.rgb is None:
        warnings.warn(
            f"{path}: found no colours; the affinity has its normals only to go by. Export it with "
            "colours for better labels",
            PurifyWarning,
            stacklevel=2,
        )
    columns = (
        place.astype(np.float32),
        no_colors(len(place)) if read.rgb is None else read.rgb[finite],
        _unit(read.normal[finite]),
        no_labels(len(place)) if read.label is None else read.label[finite],
        no_labels(len(place)) if read.instance is None else read.instance[finite],
        np.flatnonzero(~finite),
    )
    return PointCloud(*map(torch.from_numpy, columns))


def _unit(normal: np.ndarray) -> np.ndarray:
    """(N, 3) of any length -> unit float32, zero where there is no direction.

    What is unit already stays as it is to the last bit, so that a cloud reads back as it was written.
    """
    length = np.linalg.norm(normal.astype(np.float64), axis=1, keepdims=True)
    known = np.isfinite(length) & (length > 0)
    length = np.where(np.abs(length - 1) < 1e-5, 1, length)
    return np.divide(normal, length, out=np.zeros(normal.shape), where=known).astype(np.float32)

"""Reading a mesh or point cloud file: PLY, OBJ, STL, GLB, LAS, LAZ."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh

from purify3d.errors import CaptureError, PurifyWarning, require
from purify3d.types import NO_LABEL, PointCloud

_MESHES = (".ply", ".obj", ".stl", ".glb", ".gltf", ".off")
_LAS = (".las", ".laz")
#: Colour of points that have none.
_GREY = 128


def read_cloud(path: str | Path) -> PointCloud:
    """Points of a file, in its own order and world coordinates; of a mesh, the vertices.

    Returns:
        `rgb` is mid grey where the file has no colours; `normal` is the file's, else the mesh's own, else
        zero; `label` is the vertex property (PLY) or extra dimension (LAS) of that name, else -1.

    Raises:
        CaptureError: missing or unreadable, an unknown suffix, no point, or coordinates too far from the
            origin for float32.
        MissingPackageError: LAS without laspy.

    Warns:
        PurifyWarning: points with coordinates that are not finite are left out.
    """
    path = Path(path)
    if not path.is_file():
        raise CaptureError(f"{path}: found no such file; expected a point cloud or mesh. Check the path")
    suffix = path.suffix.lower()
    if suffix in _MESHES:
        xyz, rgb, normal, label = _read_mesh(path)
    elif suffix in _LAS:
        xyz, rgb, normal, label = _read_las(path)
    else:
        raise CaptureError(f"{path}: found suffix {suffix!r}; expected one of {', '.join(_MESHES + _LAS)}")
    finite = np.isfinite(xyz).all(axis=1)
    if not finite.any():
        raise CaptureError(f"{path}: found no point with finite coordinates; expected at least one")
    if not finite.all():
        left_out = int((~finite).sum())
        warnings.warn(
            f"{path}: {left_out} points that are not finite are left out", PurifyWarning, stacklevel=2
        )
    reach = np.abs(xyz[finite]).max()
    if np.spacing(np.float32(reach)) > 0.005:
        raise CaptureError(
            f"{path}: found coordinates up to {reach:.0f} m, where 32-bit numbers are "
            f"{np.spacing(np.float32(reach)):.3f} m apart; expected a scan near the origin. Move the cloud "
            "and the camera poses by the same offset"
        )
    return PointCloud(
        xyz=torch.from_numpy(xyz[finite].astype(np.float32)),
        rgb=torch.from_numpy(rgb[finite].astype(np.uint8)),
        normal=torch.from_numpy(_unit(normal[finite])),
        label=torch.from_numpy(label[finite].astype(np.int32)),
    )


def _unit(normal: np.ndarray) -> np.ndarray:
    """(N, 3) of any length -> unit float32, zero where there is no direction.

    What is unit already stays as it is to the last bit, so that a cloud reads back as it was written.
    """
    length = np.linalg.norm(normal.astype(np.float64), axis=1, keepdims=True)
    length = np.where(np.abs(length - 1) < 1e-5, 1, length)
    known = np.isfinite(length) & (length > 1e-6)
    return np.divide(normal, length, out=np.zeros(normal.shape), where=known).astype(np.float32)


def _read_mesh(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    try:
        # process=False: vertices neither merged nor reordered, so that labels can be written back one a line.
        loaded: Any = trimesh.load(path, process=False)
        # A file of several objects places each in the world; what is drawn in lines has no surface to label.
        parts = loaded.dump(concatenate=False) if isinstance(loaded, trimesh.Scene) else [loaded]
        arrays = [_part(part) for part in parts if isinstance(part, trimesh.Trimesh | trimesh.PointCloud)]
    except Exception as error:  # trimesh raises whatever its parsers meet
        raise CaptureError(
            f"{path}: cannot be read as a mesh or point cloud ({error!r}); re-export it"
        ) from error
    if not arrays:
        raise CaptureError(f"{path}: found neither a mesh nor points; expected one of them. Re-export it")
    xyz, rgb, normal, label = (np.concatenate(values) for values in zip(*arrays, strict=True))
    return xyz, rgb, normal, label


def _part(loaded: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Position, colour, normal and label of the vertices of one mesh or cloud."""
    xyz = np.asarray(loaded.vertices, dtype=np.float64).reshape(-1, 3)
    stored = _ply_vertices(loaded)
    if {"nx", "ny", "nz"} <= stored.keys():
        normal = np.stack([stored["nx"], stored["ny"], stored["nz"]], axis=1)
    else:
        normal = getattr(loaded, "vertex_normals", np.zeros(xyz.shape))
    label = stored.get("label", np.full(len(xyz), NO_LABEL))
    return xyz, _colors(loaded, len(xyz)), np.asarray(normal, dtype=np.float64), label


def _ply_vertices(loaded: Any) -> dict[str, np.ndarray]:
    """All vertex properties of a PLY by name; trimesh itself keeps only those it understands."""
    vertices = loaded.metadata.get("_ply_raw", {}).get("vertex", {})
    data = vertices.get("data")
    if data is None:
        return {}
    return {name: np.asarray(data[name]).reshape(-1) for name in vertices["properties"]}


def _colors(loaded: Any, count: int) -> np.ndarray:
    visual = getattr(loaded, "visual", None)
    if visual is None or visual.kind is None:
        return np.full((count, 3), _GREY)
    if visual.kind == "texture":
        visual = visual.to_color()
    colors = np.asarray(visual.vertex_colors)
    return colors[:, :3] if len(colors) == count else np.full((count, 3), _GREY)


def _read_las(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    laspy: Any = require("laspy", "las")
    try:
        las = laspy.read(path)
    except Exception as error:  # laspy and its decompressors raise their own kinds
        raise CaptureError(f"{path}: cannot be read as a LAS file ({error!r}); re-export it") from error
    names = set(las.point_format.dimension_names)
    xyz = np.asarray(las.xyz, dtype=np.float64)
    rgb = np.full((len(xyz), 3), _GREY)
    if {"red", "green", "blue"} <= names and len(xyz):
        stored = np.stack([np.asarray(las[name]) for name in ("red", "green", "blue")], axis=1).astype(
            np.int64
        )
        # The format asks for 16-bit colours; many writers leave 8-bit values in them.
        rgb = stored >> 8 if stored.max() > 255 else stored
    label = np.asarray(las["label"]) if "label" in names else np.full(len(xyz), NO_LABEL)
    return xyz, rgb, np.zeros((len(xyz), 3)), label

"""STL, GLB, GLTF and OFF, read with trimesh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from purify3d.clouds.vertices import Vertices, no_colors, no_labels
from purify3d.errors import CaptureError


def read_vertices(path: Path) -> Vertices:
    """The vertices of all meshes and clouds of a file, each placed in the world.

    Raises:
        CaptureError: it cannot be read, or holds neither.
    """
    try:
        # process=False: vertices neither merged nor reordered, so that labels can be written back one a line.
        loaded: Any = trimesh.load(path, process=False)
        # A file of several objects places each in the world; what is drawn in lines has no surface to label.
        parts = loaded.dump(concatenate=False) if isinstance(loaded, trimesh.Scene) else [loaded]
        read = [_part(part) for part in parts if isinstance(part, trimesh.Trimesh | trimesh.PointCloud)]
    except Exception as error:  # trimesh raises whatever its parsers meet
        raise CaptureError(
            f"{path}: cannot be read as a mesh or point cloud ({error!r}); expected a whole "
            f"{path.suffix} file. Copy or export it again, or export it as PLY"
        ) from error
    if not read:
        raise CaptureError(f"{path}: found neither a mesh nor points; expected one of them. Re-export it")
    return Vertices(
        *(
            np.concatenate([getattr(part, name) for part in read])
            for name in ("xyz", "rgb", "normal", "label")
        )
    )


def _part(loaded: Any) -> Vertices:
    """One mesh or cloud."""
    xyz = np.asarray(loaded.vertices, dtype=np.float64).reshape(-1, 3)
    normal = np.asarray(getattr(loaded, "vertex_normals", np.zeros(xyz.shape)), dtype=np.float64)
    return Vertices(xyz, _colors(loaded, len(xyz)), normal.reshape(-1, 3), no_labels(len(xyz)))


def _colors(loaded: Any, count: int) -> np.ndarray:
    visual = getattr(loaded, "visual", None)
    if visual is None or visual.kind is None:
        return no_colors(count)
    if visual.kind == "texture":
        visual = visual.to_color()
    colors = np.asarray(visual.vertex_colors)
    return colors[:, :3].astype(np.uint8) if len(colors) == count else no_colors(count)

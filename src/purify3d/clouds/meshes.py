"""STL, read with trimesh: the corners of every facet, in the order of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from purify3d.clouds.vertices import Vertices, no_labels, vertex_normals
from purify3d.errors import CaptureError


def read_vertices(path: Path) -> Vertices:
    """Three vertices a facet; the format has no colours.

    Raises:
        CaptureError: it cannot be read, or holds no facet.
    """
    try:
        # process=False: vertices neither merged nor reordered, so that labels can be written back one a line.
        loaded: Any = trimesh.load(path, process=False)
        solids = list(loaded.geometry.values()) if isinstance(loaded, trimesh.Scene) else [loaded]
        xyz = np.concatenate(
            [np.asarray(solid.vertices, dtype=np.float64).reshape(-1, 3) for solid in solids]
        )
    except Exception as error:  # trimesh raises whatever its parsers meet
        raise CaptureError(
            f"{path}: cannot be read as an STL ({str(error)[:120]}); expected a whole STL file. Copy or "
            "export it again, or export it as PLY"
        ) from error
    return Vertices(xyz, None, vertex_normals(xyz, np.arange(len(xyz)).reshape(-1, 3)), no_labels(len(xyz)))

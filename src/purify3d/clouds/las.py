"""LAS, and LAZ, its compressed form, read with laspy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from purify3d.clouds.vertices import (
    Vertices,
    bytes_of_colors,
    greys_of_intensity,
    ids_of_labels,
    no_colors,
    no_labels,
)
from purify3d.errors import CaptureError, require


def read_vertices(path: Path) -> Vertices:
    """The points of a file; where it has no colours, the intensity as grey.

    Raises:
        CaptureError: it cannot be read.
        MissingPackageError: laspy is not installed.
    """
    laspy: Any = require("laspy", "las")
    try:
        las = laspy.read(path)
        xyz = np.asarray(las.xyz, dtype=np.float64)
        names = set(las.point_format.dimension_names)
        stored = {
            name: np.asarray(las[name]) for name in ("red", "green", "blue", "intensity") if name in names
        }
        label = ids_of_labels(np.asarray(las["label"])) if "label" in names else no_labels(len(xyz))
    except Exception as error:  # laspy and its decompressors raise their own kinds
        raise CaptureError(
            f"{path}: cannot be read as a LAS file ({error!r}); expected a whole LAS or LAZ file. Copy or "
            "export it again; LAZ needs pip install 'purify3d[las]'"
        ) from error
    rgb = no_colors(len(xyz))
    if {"red", "green", "blue"} <= stored.keys():
        rgb = bytes_of_colors(np.stack([stored[name] for name in ("red", "green", "blue")], axis=1))
    elif "intensity" in stored:
        rgb = greys_of_intensity(stored["intensity"])
    return Vertices(xyz, rgb, np.zeros((len(xyz), 3)), label)

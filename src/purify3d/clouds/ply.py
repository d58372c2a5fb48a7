"""Writing labelled clouds as PLY (binary little-endian), readable by CloudCompare and MeshLab as they are.

Own code because the reader used elsewhere (trimesh) cannot write comments or per-point scalars, and the one
library that can is not under a permissive licence. Format: Turk, "The PLY Polygon File Format", 1994.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from purify3d.types import PointCloud


def write_ply(
    path: Path,
    points: PointCloud,
    *,
    rgb: np.ndarray | None = None,
    label: np.ndarray | None = None,
    score: np.ndarray | None = None,
    names: Sequence[str] = (),
) -> None:
    """One vertex a point: float x y z nx ny nz, uchar red green blue, int label and, if given, float score.

    Args:
        rgb: (N, 3) uint8 in place of the points' own colours.
        label: (N,) int in place of the points' own truth labels.
        score: (N,) float.
        names: written as `comment label <i> <name>`.
    """
    fields = [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")]
    fields += [(name, "u1") for name in ("red", "green", "blue")] + [("label", "<i4")]
    fields += [("score", "<f4")] if score is not None else []
    table = np.empty(len(points), dtype=fields)
    for axis, (position, direction) in enumerate((("x", "nx"), ("y", "ny"), ("z", "nz"))):
        table[position] = points.xyz[:, axis].numpy()
        table[direction] = points.normal[:, axis].numpy()
    for channel, name in enumerate(("red", "green", "blue")):
        table[name] = (points.rgb.numpy() if rgb is None else rgb)[:, channel]
    table["label"] = points.label.numpy() if label is None else label
    if score is not None:
        table["score"] = score
    kinds = {"<f4": "float", "u1": "uchar", "<i4": "int"}
    header = ["ply", "format binary_little_endian 1.0"]
    header += [f"comment label {i} {' '.join(name.split())}" for i, name in enumerate(names)]
    header += [f"element vertex {len(points)}"]
    header += [f"property {kinds[kind]} {name}" for name, kind in fields]
    with path.open("wb") as file:
        file.write("\n".join([*header, "end_header", ""]).encode())
        table.tofile(file)

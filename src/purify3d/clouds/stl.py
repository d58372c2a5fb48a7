"""STL, binary and text: the three corners of every facet, in the order of the file.

Format: 3D Systems, "StereoLithography Interface Specification", 1988. Units are not stored; metres are meant.
"""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np

from purify3d.base.errors import CaptureError
from purify3d.clouds.lines import Lines, numbers
from purify3d.clouds.vertices import Vertices, vertex_normals

_HEAD = 84  # bytes in front of the facets: a note of 80, and how many there are
_FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def read_vertices(path: Path) -> Vertices:
    """Three vertices a facet; the format has no colours.

    Raises:
        CaptureError: it cannot be read, or has another number of facets than it says.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEAD)
    count = int.from_bytes(head[80:], "little")
    # Text begins with "solid", but so does the note of some binary files: only the size can tell.
    if len(head) == _HEAD and size == _HEAD + count * _FACET.itemsize:
        corners = np.fromfile(path, _FACET, offset=_HEAD)["corners"]
        return _facets(corners.reshape(-1, 3).astype(np.float64))
    if head.lstrip()[:5].lower() != b"solid":
        raise CaptureError(
            f"{path}: cannot be read as an STL (found {count} facets of 50 bytes announced in "
            f"{max(0, size - _HEAD)} bytes); expected a whole STL file. Copy or export it again"
        )
    lines = Lines(path)
    xyz = array("d")
    try:
        for line in lines:
            words = line.split()
            if words and words[0].lower() == b"vertex":
                xyz.extend(numbers(words[1:], 3))
            elif words and words[0].lower() == b"endfacet" and len(xyz) % 9:
                raise ValueError("found a facet of no 3 corners")
        return _facets(np.array(xyz).reshape(-1, 3))
    except ValueError as error:
        raise CaptureError(
            f"{path}: cannot be read as an STL (line {lines.number}: {str(error)[:120]}); expected lines "
            "such as 'vertex 0 1 2', three a facet. Copy or export it again"
        ) from error


def _facets(xyz: np.ndarray) -> Vertices:
    normal = vertex_normals(xyz, np.arange(len(xyz)).reshape(-1, 3))
    return Vertices(xyz, None, normal)

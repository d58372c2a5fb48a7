"""OFF: points with their normals and colours, and polygons, as text.

Own code because the reader at hand leaves out colours. Format: Geomview, "OFF Files", 1996.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from purify3d.base.errors import CaptureError
from purify3d.clouds.lines import Lines, numbers
from purify3d.clouds.vertices import Vertices, bytes_of_colors, no_labels, vertex_normals


def read_vertices(path: Path) -> Vertices:
    """The vertices of a file, also of one with normals (NOFF), colours (COFF) or texture coordinates (STOFF).

    Colours are 0..1 or 0..255; those behind the positions of a plain OFF are taken too.

    Raises:
        CaptureError: it cannot be read, is binary, or is shorter than it says.
    """
    lines = Lines(path)
    rows = array("d")
    triangles = array("q")
    width = 0
    try:
        content = _content(lines)
        words = next(content, [b""])
        kind = re.fullmatch(rb"(ST)?(C)?(N)?OFF", words[0])
        if kind is None or words[1:2] == [b"BINARY"]:
            raise ValueError(
                f"found {b' '.join(words)[:40].decode(errors='replace')!r}; expected OFF as text"
            )
        words = words[1:] or next(content, [])
        if len(words) < 2:
            raise ValueError("found no numbers of vertices and faces")
        count, faces = int(words[0]), int(words[1])
        # The shortest vertex, "0 0 0" and the end of its line, has 6 bytes, the shortest face 2.
        if not (0 <= count <= path.stat().st_size // 6 and 0 <= faces <= path.stat().st_size // 2):
            raise ValueError(f"found {count} vertices and {faces} faces in {path.stat().st_size} bytes")
        for i in range(count):
            words = next(content, [])
            if not words:
                raise ValueError(f"found {i} of {count} vertices")
            width = width or len(words)
            if len(words) != width or width < 3:
                raise ValueError(f"found {len(words)} numbers; expected {max(width, 3)} for each vertex")
            rows.extend(numbers(words))
        for i in range(faces):
            words = next(content, [])
            if not words:
                raise ValueError(f"found {i} of {faces} faces")
            corners = [int(word) for word in words[1 : int(words[0]) + 1]]
            if len(corners) != int(words[0]) or not all(0 <= corner < count for corner in corners):
                raise ValueError(f"found a face of vertices {corners[:8]} among {count}")
            for j in range(1, len(corners) - 1):
                triangles.extend((corners[0], corners[j], corners[j + 1]))
    except (ValueError, OverflowError) as error:
        raise CaptureError(
            f"{path}: cannot be read as an OFF (line {lines.number}: {str(error)[:120]}); expected a whole "
            "OFF file in text. Export it again, or as PLY"
        ) from error
    table = np.array(rows).reshape(count, -1) if count else np.empty((0, 3))
    xyz, rest = table[:, :3], table[:, 3:]
    normal = vertex_normals(xyz, np.array(triangles, dtype=np.int64).reshape(-1, 3))
    if kind[3] and rest.shape[1] >= 3:
        normal, rest = rest[:, :3], rest[:, 3:]
    colored = rest.shape[1] >= 3 and (kind[2] is not None or kind[1] is None)
    return Vertices(xyz, bytes_of_colors(rest[:, :3]) if colored else None, normal, no_labels(len(xyz)))


def _content(lines: Lines) -> Iterator[list[bytes]]:
    """The words of each line that has any, without comments."""
    for line in lines:
        if words := line.partition(b"#")[0].split():
            yield words

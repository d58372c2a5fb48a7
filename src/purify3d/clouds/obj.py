"""OBJ: every `v` line is a point, in the order of the file.

Own code because mesh libraries split vertices at seams and drop those on no face, which changes their number
and order. Format: Wavefront, "Object Files (.obj)", 1995; colours behind positions as MeshLab writes them.
"""

from __future__ import annotations

import os
import warnings
from array import array
from pathlib import Path

import numpy as np

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.base.files import path_inside, read_bytes
from purify3d.clouds.lines import Lines, numbers
from purify3d.clouds.vertices import Vertices, bytes_of_colors, colors_at, no_colors, picture, vertex_normals

_MOST_MATERIAL = 1 << 24  # bytes of an MTL file


def read_vertices(path: Path) -> Vertices:
    """The vertices of all objects of a file.

    Colours are those behind the positions (`v x y z r g b`, 0..1 or 0..255), else of the texture where a face
    first uses the vertex. Takes about 100 bytes of memory a corner of a face.

    Raises:
        CaptureError: a line cannot be read, is longer than a megabyte, or a face names vertices that are not
            there.
    """
    return _read(path).vertices(path)


def read_triangles(path: Path) -> np.ndarray:
    """(F, 3) int64 `v` lines of the faces of an OBJ, polygons cut into triangles; none where it has no faces.

    Raises:
        CaptureError: see `read_vertices`.
    """
    return np.array(_read(path).triangles, dtype=np.int64).reshape(-1, 3)


def _read(path: Path) -> _Read:
    read = _Read()
    lines = Lines(path, joined=b"\\")
    try:
        for line in lines:
            read.line(line)
    except (ValueError, OverflowError) as error:
        raise CaptureError(
            f"{path}: cannot be read as an OBJ (line {lines.number}: {str(error)[:120]}); expected lines "
            "such as 'v 0 1 2' and 'f 1 2 3'. Export it again"
        ) from error
    return read


class _Read:
    """What the lines so far say, in arrays of plain numbers."""

    def __init__(self) -> None:
        self.xyz, self.color, self.texture, self.normal = (array("d") for _ in range(4))
        self.colored = array("q")  # vertices that have a colour
        self.corner = array("q")  # vertex, texture coordinate or -1, normal or -1, material
        self.triangles = array("q")
        self.materials: dict[bytes, int] = {b"": 0}
        self.material = 0
        self.libraries: list[bytes] = []

    def line(self, line: bytes) -> None:
        """
        Raises:
            ValueError: it cannot be read.
        """
        key, rest = (*line.split(None, 1), b"", b"")[:2]
        if key == b"v":
            words = rest.split()
            if len(words) >= 6:
                self.colored.append(len(self.xyz) // 3)
                self.color.extend(numbers(words[3:6], 3))
            self.xyz.extend(numbers(words, 3))
        elif key == b"f":
            counts = len(self.xyz) // 3, len(self.texture) // 2, len(self.normal) // 3
            first = before = -1
            for word in rest.split():
                vertex, uv, normal = _corner(word, counts)
                self.corner.extend((vertex, uv, normal, self.material))
                if first >= 0 and before >= 0:
                    self.triangles.extend((first, before, vertex))
                first, before = (vertex, -1) if first < 0 else (first, vertex)
        elif key == b"vt":
            words = rest.split()
            self.texture.extend(numbers([*words, b"0"] if len(words) == 1 else words, 2))
        elif key == b"vn":
            self.normal.extend(numbers(rest.split(), 3))
        elif key == b"usemtl":
            self.material = self.materials.setdefault(rest.strip(), len(self.materials))
        elif key == b"mtllib":
            self.libraries.append(rest.strip())

    def vertices(self, path: Path) -> Vertices:
        xyz = np.array(self.xyz).reshape(-1, 3)
        normal = np.array(self.normal).reshape(-1, 3)
        corner = np.array(self.corner).reshape(-1, 4)
        shaded = corner[corner[:, 2] >= 0]
        if len(shaded):
            facing = np.zeros(xyz.shape)
            np.add.at(facing, shaded[:, 0], normal[shaded[:, 2]])
        elif not len(self.triangles) and len(normal) == len(xyz):
            facing = normal
        else:
            facing = vertex_normals(xyz, np.array(self.triangles).reshape(-1, 3))
        rgb: np.ndarray | None
        if len(self.colored):
            rgb = no_colors(len(xyz))
            rgb[np.array(self.colored)] = bytes_of_colors(np.array(self.color).reshape(-1, 3))
        else:
            rgb = self._textured(path, corner[corner[:, 1] >= 0], len(xyz))
        return Vertices(xyz, rgb, facing)

    def _textured(self, path: Path, corner: np.ndarray, count: int) -> np.ndarray | None:
        """(N, 3) colours of textures, grey where there is none; None where no image can be found."""
        images: dict[bytes, Path] = {}
        for library in self.libraries:
            images |= _materials(path, library)
        vertex, first = np.unique(corner[:, 0], return_index=True)
        place = np.nan_to_num(np.array(self.texture).reshape(-1, 2)[corner[first, 1]], posinf=0, neginf=0) % 1
        rgb, painted = no_colors(count), False
        for name, file in images.items():
            of_it = corner[first, 3] == self.materials.get(name, -1)
            if not of_it.any():
                continue
            image = picture(file)
            if image is not None:
                at = np.stack([place[of_it, 0], 1 - place[of_it, 1]], axis=1)
                rgb[vertex[of_it]] = colors_at(image, at)
                painted = True
        return rgb if painted else None


def _corner(word: bytes, counts: tuple[int, int, int]) -> tuple[int, int, int]:
    """`v`, `v/vt`, `v//vn` or `v/vt/vn` -> indices from 0; the file counts from 1, or with a minus back."""
    found = [-1, -1, -1]
    for i, (part, count) in enumerate(zip(word.split(b"/"), counts, strict=False)):
        index = int(part) if part else 0
        if abs(index) > count:
            raise ValueError(f"found corner {word.decode(errors='replace')!r} with {count} lines to point at")
        found[i] = -1 if index == 0 else index - 1 if index > 0 else count + index
    if found[0] < 0:
        raise ValueError(f"found corner {word.decode(errors='replace')!r} without a vertex")
    return found[0], found[1], found[2]


def _materials(path: Path, library: bytes) -> dict[bytes, Path]:
    """Image of each material of an MTL file; one that lies outside the OBJ's folder is not read.

    Warns:
        PurifyWarning: which one.
    """
    images: dict[bytes, Path] = {}
    name = b""
    try:
        file = path_inside(path.parent, os.fsdecode(library))
        lines = read_bytes(file, _MOST_MATERIAL).splitlines() if os.path.isfile(file) else []
        for line in lines:
            key, rest = (*line.split(None, 1), b"", b"")[:2]
            if key == b"newmtl":
                name = rest.strip()
            elif key == b"map_Kd":
                inside = file.parent.relative_to(path.parent) / os.fsdecode(rest.strip().replace(b"\\", b"/"))
                images[name] = path_inside(path.parent, inside.as_posix())
    except (ValueError, CaptureError) as error:
        warnings.warn(f"{path}: its materials are not read: {error}", PurifyWarning, stacklevel=2)
    return {name: image for name, image in images.items() if os.path.isfile(image)}

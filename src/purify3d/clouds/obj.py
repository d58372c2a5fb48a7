"""OBJ: every `v` line is a point, in the order of the file.

Own code because mesh libraries split vertices at seams and drop those on no face, which changes their number
and order.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from purify3d.clouds.vertices import Vertices, bytes_of_colors, fan, no_colors, no_labels, vertex_normals
from purify3d.errors import CaptureError

#: Comments may be in any encoding; file names come back as the bytes that they were.
_TEXT: Any = {"encoding": "utf-8", "errors": "surrogateescape"}


def read_vertices(path: Path) -> Vertices:
    """The vertices of all objects of a file.

    Colours are those behind the positions (`v x y z r g b`), else of the texture where a face first uses the
    vertex.

    Raises:
        CaptureError: a line cannot be read, or a face names vertices that are not there.
    """
    points: list[list[str]] = []
    texture: list[list[str]] = []
    normal: list[list[str]] = []
    triangles: list[tuple[int, int, int]] = []
    at: dict[int, tuple[int, str]] = {}  # vertex -> texture coordinate and material of its first corner
    shading: list[tuple[int, int]] = []  # vertex and normal of every corner
    material, libraries = "", list[str]()
    number = 0
    with path.open(**_TEXT) as file:
        try:
            for line in file:
                number += 1
                while line.endswith("\\\n"):
                    line = line[:-2] + " " + next(file, "")
                key, rest = (*line.split(None, 1), "", "")[:2]
                if key == "v":
                    points.append(rest.split())
                elif key == "f":
                    corners = [_corner(c, len(points), len(texture), len(normal)) for c in rest.split()]
                    triangles += fan([vertex for vertex, _, _ in corners])
                    for vertex, uv, direction in corners:
                        if uv is not None:
                            at.setdefault(vertex, (uv, material))
                        if direction is not None:
                            shading.append((vertex, direction))
                elif key == "vt":
                    texture.append(rest.split())
                elif key == "vn":
                    normal.append(rest.split())
                elif key == "usemtl":
                    material = rest.strip()
                elif key == "mtllib":
                    libraries.append(rest.strip())
            xyz = _numbers(points, 3)
            directions, places = _numbers(normal, 3), _numbers(texture, 2)
            number = 0
            rgb = _painted(points)
        except (ValueError, IndexError) as error:
            where = f"line {number}: " if number else ""
            raise CaptureError(
                f"{path}: cannot be read as an OBJ ({where}{error}); expected lines such as 'v 0 1 2' and "
                "'f 1 2 3'. Export it again"
            ) from error
    if rgb is None:
        rgb = _textured(path, libraries, at, places, len(xyz))
    facing = np.zeros(xyz.shape)
    if shading:
        vertex, direction = np.array(shading).T
        np.add.at(facing, vertex, directions[direction])
    elif not triangles and len(directions) == len(xyz):
        facing = directions
    else:
        facing = vertex_normals(xyz, np.array(triangles, dtype=np.int64).reshape(-1, 3))
    return Vertices(xyz, rgb, facing, no_labels(len(xyz)))


def _corner(text: str, *counts: int) -> tuple[int, int | None, int | None]:
    """`v`, `v/vt`, `v//vn` or `v/vt/vn` -> indices from 0; the file counts from 1, or with a minus back."""
    found: list[int | None] = []
    for part, count in zip(text.split("/"), counts, strict=False):
        index = int(part) if part else 0
        if abs(index) > count:
            raise ValueError(f"found corner {text!r} with {count} lines to point at")
        found.append(None if index == 0 else index - 1 if index > 0 else count + index)
    vertex, uv, direction = (*found, None, None)[:3]
    if vertex is None:
        raise ValueError(f"found corner {text!r} without a vertex")
    return vertex, uv, direction


def _numbers(rows: list[list[str]], columns: int) -> np.ndarray:
    """(N, columns) float64 from the first words of each line."""
    return np.array([row[:columns] for row in rows], dtype=np.float64).reshape(-1, columns)


def _painted(points: list[list[str]]) -> np.ndarray | None:
    """(N, 3) colours written behind the positions, where every vertex has them."""
    if not points or min(map(len, points)) < 6:
        return None
    return bytes_of_colors(np.array([row[3:6] for row in points], dtype=np.float64))


def _textured(
    path: Path, libraries: list[str], at: dict[int, tuple[int, str]], places: np.ndarray, count: int
) -> np.ndarray:
    """(N, 3) colours of textures; grey where there is none or its image cannot be found."""
    rgb = no_colors(count)
    images = {
        name: image for library in libraries for name, image in _materials(path.parent / library).items()
    }
    for name, file in images.items():
        corners = np.array([(v, uv) for v, (uv, used) in at.items() if used == name], dtype=np.int64)
        if len(corners) == 0:
            continue
        try:
            with Image.open(file) as opened:
                image = np.asarray(opened.convert("RGB"))
        except (OSError, ValueError):
            continue  # a mesh without its images is still a mesh
        size = np.array([image.shape[1], image.shape[0]])
        place = np.nan_to_num(places[corners[:, 1]]) % 1.0
        column, row = np.minimum(np.stack([place[:, 0], 1 - place[:, 1]], 1) * size, size - 1).astype(int).T
        rgb[corners[:, 0]] = image[row, column]
    return rgb


def _materials(library: Path) -> dict[str, Path]:
    """Image of each material of an MTL file."""
    images: dict[str, Path] = {}
    name = ""
    if library.is_file():
        for line in library.read_text(**_TEXT).splitlines():
            key, rest = (*line.split(None, 1), "", "")[:2]
            if key == "newmtl":
                name = rest.strip()
            elif key == "map_Kd":
                images[name] = library.parent / rest.strip().replace("\\", "/")
    return images

"""PLY: what this package writes (binary little-endian, for CloudCompare and MeshLab), and that of others."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from purify3d.base.errors import CaptureError
from purify3d.clouds.ply_format import Header, Property, Ragged, Table, read_elements, read_header, unreadable
from purify3d.clouds.vertices import (
    GREY,
    Vertices,
    bytes_of_colors,
    bytes_of_packed,
    fans,
    greys_of_intensity,
    ids_of_labels,
    no_labels,
    vertex_normals,
)
from purify3d.types import PointCloud

_POSITION, _NORMAL, _COLOR = ("x", "y", "z"), ("nx", "ny", "nz"), ("red", "green", "blue")
_FIELDS = (
    *((name, "f4") for name in (*_POSITION, *_NORMAL)),
    *((name, "u1") for name in _COLOR),
    ("label", "i4"),
)
#: Beyond what 32 bits can tell apart.
_FAR_FIELDS = tuple((name, "f8" if name in _POSITION else kind) for name, kind in _FIELDS)
_OPTIONAL = (("instance", "i4"), ("score", "f4"), ("views", "i4"), ("heat", "f4"))
_WORDS = {"f8": "double", "f4": "float", "u1": "uchar", "i4": "int"}
_COLORS = (_COLOR, ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue"))
#: What stands in a row that is no point; 0 where nothing is said.
_MISSING = {**dict.fromkeys(_POSITION, np.nan), **dict.fromkeys(_COLOR, GREY), "label": -1, "instance": -1}
_BLOCK = 1 << 20  # rows written at once


@dataclass(frozen=True)
class WrittenCloud:
    """What `write_ply` was given.

    Attributes:
        points: with `rgb`, `label` and `instance` as they were written; rows that are no points are in
            `missing`.
        score: (N,) float32 of the points, None where none was written.
        views: (N,) int32 of the points, None where none was written.
        names: label names by index, as far as a PLY comment can hold them.
    """

    points: PointCloud
    score: Tensor | None
    views: Tensor | None
    names: Mapping[int, str]


def write_ply(
    path: Path,
    points: PointCloud,
    *,
    rgb: np.ndarray | None = None,
    label: np.ndarray | None = None,
    score: np.ndarray | None = None,
    views: np.ndarray | None = None,
    heat: np.ndarray | None = None,
    names: Sequence[str] = (),
    origin: np.ndarray | None = None,
) -> None:
    """One vertex a point: float x y z nx ny nz, uchar red green blue, int label, and what else there is.

    The points' own truth objects are written as `int instance` where any point has one. Rows that the points'
    file has and that are no points (`PointCloud.missing`) are written in their place: position nan, normal,
    score, views and heat 0, label -1.

    Args:
        rgb: (N, 3) uint8 in place of the points' own colours.
        label: (N,) int in place of the points' own truth labels.
        score: (N,) float, as float score.
        views: (N,) int, as int views: how many frames saw the point.
        heat: (N,) 0..1, as float heat: how well the point fits words.
        names: written as `comment label <i> <name>`, without what would end the line or the header.
        origin: (3,) metres added to the positions (`Scene.origin`), which are then written as double.

    Raises:
        OSError: not everything could be written; then no file is left.
    """
    instance = points.instance.numpy()
    extra = {
        "instance": instance if (instance >= 0).any() else None,
        "score": score,
        "views": views,
        "heat": heat,
    }
    far = origin is not None and bool(np.any(origin))
    fields = [*(_FAR_FIELDS if far else _FIELDS)]
    fields += [(name, kind) for name, kind in _OPTIONAL if extra[name] is not None]
    columns: dict[str, np.ndarray | None] = {"label": points.label.numpy() if label is None else label}
    columns |= extra
    place = points.xyz.numpy() + origin if far else points.xyz.numpy()
    rgb = points.rgb.numpy() if rgb is None else rgb
    for axes, three in ((_POSITION, place), (_NORMAL, points.normal.numpy()), (_COLOR, rgb)):
        columns |= zip(axes, three.T, strict=True)
    table = np.empty(len(points) + len(points.missing), dtype=[(name, "<" + kind) for name, kind in fields])
    for name, values in columns.items():
        if values is not None:
            table[name] = points.file_rows(values, _MISSING.get(name, 0))
    header = ["ply", "format binary_little_endian 1.0"]
    header += [f"comment label {i} {_in_comment(name)}" for i, name in enumerate(names)]
    header += [f"element vertex {len(table)}"]
    header += [f"property {_WORDS[kind]} {name}" for name, kind in fields]
    try:
        with path.open("wb") as file:
            file.write("\n".join([*header, "end_header", ""]).encode())
            # Not numpy's tofile: with a full disk it can write less than all without a word.
            for start in range(0, len(table), _BLOCK):
                file.write(table[start : start + _BLOCK].tobytes())
    except OSError:
        if path.is_file():  # not where the path is a device
            path.unlink()
        raise


def _in_comment(name: str) -> str:
    """A label's name that any program can read past.

    Control characters and separators end lines for some readers, and some look for "end_header" anywhere.
    """
    shown = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in name)
    return re.sub("end_header", "end-header", " ".join(shown.split()), flags=re.IGNORECASE)


def read_written(path: Path, *, origin: np.ndarray | None = None) -> WrittenCloud:
    """A cloud that `write_ply` wrote, to the last bit where it was written without an origin.

    Args:
        origin: (3,) what was added, taken off again.

    Raises:
        CaptureError: no such file, a shorter one, or one that something else wrote.
    """
    if not path.is_file():
        raise CaptureError(
            f"{path}: found no such file; expected a cloud that write_ply wrote. Make it again"
        )
    header = read_header(path)
    far = origin is not None and bool(np.any(origin))
    expected = {(name, kind, None) for name, kind in (_FAR_FIELDS if far else _FIELDS)}
    optional = {(name, kind, None) for name, kind in _OPTIONAL}
    found = {(p.name, p.kind, p.length) for e in header.elements for p in e.properties if e.name == "vertex"}
    if header.format != "binary_little_endian" or not expected <= found <= expected | optional:
        raise CaptureError(
            f"{path}: found a PLY ({header.format}) with the properties "
            f"{', '.join(sorted(name for name, _, _ in found)) or 'of no vertex'}; expected a cloud that "
            "write_ply wrote. Read those of other programs with read_cloud"
        )
    table = _columns(read_elements(path, header, ["vertex"])["vertex"])

    place = np.stack([table[name] for name in _POSITION], axis=1)
    there = np.isfinite(place).all(axis=1)

    def column(*names: str) -> Tensor:
        values = np.stack([table[name] for name in names], axis=1) if len(names) > 1 else table[names[0]]
        return torch.from_numpy(values[there])

    xyz = torch.from_numpy(place[there])
    if origin is not None and far:
        xyz = (xyz - torch.from_numpy(origin)).float()
    names = (re.fullmatch(r"label (\d+) (.*)", comment) for comment in header.comments)
    return WrittenCloud(
        PointCloud(
            xyz,
            column(*_COLOR),
            column(*_NORMAL),
            column("label"),
            column("instance") if "instance" in table else torch.from_numpy(no_labels(len(xyz))),
            torch.from_numpy(np.flatnonzero(~there)),
        ),
        column("score") if "score" in table else None,
        column("views") if "views" in table else None,
        {int(match[1]): match[2] for match in names if match},
    )


def read_vertices(path: Path) -> Vertices:
    """The vertices of any PLY.

    Colours are `red green blue`, `r g b`, `diffuse_red ...`, or packed in `rgb`, else the intensity as grey;
    normals those of the file, else of its faces. Takes about five times the size of the file in memory.

    Raises:
        CaptureError: it cannot be read, is shorter than it says, or has no positions.
    """
    header = read_header(path)
    properties = _properties(header, "vertex")
    if not set(_POSITION) <= {p.name.lower() for p in properties if p.length is None}:
        unreadable(path, "found no vertices with x, y and z")
    tables = read_elements(path, header, ["vertex"])
    vertex = _columns(tables["vertex"])

    def stacked(*names: str) -> np.ndarray | None:
        """(N, names) of columns side by side, None unless all are there."""
        return np.stack([vertex[n] for n in names], axis=1) if set(names) <= vertex.keys() else None

    def first(make: Callable[[np.ndarray], np.ndarray], *names: str) -> np.ndarray | None:
        return next((make(vertex[name]) for name in names if name in vertex), None)

    with np.errstate(invalid="ignore"):  # what is not finite is said when the cloud is read
        xyz = np.stack([vertex[name] for name in _POSITION], axis=1).astype(np.float64)
        normal = stacked(*_NORMAL)
        normal = None if normal is None else normal.astype(np.float64)
    rgb = next((bytes_of_colors(c) for names in _COLORS if (c := stacked(*names)) is not None), None)
    if rgb is None:
        rgb = first(bytes_of_packed, "rgb", "rgba")
    if rgb is None:
        rgb = first(greys_of_intensity, "intensity", "scalar_intensity")
    if normal is None:
        normal = vertex_normals(xyz, _triangles(path, header, len(xyz)))
    label, instance = first(ids_of_labels, "label", "scalar_label"), first(ids_of_labels, "instance")
    return Vertices(xyz, rgb, normal, label, instance)


def read_triangles(path: Path) -> np.ndarray:
    """(F, 3) int64 vertices of the faces of a PLY, polygons cut into triangles; none where it has no faces.

    Raises:
        CaptureError: it cannot be read, is shorter than it says, or faces name vertices that are not there.
    """
    header = read_header(path)
    return _triangles(path, header, next((e.count for e in header.elements if e.name == "vertex"), 0))


def _properties(header: Header, element: str) -> tuple[Property, ...]:
    return next((e.properties for e in header.elements if e.name == element), ())


def _columns(table: Table) -> dict[str, np.ndarray]:
    """The columns of single values, by lower-case name."""
    return {
        name.lower(): values
        for name, values in table.items()
        if isinstance(values, np.ndarray) and values.ndim == 1
    }


def _triangles(path: Path, header: Header, count: int) -> np.ndarray:
    """(F, 3) vertices of the faces, polygons cut into triangles."""
    lists = {p.name for p in _properties(header, "face") if p.length is not None}
    corners = next((name for name in ("vertex_indices", "vertex_index") if name in lists), None)
    if corners is None:
        return np.empty((0, 3), dtype=np.int64)
    faces = read_elements(path, header, ["face"])["face"][corners]
    if isinstance(faces, Ragged):
        cut = [fans(faces.of_length(n)) for n in np.unique(faces.length).tolist() if n >= 3]
    else:
        cut = [fans(faces)] if faces.ndim == 2 and faces.shape[1] >= 3 else []
    triangles = np.concatenate([np.empty((0, 3), dtype=np.int64), *cut])
    if len(triangles) and not (triangles.min() >= 0 and triangles.max() < count):
        unreadable(
            path, f"found faces of vertices {triangles.min()} to {triangles.max()} among {count} vertices"
        )
    return triangles

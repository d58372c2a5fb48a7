"""LAS, and LAZ, its compressed form, read and written with laspy; headers are checked here before.

Format: ASPRS, "LAS Specification 1.4 - R15", 2019; of LAZ, Isenburg, "LASzip: lossless compression of LiDAR
data", 2013.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from purify3d.base.errors import CaptureError, require
from purify3d.clouds.vertices import (
    Vertices,
    bytes_of_colors,
    greys_of_intensity,
    ids_of_labels,
)

_SHORTEST_POINT = 20  # bytes of point format 0
_VLR, _EVLR = 54, 60  # bytes in front of a record and of an extended one
#: Points in a byte of LAZ at most: a million equal points of format 0 take 7 kB.
_DENSEST = 2000
#: Of LAZ: how it says that each field of a part is a layer of its own, the layers of kinds of items, and the
#: kind that has one for every byte.
_LAYERED, _LAYERS, _BYTES = 3, {10: 9, 11: 1, 12: 2, 13: 1}, 14
#: Extra dimensions that are written: type and description.
_EXTRA: dict[str, tuple[Any, str]] = {
    "label": (np.int32, "label, -1 = none"),
    "score": (np.float32, "cosine"),
}
_PACKED_AS, _ANY_NUMBER = 22204, 0xFFFFFFFF  # the record that says how; parts of any number of points
_MOST_PART = 1_000_000_000  # bytes of the points of one part
_AT_ONCE = 1_000_000  # points decompressed at once, so that a wrong count costs no memory


def read_vertices(path: Path) -> Vertices:
    """The points of a file; where it has no colours, the intensity as grey.

    Takes about 100 bytes of memory a point.

    Raises:
        CaptureError: it cannot be read, or its header promises more than the file can hold.
        MissingPackageError: laspy is not installed.
    """
    las = _opened(path)
    xyz = np.asarray(las.xyz, dtype=np.float64)
    names = set(las.point_format.dimension_names)
    rgb = None
    if {"red", "green", "blue"} <= names:
        rgb = bytes_of_colors(np.stack([np.asarray(las[name]) for name in ("red", "green", "blue")], axis=1))
    if (rgb is None or not rgb.any()) and "intensity" in names and np.any(las["intensity"]):
        rgb = greys_of_intensity(np.asarray(las["intensity"]))
    label = ids_of_labels(np.asarray(las["label"])) if "label" in names else None
    if rgb is not None and not rgb.any():
        rgb = None  # fields that nobody filled
    return Vertices(xyz, rgb, np.zeros_like(xyz), label)


def write_las(path: Path, source: Path, label: np.ndarray, score: np.ndarray) -> None:
    """The points of a LAS or LAZ file as they are, each with its label.

    Point format, scale, offset, records and all dimensions stay; `label` and `score` of the source, where it
    has such, are replaced. The suffix of `path` says whether it is compressed.

    Args:
        label: (N,) int, in the order of the file, -1 = none; extra dimension `label`, int32.
        score: (N,) float; extra dimension `score`, float32.

    Raises:
        CaptureError: the source cannot be read, or has another number of points.
        OSError: it cannot be written.
        MissingPackageError: laspy is not installed.
    """
    las = _opened(source)
    if len(las.points) != len(label):
        raise CaptureError(
            f"{source}: found {len(las.points)} points; expected the {len(label)} that were labelled. It has "
            "changed since: repeat the run with --overwrite"
        )
    if old := sorted(_EXTRA.keys() & set(las.point_format.extra_dimension_names)):
        las.remove_extra_dims(old)
    _add_extra(las, label, score)
    las.write(path)


def new_las(
    path: Path, xyz: np.ndarray, rgb: np.ndarray, label: np.ndarray, score: np.ndarray, origin: np.ndarray
) -> None:
    """A LAS or LAZ file (1.4, point format 7) of N points, each with its label; to the millimetre.

    Args:
        xyz: (N, 3) metres relative to `origin`, at most 2000 km from it.
        rgb: (N, 3) uint8; stored in 16 bits, as the format wants it.
        label, score: see `write_las`.
        origin: (3,) float64 metres, the offset of the file: its coordinates are those of the user.

    Raises:
        OSError: it cannot be written.
        MissingPackageError: laspy is not installed.
    """
    laspy: Any = require("laspy", "las")
    header = laspy.LasHeader(point_format=7, version="1.4")
    header.scales, header.offsets = np.full(3, 0.001), np.asarray(origin, dtype=np.float64)
    las = laspy.LasData(header)
    las.xyz = xyz.astype(np.float64) + origin
    las.red, las.green, las.blue = rgb.astype(np.uint16).T * 257  # 255 becomes 65535
    _add_extra(las, label, score)
    las.write(path)


def _add_extra(las: Any, label: np.ndarray, score: np.ndarray) -> None:
    laspy: Any = require("laspy", "las")
    las.add_extra_dims(
        [laspy.ExtraBytesParams(name, kind, description) for name, (kind, description) in _EXTRA.items()]
    )
    for name, values in (("label", label), ("score", score)):
        las[name] = values.astype(_EXTRA[name][0])


def _opened(path: Path) -> Any:
    """All of a file, as laspy has it."""
    laspy: Any = require("laspy", "las")
    try:
        count = _check_header(path)
        with laspy.open(path) as file:
            if count and file.header.are_points_compressed:
                _check_layers(path, file.point_source.vlr, file.header.point_format.size)
            # laspy takes memory for all points that it is asked for before it looks for them.
            parts = [file.read_points(_AT_ONCE).array for _ in range(0, count, _AT_ONCE)]
            points = laspy.ScaleAwarePointRecord(
                np.concatenate(parts) if parts else np.empty(0, file.header.point_format.dtype()),
                file.header.point_format,
                file.header.scales,
                file.header.offsets,
            )
            las = laspy.LasData(file.header, points)
    except CaptureError:
        raise
    except BaseException as error:  # laspy raises its own kinds, and its decompressor even panics
        if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
            raise
        _unreadable(path, str(error)[:200] or type(error).__name__)
    if len(points) != count:
        _unreadable(path, f"found {len(points)} of the {count} points that its header promises")
    return las


def _check_header(path: Path) -> int:
    """How many points a file has, after every count and offset in its header fits the size of the file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(375)
        if len(head) < 227 or head[:4] != b"LASF":
            _unreadable(path, "found no LAS header")
        header, data, records, kind, width, count = struct.unpack_from("<HIIBHI", head, 94)
        evlrs, first = 0, 0
        if head[25] >= 4 and len(head) == 375:
            first, evlrs, count = struct.unpack_from("<QIQ", head, 235)
        if not 227 <= header <= data <= size:
            _unreadable(path, f"found points from byte {data} and a header of {header} bytes among {size}")
        if records * _VLR > data - header:
            _unreadable(path, f"found {records} records announced in {data - header} bytes")
        if width < _SHORTEST_POINT:
            _unreadable(path, f"found points of {width} bytes; the shortest of the format has 20")
        packed = bool(kind & 0xC0)
        most = (size - data) * _DENSEST if packed else (size - data) // width
        if count > most:
            _unreadable(path, f"found {count} points announced in {size - data} bytes")
        if packed and count:
            _check_part(path, file, header, records, width)
            _check_chunks(path, file, data, size, width)
        if evlrs:
            _check_evlrs(path, file, first, evlrs, size)
    return int(count)


def _check_part(path: Path, file: BinaryIO, header: int, records: int, width: int) -> None:
    """How many points a part of LAZ has, which the decompressor takes memory for; usual are 50,000."""
    at = header
    for _ in range(records):
        user, kind, length = _unpacked(file, at, "<2x16sHH")
        if kind == _PACKED_AS and user.startswith(b"laszip encoded"):
            (points,) = _unpacked(file, at + _VLR + 12, "<I")
            if points != _ANY_NUMBER and points * width > _MOST_PART:
                _unreadable(path, f"found parts of {points} points; expected some 50,000")
        at += _VLR + length


def _check_chunks(path: Path, file: BinaryIO, data: int, size: int, width: int) -> None:
    """The table of the parts that LAZ is packed in: each begins with one point as it is."""
    (table,) = _unpacked(file, data, "<q")
    if table == -1:  # written at the end by who could not go back
        (table,) = _unpacked(file, size - 8, "<q")
    _, chunks = _unpacked(file, table if data < table < size else size, "<II")
    if chunks * width > size - data:
        _unreadable(path, f"found no table of its parts within {size - data} bytes")


def _check_layers(path: Path, vlr: Any, width: int) -> None:
    """The lengths of the parts of LAZ, and of the layers in each: the decompressor takes memory by them."""
    lazrs: Any = require("lazrs", "las")
    size = path.stat().st_size
    record = bytes(vlr.record_data())
    (compressor,), (items,) = struct.unpack_from("<H", record), struct.unpack_from("<H", record, 32)
    kinds = [struct.unpack_from("<HH", record, 34 + 6 * i) for i in range(items)]
    layers = sum(length if kind == _BYTES else _LAYERS.get(kind, 0) for kind, length in kinds)
    with path.open("rb") as file:
        (at,) = _unpacked(file, 96, "<I")
        file.seek(at)
        table = lazrs.read_chunk_table(file, vlr)
        at += 8
        for _, length in table:
            room = min(length, size - at)
            if compressor == _LAYERED:  # a point as it is, how many there are, the lengths, the layers
                room -= width + 4 + 4 * layers + sum(_unpacked(file, at + width + 4, f"<{layers}I"))
            at += length
            if room < 0 or at > size:
                _unreadable(path, f"found a part that ends beyond its {length} bytes or the file's {size}")


def _check_evlrs(path: Path, file: BinaryIO, first: int, count: int, size: int) -> None:
    """The records behind the points, each with its length in front."""
    if count * _EVLR > size - first:
        _unreadable(path, f"found {count} records announced in {max(0, size - first)} bytes")
    for _ in range(count):
        (length,) = _unpacked(file, first, "<20xQ32x")
        first += _EVLR + length
        if first > size:
            _unreadable(path, f"found a record of {length} bytes in a file of {size}")


def _unpacked(file: BinaryIO, at: int, layout: str) -> tuple[Any, ...]:
    """Values at a byte of a file; behind its end all bits are 1, which promises more than any file has."""
    file.seek(at)
    size = struct.calcsize(layout)
    return struct.unpack(layout, file.read(size).ljust(size, b"\xff"))


def _unreadable(path: Path, why: str) -> NoReturn:
    raise CaptureError(
        f"{path}: cannot be read as a LAS file ({why}); expected a whole LAS or LAZ file. Copy or export it "
        "again; LAZ needs pip install 'purify3d[las]'"
    )

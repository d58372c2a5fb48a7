"""The PLY format itself: header and elements, as text and in both byte orders.

Format: Turk, "The PLY Polygon File Format", 1994. Own code because the readers at hand hide the properties
they do not understand, and labels are among these.
"""

from __future__ import annotations

import struct
import warnings
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from purify3d.base.errors import CaptureError

_KINDS = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"float": "f4", "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2"},
    **{"int32": "i4", "uint32": "u4", "float32": "f4", "float64": "f8"},
}
_WHOLE = {name for name, kind in _KINDS.items() if kind[0] != "f"}  # how long a list is, is a whole number
#: Numbers of a text are read as doubles first, which hold every type of the format exactly.
_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "="}
_LONGEST_HEADER = 1 << 20  # bytes; whatever is longer is no header


@dataclass(frozen=True)
class Property:
    """One value a row, or a list of values.

    Attributes:
        kind: numpy type of a value without byte order, such as "f4".
        length: the same of the number in front of a list; None where there is one value.
    """

    name: str
    kind: str
    length: str | None = None


@dataclass(frozen=True)
class Element:
    """A table: `count` rows of the same properties."""

    name: str
    count: int
    properties: tuple[Property, ...]


@dataclass(frozen=True)
class Header:
    """What stands in front of the data.

    Attributes:
        format: ascii, binary_little_endian or binary_big_endian.
        comments: their text, in order.
        size: bytes up to the data.
    """

    format: str
    elements: tuple[Element, ...]
    comments: tuple[str, ...]
    size: int


@dataclass(frozen=True)
class Ragged:
    """Lists of different lengths, end to end.

    Attributes:
        values: (sum of length,).
        length: (count,) int64.
    """

    values: np.ndarray
    length: np.ndarray

    def of_length(self, length: int) -> np.ndarray:
        """(P, length) the lists that have so many values."""
        first = np.cumsum(self.length) - self.length
        return self.values[first[self.length == length, None] + np.arange(length)]


#: Columns by name: (count,) of a value, (count, k) of lists that are all of one length, or lists of many.
Table = dict[str, np.ndarray | Ragged]


def unreadable(path: Path, why: str) -> NoReturn:
    """
    Raises:
        CaptureError: always, with what was found.
    """
    raise CaptureError(
        f"{path}: cannot be read as a PLY ({why}); expected a whole PLY file. Copy or export it again"
    )


def read_header(path: Path) -> Header:
    """
    Raises:
        CaptureError: this is no PLY, or its header says something that the format does not know.
    """
    lines, size = [], 0
    with path.open("rb") as file:
        for raw in iter(lambda: file.readline(_LONGEST_HEADER), b""):
            size += len(raw)
            lines.append(raw.decode("utf-8", "replace").strip())
            if lines[0] != "ply":
                unreadable(path, "found no 'ply' in the first line")
            if lines[-1] == "end_header" or size > _LONGEST_HEADER:
                break
    if not lines or lines[-1] != "end_header":
        unreadable(path, "found no end of the header")
    form, comments, elements = "", [], list[tuple[str, int, list[Property]]]()
    for line in lines[1:-1]:
        match line.split():
            case ["format", name, _] if name in _ORDERS:
                form = name
            case ["comment" | "obj_info", *_]:
                comments.append(line.partition(" ")[2])
            case ["element", name, count] if count.isdecimal() and len(count) < 19:
                elements.append((name, int(count), []))
            case ["property", "list", length, kind, name] if elements and length in _WHOLE and kind in _KINDS:
                elements[-1][2].append(Property(name, _KINDS[kind], _KINDS[length]))
            case ["property", kind, name] if elements and kind in _KINDS:
                elements[-1][2].append(Property(name, _KINDS[kind]))
            case []:
                pass
            case _:
                unreadable(path, f"found the header line {line[:80]!r}")
    if not form:
        unreadable(path, "found no format in the header")
    tables = tuple(Element(name, count, tuple(properties)) for name, count, properties in elements)
    return Header(form, tables, tuple(comments), size)


def read_elements(path: Path, header: Header, wanted: Iterable[str]) -> dict[str, Table]:
    """The tables of some elements by name, as far as the file has them.

    Raises:
        CaptureError: the data ends too early, or is no numbers.
    """
    missing = {element.name for element in header.elements} & set(wanted)
    with path.open("rb") as file:
        file.seek(header.size)
        data = np.frombuffer(file.read(), dtype=np.uint8)
    if header.format == "ascii":
        data = _numbers(path, data).view(np.uint8)
    tables: dict[str, Table] = {}
    start = 0
    for element in header.elements:
        if not missing:
            break
        table, start = _read(path, element, data, start, _ORDERS[header.format])
        tables[element.name] = table
        missing -= {element.name}
    return tables


def _numbers(path: Path, text: np.ndarray) -> np.ndarray:
    """All numbers of a text as float64."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # how numpy says that it stopped at something that is no number
        try:
            return np.fromstring(text.tobytes(), dtype=np.float64, sep=" ")
        except (DeprecationWarning, ValueError):
            unreadable(path, "found something that is no number among the data")


def _read(path: Path, element: Element, data: np.ndarray, start: int, order: str) -> tuple[Table, int]:
    """The table of one element, and the byte where the next one starts."""
    if element.count == 0 or not element.properties:
        return {p.name: np.empty(0, p.kind) for p in element.properties}, start
    lists = [p for p in element.properties if p.length is not None]
    lengths: dict[str, int] = {}
    if lists:  # most files have lists of one length only, such as triangles: then rows are as regular as any
        one, _ = _irregular(path, element, 1, data, start, order)
        lengths = {p.name: int(column.length[0]) for p in lists if isinstance(column := one[p.name], Ragged)}
    columns = _regular(path, element, lengths, data, start, order)
    if columns is not None:
        return columns
    if not lists:
        have = (len(data) - start) // _fields(element, lengths, order).itemsize
        unreadable(path, f"found {max(0, have)} of {element.count} rows of element {element.name!r}")
    return _irregular(path, element, element.count, data, start, order)


def _stored(kind: str, order: str) -> np.dtype:
    """The numpy type of a value where it lies."""
    return np.dtype("=f8" if order == "=" else order + kind)


def _fields(element: Element, lengths: dict[str, int], order: str) -> np.dtype:
    """The numpy type of a row whose lists have known lengths; lengths are fields of their own."""
    fields: list[tuple[str, np.dtype, tuple[int, ...]]] = []
    for number, p in enumerate(element.properties):
        if p.length is not None:
            fields.append((f"length {number}", _stored(p.length, order), ()))
        shape = () if p.length is None else (lengths[p.name],)
        fields.append((f"{number}", _stored(p.kind, order), shape))
    return np.dtype(fields)


def _of_kind(path: Path, p: Property, values: np.ndarray) -> np.ndarray:
    """Values as stored -> of the type that the header states, which a text need not keep to."""
    kind = np.dtype(p.kind)
    if values.dtype.kind == "f" and kind.kind in "iu":
        fits = (values >= np.iinfo(kind).min) & (values <= np.iinfo(kind).max)
        if not fits.all():
            unreadable(path, f"found {values[~fits][0]:g} for {p.name!r}, which is of type {kind}")
    return values.astype(kind)


def _regular(
    path: Path, element: Element, lengths: dict[str, int], data: np.ndarray, start: int, order: str
) -> tuple[Table, int] | None:
    """The table where all rows are alike; None where they are not, or the data is too short for it."""
    fields = _fields(element, lengths, order)
    end = start + element.count * fields.itemsize
    if end > len(data):
        return None
    rows = np.ascontiguousarray(data[start:end]).view(fields)
    table: Table = {}
    for number, p in enumerate(element.properties):
        if p.length is not None and (rows[f"length {number}"] != lengths[p.name]).any():
            return None
        table[p.name] = _of_kind(path, p, rows[f"{number}"])
    return table, end


def _irregular(
    path: Path, element: Element, count: int, data: np.ndarray, start: int, order: str
) -> tuple[Table, int]:
    """The table of the first `count` rows of an element with lists, and where the next row starts."""
    columns = [
        (
            _stored(p.kind, order),
            None if p.length is None else struct.Struct(order + _stored(p.length, order).char),
            array("q"),  # where the property begins in each row
            array("q"),  # how many values it has there
        )
        for p in element.properties
    ]
    view, at = memoryview(data.data), start
    for _ in range(min(count, len(data) - start + 1)):  # a row has a byte at least
        for kind, length, begins, lengths in columns:
            many = 1
            if length is not None:
                many = length.unpack_from(view, at)[0] if at + length.size <= len(data) else -1
                at += length.size
                if not 0 <= many < 2**40:
                    many = len(data)
            begins.append(at)
            lengths.append(int(many))
            at += int(many) * kind.itemsize
        if at > len(data):
            unreadable(
                path, f"found the end of the data within element {element.name!r} of {element.count} rows"
            )
    table: Table = {}
    for p, (kind, length, begins, lengths) in zip(element.properties, columns, strict=True):
        first, widths = np.array(begins), np.array(lengths)
        within = np.arange(widths.sum()) - np.repeat(np.cumsum(widths) - widths, widths)
        places = np.repeat(first, widths) + within * kind.itemsize
        values = _of_kind(path, p, data[places[:, None] + np.arange(kind.itemsize)].view(kind)[:, 0])
        table[p.name] = values if length is None else Ragged(values, widths)
    return table, at

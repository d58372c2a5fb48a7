"""Arrays of .npy and .npz files of unknown origin: nothing in them is run, no header is believed.

Format: numpy, "numpy.lib.format". A header is text that numpy evaluates, and says how much memory is taken;
both are checked against the bytes that are there.
"""

from __future__ import annotations

import math
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import IO

import numpy as np

from purify3d.base.files import check_file, check_unpacked

#: What zipfile and numpy raise for data that are damaged, beside errors of the system.
DAMAGED = (
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    SyntaxError,
    RuntimeError,  # of zipfile, for a password; NotImplementedError and RecursionError are such, too
    MemoryError,
    SystemError,
    TokenError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)

Header = tuple[tuple[int, ...], np.dtype]


def array_headers(path: Path) -> dict[str, Header]:
    """Shape and type of each array of a file by its name, which of an .npy is "".

    Raises:
        CaptureError: no ordinary file.
        OSError: it cannot be read.
        ValueError: no whole .npy or .npz, or arrays of objects; the message says which.
    """
    check_file(path)
    with _damage(), path.open("rb") as file:
        if not _packed(file):
            return {"": _header(file, path.stat().st_size)}
        found = {}
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                with archive.open(member) as stream:
                    found[member.filename.removesuffix(".npy")] = _header(stream, member.file_size)
        return found


def load_array(path: Path, name: str = "") -> np.ndarray:
    """An array of a file by its name; of an .npy, and of an .npz that holds one alone, by none.

    Raises:
        CaptureError: no ordinary file, or larger once unpacked than is allowed.
        OSError, ValueError: see `array_headers`; or no such array, or text that is none.
    """
    headers = array_headers(path)
    name = next(iter(headers)) if len(headers) == 1 and not name else name
    if name not in headers:
        raise ValueError(f"found arrays {', '.join(headers) or 'none'}; expected {name or 'one'}")
    with _damage(), path.open("rb") as file:
        if not _packed(file):
            found = np.lib.format.read_array(file, allow_pickle=False)
        else:
            with zipfile.ZipFile(file) as archive:
                member = next(m for m in archive.infolist() if m.filename.removesuffix(".npy") == name)
                check_unpacked(f"{name} in {path}", member.file_size)
                with archive.open(member) as stream:
                    found = np.lib.format.read_array(stream, allow_pickle=False)
        if found.dtype.kind == "U" and found.size:
            codes = np.ascontiguousarray(found).reshape(-1).view(f"{found.dtype.str[0]}u4")
            if codes.max() > sys.maxunicode:
                raise ValueError(f"found the character {codes.max():#x}, beyond all that there are")
    return found


@contextmanager
def _damage() -> Iterator[None]:
    try:
        yield
    except DAMAGED as error:
        raise ValueError(f"no whole array ({type(error).__name__}: {str(error)[:200]})") from error


def _packed(file: IO[bytes]) -> bool:
    start = file.read(4)
    file.seek(0)
    return start[:2] == b"PK"


def _header(stream: IO[bytes], size: int) -> Header:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError(f"found an array of {dtype}; objects are not read, their reading could run code")
    if min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize > size:
        raise ValueError(f"found {dtype} of shape {shape} in {size} bytes")
    return shape, dtype

"""A folder of a capture, or the ZIP file that it was exported as: names and bytes of what is inside."""

from __future__ import annotations

import os
import zipfile
from functools import lru_cache
from pathlib import Path

from purify3d.base.errors import CaptureError
from purify3d.base.files import check_file
from purify3d.captures.reading.opening import BROKEN

#: Bytes of one member once unpacked; a damaged or hostile archive could ask for all the memory there is.
_MOST_BYTES = 512_000_000


def is_archive(path: Path) -> bool:
    """Whether a file is a whole ZIP file."""
    return path.is_file() and zipfile.is_zipfile(path)


def members(path: Path) -> list[str]:
    """Names of all files inside, with `/` between folders, without those that macOS adds.

    Raises:
        CaptureError: a file that is no whole ZIP file.
    """
    if path.is_dir():
        return sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    return [name for name in _open(path).namelist() if not name.startswith("__MACOSX/")]


def read_member(path: Path, name: str) -> bytes:
    """The bytes of a file inside.

    Raises:
        CaptureError: there is no such file, or it is damaged or larger than 512 MB.
    """
    called = f"{name} in {path}"
    try:
        size = check_file(path / name) if path.is_dir() else _open(path).getinfo(name).file_size
        if size > _MOST_BYTES:
            raise CaptureError(f"{called}: is larger than {_MOST_BYTES // 10**6} MB; expected one frame")
        return (path / name).read_bytes() if path.is_dir() else _open(path).read(name)
    except KeyError as error:
        raise CaptureError(f"{called}: is not there; copy or export the capture again") from error
    except BROKEN as error:
        raise CaptureError(f"{called}: is damaged ({error}); copy or export the capture again") from error


def _open(path: Path) -> zipfile.ZipFile:
    check_file(path)
    status = path.stat()
    try:
        return _opened(path, status.st_mtime_ns, status.st_size, os.getpid())
    except BROKEN as error:
        raise CaptureError(
            f"{path}: is no whole ZIP file ({error}); it was cut off while it was copied, or is something "
            "else. Copy or export it again"
        ) from error


@lru_cache(maxsize=2)
def _opened(path: Path, changed: int, size: int, process: int) -> zipfile.ZipFile:
    """One per process: a forked process would share the position in the file."""
    return zipfile.ZipFile(path)

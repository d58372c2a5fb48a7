"""A folder of a capture, or the ZIP file that it was exported as: names and bytes of what is inside."""

from __future__ import annotations

import os
import zipfile
from functools import lru_cache
from pathlib import Path

from purify3d.base.errors import CaptureError
from purify3d.base.files import check_file, check_unpacked, path_inside
from purify3d.captures.reading.opening import BROKEN


def is_archive(path: Path) -> bool:
    """Whether a file is a whole ZIP file."""
    return path.is_file() and zipfile.is_zipfile(path)


def members(path: Path) -> list[str]:
    """Names of all files inside, with `/` between folders, without those that macOS adds.

    Raises:
        CaptureError: a file that is no whole ZIP file, or one with names that lead out of it.
    """
    if path.is_dir():
        return sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    names = [name for name in _open(path).namelist() if not name.startswith("__MACOSX/")]
    try:
        for name in names:
            path_inside(path.parent, name)
    except ValueError as error:
        raise CaptureError(f"{path}: {error}; expected names of files inside. Pack it again") from error
    return names


def read_member(path: Path, name: str) -> bytes:
    """The bytes of a file inside.

    Raises:
        CaptureError: there is no such file, or it is damaged or larger than `most_unpacked`.
    """
    called = f"{name} in {path}"
    try:
        size = check_file(path / name) if path.is_dir() else _open(path).getinfo(name).file_size
        check_unpacked(called, size)
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

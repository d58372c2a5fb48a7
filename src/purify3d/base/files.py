"""Files that are whole or absent, and those that are files at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from purify3d.base.errors import CaptureError

#: How the names of files in the making begin.
PARTIAL = ".partial-"

_SPECIAL = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_file(path: Path) -> int:
    """Size in bytes of an ordinary file; the rest is refused unopened, since a pipe would wait.

    Raises:
        CaptureError: nothing there, no access, or a folder, pipe or device.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CaptureError(f"{path}: cannot be opened ({reason}); expected a file. Check the path") from error
    for test, kind in _SPECIAL:
        if test(found.st_mode):
            raise CaptureError(f"{path}: found {kind}; expected a file. Remove it, or re-copy the capture")
    return found.st_size


def write_whole(path: Path, writer: Callable[[Path], Any]) -> Path:
    """Let `writer` fill a temporary file beside `path`, then move it there; on any error nothing is left.

    The file has the permissions that the user gives to new files, whatever the writer gave it.

    Raises:
        OSError: and whatever the writer raises.
    """
    # The suffix stays: image writers choose the format by it.
    temporary = path.parent / f"{PARTIAL}{os.getpid()}-{path.name}"
    try:
        writer(temporary)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_text(path: Path, text: str) -> Path:
    """`write_whole` of UTF-8 text."""
    return write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def name_of(capture: str) -> str:
    """A file name for the results of a capture: its folder's, with letters, digits, - _ and . alone."""
    path = Path(os.path.abspath(capture))  # "scan/.." is a folder of another name
    if path.suffix == ".json":
        path = path.parent
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in path.name).lstrip(".") or "root"

"""Files that are whole or absent."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: How the names of files in the making begin.
PARTIAL = ".partial-"


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

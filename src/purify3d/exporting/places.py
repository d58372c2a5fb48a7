"""Folders that are whole or absent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from purify3d.base.errors import RunError
from purify3d.base.files import PARTIAL

#: Says that a folder is an export, which may be replaced.
MARK = ".purify3d-export"


def write_folder(path: Path, writer: Callable[[Path], Any]) -> Path:
    """Let `writer` fill a new folder beside `path`, then move it there; on any error nothing is left.

    Raises:
        RunError: there is something that no export wrote.
        OSError: and whatever the writer raises.
    """
    taken = path.exists() and not (path.is_dir() and not any(path.iterdir()))
    if taken and not (path / MARK).is_file():
        raise RunError(f"{path} holds files that no export wrote; nothing was changed. Name another --output")
    temporary = path.parent / f"{PARTIAL}{os.getpid()}-{path.name}"
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that died
    try:
        temporary.mkdir()
        (temporary / MARK).touch()
        writer(temporary)
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return path

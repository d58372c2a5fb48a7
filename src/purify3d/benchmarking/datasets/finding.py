"""Folders of a download, however it was unpacked."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from purify3d.base.errors import CaptureError

_DEEPEST = 4


def folders_below(root: Path) -> Iterator[Path]:
    """The folder itself and those up to four below it, in order of their names; hidden ones and links are not
    entered.

    Raises:
        CaptureError: there is no such folder.
    """
    if not root.is_dir():
        raise CaptureError(f"{root}: found no such folder; expected the folder of a download. Check the path")
    for folder, inside, _ in os.walk(root):
        here = Path(folder)
        deep = len(here.relative_to(root).parts)
        inside[:] = sorted(name for name in inside if not name.startswith(".")) if deep < _DEEPEST else []
        yield here


def each_once(root: Path, named: Iterable[tuple[str, Path]], what: str, otherwise: str) -> dict[str, Path]:
    """Scenes by name.

    Raises:
        CaptureError: there is none, as `otherwise` says, or one lies there twice.
    """
    found: dict[str, Path] = {}
    for name, file in named:
        if name in found:
            raise CaptureError(f"{root}: found {found[name]} and {file}; expected each {what} once")
        found[name] = file
    if not found:
        raise CaptureError(f"{root}: found no {otherwise}")
    return found

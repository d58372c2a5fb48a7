"""Which captures a name on the command line stands for."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.base.files import name_of
from purify3d.captures import FORMATS, is_procedural

#: Procedural rooms that have a name, first and last: `val` is for choosing, the others only measure.
ROOMS = {"val": (200, 219), "test": (320, 359), "stress": (700, 709)}
_QUERY = {"stress": "stress=1"}

_MOST = 100_000


def expanded(names: Sequence[str]) -> list[str]:
    """The captures, with `synthetic:A..B`, `synthetic:val`, `test` and `stress` as one for each room; what
    follows a question mark goes to each.

    Raises:
        CaptureError: the last room is before the first, or there are more than 100,000.
    """
    found: list[str] = []
    for name in names:
        rooms = re.fullmatch(rf"synthetic:(?:(\d+)\.\.(\d+)|({'|'.join(ROOMS)}))(\?.*)?", name)
        if rooms is None:
            found.append(name)
            continue
        first, last = ROOMS[rooms[3]] if rooms[3] else (int(rooms[1]), int(rooms[2]))
        if not first <= last < first + _MOST:
            raise CaptureError(f"found {name!r}; expected synthetic:FIRST..LAST, at most {_MOST} rooms")
        options = "&".join(filter(None, [_QUERY.get(rooms[3], ""), (rooms[4] or "")[1:]]))
        found += [f"synthetic:{seed}{'?' if options else ''}{options}" for seed in range(first, last + 1)]
    return found


def captures_of(names: Sequence[str], reader: str | None = None) -> dict[str, str]:
    """Captures by a name that serves as a file name, in the order given; a folder's in that of their names.

    Args:
        names: captures, procedural rooms, and folders of captures such as `purify3d prepare` makes.
        reader: the format, where it is known; a folder is then one capture if it is of that format.

    Raises:
        CaptureError: nothing there, a folder without captures, or two captures of one name.

    Warns:
        PurifyWarning: folders among the captures that are none.
    """
    found: list[str] = []
    for name in expanded(names):
        found += [name] if is_procedural(name) else _below(Path(name), reader)
    if twice := [name for name, times in Counter(map(os.path.abspath, found)).items() if times > 1]:
        raise CaptureError(f"found {twice[0]} twice; expected each capture once")
    short = {capture: name_of(capture) for capture in found}
    times = Counter(short.values())
    named: dict[str, str] = {}
    for capture, name in short.items():
        if times[name] > 1:  # scans/a/rgbd and scans/b/rgbd
            name = f"{name_of(os.path.dirname(os.path.abspath(capture)))}-{name}"
        if name in named:
            raise CaptureError(
                f"found {named[name]} and {capture}, which would both be called {name}; rename one of them"
            )
        named[name] = capture
    return named


def _below(path: Path, reader: str | None) -> list[str]:
    if not path.exists():
        raise CaptureError(f"{path}: found nothing there; expected a capture, or a folder of them")
    if not path.is_dir() or _is_capture(path, reader):
        return [str(path)]
    inside = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    # A .json beside folders of captures is a list or a report, even where it could be a transforms.json.
    good = [entry for entry in inside if entry.suffix != ".json" and _is_capture(entry, reader)]
    if not good:
        raise CaptureError(
            f"{path}: found no capture, and none in its {len(inside)} entries; expected a capture or a "
            "folder of captures, such as 'purify3d prepare' makes. Check the path, or name the format with "
            "--reader"
        )
    if strange := [entry.name for entry in inside if entry.is_dir() and entry not in good]:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        warnings.warn(
            f"{path}: {len(strange)} folders in it are no captures: {', '.join(strange[:3])}{more}",
            PurifyWarning,
            stacklevel=3,
        )
    return [str(entry) for entry in good]


def _is_capture(path: Path, reader: str | None) -> bool:
    if reader is not None and reader not in FORMATS:
        raise CaptureError(f"found reader {reader!r}; expected one of {', '.join(FORMATS)}")
    chosen = FORMATS if reader is None else [reader]
    return any(import_module(FORMATS[name]).recognises(path) for name in chosen)

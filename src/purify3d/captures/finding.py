"""Which format a path is in, and procedural rooms, which are no paths."""

from __future__ import annotations

import inspect
import zipfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from purify3d.base.errors import CaptureError

if TYPE_CHECKING:
    from purify3d.types import Scene

#: Every format by name, in the order in which they are tried; a module is imported when it is needed.
FORMATS = {
    "prepared": "purify3d.captures.formats.prepared",
    "nerfstudio": "purify3d.captures.formats.nerfstudio",
    "scannet": "purify3d.captures.formats.scannet",
    "sens": "purify3d.captures.formats.sens",
    "matterport": "purify3d.captures.formats.matterport",
    "tum": "purify3d.captures.formats.tum",
    "replica": "purify3d.captures.formats.replica",
    "7scenes": "purify3d.captures.formats.sevenscenes",
    "colmap": "purify3d.captures.formats.colmap",
    "redwood": "purify3d.captures.formats.redwood",
    "ros": "purify3d.captures.formats.rosbag",
    "record3d": "purify3d.captures.formats.record3d",
    "polycam": "purify3d.captures.formats.polycam",
    "stray": "purify3d.captures.formats.stray",
    "arkitscenes": "purify3d.captures.formats.arkitscenes",
}

_SYNTHETIC = "synthetic:"

#: Files that are a capture by themselves, and how many places are looked at for a capture near a path.
_FILES = (".sens", ".r3d", ".zip", ".mcap", ".db3")
_LOOKED_AT = 200


def is_procedural(path: str) -> bool:
    """Whether a capture is an address of a procedural room and no path."""
    return path.startswith(_SYNTHETIC)


def find_format(path: Path, name: str | None) -> Any:
    """The module that reads this capture.

    Args:
        name: of `FORMATS`; None: the first format that recognises the path.

    Raises:
        CaptureError: nothing there, or no capture in a known format.
    """
    if not path.exists():
        raise CaptureError(f"{path}: found nothing there; expected a capture. Check the path")
    if name is not None and name not in FORMATS:
        raise CaptureError(f"found reader {name!r}; expected one of {', '.join(FORMATS)}")
    looked_for = []
    for candidate in FORMATS if name is None else [name]:
        module = import_module(FORMATS[candidate])
        if name is not None or module.recognises(path):
            return module
        looked_for.append(f"{module.EXPECTS} ({candidate})")
    if path.is_file() and zipfile.is_zipfile(path):
        raise CaptureError(
            f"{path}: found a ZIP file; expected a capture's folder, since only Record3D's files are read "
            "packed. Unpack it and point to the folder inside"
        )
    near = _near(path)
    if near is not None:
        raise CaptureError(f"{path}: found no capture there; {near[0]} is one ({near[1]}). Point to that")
    inside = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else ["a file"]
    held = ", ".join(inside[:8]) + (f" and {len(inside) - 8} more" if len(inside) > 8 else "")
    raise CaptureError(
        f"{path}: found {held or 'an empty folder'}; expected one of: {'; '.join(looked_for)}. Point to the "
        "folder that holds these files itself, or name the format"
    )


def _near(path: Path) -> tuple[Path, str] | None:
    """A capture at most two levels inside a folder or above it, and the name of its format."""
    if path.is_file():
        return None
    inside = [entry for entry in sorted(path.iterdir()) if not entry.name.startswith(".")][:_LOOKED_AT]
    deeper = [entry for one in inside if one.is_dir() for entry in sorted(one.glob("[!.]*"))][:_LOOKED_AT]
    above = path.resolve().parents[:2]
    for candidate in (*inside, *above, *deeper):
        if not candidate.is_dir() and candidate.suffix.lower() not in _FILES:
            continue
        for name, module in FORMATS.items():
            try:
                if import_module(module).recognises(candidate):
                    return candidate, name
            except (CaptureError, OSError):
                continue
    return None


def procedural_room(address: str) -> Scene:
    """The scene of `synthetic:SEED` or `synthetic:SEED?frames=24`.

    Raises:
        CaptureError: no such address.
    """
    seed, _, query = address.removeprefix(_SYNTHETIC).partition("?")
    make = import_module("purify3d.rooms").synthetic_scene
    known = list(inspect.signature(make).parameters)[1:]
    try:
        options = {key: int(value) for key, value in parse_qsl(query, strict_parsing=bool(query))}
        if not options.keys() <= set(known):
            raise ValueError(f"known options are {', '.join(known)}")
        scene: Scene = make(int(seed), **options)
    except ValueError as error:
        raise CaptureError(
            f"found {address!r}; expected synthetic:SEED or synthetic:SEED?frames=24, whole numbers ({error})"
        ) from error
    return scene

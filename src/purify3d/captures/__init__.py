"""Captures: posed RGB-D frames from disk. The only package that knows file formats of captures.

`open_capture` finds the format and hands back a `Scene`; a format is one module with `EXPECTS` (what the path
must hold, for people), `CONVENTION` and `DIRECTION` (how it stores poses), `recognises(path)` and
`read(path, intrinsics=...)`.
"""

from __future__ import annotations

import inspect
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from purify3d.base import axes
from purify3d.base.errors import CaptureError, UpWarning
from purify3d.captures.conventions import MAX_DEPTH, Convention, Direction, Stored, near_origin, reread
from purify3d.captures.reading.sound import guarded
from purify3d.grid import projection
from purify3d.types import Frame, Scene

__all__ = ["FORMATS", "guarded", "is_procedural", "open_capture", "read_whole"]

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

#: Videos repeat themselves: beyond this many frames only those that see something new are kept.
_LONG = 300
#: Files that are a capture by themselves, and how many places are looked at for a capture near a path.
_FILES = (".sens", ".r3d", ".zip", ".mcap", ".db3")
_LOOKED_AT = 200
_NEW_METRES = 0.10
_NEW_DEGREES = 10.0


def open_capture(
    path: str | Path,
    *,
    reader: str | None = None,
    up: str | Sequence[float] | None = None,
    intrinsics: tuple[float, float, float, float] | None = None,
    every: int | None = None,
    limit: int | None = None,
    depth_unit: float | None = None,
    max_depth: float = MAX_DEPTH,
    pose_convention: Convention | None = None,
    pose_direction: Direction | None = None,
    scale: float = 1.0,
    interpolate: bool = False,
) -> Scene:
    """Open a capture. Only headers and text files are read; images are read and checked frame by frame later.

    Reading a damaged image is a CaptureError. `guarded` frames see nothing in its place, and work goes on.

    Args:
        path: a folder or file in one of `FORMATS`, or `synthetic:SEED` (`synthetic:SEED?frames=24`).
        reader: a name of `FORMATS`; None: found from the path.
        up: world direction against gravity, `+y`, `-z`, `y`, or 3 numbers; None: the format's convention, or
            a guess from the cameras.
        intrinsics: (fx, fy, cx, cy) of the colour image in pixels, integer pixel centres, no distortion;
            replaces the capture's own.
        every: keep every n-th frame. None: all of them, or in a capture of more than 300 frames those that
            moved more than 0.10 m or turned more than 10 degrees since the last one kept.
        limit: of those, keep at most this many, evenly spaced.
        depth_unit: metres per unit of the stored depth (0.001 for millimetres); None: the format's.
        max_depth: metres; what is measured farther away counts as not measured.
        pose_convention: camera axes of the stored poses, opencv (x right, y down, z forward) or opengl
            (x right, y up, z back); None: the format's.
        pose_direction: camera-to-world or world-to-camera; None: the format's.
        scale: metres per unit of the stored poses, and of the capture's own cloud.
        interpolate: give images that lie between two poses one in between, where the format lists poses on a
            clock of their own (tum).

    Returns:
        At least one frame, each turned by quarter turns so that `up` points to the top of its images.
        `points` is None unless the capture brings its own cloud. A capture farther than 1 km from the world's
        origin is moved near it, and says so in `Scene.origin`.

    Raises:
        CaptureError: nothing there, an unknown format, or a capture that cannot be used.
        ValueError: `every` or `limit` below 1, or a unit, depth or scale that is not above 0.
    """
    for name, value in (("every", every), ("limit", limit)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, found {value}")
    scene, _ = read_whole(
        path,
        reader=reader,
        up=up,
        intrinsics=intrinsics,
        depth_unit=depth_unit,
        max_depth=max_depth,
        pose_convention=pose_convention,
        pose_direction=pose_direction,
        scale=scale,
        interpolate=interpolate,
        guard=False,
    )
    frames = [_upright(frame, scene.up) for frame in _pick(scene.frames, every, limit)]
    return replace(scene, frames=tuple(frames))


def read_whole(
    path: str | Path,
    *,
    reader: str | None = None,
    up: str | Sequence[float] | None = None,
    intrinsics: tuple[float, float, float, float] | None = None,
    depth_unit: float | None = None,
    max_depth: float = MAX_DEPTH,
    pose_convention: Convention | None = None,
    pose_direction: Direction | None = None,
    scale: float = 1.0,
    interpolate: bool = False,
    guard: bool = True,
) -> tuple[Scene, Stored]:
    """All frames of a capture, none of them turned, and how its poses were taken to be stored.

    Args:
        guard: of frames whose images are damaged, see `sound.guarded`.
        others: see `open_capture`.

    Raises:
        CaptureError, ValueError: see `open_capture`.
    """
    module = None if is_procedural(str(path)) else _format(Path(path), reader)
    stored = Stored() if module is None else Stored(module.CONVENTION, module.DIRECTION)
    said = Stored(pose_convention or stored.convention, pose_direction or stored.direction)
    told: dict[str, Any] = {"intrinsics": intrinsics}
    if interpolate:
        if module is None or "interpolate" not in inspect.signature(module.read).parameters:
            raise CaptureError(
                f"{path}: found --interpolate and a format without a clock of its own; only poses of tum are "
                "interpolated. Leave it out"
            )
        told["interpolate"] = True
    with warnings.catch_warnings():
        if up is not None or said != stored:
            warnings.simplefilter("ignore", UpWarning)  # of a guess that is not taken
        scene = _synthetic(str(path)) if module is None else module.read(Path(path), **told)
    scene = reread(scene, stored, said, depth_unit=depth_unit, max_depth=max_depth, scale=scale)
    try:
        world_up = scene.up if up is None else axes.parse_direction(up)
    except ValueError as error:
        raise CaptureError(f"--up: {error}") from error
    scene = near_origin(replace(scene, up=world_up))
    return (replace(scene, frames=guarded(scene.frames, path)) if guard else scene), said


def is_procedural(path: str) -> bool:
    """Whether a capture is an address of a procedural room and no path."""
    return path.startswith(_SYNTHETIC)


def _format(path: Path, name: str | None) -> Any:
    """The module that reads this capture."""
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


def _synthetic(address: str) -> Scene:
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


def _pick(frames: Sequence[Frame], every: int | None, limit: int | None) -> list[Frame]:
    if every is not None:
        picked = list(frames[::every])
    elif len(frames) > _LONG:
        picked = _moving(frames)
    else:
        picked = list(frames)
    if limit is not None and len(picked) > limit:
        picked = [picked[i] for i in np.linspace(0, len(picked) - 1, limit).round().astype(int)]
    return picked


def _moving(frames: Sequence[Frame]) -> list[Frame]:
    """Frames that moved or turned enough since the last one kept; the first is always kept."""
    kept = [frames[0]]
    for frame in frames[1:]:
        last, pose = kept[-1].world_from_camera, frame.world_from_camera
        moved = np.linalg.norm(pose[:3, 3] - last[:3, 3])
        cosine = (np.trace(last[:3, :3].T @ pose[:3, :3]) - 1) / 2
        if moved > _NEW_METRES or np.degrees(np.arccos(np.clip(cosine, -1, 1))) > _NEW_DEGREES:
            kept.append(frame)
    return kept


def _upright(frame: Frame, up: np.ndarray) -> Frame:
    """The frame with images, cameras and pose turned together so that `up` points to the top."""
    turns = projection.quarter_turns_upright(frame.world_from_camera, up)
    if turns == 0:
        return frame
    camera, pose = projection.turn_camera(frame.camera, frame.world_from_camera, turns)
    depth_camera, _ = projection.turn_camera(frame.depth_camera, frame.world_from_camera, turns)
    return replace(
        frame,
        camera=camera,
        depth_camera=depth_camera,
        world_from_camera=pose,
        color=partial(_turned, frame.color, turns),
        depth=partial(_turned, frame.depth, turns),
        label=None if frame.label is None else partial(_turned, frame.label, turns),
        instance=None if frame.instance is None else partial(_turned, frame.instance, turns),
        turns=turns,
    )


def _turned(read: Callable[[], np.ndarray], turns: int) -> np.ndarray:
    # torch takes no negative strides, so the view is copied.
    return np.ascontiguousarray(np.rot90(read(), turns))

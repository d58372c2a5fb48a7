"""From the settings of a capture to its scene."""

from __future__ import annotations

import inspect
import math
import warnings
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from purify3d.base import axes
from purify3d.base.errors import CaptureError, UpWarning
from purify3d.base.settings import from_plain
from purify3d.captures.config import CaptureConfig
from purify3d.captures.conventions import Stored, near_origin, reread
from purify3d.captures.finding import find_format, is_procedural, procedural_room
from purify3d.captures.reading.sound import guarded
from purify3d.captures.selecting import select, upright, without
from purify3d.clouds import read_cloud
from purify3d.types import Scene


def open_capture(path: str | Path, **settings: Any) -> Scene:
    """Open a capture. Only headers and text files are read; images are read and checked frame by frame later.

        open_capture("my_scan", every=5, up="+z", depth_unit=0.001)

    Reading a damaged image is a CaptureError. `guarded` frames see nothing in its place, and work goes on.

    Args:
        path: a folder or file in one of `FORMATS`, or `synthetic:SEED` (`synthetic:SEED?frames=24`).
        settings: the attributes of `CaptureConfig` by name; units, ranges and defaults stand there.

    Returns:
        At least one frame, each turned by quarter turns so that `up` points to the top of its images.
        `points` is None unless `onto` names a cloud or the capture brings its own. A capture farther than
        1 km from the world's origin is moved near it, and says so in `Scene.origin`.

    Raises:
        CaptureError: nothing there, an unknown format, or a capture that cannot be used.
        ValueError: no setting of that name, or a value it cannot have, such as `every` below 1.
    """
    return opened(capture_config(path, settings))


def opened(config: CaptureConfig) -> Scene:
    """The capture as it is used, with the cloud of `onto` where one is named; see `open_capture`.

    Raises:
        CaptureError: see `open_capture` and `read_cloud`.
    """
    scene, _ = _read(config, config.max_depth)
    frames = [upright(frame, scene.up) for frame in select(scene.frames, config.every, config.limit)]
    scene = replace(scene, frames=tuple(frames))
    if config.onto is None:
        return scene
    return replace(scene, points=read_cloud(config.onto, origin=scene.origin))


def whole(config: CaptureConfig) -> tuple[Scene, Stored]:
    """All frames of the capture as they are stored, whatever their depth, and how poses are stored.

    None of them is turned; those whose images are damaged see nothing (`guarded`).

    Raises:
        CaptureError: see `open_capture`.
    """
    scene, stored = _read(config, math.inf)
    return replace(scene, frames=guarded(scene.frames, config.path)), stored


def _read(config: CaptureConfig, max_depth: float) -> tuple[Scene, Stored]:
    """All frames, none of them turned, and how poses are stored: by the settings, else the format."""
    module = None if is_procedural(config.path) else find_format(Path(config.path), config.reader)
    usual = Stored() if module is None else Stored(*module.POSES)
    stored = Stored(
        config.pose_convention or usual.convention,
        config.pose_direction or usual.direction,
        config.depth_along,
    )
    with warnings.catch_warnings():
        if config.up is not None or replace(stored, along=usual.along) != usual:
            warnings.simplefilter("ignore", UpWarning)  # of a guess that is not taken
        scene = _as_stored(config, module)
    if config.leave_out is not None:
        scene = replace(scene, frames=without(scene.frames, config.leave_out, config.path))
    scene = reread(
        scene, usual, stored, depth_unit=config.depth_unit, max_depth=max_depth, scale=config.scale
    )
    try:
        up = scene.up if config.up is None else axes.parse_direction(config.up)
    except ValueError as error:
        raise CaptureError(f"--up: {error}") from error
    return near_origin(replace(scene, up=up)), stored


def _as_stored(config: CaptureConfig, module: Any) -> Scene:
    """What the reader of the format makes of the path; module None: a procedural room."""
    options = {"interpolate": True} if config.interpolate else {}
    if options and (module is None or "interpolate" not in inspect.signature(module.read).parameters):
        raise CaptureError(
            f"{config.path}: found --interpolate and a format without a clock of its own; only poses "
            "of tum are interpolated. Leave it out"
        )
    if module is None:
        return procedural_room(config.path)
    scene: Scene = module.read(Path(config.path), intrinsics=config.intrinsics, **options)
    return scene


def capture_config(path: str | Path, settings: dict[str, Any]) -> CaptureConfig:
    """Settings as Python gives them: paths may be `Path`, numbers also numpy's, three or four of them a list.

    Raises:
        ValueError: no setting of that name, or a value it cannot have; the message says which.
    """
    return from_plain(CaptureConfig, {name: _plain(v) for name, v in {**settings, "path": path}.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, PathLike):
        return fspath(value)
    return value.tolist() if hasattr(value, "tolist") else value

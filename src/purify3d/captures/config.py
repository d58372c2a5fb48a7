"""The settings of a capture, and what they open."""

from __future__ import annotations

import inspect
import math
import warnings
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from purify3d.base import axes
from purify3d.base.errors import CaptureError, UpWarning
from purify3d.base.settings import check, from_plain, setting
from purify3d.captures.conventions import MAX_DEPTH, Convention, Direction, Stored, near_origin, reread
from purify3d.captures.finding import find_format, is_procedural, procedural_room
from purify3d.captures.reading.sound import guarded
from purify3d.captures.selecting import select, upright
from purify3d.clouds import read_cloud
from purify3d.types import Scene


@dataclass(frozen=True)
class CaptureConfig:
    """What is labelled.

    Attributes:
        path: a folder or file in a known format, or synthetic:SEED (synthetic:SEED?frames=24).
        reader: capture format, such as scannet, nerfstudio or tum; none: found from the path.
        up: world direction against gravity: +z, -y, or three numbers; none: the format's, or a guess from the
            cameras.
        intrinsics: fx,fy,cx,cy of the colour images in pixels (integer pixel centres, no distortion), in
            place of the capture's own.
        every: use every n-th frame; none: all of them, or in a capture of more than 300 frames those that
            moved more than 0.10 m or turned more than 10 degrees since the last one kept.
        limit: use at most so many frames, evenly spaced.
        onto: cloud or mesh to label (PLY, OBJ, LAS) in place of the fused frames.
        depth_unit: metres per unit of the stored depth, such as 0.001; none: the format's.
        max_depth: metres; what is measured farther away counts as not measured.
        pose_convention: camera axes of the stored poses, opencv (x right, y down, z forward) or opengl
            (x right, y up, z back); none: the format's.
        pose_direction: what stored poses map, camera-to-world or world-to-camera; none: the format's.
        scale: metres per unit of the stored poses, and of the capture's own cloud.
        interpolate: give images between two poses one in between, for formats with their own clock (tum).
    """

    path: str = setting(stage="points")
    reader: str | None = setting(None, stage="points")
    up: str | tuple[float, ...] | None = setting(None, stage="points")
    intrinsics: tuple[float, ...] | None = setting(None, stage="points")
    every: int | None = setting(None, stage="points", low=1, high=10**6)
    limit: int | None = setting(None, stage="points", low=1, high=10**6)
    onto: str | None = setting(None, stage="points")
    depth_unit: float | None = setting(None, stage="points", above=0, high=1e3)
    max_depth: float = setting(MAX_DEPTH, stage="points", above=0, high=1e6)
    pose_convention: Convention | None = setting(None, stage="points")
    pose_direction: Direction | None = setting(None, stage="points")
    scale: float = setting(1.0, stage="points", above=0, high=1e6)
    interpolate: bool = setting(False, stage="points")

    def __post_init__(self) -> None:
        check(self)
        for name in ("path", "onto"):  # an empty path would be the working directory
            if (path := getattr(self, name)) is not None and not path.strip():
                raise ValueError(f"found an empty {name}; expected the path of a file or folder")
        if self.intrinsics is not None and len(self.intrinsics) != 4:
            raise ValueError(f"found intrinsics = {self.intrinsics}; expected four numbers fx,fy,cx,cy")

    def open(self) -> Scene:
        """The capture as it is used, with the cloud of `onto` where one is named; see `open_capture`.

        Raises:
            CaptureError: see `open_capture` and `read_cloud`.
        """
        scene, _ = self._read(self.max_depth)
        frames = [upright(frame, scene.up) for frame in select(scene.frames, self.every, self.limit)]
        scene = replace(scene, frames=tuple(frames))
        if self.onto is None:
            return scene
        return replace(scene, points=read_cloud(self.onto, origin=scene.origin))

    def whole(self) -> tuple[Scene, Stored]:
        """All frames of the capture as they are stored, whatever their depth, and how poses are stored.

        None of them is turned; those whose images are damaged see nothing (`guarded`).

        Raises:
            CaptureError: see `open_capture`.
        """
        scene, stored = self._read(math.inf)
        return replace(scene, frames=guarded(scene.frames, self.path)), stored

    def _read(self, max_depth: float) -> tuple[Scene, Stored]:
        """All frames, none of them turned, and how poses are stored: by the settings, else the format."""
        module = None if is_procedural(self.path) else find_format(Path(self.path), self.reader)
        usual = Stored() if module is None else Stored(module.CONVENTION, module.DIRECTION)
        stored = Stored(self.pose_convention or usual.convention, self.pose_direction or usual.direction)
        with warnings.catch_warnings():
            if self.up is not None or stored != usual:
                warnings.simplefilter("ignore", UpWarning)  # of a guess that is not taken
            scene = self._as_stored(module)
        scene = reread(
            scene, usual, stored, depth_unit=self.depth_unit, max_depth=max_depth, scale=self.scale
        )
        try:
            up = scene.up if self.up is None else axes.parse_direction(self.up)
        except ValueError as error:
            raise CaptureError(f"--up: {error}") from error
        return near_origin(replace(scene, up=up)), stored

    def _as_stored(self, module: Any) -> Scene:
        """What the reader of the format makes of the path; module None: a procedural room."""
        options: dict[str, Any] = {"intrinsics": self.intrinsics}
        if self.interpolate:
            if module is None or "interpolate" not in inspect.signature(module.read).parameters:
                raise CaptureError(
                    f"{self.path}: found --interpolate and a format without a clock of its own; only poses "
                    "of tum are interpolated. Leave it out"
                )
            options["interpolate"] = True
        scene: Scene = (
            procedural_room(self.path) if module is None else module.read(Path(self.path), **options)
        )
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

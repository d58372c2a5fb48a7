"""What a capture may leave open or get wrong: axes and direction of poses, units, range, a far origin.

Readers hand out frames as their format has them; what the user says of this capture is applied here, the same
for every format.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import numpy as np

from purify3d.captures.config import Along, Convention, Direction
from purify3d.captures.reading import images
from purify3d.grid import projection
from purify3d.types import Camera, Frame, Scene

_FAR = 1000.0  # metres from the origin, where 32-bit numbers are 0.06 mm apart


@dataclass(frozen=True)
class Stored:
    """How poses are stored: axes of the camera, what is mapped to what; and what depth is measured along."""

    convention: Convention = "opencv"
    direction: Direction = "camera-to-world"
    along: Along = "axis"

    def write(self, world_from_camera: np.ndarray) -> np.ndarray:
        """(..., 4, 4) our poses -> as they are stored."""
        axes = projection.OPENCV_FROM_OPENGL if self.convention == "opengl" else np.eye(4)
        pose = world_from_camera @ axes
        return projection.inverse(pose) if self.direction == "world-to-camera" else pose

    def read(self, stored: np.ndarray) -> np.ndarray:
        """(..., 4, 4) stored poses -> world_from_camera with OpenCV axes."""
        pose = projection.inverse(stored) if self.direction == "world-to-camera" else stored
        axes = projection.OPENCV_FROM_OPENGL if self.convention == "opengl" else np.eye(4)
        return cast(np.ndarray, pose @ axes)


def reread(
    scene: Scene, usual: Stored, stored: Stored, *, depth_unit: float | None, max_depth: float, scale: float
) -> Scene:
    """The scene as it is if its poses are stored as the user has it, and not as the format has it.

    Args:
        usual: how the reader took them; stored: how they are.
        depth_unit: metres per unit of the stored depth; None: as the reader took it.
        max_depth: metres; depth beyond becomes 0 = none.
        scale: metres per unit of the poses, and of the scene's own cloud.
    """
    frames = []
    turned = (stored.convention, stored.direction) != (usual.convention, usual.direction)
    for frame in scene.frames:
        pose, unit = frame.world_from_camera, frame.depth_unit if depth_unit is None else depth_unit
        if turned:
            pose = stored.read(usual.write(pose))
        if scale != 1:
            pose = pose.copy()
            pose[:3, 3] *= scale
        # By another unit where one is given.
        factor = 1.0 if depth_unit is None else depth_unit / (frame.depth_unit or 1.0)
        read = (
            frame.depth
            if stored.along == usual.along
            else partial(along_axis, frame.depth, frame.depth_camera)
        )
        depth = partial(_cut, read, factor, max_depth)
        frames.append(replace(frame, world_from_camera=pose, depth=depth, depth_unit=unit))
    points = scene.points
    if points is not None and scale != 1:
        points = replace(points, xyz=points.xyz * scale)
    # What the reader guessed came from the cameras as it took them.
    up = images.guess_up(frames) if turned else scene.up
    return replace(scene, frames=tuple(frames), points=points, up=up)


def along_axis(read: Callable[[], np.ndarray], camera: Camera, back: bool = False) -> np.ndarray:
    """(h, w) depth along the axis, of depth along the rays of the pixels; `back`: the other way round."""
    column, row = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    longer = ray_lengths(column, row, np.array([camera.fx, camera.fy, camera.cx, camera.cy]))
    return np.asarray(read() * (longer if back else 1 / longer).astype(np.float32))


def ray_lengths(column: np.ndarray, row: np.ndarray, lens: np.ndarray) -> np.ndarray:
    """How far one goes along the rays of pixels for each metre along the axis; lens: (4,) fx, fy, cx, cy."""
    fx, fy, cx, cy = lens
    return np.asarray(np.sqrt(1 + ((column - cx) / fx) ** 2 + ((row - cy) / fy) ** 2))


def _cut(read: Callable[[], np.ndarray], factor: float, max_depth: float) -> np.ndarray:
    """(h, w) depth in metres, up to `max_depth`."""
    depth = read()
    if factor != 1:
        depth = depth * np.float32(factor)
    return np.where(depth <= max_depth, depth, np.float32(0))


def near_origin(scene: Scene) -> Scene:
    """The scene moved to the origin where its cameras are farther than 1 km from it, as `Scene.origin` says.

    The offset is whole metres, so that it takes nothing from the digits of the poses.
    """
    centers = np.stack([frame.world_from_camera[:3, 3] for frame in scene.frames])
    middle = np.median(centers, axis=0)
    if np.abs(middle).max() <= _FAR or scene.points is not None:
        return scene
    offset = middle.round()
    return replace(scene, frames=tuple(moved(frame, -offset) for frame in scene.frames), origin=offset)


def moved(frame: Frame, offset: np.ndarray) -> Frame:
    """The frame with its camera moved by (3,) metres."""
    pose = frame.world_from_camera.copy()
    pose[:3, 3] += offset
    return replace(frame, world_from_camera=pose)

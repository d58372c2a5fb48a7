"""Procedural furnished rooms with exact depth, poses and labels: captures for demos, tests, benchmarks and
for training the bundled segmenter, without any download.

Seeds are kept apart, so that nothing is measured on what was trained on.
"""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np

from purify3d.rooms.classes import CLASSES
from purify3d.rooms.path import walk
from purify3d.rooms.render import Renderer
from purify3d.rooms.room import furnish
from purify3d.rooms.sensor import Sensor
from purify3d.types import Camera, Frame, Scene

__all__ = ["BENCHMARK_SEEDS", "CLASSES", "DEMO_SEEDS", "TRAINING_SEEDS", "synthetic_scene"]

#: Rooms of the demo and of the tests.
DEMO_SEEDS = range(0, 100)
#: Rooms that quality is measured on.
BENCHMARK_SEEDS = range(100, 1000)
#: Rooms that anything may be trained on.
TRAINING_SEEDS = range(1000, 1_000_000)

_FIELD_OF_VIEW = 66.0  # degrees, horizontal
_MOST_FRAMES, _WIDEST = 20_000, 8192  # a path of as many is made in seconds, an image fits into memory
_KEPT = 4  # ray casts kept in memory: the images of a frame share one


def synthetic_scene(
    seed: int,
    *,
    frames: int = 48,
    width: int = 320,
    height: int = 240,
    noise: bool = True,
    stress: bool = False,
) -> Scene:
    """A furnished room filmed by a hand-held RGB-D camera.

    World +z up, metres, floor at z = 0. Frames render when asked for, about 0.1 s each, and are the same
    each time. `truth` maps label ids to CLASSES; every pixel has a label, also where depth has a hole, and
    the number of its object in the room (a wall is one, so is a table with its legs).

    Args:
        seed: which room (see DEMO_SEEDS, BENCHMARK_SEEDS, TRAINING_SEEDS).
        frames: views along the path.
        width, height: of colour and depth, which share one camera of 66 degrees horizontal view.
        noise: record as a real sensor would; False gives exact depth and clean colour.
        stress: a room of what pooling is known to fail on (`room.STRESS`).

    Raises:
        ValueError: no frame, an image without pixels, or more of them than a room takes minutes to film.
        MissingPackageError: embreex, which casts the rays, is not installed.
    """
    if frames < 1 or width < 1 or height < 1:
        raise ValueError(f"found {frames} frames of {width}x{height}; expected at least one of each")
    if frames > _MOST_FRAMES or max(width, height) > _WIDEST:
        raise ValueError(
            f"found {frames} frames of {width}x{height}; expected at most {_MOST_FRAMES} of {_WIDEST} pixels "
            "a side"
        )
    film = _Film(seed, frames, width, height, noise, stress)
    views = tuple(
        Frame(
            name=f"{i:04d}",
            camera=film.camera,
            depth_camera=film.camera,
            world_from_camera=film.poses[i],
            color=partial(film.color, i),
            depth=partial(film.depth, i),
            label=partial(film.label, i),
            instance=partial(film.instance, i),
        )
        for i in range(frames)
    )
    return Scene(
        name=f"synthetic-{seed}{'-stress' if stress else ''}",
        frames=views,
        up=np.array([0.0, 0.0, 1.0]),
        truth=dict(enumerate(CLASSES)),
    )


class _Film:
    """A room and the camera in it. Sent to another process it takes its settings along and is built again."""

    def __init__(self, seed: int, frames: int, width: int, height: int, noise: bool, stress: bool) -> None:
        self._settings = (seed, frames, width, height, noise, stress)
        room = furnish(seed, stress=stress)
        renderer = Renderer(room)
        self.poses = walk(room, frames, np.random.default_rng([11, seed]))
        focal = width / 2 / np.tan(np.radians(_FIELD_OF_VIEW / 2))
        self.camera = Camera(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height)
        self._sensor = _expose(renderer, self.poses, seed)
        self._seed, self._noise = seed, noise
        self._cast = lru_cache(maxsize=_KEPT)(
            lambda i: renderer.cast(self.camera, self.poses[i], np.random.default_rng([13, seed, i]))
        )

    def __reduce__(self) -> tuple[type[_Film], tuple[int, int, int, int, bool, bool]]:
        return _Film, self._settings

    def color(self, i: int) -> np.ndarray:
        if not self._noise:
            return self._sensor.clean(self._cast(i))
        return self._sensor.color(self._cast(i), np.random.default_rng([17, self._seed, i]))

    def depth(self, i: int) -> np.ndarray:
        if not self._noise:
            return self._cast(i).depth
        return self._sensor.depth(self._cast(i), np.random.default_rng([19, self._seed, i]))

    def label(self, i: int) -> np.ndarray:
        return self._cast(i).label

    def instance(self, i: int) -> np.ndarray:
        return self._cast(i).instance


def _expose(renderer: Renderer, poses: np.ndarray, seed: int) -> Sensor:
    """Sensor settings of a scene, metered on a few small views."""
    rng = np.random.default_rng([23, seed])
    small = Camera(24.0, 24.0, 15.5, 11.5, 32, 24)
    views = poses[np.linspace(0, len(poses) - 1, min(6, len(poses))).astype(int)]
    light = np.concatenate([renderer.cast(small, pose, rng).radiance.reshape(-1, 3) for pose in views])
    return Sensor.draw(rng, light)

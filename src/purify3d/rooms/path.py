"""A hand-held camera's way through the free space of a room."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter1d

from purify3d.rooms.room import Room

_CELL = 0.05  # metres
_BACK = 2.0  # how far somebody steps back from what is filmed, at most


class _Floor:
    """Where a camera may be: cells of the plan with their distance to the nearest obstacle."""

    def __init__(self, room: Room, low: float, high: float, margin: float) -> None:
        """Obstacles are items with anything between heights `low` and `high`."""
        count = np.ceil(room.size[:2] / _CELL).astype(int)
        open_ = np.ones(count, dtype=bool)
        if room.notch.any():
            corner = ((room.size[:2] - room.notch) / _CELL).astype(int)
            open_[corner[0] :, corner[1] :] = False
        for item in room.items:
            a, b = item.bounds()
            if item.label in ("wall", "floor", "ceiling") or a[2] > high or b[2] < low:
                continue
            i, j = np.maximum(a[:2] // _CELL, 0).astype(int), np.maximum(b[:2] // _CELL + 1, 0).astype(int)
            open_[i[0] : j[0], i[1] : j[1]] = False
        self.clear = distance_transform_edt(np.pad(open_, 1))[1:-1, 1:-1] * _CELL
        margin = min(margin, float(self.clear.max()) * 0.9)
        self.free = self.clear > margin
        self.nearest = distance_transform_edt(~self.free, return_distances=False, return_indices=True)

    def snap(self, xy: np.ndarray) -> np.ndarray:
        """(n, 2) positions, those that are not free moved to the nearest free cell."""
        cell = np.clip((xy / _CELL).astype(int), 0, np.array(self.free.shape) - 1)
        moved = (self.nearest[:, cell[:, 0], cell[:, 1]].T + 0.5) * _CELL
        return np.where(self.free[cell[:, 0], cell[:, 1]][:, None], xy, moved)

    def is_free(self, xy: np.ndarray) -> bool:
        cell = np.clip((xy / _CELL).astype(int), 0, np.array(self.free.shape) - 1)
        return bool(self.free[tuple(cell)])


def walk(room: Room, frames: int, rng: np.random.Generator) -> np.ndarray:
    """(frames, 4, 4) world_from_camera, OpenCV axes.

    Somebody stands at a few places far from each other and films once around at each, stepping back from
    what is filmed as far as furniture allows; the eye is 1.2 to 1.7 m high.
    """
    standing, reach = _Floor(room, 0.05, 1.9, 0.3), _Floor(room, 0.85, 1.9, 0.3)
    stops = max(1, round(frames / 26))
    cells = (np.argwhere(standing.free) + 0.5) * _CELL
    clear = standing.clear[standing.free]
    anchors = [cells[np.argmax(clear + rng.uniform(0, 0.5, len(cells)))]]
    while len(anchors) < stops:
        far = np.min([np.linalg.norm(cells - a, axis=1) for a in anchors], axis=0)
        anchors.append(cells[np.argmax(far * clear * rng.uniform(0.5, 1.0, len(cells)))])
    t = np.arange(frames) / max(frames, 1)
    stop = np.minimum((t * stops).astype(int), stops - 1)
    turn = rng.choice([-1, 1]) * (2 * np.pi * stops * t) + rng.uniform(0, 2 * np.pi)
    yaw = turn + 0.12 * _wobble(rng, frames)
    xy = np.empty((frames, 2))
    for i in range(frames):
        away = -np.array([np.cos(yaw[i]), np.sin(yaw[i])])
        steps = np.arange(0, _BACK, _CELL)
        walked = [s for s in steps if reach.is_free(anchors[stop[i]] + s * away)]
        last = next((s for s, w in zip(steps, walked, strict=False) if s != w), walked[-1] if walked else 0.0)
        xy[i] = anchors[stop[i]] + last * away
    xy = reach.snap(gaussian_filter1d(xy, 1.2, axis=0, mode="nearest")) if frames > 1 else xy
    height = np.clip(rng.uniform(1.35, 1.6) + 0.08 * _wobble(rng, frames), 1.2, 1.7)
    pitch = np.radians(-15 + 9 * _wobble(rng, frames)).clip(-0.75, 0.15)
    roll = np.radians(1.5) * _wobble(rng, frames)
    return np.stack([_pose(*row) for row in zip(xy, height, yaw, pitch, roll, strict=True)])


def _wobble(rng: np.random.Generator, frames: int) -> np.ndarray:
    """(frames,) smooth noise of deviation about 1."""
    return gaussian_filter1d(rng.normal(size=frames + 24), 2.5)[12 : 12 + frames] * 2.9


def _pose(xy: np.ndarray, height: float, yaw: float, pitch: float, roll: float) -> np.ndarray:
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    down = np.cross(forward, right)
    pose = np.eye(4)
    pose[:3, 0] = np.cos(roll) * right + np.sin(roll) * down
    pose[:3, 1] = np.cos(roll) * down - np.sin(roll) * right
    pose[:3, 2] = forward
    pose[:3, 3] = (*xy, height)
    return pose

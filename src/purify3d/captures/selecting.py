"""Which frames of a capture are used, and images turned so that up is up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from purify3d.captures.reading.sound import read_by
from purify3d.grid import projection
from purify3d.types import Frame

#: Videos repeat themselves: beyond this many frames only those that see something new are kept.
_LONG = 300
_NEW_METRES = 0.10
_NEW_DEGREES = 10.0


def select(frames: Sequence[Frame], every: int | None, limit: int | None) -> list[Frame]:
    """Every n-th frame, or those that moved where a capture is long, and of those at most `limit`."""
    long = every is None and len(frames) > _LONG
    selected = _moving(frames) if long else list(frames[:: every or 1])
    if limit is not None and len(selected) > limit:
        selected = [selected[i] for i in np.linspace(0, len(selected) - 1, limit).round().astype(int)]
    return selected


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


def upright(frame: Frame, up: np.ndarray) -> Frame:
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
        turns=turns,
        **read_by(frame, lambda part: partial(_turned, getattr(frame, part), turns)),
    )


def _turned(read: Callable[[], np.ndarray], turns: int) -> np.ndarray:
    # torch takes no negative strides, so the view is copied.
    return np.ascontiguousarray(np.rot90(read(), turns))

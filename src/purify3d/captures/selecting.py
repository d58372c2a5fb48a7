"""Which frames of a capture are used, and images turned so that up is up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from purify3d.base.errors import CaptureError
from purify3d.captures.reading.sound import read_by
from purify3d.grid import projection
from purify3d.types import Frame

#: Videos repeat themselves: beyond this many frames only those that see something new are kept.
_LONG = 300
_NEW_METRES = 0.10
_NEW_DEGREES = 10.0


#: Between the first and the last of several frames that follow each other.
_TO = ".."


def without(frames: Sequence[Frame], names: str | Sequence[str], where: str) -> tuple[Frame, ...]:
    """The frames that are not named.

    Args:
        names: with commas between them; "00040..00052" are all from the first to the last.
        where: what the capture is called in messages, its path.

    Raises:
        CaptureError: a name that no frame has, or no frame is left.
    """
    known = {frame.name: number for number, frame in enumerate(frames)}
    out: set[int] = set()
    for name in names.split(",") if isinstance(names, str) else names:
        ends = [name.strip()] if name.strip() in known else [end.strip() for end in name.split(_TO, 1)]
        if not known.keys() >= set(ends):
            raise CaptureError(
                f"{where}: found {name.strip()!r} in --leave-out and no frame of that name; expected names "
                f"such as {frames[0].name} or {frames[0].name}{_TO}{frames[-1].name}. "
                "`purify3d check` names frames with wrong poses"
            )
        out |= set(range(known[ends[0]], known[ends[-1]] + 1))
    if len(out) == len(frames):
        raise CaptureError(f"{where}: --leave-out names all {len(frames)} frames; expected some that stay")
    return tuple(frame for number, frame in enumerate(frames) if number not in out)


def naming(frames: Sequence[Frame], numbers: Sequence[int]) -> str | None:
    """What `--leave-out` is given for frames of these numbers; None where their names cannot stand there."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    shown = [
        f"{frames[run[0]].name}{_TO}{frames[run[-1]].name}"
        if len(run) > 2
        else ",".join(frames[i].name for i in run)
        for run in runs
    ]
    if any(set(", '\"\\") & set(frames[i].name) or _TO in frames[i].name for i in numbers):
        return None
    return ",".join(shown)


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

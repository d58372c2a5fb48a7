"""Frames whose images turn out to be damaged when they are read: they see nothing, and that is said.

Readers look at headers alone; that a file ends too early shows when it is decoded. A frame of which any image
cannot be decoded has no depth and no truth, so that it is in nothing that is made of the capture: no points,
no features, no labels. Its photo is black.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from purify3d.base.errors import CaptureError
from purify3d.captures.reading.dropped import Dropped
from purify3d.types import NO_LABEL, Frame

_PARTS = ("color", "depth", "label", "instance")
#: Frames that are decoded at once, spread over the capture, to see how many are as bad as the first one.
_SWEEP = 300


def guarded(frames: Sequence[Frame], where: str | Path) -> tuple[Frame, ...]:
    """The same frames, of which a damaged one sees nothing.

    Of a frame all images are decoded when one is first asked for, and the others kept until they are. When
    the first damaged one is found, up to 300 others are decoded, so that they are told together.

    Args:
        where: what the capture is called in messages, its path.

    Raises:
        (while images are read) CaptureError: more of the frames are damaged than can be used.

    Warns:
        (while images are read) PurifyWarning: damaged frames, with their names.
    """
    guard = _Guard(tuple(frames), Path(where))
    return tuple(
        replace(frame, **read_by(frame, partial(partial, guard.read, number)))
        for number, frame in enumerate(frames)
    )


def read_by(frame: Frame, reader: Callable[[str], Callable[[], np.ndarray]]) -> dict[str, Any]:
    """What reads the images that a frame has from now on, as fields of `Frame`.

    Args:
        reader: makes it for a field: `color`, `depth`, `label` or `instance`.
    """
    return {part: reader(part) for part in _PARTS if getattr(frame, part) is not None}


class _Guard:
    """The frames of one capture, and which of them are known to be whole or damaged."""

    def __init__(self, frames: tuple[Frame, ...], where: Path) -> None:
        self._frames, self._where = frames, where
        self._whole: set[int] = set()
        self._bad: dict[int, str] = {}
        self._kept: dict[tuple[int, str], np.ndarray] = {}

    def read(self, number: int, part: str) -> np.ndarray:
        """An image of a frame; nothing but zeros, or no labels, where any image of it is damaged."""
        kept = self._kept.pop((number, part), None)
        if kept is not None:
            return kept
        if number not in self._bad:
            try:
                if number in self._whole:
                    return _decode(self._frames[number], part)
                found = _all(self._frames[number])
                self._whole.add(number)
                image = found.pop(part)
                self._kept = {(number, other): kept for other, kept in found.items()}
                return image
            except CaptureError as error:
                self._tell(number, str(error))
        frame = self._frames[number]
        if part == "color":
            return np.zeros((frame.camera.height, frame.camera.width, 3), dtype=np.uint8)
        size = frame.depth_camera.height, frame.depth_camera.width
        return np.zeros(size, np.float32) if part == "depth" else np.full(size, NO_LABEL, dtype=np.int32)

    def _tell(self, number: int, why: str) -> None:
        first = not self._bad
        found = {number: why}
        if first:
            count = min(len(self._frames), _SWEEP)
            for other in np.linspace(0, len(self._frames) - 1, count).astype(int).tolist():
                if other != number and other not in self._whole:
                    try:
                        _all(self._frames[other])
                        self._whole.add(other)
                    except CaptureError as error:
                        found[other] = str(error)
        self._whole.discard(number)
        self._bad |= found
        most = 2 * len(self._bad) > len(self._frames)
        dropped = Dropped(self._where)
        for bad, reason in sorted((self._bad if most else found).items()):
            dropped.refuse(self._frames[bad].name, reason)
        dropped.settle(len(self._whole) if first else len(self._frames) - len(self._bad))


def _all(frame: Frame) -> dict[str, np.ndarray]:
    return {part: _decode(frame, part) for part in _PARTS if getattr(frame, part) is not None}


def _decode(frame: Frame, part: str) -> np.ndarray:
    image: np.ndarray = getattr(frame, part)()
    return image

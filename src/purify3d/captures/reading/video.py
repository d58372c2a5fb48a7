"""Single frames of a video by number, decoded with PyAV (BSD; it brings FFmpeg's libraries).

Frames are numbered in the order in which they are shown. Asked for in that order each is decoded once; a jump
goes to the keyframe before. One decoder is kept open per process: a forked process must not share a file
position. Rotation that the file asks for is not applied: intrinsics belong to the pixels as they are stored.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from purify3d.base.errors import CaptureError, require
from purify3d.base.files import check_file

#: FFmpeg's name of MP4 and MOV. Left to guess, it takes a list of other files for a video, and opens those.
_FORMAT = "mov"


@dataclass(frozen=True)
class Index:
    """What a video holds: (width, height), when each frame is shown, and which of them are keyframes."""

    size: tuple[int, int]
    times: tuple[int, ...]
    keys: tuple[int, ...]


def read_index(path: Path) -> Index:
    """Go through a video without decoding it.

    Raises:
        CaptureError: missing, cut off, or no video.
        MissingPackageError: PyAV is not installed.
    """
    return _index(path, *_version(path))


def read_frame(path: Path, number: int) -> np.ndarray:
    """(H, W, 3) uint8 RGB of the frame `number`, counted from 0.

    Raises:
        CaptureError: there is no such frame, or it cannot be decoded.
        MissingPackageError: PyAV is not installed.
    """
    return _decoder(path, *_version(path), os.getpid()).frame(number)


def _version(path: Path) -> tuple[int, int]:
    check_file(path)
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def _broken(path: Path, what: str) -> CaptureError:
    return CaptureError(f"{path}: {what}; expected a whole video (MP4). Copy it again")


@lru_cache(maxsize=4)
def _index(path: Path, changed: int, size: int) -> Index:
    av: Any = require("av", "video")
    try:
        with av.open(str(path), format=_FORMAT, metadata_errors="replace") as container:
            if not container.streams.video:
                raise _broken(path, "found no video in it")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise _broken(path, "found a video of a kind that cannot be decoded")
            shown = sorted(
                (packet.pts, packet.is_keyframe)
                for packet in container.demux(stream)
                if packet.pts is not None and not packet.is_discard
            )
            area = (stream.codec_context.width, stream.codec_context.height)
    except (av.error.FFmpegError, OSError) as error:
        raise _broken(path, f"cannot be read ({error})") from error
    if not shown or min(area) < 1:
        raise _broken(path, "found no frames in it")
    return Index(area, tuple(time for time, _ in shown), tuple(i for i, (_, key) in enumerate(shown) if key))


@lru_cache(maxsize=1)
def _decoder(path: Path, changed: int, size: int, process: int) -> _Decoder:
    return _Decoder(path)


class _Decoder:
    """An open video that remembers where it is."""

    def __init__(self, path: Path) -> None:
        self._av: Any = require("av", "video")
        self._path = path
        self._index = read_index(path)
        self._lock = threading.Lock()
        self._container: Any = None
        self._frames: Iterator[Any] = iter(())
        self._next = 0

    def frame(self, number: int) -> np.ndarray:
        count = len(self._index.times)
        if not 0 <= number < count:
            raise CaptureError(f"{self._path}: found {count} frames; expected one with number {number}")
        with self._lock:
            try:
                found = self._find(number)
                if found is not None:
                    return np.ascontiguousarray(found.to_ndarray(format="rgb24"))
            except (self._av.error.FFmpegError, OSError, ValueError) as error:
                self._close()
                raise _broken(self._path, f"frame {number} cannot be decoded ({error})") from error
            self._close()
        raise _broken(self._path, f"frame {number} cannot be decoded")

    def _close(self) -> None:
        if self._container is not None:
            self._container.close()
        self._container, self._frames = None, iter(())

    def _find(self, number: int) -> Any:
        """The frame; None: the decoder does not give it."""
        keys = self._index.keys or (0,)
        last_key = max(bisect_right(keys, number) - 1, 0)
        if self._container is not None and max(keys[last_key], 0) <= self._next <= number:
            return self._forward(number)
        # A file's index is by decoding time, which can put us one keyframe too late.
        for key in range(last_key, max(last_key - 3, -1), -1):
            found = self._jump(number, self._index.times[keys[key]])
            if found is not None:
                return found
        return self._jump(number, None)

    def _jump(self, number: int, time: int | None) -> Any:
        self._close()
        self._container = self._av.open(str(self._path), format=_FORMAT)
        stream = self._container.streams.video[0]
        stream.thread_type = "AUTO"
        if time is not None:
            self._container.seek(time, stream=stream, backward=True)
        self._frames = self._container.decode(stream)
        return self._forward(number)

    def _forward(self, number: int) -> Any:
        wanted = self._index.times[number]
        for frame in self._frames:
            if frame.pts is not None and frame.pts >= wanted:
                self._next = number + 1
                return frame if frame.pts == wanted else None
        return None

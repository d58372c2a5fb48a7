"""Bags of ROS 2, read with the library `rosbags`: the only file that knows it.

`rosbags` is pure Python and needs no ROS; .mcap and .db3 files, compressed or not, look the same through it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from purify3d.base.errors import CaptureError, PurifyError, require


def find_bag(path: Path) -> Path | None:
    """What `rosbags` opens: a folder with metadata.yaml, or one file."""
    if path.is_file():
        return path if path.suffix in (".mcap", ".db3") else None
    stored = _stored(path)
    if (path / "metadata.yaml").is_file() and stored:
        return path
    return stored[0] if len(stored) == 1 and stored[0].suffix in (".mcap", ".db3") else None


def bag_files(bag: Path) -> tuple[Path, ...]:
    """The files of a bag that `find_bag` found."""
    if bag.is_file():
        return (bag,)
    return tuple(sorted([bag / "metadata.yaml", *_stored(bag)]))


def _stored(folder: Path) -> list[Path]:
    """Files of the recording, also packed ones; a dot before the name is a note of macOS."""
    found = sorted([*folder.glob("*.mcap*"), *folder.glob("*.db3*")])
    return [file for file in found if not file.name.startswith(".")]


@contextmanager
def reading(bag: Path) -> Iterator[None]:
    """Damaged bags make the library raise anything, from its own errors to those of SQLite and zstd."""
    try:
        yield
    except PurifyError:
        raise
    except Exception as error:
        raise CaptureError(
            f"{bag}: cannot be read as a ROS 2 bag ({type(error).__name__}: {error}). If its recording "
            "was cut off, repair it (mcap recover, or ros2 bag reindex); else re-copy it"
        ) from error


def open_bag(bag: Path) -> Any:
    """A `rosbags` reader, still closed.

    Raises:
        MissingPackageError: `rosbags` is not installed.
    """
    return require("rosbags.rosbag2", "ros").Reader(bag)


@lru_cache(maxsize=1)
def _decoder() -> Callable[[bytes, str], Any]:
    types = require("rosbags.typesys", "ros")
    # The messages that are read here are the same in all distributions of ROS 2.
    decode: Callable[[bytes, str], Any] = types.get_typestore(types.Stores.ROS2_HUMBLE).deserialize_cdr
    return decode


def decoded(raw: bytes, kind: str) -> Any:
    """The message, None if its bytes are none."""
    try:
        return _decoder()(raw, kind)
    except PurifyError:
        raise
    except Exception:  # whatever the library meets in damaged bytes
        return None


_open = threading.local()


def _reader(bag: Path) -> Any:
    """An open reader of this thread of this process: file positions must not be shared."""
    key = (os.getpid(), bag, bag.stat().st_mtime_ns)
    if getattr(_open, "key", None) != key:
        _open.key = None
        _open.reader = open_bag(bag)
        _open.reader.open()
        _open.key = key
    return _open.reader


def read_message(bag: Path, topic: str, at: tuple[int, int]) -> Any:
    """The message that was logged and stamped at these two times (ns).

    Raises:
        CaptureError: the bag is damaged, or no longer has it.
    """
    logged, stamp = at
    with reading(bag):
        reader = _reader(bag)
        connections = [connection for connection in reader.connections if connection.topic == topic]
        for connection, _, raw in reader.messages(connections, start=logged, stop=logged + 1):
            message = decoded(raw, connection.msgtype)
            if message is not None and stamp_of(message) == stamp:
                return message
    raise CaptureError(
        f"{bag}: {topic} has lost its image of {stamp / 1e9:.3f} s; expected it as when opened"
    )


def stamp_of(message: Any) -> int:
    """Nanoseconds."""
    return int(message.header.stamp.sec) * 10**9 + int(message.header.stamp.nanosec)

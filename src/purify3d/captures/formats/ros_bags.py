"""Bags of ROS 2, read with the library `rosbags`: the only file that knows it.

`rosbags` is pure Python and needs no ROS; .mcap and .db3 files, compressed or not, look the same through it.
"""

from __future__ import annotations

import io
import os
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from purify3d.base.errors import CaptureError, PurifyError, require
from purify3d.base.files import check_file, check_unpacked, most_unpacked

_MOST_METADATA = 4_000_000  # bytes of metadata.yaml; 500 topics have half a megabyte
_ALIASES = re.compile(rb"&\S.*?\*\S", re.DOTALL)  # of YAML
_STEPS = 1_000_000  # of SQLite's machine, for each kB of a file at most, and ten times as many for any
_TABLES = ("topics", "messages", "schema", "message_definitions")
_GROWTH = 100  # times, that a recording which is packed as a whole can grow


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
    """A `rosbags` reader, still closed, whose messages take no more memory than is allowed.

    Raises:
        CaptureError: its metadata.yaml is no ordinary file, or too large.
        MissingPackageError: `rosbags` is not installed.
    """
    if bag.is_dir() and (size := check_file(bag / "metadata.yaml")) > _MOST_METADATA:
        raise CaptureError(
            f"{bag}/metadata.yaml: found {size / 1e6:.0f} MB; expected at most "
            f"{_MOST_METADATA / 1e6:.0f} MB. Make it anew: ros2 bag reindex"
        )
    if bag.is_dir() and _ALIASES.search((bag / "metadata.yaml").read_bytes()):
        raise CaptureError(
            f"{bag}/metadata.yaml: found &name and *name, which can unfold to any size; expected what ROS "
            "writes. Make it anew: ros2 bag reindex"
        )
    library: Any = require("rosbags.rosbag2", "ros")
    reader: Any = require("rosbags.rosbag2.reader", "ros")
    _limit(reader, require("rosbags.rosbag2.storage_mcap", "ros"))
    _limit_tables(reader, require("rosbags.rosbag2.storage_sqlite3", "ros"))
    return library.Reader(bag)


def check_growth(bag: Path, reader: Any) -> None:
    """Of an open reader of .mcap: whether all its chunks together can be what the files hold.

    Raises:
        CaptureError: many entries of an index point to one chunk, for instance.
    """
    most = _GROWTH * sum(file.stat().st_size for file in bag_files(bag)) + most_unpacked()
    parts = getattr(reader.storage, "storages", [reader.storage])  # of a folder; of one file
    chunks = [chunk for part in parts for chunk in getattr(part, "chunks", ())]
    if sum(chunk.uncompressed_size for chunk in chunks) > most:
        raise CaptureError(f"{bag}: its chunks grow more than {_GROWTH} times; is it damaged?")


def _limit(reader: Any, storage: Any) -> None:
    """The library unpacks whatever comes, and has no limit to set: its two ways to do so get one."""
    if not isinstance(reader.zstd, _Limited):
        reader.zstd = _Limited(reader.zstd)
        lz4 = require("lz4.frame", "ros").LZ4FrameDecompressor
        storage.DECOMPRESSORS |= {
            "zstd": lambda data, size: _unpack(storage.zstd.ZstdDecompressor, data, size),
            "lz4": lambda data, size: _unpack(lz4, data, size),
        }


def _limit_tables(reader: Any, storage: Any) -> None:
    """A file of SQLite is a program, too: views and pages in a circle make any question endless."""
    if reader.Reader.STORAGE_PLUGINS[".db3"] is not storage.Sqlite3Reader:
        return

    class Tables(storage.Sqlite3Reader):
        """Looked at before it is opened."""

        def open(self) -> None:
            check_tables(self.path)
            super().open()

    for kind, name in ((reader.Reader, ".db3"), (reader.DirectoryReader, "sqlite3")):
        kind.STORAGE_PLUGINS = {**kind.STORAGE_PLUGINS, name: Tables}


def check_tables(path: Path) -> None:
    """Whether a .db3 file holds tables and nothing else, which can be gone through in a time that goes with
    its size.

    Raises:
        CaptureError: it does not, or its name is one that SQLite reads as that of another file.
        sqlite3.Error: it is damaged, or would be gone through without end.
    """
    if set("?#") & set(str(path)) or unquote(str(path)) != str(path):
        raise CaptureError(
            f"{path}: found ?, # or a code such as %20, which SQLite reads otherwise; rename it"
        )
    left = 10 + check_file(path) // 1000

    def spent() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as base:
        base.set_progress_handler(spent, _STEPS)
        held = base.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
        for kind, name, made in held:
            computed = base.execute("SELECT 1 FROM pragma_table_xinfo(?) WHERE hidden", (name,))
            if kind not in ("table", "index") or computed.fetchone():
                raise CaptureError(f"{path}: found {str(made)[:80]!r}; expected the tables that ROS writes")
        for kind, name, _ in held:
            if kind == "table" and name in _TABLES:
                base.execute(f"SELECT sum(rowid & 1) FROM {name} NOT INDEXED").fetchall()


class _Limited:
    """Of the library's zstd what it uses."""

    def __init__(self, zstd: Any) -> None:
        self._zstd = zstd

    def decompress(self, data: bytes) -> bytes:
        """One message."""
        return _unpack(self._zstd.ZstdDecompressor, data, most_unpacked())

    def open(self, file: Any, mode: str) -> Any:
        """A whole recording."""
        most = _GROWTH * os.fstat(file.fileno()).st_size + most_unpacked()
        return _Bounded(self._zstd.open(file, mode), most)


class _Bounded(io.RawIOBase):
    """A stream that ends in an error where it grows beyond `most` bytes."""

    def __init__(self, stream: Any, most: int) -> None:
        self._stream, self._left = stream, most

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise CaptureError(f"a packed recording grows more than {_GROWTH} times; is it damaged?")
        buffer[: len(data)] = data
        return len(data)

    def readable(self) -> bool:
        return True


def _unpack(make: Callable[[], Any], data: bytes, most: int) -> bytes:
    """All frames of packed data.

    Args:
        make: a decompressor of one frame. most: bytes that they can have.

    Raises:
        CaptureError: they have more, or more than is allowed.
        ValueError: the last one is cut off.
    """
    check_unpacked("a part of the recording", most)
    parts, left = [], most
    while data:
        one = make()
        parts.append(one.decompress(data, max_length=left + 1))
        left -= len(parts[-1])
        if left < 0:
            check_unpacked("a part of the recording", most + 1)
            raise ValueError(f"found more than the {most} bytes that a header says")
        if not one.eof:
            raise ValueError("found packed data that are cut off")
        data = one.unused_data or b""
    return b"".join(parts)


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

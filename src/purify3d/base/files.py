"""Files that strangers may have made: what is read is an ordinary file, what is written is whole or absent.

Nothing of ours is written through a link. The folder that a user names may be one; below it, a link, pipe or
device where a file or folder of ours should be is refused by its name.
"""

from __future__ import annotations

import codecs
import errno
import math
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from filelock import FileLock

from purify3d.base.errors import CaptureError

#: How the names of folders begin in which files are made.
PARTIAL = ".partial-"
#: Bytes of a text file: a transforms.json of 50,000 frames has 50 MB.
MOST_TEXT = 256_000_000

_SPECIAL = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_SURROGATE = 0x20000000  # of a reparse tag: what stands for another place on Windows, such as a junction
_UNPACKED = "PURIFY3D_UNPACKED_GB"
_MOST_SCANS = 200
_LONGEST = 256  # bytes of a name, which no file system has
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_BY_DESCRIPTOR = os.rename in os.supports_dir_fd and Path("/proc/self/fd").is_dir()


def check_file(path: Path) -> int:
    """Size in bytes of an ordinary file; the rest is refused unopened, since a pipe would wait.

    Raises:
        CaptureError: nothing there, no access, or a folder, pipe or device.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CaptureError(f"{path}: cannot be opened ({reason}); expected a file. Check the path") from error
    if (kind := _kind(found)) is not None:
        raise CaptureError(f"{path}: found {kind}; expected a file. Remove it, or re-copy the capture")
    return found.st_size


def read_bytes(path: Path, most: int = MOST_TEXT) -> bytes:
    """All of a file.

    Raises:
        CaptureError: no ordinary file, larger than `most` bytes, or it cannot be read.
    """
    size = check_file(path)
    if size > most:
        raise CaptureError(f"{path}: found {size / 1e6:.0f} MB; expected at most {most / 1e6:.0f} MB")
    try:
        return path.read_bytes()
    except OSError as error:
        raise CaptureError(f"{path}: cannot be read ({error.strerror}). Check the path") from error


def read_text(path: Path, most: int = MOST_TEXT) -> str:
    """Text in UTF-8, or in UTF-16 with a byte order mark, as editors of Windows write it.

    Raises:
        CaptureError: no ordinary file, larger than `most` bytes, or no text.
    """
    data = read_bytes(path, most)
    try:
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise CaptureError(
            f"{path}: found bytes that are no text (byte {error.start}: {data[error.start]:#04x}); expected "
            "UTF-8. Save it as UTF-8, or re-copy the capture"
        ) from error


def most_unpacked() -> int:
    """Bytes that one member of an archive, or one message of a recording, may take once unpacked: a frame has
    some MB, and a few kB can become any number. 512 MB, or what PURIFY3D_UNPACKED_GB says.

    Raises:
        CaptureError: it says no number above 0.
    """
    text = os.environ.get(_UNPACKED, "")
    try:
        most = float(text or 0.512) * 1e9
        if not 0 < most < math.inf:
            raise ValueError(text)
    except ValueError as error:
        raise CaptureError(f"found {_UNPACKED}={text!r}; expected a number of GB above 0") from error
    return int(most)


def check_unpacked(called: str, size: float) -> None:
    """Refuse what would take more memory than a frame of a capture can.

    Args:
        called: what messages call it. size: bytes, as its header says.

    Raises:
        CaptureError: it would.
    """
    if size > (most := most_unpacked()):
        raise CaptureError(
            f"{called}: would take {size / 1e6:.0f} MB once unpacked; expected at most {most / 1e6:.0f} MB. "
            f"Is it damaged? {_UNPACKED}={math.ceil(size / 1e9)} allows it"
        )


def check_scans(stream: IO[bytes] | None, called: str | Path) -> None:
    """Refuse a JPEG of hundreds of scans, each of which goes through all pixels again: a megabyte of them
    takes minutes. Cameras write one, progressive files about ten.

    Args:
        stream: of the file, left where it is; None passes. called: what messages call it.

    Raises:
        CaptureError: it has more than 200.
    """
    if stream is None:
        return
    at, scans = stream.tell(), 0
    stream.seek(0)
    while part := stream.read(1 << 20):
        scans += part.count(b"\xff\xda")
    stream.seek(at)
    if scans > _MOST_SCANS:
        raise CaptureError(
            f"{called}: found a JPEG of {scans} scans; expected at most {_MOST_SCANS}. Save it again"
        )


def path_inside(folder: Path, name: str, *, above: bool = False) -> Path:
    """The path of a name that a file mentions: below the folder, so that no file of a stranger can draw
    private ones into results. Links are followed: whoever made them has the files.

    Args:
        above: the folder around this one will do, too.

    Raises:
        ValueError: the name leads out, is that of an address, or of no file; the message says which.
    """
    shown = ascii(name if len(name) <= 60 else f"{name[:57]}...")
    try:
        longest = max(map(len, os.fsencode(name).split(b"/")))
    except UnicodeEncodeError:
        longest = _LONGEST
    if not name.strip() or "\0" in name or longest >= _LONGEST:
        raise ValueError(f"found {shown}, which is the name of no file")
    home = os.path.abspath(folder)
    parent = os.path.dirname(home)
    roof = parent if above and os.path.dirname(parent) != parent else home  # never the root of all
    if os.path.commonpath((roof, os.path.abspath(os.path.join(home, name)))) != roof:
        raise ValueError(f"found {shown}, which is outside {roof}")
    return folder / name


def is_own(path: Path) -> bool:
    """Whether an ordinary file lies there, and not at the other end of a link."""
    try:
        return _kind(path.lstat()) is None
    except (OSError, ValueError):
        return False


def check_place(path: Path) -> None:
    """Whether a file of ours may be written, or replaced, there.

    Raises:
        OSError: a link, a folder, pipe or device is there, or it cannot be looked at.
    """
    try:
        kind = _kind(path.lstat())
    except FileNotFoundError:
        return
    if kind is not None:
        raise OSError(errno.EEXIST, f"found {kind}; expected a file of ours or nothing. Remove it", str(path))


def make_folders(root: Path, *names: str) -> Path:
    """The folder root/name/name, made as far as it is not there; the root may be a link, none below it.

    Raises:
        OSError: it cannot be made, or something else is there.
    """
    root.mkdir(parents=True, exist_ok=True)
    for name in names:
        root = root / name
        with suppress(FileExistsError):
            root.mkdir()
        check_folder(root)
    return root


def check_folder(path: Path) -> None:
    """Whether a folder of ours may be written to, or made, there.

    Raises:
        OSError: a link or anything else is there.
    """
    if os.path.lexists(path) and _kind(path.lstat()) != "a folder":
        raise OSError(errno.EEXIST, "found no folder of ours; expected one. Remove it", str(path))


def write_whole(path: Path, writer: Callable[[Path], Any]) -> Path:
    """Let `writer` fill a file beside `path`, then move it there; on any error nothing is left.

    The file has the permissions that the user gives to new files, whatever the writer gave it.

    Raises:
        OSError: see `check_place`; and whatever the writer raises.
    """
    check_place(path)
    with _beside(path) as (place, move):
        writer(place)
        os.chmod(place, 0o666 & ~_umask())
        check_place(path)
        move()
    return path


def write_text(path: Path, text: str) -> Path:
    """`write_whole` of UTF-8 text."""
    return write_whole(path, lambda place: place.write_text(text, encoding="utf-8"))


def write_folder(path: Path, writer: Callable[[Path], Any]) -> Path:
    """`write_whole` of a folder: it takes the place of the folder that is there.

    Raises:
        OSError: a link or file is there; and whatever the writer raises.
    """
    with _beside(path) as (place, move):
        place.mkdir()
        writer(place)
        check_folder(path)
        if path.exists():
            os.rename(path, place.parent / f"{PARTIAL}before")
        move()
    return path


def append_text(path: Path, text: str) -> None:
    """Add UTF-8 text to the end of a file.

    Raises:
        OSError: see `check_place`, or it cannot be written.
    """
    check_place(path)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NO_LINK
    with os.fdopen(os.open(path, flags, 0o666), "w", encoding="utf-8") as file:
        file.write(text)


def locked(path: Path, *, patience: float = 0.0) -> FileLock:
    """A lock, taken; to be released, or used as a context.

    Args:
        patience: seconds to wait for another process.

    Raises:
        filelock.Timeout: another process holds it.
        OSError: see `check_place`, or it cannot be made.
    """
    check_place(path)
    lock = FileLock(path, timeout=patience)
    lock.acquire()
    return lock


def clear_partial(folder: Path, *, older: float = 0.0) -> None:
    """Remove what writers have left that were killed.

    Args:
        older: seconds; younger ones may be in the making.
    """
    for left in folder.glob(f"{PARTIAL}*"):
        with suppress(OSError):
            if left.lstat().st_mtime <= time.time() - older:
                shutil.rmtree(left) if _kind(left.lstat()) == "a folder" else left.unlink()


@contextmanager
def _beside(path: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """Where to make what shall be at `path`, under its own name (writers choose the format by the suffix),
    and what moves it there.

    The place is a new folder that only this user may enter. Where the system can, both ends are held by
    descriptor, so that nobody who may write to the folder swaps one of them for a link meanwhile.
    """
    made = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=path.parent))
    try:
        if not _BY_DESCRIPTOR:
            yield made / path.name, lambda: os.replace(made / path.name, path)
            return
        held = [os.open(made, os.O_RDONLY | os.O_DIRECTORY | _NO_LINK)]
        try:
            held.append(os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY))
            if os.fstat(held[0]).st_uid != os.geteuid():
                raise OSError(errno.EPERM, "found a folder of another user; expected our own", str(made))
            place = Path(f"/proc/self/fd/{held[0]}") / path.name
            yield place, lambda: os.replace(path.name, path.name, src_dir_fd=held[0], dst_dir_fd=held[1])
        finally:
            for descriptor in held:
                os.close(descriptor)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _kind(found: os.stat_result) -> str | None:
    """What is no ordinary file, in words."""
    if getattr(found, "st_reparse_tag", 0) & _SURROGATE:
        return "a link"
    return next((kind for test, kind in _SPECIAL if test(found.st_mode)), None)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def name_of(capture: str) -> str:
    """A file name for the results of a capture: its folder's, with letters, digits, - _ and . alone."""
    path = Path(os.path.abspath(capture))  # "scan/.." is a folder of another name
    if path.suffix == ".json":
        path = path.parent
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in path.name).lstrip(".") or "root"

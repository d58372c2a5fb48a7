"""Files of a capture are opened here: ordinary ones that memory can hold, or the real cause is said."""

from __future__ import annotations

import codecs
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from purify3d.base.errors import CaptureError
from purify3d.base.files import check_file

#: A picture of 64 megapixels takes 192 MB once decoded; more is no frame of a scan.
MOST_PIXELS = 64_000_000
#: Bytes of the text files of a capture: a transforms.json of 50,000 frames has 50 MB.
MOST_TEXT = 256_000_000

#: What Pillow, numpy and zipfile raise for data that are no images, cut off, damaged, or far too large.
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    Image.DecompressionBombError,
)


def check_pixels(path: Path | str, width: int, height: int) -> None:
    """Refuse an image by the size in its header, before memory is taken for it.

    Raises:
        CaptureError: no pixel, or more than 64 million.
    """
    if not 0 < width * height <= MOST_PIXELS:
        raise CaptureError(
            f"{path}: found an image of {width}x{height} pixels ({width * height / 1e6:.0f} megapixels, "
            f"{3 * width * height / 1e9:.1f} GB as colour); expected 1 to {MOST_PIXELS // 10**6} megapixels. "
            "Scale the images and the intrinsics down"
        )


@contextmanager
def opened_image(path: Path) -> Iterator[Image.Image]:
    """An image whose header is read and whose pixels are not yet decoded.

    Raises:
        CaptureError: no ordinary file, no image, damaged (also while it is decoded), or too many pixels.
    """
    check_file(path)
    try:
        with Image.open(path) as image:
            check_pixels(path, *image.size)
            yield image
    except Image.DecompressionBombError as error:
        raise CaptureError(
            f"{path}: found an image of too many pixels ({error}); expected at most "
            f"{MOST_PIXELS // 10**6} megapixels. Scale the images and the intrinsics down"
        ) from error
    except BROKEN as error:
        raise unreadable(path, error) from error


@contextmanager
def opened_bytes(data: bytes, called: str, formats: list[str] | None = None) -> Iterator[Image.Image]:
    """As `opened_image`, of bytes that messages call `called`; formats: Pillow's names, None: all.

    Raises:
        CaptureError: no image, damaged (also while it is decoded), or too many pixels.
    """
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            check_pixels(called, *image.size)
            yield image
    except BROKEN as error:
        # What Pillow says of bytes has their address in memory.
        why = "no image" if isinstance(error, UnidentifiedImageError) else error
        raise CaptureError(f"{called} is damaged ({why}); copy or export the capture again") from error


def unreadable(path: Path, error: Exception) -> CaptureError:
    """What to say of a file that is no whole image or array."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError:
        head = b"?"
    cause = f"the file is truncated or unreadable ({error})"
    if not head:
        cause = "found an empty file"
    elif head.startswith(b"version https://git-lfs"):
        cause = "found a pointer of Git LFS in place of the file itself (git lfs pull fetches it)"
    elif isinstance(error, UnidentifiedImageError):
        cause = (
            f"found a file that is no image, or of a kind that cannot be read; it begins with {head[:16]!r}"
        )
    return CaptureError(f"{path}: {cause}; re-copy the capture, or delete this frame's files")


def read_text(path: Path, most: int = MOST_TEXT) -> str:
    """Text in UTF-8, or in UTF-16 with a byte order mark, as editors of Windows write it.

    Raises:
        CaptureError: no ordinary file, larger than `most` bytes, or no text.
    """
    size = check_file(path)
    if size > most:
        raise CaptureError(
            f"{path}: found {size / 1e6:.0f} MB; expected a text of at most {most / 1e6:.0f} MB"
        )
    try:
        data = path.read_bytes()
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return data.decode("utf-16" if wide else "utf-8-sig")
    except OSError as error:
        raise CaptureError(f"{path}: cannot be read ({error.strerror}). Check the path") from error
    except UnicodeDecodeError as error:
        raise CaptureError(
            f"{path}: found bytes that are no text (byte {error.start}: {data[error.start]:#04x}); expected "
            "UTF-8. Save it as UTF-8, or re-copy the capture"
        ) from error

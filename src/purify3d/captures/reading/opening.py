"""Files of a capture are opened here: ordinary ones that memory can hold, or the real cause is said."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from purify3d.base.arrays import DAMAGED
from purify3d.base.errors import CaptureError
from purify3d.base.files import check_file, check_scans

#: A picture of 64 megapixels takes 192 MB once decoded; more is no frame of a scan.
MOST_PIXELS = 64_000_000

#: Of all that Pillow reads, what frames are stored as: others start programs (EPS) or are seldom tried.
_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "PPM")
_SCANNED = ("JPEG", "MPO")

#: What Pillow, numpy and zipfile raise for data that are no images, cut off, damaged, or far too large.
BROKEN = (OSError, *DAMAGED, Image.DecompressionBombError)


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
def opened_image(path: Path, *, whole: bool = True) -> Iterator[Image.Image]:
    """An image whose header is read and whose pixels are not yet decoded.

    Args:
        whole: its pixels will be decoded; False: only its header matters, and no more of the file is read.

    Raises:
        CaptureError: no ordinary file, no image, damaged (also while it is decoded), or too many pixels.
    """
    check_file(path)
    try:
        with Image.open(path, formats=_FORMATS) as image:
            check_pixels(path, *image.size)
            if whole and image.format in _SCANNED:
                check_scans(image.fp, path)
            yield image
    except Image.DecompressionBombError as error:
        raise CaptureError(
            f"{path}: found an image of too many pixels ({error}); expected at most "
            f"{MOST_PIXELS // 10**6} megapixels. Scale the images and the intrinsics down"
        ) from error
    except BROKEN as error:
        raise unreadable(path, error) from error


@contextmanager
def opened_bytes(data: bytes, called: str, formats: Sequence[str] = _FORMATS) -> Iterator[Image.Image]:
    """As `opened_image`, of bytes that messages call `called`; formats: Pillow's names.

    Raises:
        CaptureError: no image, damaged (also while it is decoded), or too many pixels.
    """
    try:
        with Image.open(io.BytesIO(data), formats=tuple(formats)) as image:
            check_pixels(called, *image.size)
            if image.format in _SCANNED:
                check_scans(image.fp, called)
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

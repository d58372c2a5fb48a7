"""Depth images of every kind that captures hold.

| file | values | taken as |
|---|---|---|
| PNG, PGM, TIFF, .npy, .npz of whole numbers (16 bits or more) | sensor units | times the capture's unit |
| TIFF, EXR, .npy, .npz of floats | metres | as they are, unless the capture says its unit |

In whole numbers of 16 bits 65535 means "no depth", in floats whatever is not finite or negative does; all
become 0. PGM (the format's own page: netpbm) stores 16 bits with the high byte first, and values as they are:
they are not stretched to the header's maximum. An .npz holds one array, or one that is called `depth`.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from purify3d.base.arrays import Header, array_headers, load_array
from purify3d.base.errors import CaptureError
from purify3d.base.files import check_file
from purify3d.captures.reading.opening import BROKEN, check_pixels, opened_image, unreadable
from purify3d.types import Camera
from purify3d.types.checks import measured

#: Names of depth files end with one of these.
DEPTH_SUFFIXES = (".png", ".tif", ".tiff", ".exr", ".npy", ".npz", ".pgm")
#: Those of them that Pillow does not read, or not as they are.
ARRAY_SUFFIXES = (".exr", ".npy", ".npz", ".pgm")

_NO_DEPTH = 65535
_SPACE = rb"(?:\s|#[^\r\n]*[\r\n])+"
_PGM = re.compile(rb"(P[25])" + _SPACE + _SPACE.join([rb"(\d{1,9})"] * 3) + rb"\s")


def header(path: Path) -> tuple[int, int, bool]:
    """(width, height, whether the values are floats) of an image of colour or depth.

    Raises:
        CaptureError: no ordinary file, no image, or of more than 64 million pixels.
    """
    suffix = path.suffix.lower()
    if suffix not in ARRAY_SUFFIXES:
        with opened_image(path, whole=False) as image:
            return (*image.size, image.mode.startswith("F"))
    check_file(path)
    try:
        with path.open("rb") as file:
            if suffix == ".exr":
                from purify3d.captures.reading.exr import exr_size

                found = (*exr_size(path), True)
            elif suffix == ".pgm":
                found = (*_pgm(path, file.read(4096))[1:3], False)
            else:
                shape, dtype = _chosen(path)[1]
                height, width = _plane(path, shape)
                found = (width, height, dtype.kind == "f")
    except BROKEN as error:
        raise unreadable(path, error) from error
    check_pixels(path, *found[:2])
    return found


def stored_in_metres(path: Path) -> bool:
    """Whether the values are floats, which are metres where no unit is given; reads only the header.

    Of a damaged file, which says so when it is read, nothing is known: then they are none.
    """
    try:
        return path.suffix.lower() == ".exr" or header(path)[2]
    except CaptureError:
        return False


def read_depth(
    path: Path, camera: Camera, metres_per_unit: float, metres_per_float: float = 1.0
) -> np.ndarray:
    """(h, w) float32 metres along z, 0 = none.

    Args:
        metres_per_unit: of whole numbers.
        metres_per_float: of floats: 1, unless the capture says that they are no metres.

    Raises:
        CaptureError: unreadable, not one channel of 16 bits or floats, or not of the camera's size.
    """
    width, height, _ = header(path)
    check_size(path, (width, height), camera, "depth image")
    stored = _values(path)
    floats = stored.dtype.kind == "f"
    with np.errstate(over="ignore", invalid="ignore"):
        metres = stored.astype(np.float32) * np.float32(metres_per_float if floats else metres_per_unit)
    if not floats and stored.dtype.itemsize == 2:
        metres[stored == _NO_DEPTH] = 0
    return measured(metres)


def check_size(path: Path | str, size: tuple[int, int], camera: Camera, what: str) -> None:
    """Refuse an image of another size (width, height) than its camera's, before it is decoded.

    Raises:
        CaptureError: of another size.
    """
    if size != (camera.width, camera.height):
        raise CaptureError(
            f"{path}: found a {what} of {size[0]}x{size[1]} pixels; its camera has "
            f"{camera.width}x{camera.height}. All images of a camera must have the size that its intrinsics "
            "were made for: resize the images, or correct the intrinsics"
        )


def _values(path: Path) -> np.ndarray:
    """(h, w) as stored."""
    suffix = path.suffix.lower()
    if suffix not in ARRAY_SUFFIXES:
        return _image_values(path)
    if suffix == ".exr":
        from purify3d.captures.reading.exr import read_exr

        return read_exr(path)
    try:
        if suffix == ".pgm":
            return _pgm_values(path)
        found = load_array(path, _chosen(path)[0])
    except BROKEN as error:
        raise unreadable(path, error) from error
    return found.reshape(_plane(path, found.shape))


def _image_values(path: Path) -> np.ndarray:
    with opened_image(path) as image:
        if not image.mode.startswith(("I", "F")):
            raise CaptureError(
                f"{path}: found a depth image of mode {image.mode!r}; expected a 16-bit single-channel PNG "
                "or TIFF, or floats. Export depth as raw values, not as 8-bit or as a colour map"
            )
        # Older versions of Pillow open 16 bits of PNG as 32, in which 65535 would mean nothing.
        return np.array(image).astype(np.uint16) if image.format == "PNG" else np.array(image)


def _plane(path: Path, shape: tuple[int, ...]) -> tuple[int, int]:
    """(h, w) of an array that may have one channel or stand alone in a batch."""
    sides = [side for side in shape if side != 1] if len(shape) > 2 else list(shape)
    if len(sides) != 2:
        raise CaptureError(f"{path}: found an array of shape {shape}; expected (height, width)")
    return sides[0], sides[1]


def _chosen(path: Path) -> tuple[str, Header]:
    """Name, shape and type of the array that holds depth: the only one, or the one of that name."""
    headers = array_headers(path)
    name = next(iter(headers)) if len(headers) == 1 else "depth"
    if name not in headers:
        held = ", ".join(list(headers)[:8]) or "nothing"
        raise CaptureError(f"{path}: found {held}; expected one array, or one that is called depth")
    dtype = headers[name][1]
    if dtype.kind not in "iuf" or dtype.itemsize < 2:
        raise CaptureError(
            f"{path}: found an array of {dtype}; expected floats (metres) or whole numbers of 16 bits or more"
        )
    return name, headers[name]


def _pgm(path: Path, data: bytes) -> tuple[bytes, int, int, int]:
    """(kind, width, height, where the pixels begin) of a PGM file."""
    found = _PGM.match(data)
    if found is None:
        raise CaptureError(f"{path}: found {data[:12]!r}; expected a PGM image, which begins with P5 or P2")
    width, height, largest = map(int, found.groups()[1:])
    if not 255 < largest <= 65535:
        raise CaptureError(
            f"{path}: found a PGM image with values up to {largest}; expected 16 bits (256 to 65535). Export "
            "depth as raw 16-bit values"
        )
    return found[1], width, height, found.end()


def _pgm_values(path: Path) -> np.ndarray:
    data = path.read_bytes()
    kind, width, height, start = _pgm(path, data)
    if kind == b"P2":
        values = np.array(data[start:].split()[: width * height], dtype=np.float64).astype(np.uint16)
    else:
        whole = min(width * height, (len(data) - start) // 2)
        values = np.frombuffer(data, dtype=">u2", count=whole, offset=start).astype(np.uint16)
    if len(values) < width * height:
        raise CaptureError(
            f"{path}: found {len(values)} of {width}x{height} pixels; the file is cut off. Re-copy the "
            "capture, or delete this frame's files"
        )
    return values.reshape(height, width)

"""Pixels of ROS image messages: colour as RGB, depth as metres.

Messages are sensor_msgs Image and CompressedImage, or anything with their fields. Depth follows REP 118:
16UC1 in mm, 32FC1 in metres. `compressedDepth` is a header of 12 bytes (an integer and two float32 A, B),
then a PNG: of 16UC1 the values themselves, of 32FC1 the quantised inverse q, depth = A / (q - B) and q = 0
for none. References: the comments of both messages, REP 118 and the documentation of
compressed_depth_image_transport.
"""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from PIL import Image

from purify3d.base.files import check_scans
from purify3d.captures.reading.opening import MOST_PIXELS
from purify3d.types.checks import measured

#: Channel order of raw colour images.
_CHANNELS = {"rgb8": [0, 1, 2], "bgr8": [2, 1, 0], "rgba8": [0, 1, 2], "bgra8": [2, 1, 0]}
_GREY = ("mono8", "mono16")
_DEPTHS = ("16UC1", "32FC1", "mono16")
_BYTES = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "mono16": 2, "16UC1": 2, "32FC1": 4}

#: What can be read, for people.
READABLE = "rgb8, bgr8, rgba8, bgra8, mono8, mono16 or jpeg/png for colour, 16UC1 or 32FC1 for depth"

_PNG = b"\x89PNG\r\n\x1a\n"
_HEADER = 12


def kind(message: Any, named_depth: bool) -> str:
    """What a message holds: "color", "grey", "depth", or "" if it cannot be read.

    Args:
        named_depth: its topic is called depth; 16-bit images of other topics are no depth.
    """
    if not hasattr(message, "format"):
        if named_depth and message.encoding in _DEPTHS:
            return "depth"
        return "color" if message.encoding in _CHANNELS else "grey" if message.encoding in _GREY else ""
    raw = message.format.split(";")[0].strip()
    if "compressedDepth" in message.format or (named_depth and raw in _DEPTHS):
        return "depth"
    return "grey" if raw in _GREY else "" if raw in _DEPTHS else "color"


def size(message: Any) -> tuple[int, int]:
    """(width, height); of a compressed image from its header.

    Raises:
        ValueError: no image, or none that memory should hold.
    """
    if hasattr(message, "format"):
        data = bytes(message.data)
        with _opened(data[_HEADER:] if _has_header(data) else data) as image:
            width, height = image.size
    else:
        width, height = int(message.width), int(message.height)
    if not 0 < width * height <= MOST_PIXELS:
        raise ValueError(f"an image of {width}x{height} pixels")
    return width, height


def color(message: Any) -> np.ndarray:
    """(H, W, 3) uint8 RGB.

    Raises:
        ValueError: an encoding that is not read, or fewer bytes than the size needs.
    """
    size(message)
    if hasattr(message, "format"):
        with _opened(bytes(message.data)) as image:
            return np.array(image.convert("RGB"))
    if message.encoding in _CHANNELS:
        return np.ascontiguousarray(_raw(message, np.uint8)[..., _CHANNELS[message.encoding]])
    if message.encoding == "mono8":
        return np.repeat(_raw(message, np.uint8), 3, axis=2)
    if message.encoding == "mono16":
        return np.repeat((_raw(message, np.uint16) >> 8).astype(np.uint8), 3, axis=2)
    raise ValueError(f"encoding {message.encoding!r}, expected {READABLE}")


def depth(message: Any) -> np.ndarray:
    """(h, w) float32 metres along z, 0 = none.

    Raises:
        ValueError: an encoding that is not read, or fewer bytes than the size needs.
    """
    size(message)
    if hasattr(message, "format"):
        return _compressed_depth(bytes(message.data), message.format)
    if message.encoding == "32FC1":
        return measured(_raw(message, np.float32)[..., 0])
    if message.encoding in _DEPTHS:
        return _raw(message, np.uint16)[..., 0].astype(np.float32) * np.float32(0.001)
    raise ValueError(f"encoding {message.encoding!r}, expected {READABLE}")


def _raw(message: Any, dtype: type[np.generic]) -> np.ndarray:
    """(h, w, channels) of an uncompressed image; rows may end with padding."""
    width, height = int(message.width), int(message.height)
    row, step = width * _BYTES[message.encoding], int(message.step)
    data = np.frombuffer(message.data, dtype=np.uint8)
    if step < row or len(data) < step * height:
        raise ValueError(f"{len(data)} bytes for {width}x{height} pixels of {message.encoding}")
    rows = np.ascontiguousarray(data[: step * height].reshape(height, step)[:, :row])
    stored = np.dtype(dtype).newbyteorder(">" if message.is_bigendian else "<")
    return rows.view(stored).reshape(height, width, -1).astype(dtype)


def _has_header(data: bytes) -> bool:
    return data[_HEADER : _HEADER + len(_PNG)] == _PNG


def _compressed_depth(data: bytes, form: str) -> np.ndarray:
    header = _has_header(data)
    with _opened(data[_HEADER:] if header else data) as image:
        if not image.mode.startswith("I"):
            raise ValueError(f"a compressed depth image of mode {image.mode}, expected 16 bits")
        stored = np.array(image).astype(np.float32)
    if not form.startswith("32FC1"):
        return stored * np.float32(0.001)
    if not header:
        raise ValueError("compressed 32FC1 depth without the header that says how it was quantised")
    a, b = struct.unpack_from("<4xff", data)
    with np.errstate(divide="ignore", invalid="ignore"):
        return measured(np.where(stored > 0, np.float32(a) / (stored - np.float32(b)), 0))


def _opened(data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
        if image.size[0] * image.size[1] <= MOST_PIXELS:
            if image.format == "JPEG":
                check_scans(image.fp, "a message")
            image.load()
        return image
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"no whole jpeg or png image ({error})") from error

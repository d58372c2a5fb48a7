"""OpenEXR images of depth, read with the official OpenEXR package (BSD).

A file of one channel is taken whatever it is called: Record3D writes `R`, others `Z` or `Y`. Of several
channels `Z` is the depth by the naming rules of the OpenEXR documentation; colour channels that all hold the
same are a grey image, and anything else would be a guess. Values are metres, which is what apps and renderers
write; the format itself has no unit.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from purify3d.base.errors import CaptureError, require
from purify3d.captures.reading.opening import check_pixels
from purify3d.types.checks import measured


def read_exr(source: str | Path | bytes, name: str | Path | None = None) -> np.ndarray:
    """(h, w) float32 depth as stored, metres along z; not finite and negative become 0 = none.

    Args:
        source: a file, or the bytes of one.
        name: what messages call it; None: the path, or "EXR image".

    Raises:
        CaptureError: no whole EXR file, whole numbers in place of floats, several channels of which none is
            the depth, or an image that is cropped.
        MissingPackageError: OpenEXR is not installed.
    """
    called = _called(source, name)
    check_pixels(str(called), *exr_size(source, called))
    with _opened(source, called, header_only=False) as file:
        header = dict(file.header())
        channels = {key: np.array(channel.pixels) for key, channel in file.channels().items()}
    window: Any = header["dataWindow"]
    display: Any = header.get("displayWindow", window)
    if not np.array_equal(window, display):
        raise CaptureError(
            f"{called}: found pixels of {'x'.join(map(str, _sides(window)))} in an image of "
            f"{'x'.join(map(str, _sides(display)))}; expected all of them. Export it without cropping"
        )
    depth = _depth_channel(channels, called)
    if depth.dtype.kind != "f":
        raise CaptureError(
            f"{called}: found whole numbers ({depth.dtype}); expected metres as 16 or 32-bit floats. Export "
            "depth as float"
        )
    return measured(depth)


def exr_size(source: str | Path | bytes, name: str | Path | None = None) -> tuple[int, int]:
    """(width, height) of an image; reads only its header.

    Raises:
        CaptureError: it is no EXR file.
        MissingPackageError: OpenEXR is not installed.
    """
    with _opened(source, _called(source, name), header_only=True) as file:
        return _sides(file.header()["dataWindow"])


def _called(source: str | Path | bytes, name: str | Path | None) -> str | Path:
    return name or ("EXR image" if isinstance(source, bytes) else source)


@contextmanager
def _opened(source: str | Path | bytes, called: str | Path, *, header_only: bool) -> Iterator[Any]:
    library: Any = require("OpenEXR", "exr")
    data = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    try:
        # Depth images are small, threads of its own would only fight with those of the caller.
        with library.File(data, separate_channels=True, header_only=header_only, num_threads=0) as file:
            yield file
    except Exception as error:
        # The library raises its own kinds, RuntimeError and ValueError among them.
        what = (str(error).splitlines() or [repr(error)])[0]
        raise CaptureError(
            f"{called}: cannot be read as an EXR image ({what}); expected a whole file. Re-copy it, or "
            "delete this frame's files"
        ) from error


def _depth_channel(channels: dict[str, np.ndarray], called: str | Path) -> np.ndarray:
    if len(channels) == 1:
        return next(iter(channels.values()))
    if "Z" in channels:
        return channels["Z"]
    colors = [channels[key] for key in "RGB" if key in channels]
    if colors and all(np.array_equal(colors[0], other, equal_nan=True) for other in colors[1:]):
        return colors[0]
    raise CaptureError(
        f"{called}: found channels {', '.join(sorted(channels)) or 'none'}; expected one channel, or one "
        "called Z. Export depth as values, not as a picture of colours"
    )


def _sides(window: Any) -> tuple[int, int]:
    (left, top), (right, bottom) = window
    return int(right) - int(left) + 1, int(bottom) - int(top) + 1

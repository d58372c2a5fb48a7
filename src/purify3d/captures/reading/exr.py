"""OpenEXR images of depth, read with the official OpenEXR package (BSD).

A file of one channel is taken whatever it is called: Record3D writes `R`, others `Z` or `Y`. Of several
channels `Z` is the depth by the naming rules of the OpenEXR documentation; colour channels that all hold the
same are a grey image, and anything else would be a guess. Values are metres, which is what apps and renderers
write; the format itself has no unit.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from purify3d.base.errors import CaptureError, require

#: More than any depth sensor or renderer delivers; a damaged header could ask for all the memory there is.
_MOST_PIXELS = 2**27


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
    header, channels = _open(source, called)
    window, display = header["dataWindow"], header.get("displayWindow", header["dataWindow"])
    if not all(np.array_equal(a, b) for a, b in zip(window, display, strict=True)):
        raise CaptureError(
            f"{called}: found pixels of {_box(window)} in an image of {_box(display)}; expected all of them. "
            "Export it without cropping"
        )
    depth = _depth_channel(channels, called)
    if depth.dtype.kind != "f":
        raise CaptureError(
            f"{called}: found whole numbers ({depth.dtype}); expected metres as 16 or 32-bit floats. Export "
            "depth as float"
        )
    metres = depth.astype(np.float32)
    return np.where(np.isfinite(metres) & (metres > 0), metres, np.float32(0))


def exr_size(source: str | Path | bytes, name: str | Path | None = None) -> tuple[int, int]:
    """(width, height) of an image; reads only its header.

    Raises:
        CaptureError: it is no EXR file.
        MissingPackageError: OpenEXR is not installed.
    """
    library: Any = require("OpenEXR", "exr")
    try:
        with _file(library, source, header_only=True) as file:
            (left, top), (right, bottom) = file.header()["dataWindow"]
    except Exception as error:
        raise _broken(_called(source, name), error) from error
    return int(right) - int(left) + 1, int(bottom) - int(top) + 1


def _called(source: str | Path | bytes, name: str | Path | None) -> str | Path:
    return name or ("EXR image" if isinstance(source, bytes) else source)


def _open(source: str | Path | bytes, called: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and channels by name, each (h, w)."""
    library: Any = require("OpenEXR", "exr")
    width, height = exr_size(source, called)
    if not 0 < width * height <= _MOST_PIXELS:
        raise CaptureError(
            f"{called}: its header says {width}x{height} pixels; expected an image. Re-copy it"
        )
    try:
        with _file(library, source, header_only=False) as file:
            found = {key: np.array(channel.pixels) for key, channel in file.channels().items()}
            return dict(file.header()), found
    except Exception as error:
        raise _broken(called, error) from error


def _broken(called: str | Path, error: Exception) -> CaptureError:
    # The library raises its own kinds, RuntimeError and ValueError among them.
    what = (str(error).splitlines() or [repr(error)])[0]
    return CaptureError(
        f"{called}: cannot be read as an EXR image ({what}); expected a whole file. Re-copy it, or delete "
        "this frame's files"
    )


def _file(library: Any, source: str | Path | bytes, *, header_only: bool) -> Any:
    # Depth images are small, threads of its own would only fight with those of the caller.
    what = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    return library.File(what, separate_channels=True, header_only=header_only, num_threads=0)


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


def _box(window: Any) -> str:
    (left, top), (right, bottom) = window
    return f"{int(right) - int(left) + 1}x{int(bottom) - int(top) + 1}"

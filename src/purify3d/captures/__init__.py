"""Captures: posed RGB-D frames from disk. The only package that knows file formats of captures.

`open_capture` finds the format and hands back a `Scene`; a format is one module with `EXPECTS` (what the path
must hold, for people), `CONVENTION` and `DIRECTION` (how it stores poses), `recognises(path)` and
`read(path, intrinsics=...)`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from purify3d.captures.config import CaptureConfig, capture_config
from purify3d.captures.finding import FORMATS, is_procedural
from purify3d.captures.reading.sound import guarded
from purify3d.types import Scene

__all__ = ["FORMATS", "CaptureConfig", "capture_config", "guarded", "is_procedural", "open_capture"]


def open_capture(path: str | Path, **settings: Any) -> Scene:
    """Open a capture. Only headers and text files are read; images are read and checked frame by frame later.

        open_capture("my_scan", every=5, up="+z", depth_unit=0.001)

    Reading a damaged image is a CaptureError. `guarded` frames see nothing in its place, and work goes on.

    Args:
        path: a folder or file in one of `FORMATS`, or `synthetic:SEED` (`synthetic:SEED?frames=24`).
        settings: the attributes of `CaptureConfig` by name; units, ranges and defaults stand there.

    Returns:
        At least one frame, each turned by quarter turns so that `up` points to the top of its images.
        `points` is None unless `onto` names a cloud or the capture brings its own. A capture farther than
        1 km from the world's origin is moved near it, and says so in `Scene.origin`.

    Raises:
        CaptureError: nothing there, an unknown format, or a capture that cannot be used.
        ValueError: no setting of that name, or a value it cannot have, such as `every` below 1.
    """
    return capture_config(path, settings).open()

"""The frames of a run's capture, where it is still to be had."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image

from purify3d.base.errors import PurifyError, PurifyWarning
from purify3d.runs import Run
from purify3d.types import Frame

_MOST = 150  # cameras drawn; more hide the scene
_WIDE = 480  # pixels of a photo


@dataclass(frozen=True, eq=False)
class Photos:
    """Frames, evenly spaced; `shift` (3,) metres to add to their positions for the view; what is missing."""

    frames: tuple[Frame, ...]
    shift: np.ndarray
    missing: str


def photos(run: Run, offset: np.ndarray) -> Photos:
    """Open the capture again; without it there are no frames, and `missing` says why.

    Args:
        offset: (3,) metres, what users' coordinates have more than those of the view.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PurifyWarning)  # they were said when the run was made
            scene = run.capture
    except (PurifyError, OSError) as error:
        return Photos((), np.zeros(3), f"no photos are shown, as the capture cannot be opened: {error}")
    step = -(-len(scene.frames) // _MOST) or 1
    some = scene.frames[::step]
    left = "" if step == 1 else f"{len(some)} of {len(scene.frames)} cameras are shown"
    return Photos(some, scene.origin - offset, left)


def thumbnail(frame: Frame) -> np.ndarray:
    """(h, w, 3) uint8, the photo at most 480 pixels wide.

    Raises:
        PurifyError, OSError: it cannot be read.
    """
    image = Image.fromarray(frame.color())
    image.thumbnail((_WIDE, _WIDE))
    return np.asarray(image)

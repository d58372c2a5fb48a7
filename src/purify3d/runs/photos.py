"""Photos that show nothing, or all the same."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from purify3d.base.errors import PurifyError, PurifyWarning
from purify3d.types import Frame

_LOOKED_AT = 6  # frames, spread over the capture
_FLAT = 2.0  # levels of 255; a photo whose pixels vary less shows nothing


def look_at_photos(name: str, frames: Sequence[Frame]) -> None:
    """Look at some colour images, which the 2D model would label whatever they show.

    Warns:
        PurifyWarning: some are of one colour, or all are the same though the cameras differ.
    """
    some = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, _LOOKED_AT).round().astype(int))]
    photos = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PurifyWarning)  # said when the frame is used
        for frame in some:
            try:
                photos.append((frame, frame.color()[::4, ::4]))
            except (PurifyError, OSError):
                continue
    flat = [frame.name for frame, photo in photos if photo.std(axis=(0, 1)).max() < _FLAT]
    same = len(photos) > 1 and all(np.array_equal(photos[0][1], photo) for _, photo in photos[1:])
    moved = any(not np.allclose(f.world_from_camera, photos[0][0].world_from_camera) for f, _ in photos)
    if flat:
        found = f"{len(flat)} of {len(photos)} photos looked at are of one colour ({', '.join(flat[:3])})"
    elif same and moved:
        found = f"all {len(photos)} photos looked at are the same, though the cameras differ"
    else:
        return
    warnings.warn(
        f"{name}: {found}; expected photos of the scene, since labels come from what they show. Export the "
        "colour images again, or leave those frames out",
        PurifyWarning,
        stacklevel=3,
    )

"""The short look at a capture that every run takes before its work."""

from __future__ import annotations

import warnings
from dataclasses import replace

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.captures import CaptureConfig
from purify3d.captures.conventions import Stored
from purify3d.checking import cloud_fit, examine, look
from purify3d.runs.photos import look_at_photos
from purify3d.types import Scene

_FRAMES = 10  # that are looked at for mistakes that all have


def look_before(scene: Scene, capture: CaptureConfig) -> None:
    """Look frames up in each other, and the cloud that is to be labelled in them.

    Args:
        scene: as it will be used; capture: how it was opened, to read it again where something is wrong.

    Raises:
        CaptureError: most pixels contradict each other, whether or not one of the usual mistakes explains it.

    Warns:
        PurifyWarning: frames contradict each other, it cannot be told whether they do, photos show nothing,
            or the cloud does not lie where they see it.
    """
    if not scene.frames:
        return
    look_at_photos(scene.name, scene.frames)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PurifyWarning)  # said when it was opened
        try:
            whole, stored = capture.whole()
        except CaptureError:  # a scene of one's own has no files to be read again
            whole, stored = scene, Stored()
    used = {frame.name for frame in scene.frames}
    frames = tuple(frame for frame in whole.frames if frame.name in used) or whole.frames
    report = examine(replace(whole, frames=frames), stored, max_depth=capture.max_depth, count=_FRAMES)
    if report.hopeless:
        raise CaptureError(f"{scene.name}: {report.verdict}. (--no-check goes on as it is)")
    if not report.good and len(frames) > 1:
        warnings.warn(f"{scene.name}: {report.verdict}", PurifyWarning, stacklevel=3)
    if report.far is not None:
        warnings.warn(f"{scene.name}: {report.far}", PurifyWarning, stacklevel=3)
    if capture.onto is not None and scene.points is not None:
        fit = cloud_fit(scene.points.xyz.numpy(), look(scene.frames, count=_FRAMES))
        if not fit.good:
            warnings.warn(f"{capture.onto}: {fit.sentence()}", PurifyWarning, stacklevel=3)

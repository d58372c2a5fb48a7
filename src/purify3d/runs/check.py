"""The short look at a capture that every run takes before its work."""

from __future__ import annotations

import warnings

from purify3d.checking import GOOD, WRONG, agreement, cloud_fit, examine, look
from purify3d.errors import CaptureError, PurifyWarning
from purify3d.job import CaptureConfig
from purify3d.types import Scene

_FRAMES = 10  # that are looked at


def look_before(scene: Scene, capture: CaptureConfig) -> None:
    """Look a few frames up in each other, and the cloud that is to be labelled in them.

    Args:
        scene: as it will be used; capture: how it was opened, to read it again where something is wrong.

    Raises:
        CaptureError: most pixels contradict each other, and one of the usual mistakes explains it.

    Warns:
        PurifyWarning: frames contradict each other, or the cloud does not lie where they see it.
    """
    views = look(scene.frames, count=_FRAMES)
    if not agreement(views).share >= GOOD and len(views) > 1:
        whole, stored = capture.whole()
        report = examine(whole, stored, max_depth=capture.max_depth)
        if report.found is not None and not report.agreement.share >= WRONG:
            raise CaptureError(f"{scene.name}: {report.verdict}. (--no-check goes on as it is)")
        if report.agreement.share < GOOD:
            warnings.warn(f"{scene.name}: {report.verdict}", PurifyWarning, stacklevel=3)
    if capture.onto is not None and scene.points is not None:
        fit = cloud_fit(scene.points.xyz.numpy(), views)
        if not fit.good:
            warnings.warn(f"{capture.onto}: {fit.sentence()}", PurifyWarning, stacklevel=3)

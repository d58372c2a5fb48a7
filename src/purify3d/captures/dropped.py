"""Frames that cannot be used: one never stops a capture, all are counted and named, most are an error."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from purify3d.captures.poses import far_away
from purify3d.errors import CaptureError, PurifyWarning
from purify3d.types import Frame

_NAMED = 4
_Key = TypeVar("_Key")


class Dropped:
    """What was left out of one capture, and why.

    Attributes:
        missing: frame -> which file it lacks.
        bad: frame -> what is wrong with its pose, its keys or its images.
        lost: frames whose pose is not finite: lost tracking, which is counted and not said.
    """

    def __init__(self, where: Path) -> None:
        """Of the capture at `where`."""
        self.where = where
        self.missing: dict[str, str] = {}
        self.bad: dict[str, str] = {}
        self.lost = 0

    def keep_near(self, frames: Sequence[Frame]) -> list[Frame]:
        """The frames without those far away from all others, which are counted as bad."""
        far = far_away([frame.world_from_camera for frame in frames])
        for frame, lost in zip(frames, far, strict=True):
            if lost:
                x, y, z = frame.world_from_camera[:3, 3]
                self.bad[frame.name] = f"its camera is far from all others, at ({x:.4g}, {y:.4g}, {z:.4g}) m"
        return [frame for frame, lost in zip(frames, far, strict=True) if not lost]

    def settle(self, kept: int, also: str = "") -> None:
        """Say what was left out; refuse a capture of which nothing, or less than half, is left.

        Args:
            kept: number of frames that can be used.
            also: what to add where no frame is left.

        Raises:
            CaptureError: no frame is left, or more are bad than can be used.

        Warns:
            PurifyWarning: frames are left out.
        """
        if len(self.bad) > kept:
            name, why = next(iter(self.bad.items()))
            count = f"{len(self.bad)} of {len(self.bad) + kept} frames cannot be used; {name}: "
            raise CaptureError(why if len(self.bad) + kept == 1 else f"{self.where}: {count}{why}")
        if not kept:
            raise CaptureError(
                f"{self.where}: found no usable frame ({len(self.missing)} lack a colour, depth or pose "
                f"file, {self.lost} have a pose that is not finite); expected at least one with all three. "
                f"Re-copy or re-export it{also}"
            )
        reasons = {**self.bad, **self.missing}
        if reasons:
            named = "; ".join(f"{name} ({self._short(why)})" for name, why in list(reasons.items())[:_NAMED])
            more = f"; and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
            are = "frame is" if len(reasons) == 1 else "frames are"
            warnings.warn(
                f"{self.where}: {len(reasons)} {are} left out: {named}{more}", PurifyWarning, stacklevel=3
            )

    def _short(self, why: str) -> str:
        """What was found, without the path that all share and the advice that follows."""
        return why.removeprefix(f"{self.where}/").removeprefix(f"{self.where}, ").split("; ")[0]

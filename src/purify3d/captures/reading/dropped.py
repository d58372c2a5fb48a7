"""Frames that cannot be used: one never stops a capture, all are counted and named, most are an error."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.captures.reading.images import guess_up
from purify3d.captures.reading.poses import far_away
from purify3d.types import Frame, PointCloud, Scene

#: How many reasons are named, and how many frames are named with each.
_REASONS, _NAMED = 4, 3
_LONGEST = 60  # characters of a name that are shown
_Made = TypeVar("_Made")


class Dropped:
    """What was left out of one capture, and why.

    Attributes:
        lost: frames whose pose is not finite: lost tracking, which is counted (`Scene.skipped`) and not said.
    """

    def __init__(self, where: Path) -> None:
        """Of the capture at `where`."""
        self.where = where
        self.lost = 0
        self._bad: list[tuple[str, str]] = []
        self._lacking: list[tuple[str, str]] = []

    def lacks(self, name: str, what: str) -> None:
        """Leave a frame out that has no image or pose, as many have in some formats: "no depth image"."""
        self._lacking.append((name, what))

    def is_whole(self, name: str, parts: Mapping[str, bool], kind: str = "") -> bool:
        """Whether all parts of a frame are there. It is left out if not: "no depth and no pose file".

        Args:
            parts: whether each is there, by what it is called; kind: what stands behind their names.
        """
        missing = [what for what, there in parts.items() if not there]
        if missing:
            self.lacks(name, f"no {' and no '.join(missing)}{kind}")
        return not missing

    def refuse(self, name: str, why: str) -> None:
        """Leave a frame out with which something is wrong."""
        self._bad.append((name, why))

    def attempt(self, name: str, make: Callable[[], _Made | None]) -> _Made | None:
        """What `make` gives. None, and the frame is left out: it raised CaptureError, or gave None, which
        stands for a pose that is not finite."""
        try:
            made = make()
        except CaptureError as error:
            self.refuse(name, str(error))
            return None
        self.lost += made is None
        return made

    def scene(
        self,
        frames: Sequence[Frame],
        up: np.ndarray | None = None,
        *,
        name: str | None = None,
        points: PointCloud | None = None,
        truth: Mapping[int, str] | None = None,
        files: tuple[Path, ...] = (),
    ) -> Scene:
        """The scene of the frames that can be used, without those far away from all others.

        Args:
            up: (3,) direction against gravity; None: guessed.
            name: None: the last part of the capture's path.

        Raises:
            CaptureError: as `settle`.

        Warns:
            PurifyWarning: as `settle`.
            UpWarning: as `images.guess_up`.
        """
        kept = []
        for frame, far in zip(frames, far_away([f.world_from_camera for f in frames]), strict=True):
            if far:
                x, y, z = frame.world_from_camera[:3, 3]
                self.refuse(
                    frame.name, f"its camera is far from all others, at ({x:.4g}, {y:.4g}, {z:.4g}) m"
                )
            else:
                kept.append(frame)
        self.settle(len(kept))
        up = guess_up(kept) if up is None else up
        name = self.where.resolve().name if name is None else name
        return Scene(name, tuple(kept), up, points, truth or {}, self.lost, files)

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
        if len(self._bad) > kept and (kept or not (self._lacking or self.lost)):
            (name, why), some = self._bad[0], len(self._bad) + kept
            count = f"{len(self._bad)} of {some} frames cannot be used; {name}: "
            raise CaptureError(why if some == 1 else f"{self.where}: {count}{why}")
        if not kept:
            lost = [("", f"{self.lost} have a pose that is not finite")] if self.lost else []
            why = self._grouped([*self._bad, *self._lacking, *lost])
            raise CaptureError(
                f"{self.where}: found no usable frame{f': {why}' if why else ''}; expected at least one "
                f"with a colour image, a depth image and a pose. Re-copy or re-export it{also}"
            )
        reasons = [*self._bad, *self._lacking]
        if reasons:
            are = "frame is" if len(reasons) == 1 else "frames are"
            warnings.warn(
                f"{self.where}: {len(reasons)} {are} left out: {self._grouped(reasons)}",
                PurifyWarning,
                stacklevel=3,
            )

    def _grouped(self, reasons: Sequence[tuple[str, str]]) -> str:
        groups: dict[str, list[str]] = {}
        for name, why in reasons:
            groups.setdefault(self._short(why), []).append(name)
        shown = [why + self._some(names) for why, names in list(groups.items())[:_REASONS]]
        rest = sum(len(names) for names in list(groups.values())[_REASONS:])
        return "; ".join([*shown, *([f"and {rest} more"] if rest else [])])

    def _some(self, names: Sequence[str]) -> str:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        shown = (name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..." for name in names[:_NAMED])
        return f" ({', '.join(shown)}{more})" if names[0] else ""

    def _short(self, why: str) -> str:
        """What was found without the folder all share, the number in the name of the file and the advice."""
        found = re.split(r"; |\. (?=[A-Z])", why)[0]
        head, _, rest = found.partition(": ")
        home = self.where.parent if self.where.is_file() else self.where
        member, _, archive = head.rpartition(" in ")
        file = head.split(", ")[0]
        if archive == str(self.where):
            inside = member
        elif rest and file.startswith(str(home)):
            inside = "" if file == str(self.where) else file.removeprefix(str(home)).lstrip("/")
        else:
            return found
        return f"{re.sub('[0-9]+', '*', inside)}: {rest}" if inside else rest

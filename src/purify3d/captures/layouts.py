"""What readers of plain layouts share: frames that cannot be used are left out by name, sizes are settled."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from purify3d import geometry
from purify3d.captures import images
from purify3d.errors import CaptureError, PurifyWarning
from purify3d.types import Camera

#: Suffixes of colour images.
COLORS = (".jpg", ".jpeg", ".png")

_NAMED = 3
_NOT_FINITE = "a pose that is not finite"


@dataclass(frozen=True)
class Entry:
    """A frame that has both images and a pose.

    Attributes:
        world_from_camera: (4, 4) float64, rigid, OpenCV axes, metres.
        files: what else it was read from.
    """

    name: str
    color: Path
    depth: Path
    world_from_camera: np.ndarray
    files: tuple[Path, ...] = ()


@dataclass
class LeftOut:
    """The frames of a capture that cannot be used, each with the reason."""

    source: Path
    reasons: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, why: str) -> None:
        """Leave a frame out; `why` follows the word "with", such as "a missing depth image"."""
        self.reasons.setdefault(why, []).append(name)

    @property
    def skipped(self) -> int:
        """How many had a pose that is not finite, which is how formats say that tracking was lost."""
        return len(self.reasons.get(_NOT_FINITE, ()))

    def pose(self, name: str, values: np.ndarray, source: Path) -> np.ndarray | None:
        """(4, 4) float64 of a stored (3, 4) or (4, 4) pose; None, and the frame left out, if it is none."""
        try:
            pose = images.rigid_pose(values, source)
        except CaptureError:
            self.add(name, "a pose whose 3x3 part is no rotation")
            return None
        if pose is None:
            self.add(name, _NOT_FINITE)
        return pose

    def size(self, name: str, path: Path | None, what: str) -> tuple[int, int] | None:
        """(width, height) of an image; None, and the frame is left out, if it is missing or unreadable."""
        if path is None or not path.is_file():
            self.add(name, f"a missing {what}")
            return None
        try:
            return images.image_size(path)
        except CaptureError:
            self.add(name, f"an unreadable {what}")
            return None

    def report(self, frames: Sized) -> None:
        """Say what was left out.

        Raises:
            CaptureError: no frame is left.

        Warns:
            PurifyWarning: some are left out for another reason than lost tracking (`Scene.skipped`).
        """
        told = {why: names for why, names in self.reasons.items() if not frames or why != _NOT_FINITE}
        said = "; ".join(f"{len(names)} with {why} ({_some(names)})" for why, names in told.items())
        if not frames:
            raise CaptureError(
                f"{self.source}: found no usable frame{f': {said}' if said else ''}; expected at least one "
                "with a colour image, a depth image and a pose. Re-copy or re-export it"
            )
        if said:
            warnings.warn(f"{self.source}: frames are left out: {said}", PurifyWarning, stacklevel=3)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def of_one_size(
    entries: Iterable[Entry], left: LeftOut
) -> tuple[list[Entry], tuple[int, int], tuple[int, int]]:
    """The entries whose images have the sizes that most have, and these (width, height) of colour and depth.

    Raises:
        CaptureError: no entry has two readable images.
    """
    sized = []
    for entry in entries:
        size = left.size(entry.name, entry.color, "colour image")
        if size is None:
            continue
        depth_size = left.size(entry.name, entry.depth, "depth image")
        if depth_size is not None:
            sized.append((entry, (size, depth_size)))
    if not sized:
        left.report(())
    usual = Counter(sizes for _, sizes in sized).most_common(1)[0][0]
    for entry, sizes in sized:
        if sizes != usual:
            left.add(entry.name, "images of another size than most")
    return [entry for entry, sizes in sized if sizes == usual], *usual


def resampled(camera: Camera, size: tuple[int, int], depth: Path) -> Camera:
    """The camera of a depth image of (width, height) `size` that shows what the colour image shows.

    Raises:
        CaptureError: other proportions, so that it shows something else.
    """
    width, height = size
    if not np.isclose(width * camera.height, height * camera.width, rtol=0.01):
        raise CaptureError(
            f"{depth}: found a depth image of {width}x{height} pixels beside a colour image of "
            f"{camera.width}x{camera.height}; expected the same proportions, since both share one camera. "
            "Crop one to the view of the other"
        )
    return geometry.resize_camera(camera, width, height)


def is_turn(quaternion: Sequence[float] | np.ndarray) -> bool:
    """Whether four numbers can be a unit quaternion; what is far from length 1 was damaged."""
    values = np.asarray(quaternion, dtype=np.float64)
    return bool((np.abs(values) < 2).all() and abs(np.linalg.norm(values) - 1) < 0.1)


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts frame10 after frame9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name)]


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without blank ones at its end.

    Raises:
        CaptureError: missing or unreadable.
    """
    if not path.is_file():
        raise CaptureError(f"{path} is missing or no file; expected a list of poses. Re-copy the capture")
    try:
        return path.read_text(errors="replace").rstrip().splitlines()
    except OSError as error:
        raise CaptureError(f"{path}: cannot be read ({error.strerror}); re-copy the capture") from error


def numbers(words: str, count: int) -> np.ndarray | None:
    """(count,) float64 of a line of numbers, nan and inf included; None if it holds anything else."""
    try:
        values = np.array([float(word) for word in words.split()])
    except ValueError:
        return None
    return values if len(values) == count else None

"""What captures of iPhones and iPads share: ARKit's confidence, depth smaller than colour, frames left out.

ARKit gives each depth pixel a confidence, 0 low, 1 medium, 2 high (ARConfidenceLevel). Low confidence is
mostly on silhouettes, glass and what is far away, where depth can be wrong by much: it is left out.
ARKit's principal points are offsets from the top left corner of the image (ARCamera.intrinsics).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.captures.reading import depths, images
from purify3d.captures.reading.dropped import Dropped
from purify3d.captures.reading.images import Intrinsics, Size
from purify3d.captures.reading.keys import parse_json
from purify3d.captures.reading.poses import is_known
from purify3d.grid import projection
from purify3d.types import Camera, Frame, Scene

#: Depth of a lower confidence is left out.
LOWEST_CONFIDENCE = 1

#: ARKit's worlds are aligned with gravity (ARConfiguration.WorldAlignment.gravity).
UP = np.array([0.0, 1.0, 0.0])

#: Metres per unit of depth in PNGs.
METRES = 0.001


def read_depth(depth: Path, confidence: Path | None, camera: Camera) -> np.ndarray:
    """(h, w) float32 metres of a 16-bit PNG in mm, 0 = none or of low confidence.

    Raises:
        CaptureError: one of the two images is unreadable, of another kind, or not of the camera's size.
    """
    metres = depths.read_depth(depth, camera, METRES)
    if confidence is None:
        return metres
    return confident(metres, images.read_ids(confidence, camera, "confidence image"))


def frame(
    name: str,
    world_from_camera: np.ndarray,
    camera: Camera,
    read_color: Callable[[], np.ndarray],
    color: Path,
    depth: Path,
    confidence: Path | None,
    *files: Path | None,
) -> Frame:
    """A frame whose depth shows the view of the colour camera, without what is of low confidence.

    Args:
        read_color: (H, W, 3) uint8 of the file `color`.
        depth: 16-bit PNG in mm; confidence: an image of its size, None: all depth is used.
        files: what else the frame was read from.

    Raises:
        CaptureError: as `images.image_size` of depth, or it has other proportions than colour.
    """
    depth_camera = images.resized(camera, images.image_size(depth), "depth image", depth)
    return Frame(
        name=name,
        camera=camera,
        depth_camera=depth_camera,
        world_from_camera=world_from_camera,
        color=read_color,
        depth=partial(read_depth, depth, confidence, depth_camera),
        depth_unit=METRES,
        files=tuple(file for file in (color, depth, confidence, *files) if file is not None),
    )


def confident(metres: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Depth (h, w) without what is of low confidence (h, w)."""
    return np.where(confidence >= LOWEST_CONFIDENCE, metres, np.float32(0))


def make_camera(
    intrinsics: Intrinsics | None, arkit: Sequence[float], made_for: Size, size: Size, source: Path | str
) -> Camera:
    """The colour camera of images of `size`.

    Args:
        intrinsics: given by hand for these images, integer pixel centres; they win.
        arkit: fx, fy, cx, cy in pixels from the corner of an image of the size `made_for`.

    Raises:
        CaptureError: not numbers a camera can have, or the two sizes differ in proportions.
    """
    if intrinsics is not None:
        return images.make_camera(intrinsics, size, "--intrinsics", warn=False)
    fx, fy, cx, cy = (float(value) for value in arkit)
    camera = images.make_camera((fx, fy, cx - 0.5, cy - 0.5), made_for, source, warn=False)
    return images.resized(camera, size, "colour image", source)


def pose_from_quaternion(values: Sequence[float], what: str) -> np.ndarray | None:
    """(4, 4) from qx qy qz qw tx ty tz; None where it is not finite.

    Raises:
        CaptureError: no 7 numbers, or a quaternion far from unit length.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.shape != (7,):
        raise CaptureError(f"{what}: found {numbers.size} numbers; expected a quaternion and a position, 7")
    if not is_known(numbers, what):
        return None
    length = float(np.linalg.norm(numbers[:4]))
    if abs(length - 1) > 0.01:
        raise CaptureError(
            f"{what}: found a quaternion of length {length:.3g}; expected 1, in the order x y z w"
        )
    return projection.pose_from_quaternion(numbers[:4], numbers[4:])


def read_json(text: str | bytes, source: Path | str) -> dict[str, Any]:
    """An object of JSON.

    Raises:
        CaptureError: it is none.
    """
    found = parse_json(text, source)
    if not isinstance(found, dict):
        raise CaptureError(f"{source}: found {type(found).__name__}; expected an object of JSON")
    return found


class Sieve(Dropped):
    """Frames of a phone that can be used; the others are counted and named."""

    def __init__(self, where: Path) -> None:
        """Of the capture at `where`."""
        super().__init__(where)
        self._frames: list[Frame] = []
        self._sure, self._unsure = 0, list[str]()

    def add(self, name: str, make: Callable[[], Frame | None], confidence: Path | str | None) -> None:
        """Keep what `make` gives; None: the pose is not finite. What it raises is noted.

        Args:
            confidence: the image of confidence that `make` uses, None where the frame has none.
        """
        self._sure += confidence is not None
        self._unsure += [name] if confidence is None else []
        frame = self.attempt(name, partial(_checked, make))
        if frame is not None:
            self._frames.append(frame)

    def done(self, up: np.ndarray = UP, **others: Any) -> Scene:
        """The scene of the frames; parameters, errors and warnings as of `scene`.

        Warns:
            PurifyWarning: some frames have no confidence image, so that all of their depth is used, or the
                intrinsics look made for other images.
        """
        if self._sure and self._unsure:
            warnings.warn(
                f"{self.where}: {len(self._unsure)} frames have no confidence image "
                f"({', '.join(self._unsure[:3])}); all of their depth is used",
                PurifyWarning,
                stacklevel=3,
            )
        scene = self.scene(self._frames, up, **others)
        complaint = images.off_centre(scene.frames[0].camera)  # once, and not for each frame
        if complaint is not None:
            warnings.warn(f"{self.where}: {complaint}", PurifyWarning, stacklevel=3)
        return scene


def _checked(make: Callable[[], Frame | None]) -> Frame | None:
    """What `make` gives; what values of JSON from strangers make it raise is a CaptureError."""
    try:
        return make()
    except KeyError as error:
        raise CaptureError(f"found no {error}") from error
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CaptureError(str(error)) from error

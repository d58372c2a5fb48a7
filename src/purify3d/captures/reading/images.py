"""What all readers of image folders share: checked reading of images, cameras and poses; undistortion."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy.ndimage import map_coordinates

from purify3d.base import axes
from purify3d.base.errors import CaptureError, PurifyWarning, UpWarning
from purify3d.captures.reading.depths import (
    check_size,
    header,
    read_depth,
    stored_in_metres,
)
from purify3d.captures.reading.opening import MOST_PIXELS, opened_image
from purify3d.grid import projection
from purify3d.types import Camera, Frame

#: Names of colour images end with one of these; of several of one name the first is taken.
COLOR_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".ppm", ".pgm")
#: Pillow modes of a single channel of integers; 16-bit files open as one of the last four.
_INTEGER_MODES = ("L", "P", "I", "I;16", "I;16B", "I;16L")
#: Per cent of the pixels of a 16-bit grey image that may become black, and as many white.
_CLIPPED = 0.5
#: A principal point is off where it lies this share of the size from the middle; two shares that are equal
#: within the second number, and at least the third, speak of an image of another size.
_OFF_CENTRE, _ALIKE, _OTHER_SIZE = 0.2, 0.02, 0.08


#: fx, fy, cx, cy in pixels; and width and height.
Intrinsics = tuple[float, float, float, float]
Size = tuple[int, int]


@dataclass(frozen=True)
class Lens:
    """Brown-Conrady distortion in OpenCV's names, applied to normalised image coordinates."""

    k1: float = 0.0
    k2: float = 0.0
    p1: float = 0.0
    p2: float = 0.0
    k3: float = 0.0


def image_size(path: Path) -> Size:
    """(width, height) of a colour or depth image; reads only its header.

    Raises:
        CaptureError: no ordinary file, no image, or of more than 64 million pixels.
    """
    return header(path)[:2]


def read_color(path: Path, camera: Camera) -> np.ndarray:
    """(H, W, 3) uint8 RGB.

    An orientation tag of the file is ignored: intrinsics and depth belong to the pixels as they are stored.
    Grey images of more than 8 bits (thermal, infrared) have no white that all cameras share: their darkest
    and brightest half per cent become black and white. Transparency is dropped.

    Raises:
        CaptureError: unreadable, or not of the camera's size.
    """
    with opened_image(path) as image:
        check_size(path, image.size, camera, "colour image")
        if not image.mode.startswith(("I", "F")):
            return np.array(image.convert("RGB"))
        grey = np.array(image)
    known = grey[np.isfinite(grey)].astype(np.float64)
    ends = [_CLIPPED, 100 - _CLIPPED]
    low, high = np.percentile(known, ends, overwrite_input=True) if known.size else (0.0, 0.0)
    del known
    result = np.empty((*grey.shape, 3), dtype=np.uint8)
    for row, values in enumerate(grey):  # all at once would take gigabytes of a large image
        known = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
        result[row] = np.rint(np.clip((known - low) / max(high - low, 1e-12), 0, 1) * 255)[:, None]
    return result


def read_ids(path: Path, camera: Camera, what: str = "label image") -> np.ndarray:
    """(h, w) int32, an image of ids as stored; messages call it `what`.

    Raises:
        CaptureError: unreadable, not a single channel, or not of the camera's size.
    """
    with opened_image(path) as image:
        check_size(path, image.size, camera, what)
        if image.mode not in _INTEGER_MODES:
            raise CaptureError(
                f"{path}: found a {what} of mode {image.mode!r}; expected one channel of integer ids"
            )
        return np.array(image).astype(np.int32)


def read_mask(path: Path, camera: Camera) -> np.ndarray:
    """(h, w) bool, true where the mask is not black; it is scaled to the size of the camera.

    Raises:
        CaptureError: unreadable, or of other proportions.
    """
    with opened_image(path) as image:
        width, height = image.size
        if not same_view((width, height), (camera.width, camera.height)):
            check_size(path, image.size, camera, "mask")
        grey = image if image.mode in _INTEGER_MODES[2:] else image.convert("L")
        kept = np.array(grey) != 0
    rows = (2 * np.arange(camera.height) + 1) * height // (2 * camera.height)
    columns = (2 * np.arange(camera.width) + 1) * width // (2 * camera.width)
    return np.asarray(kept[rows[:, None], columns])


def make_camera(intrinsics: Sequence[float], size: Size, source: Path | str, *, warn: bool = True) -> Camera:
    """Camera from (fx, fy, cx, cy) in pixels, integer pixel centres, and (width, height).

    Args:
        warn: say so where `off_centre` has something to say.

    Raises:
        CaptureError: not numbers a camera can have, or made for images of another size.

    Warns:
        PurifyWarning: the principal point lies far from the middle.
    """
    fx, fy, cx, cy = (float(value) for value in intrinsics)
    width, height = size
    if not 0 < width * height <= MOST_PIXELS:
        wide, high = (side if abs(side) <= MOST_PIXELS else "beyond 64 million" for side in size)
        raise CaptureError(f"{source}: found intrinsics of an image of {wide}x{high} pixels; correct them")
    if np.isfinite([cx, cy]).all() and not (-0.5 <= cx <= width - 0.5 and -0.5 <= cy <= height - 0.5):
        raise CaptureError(
            f"{source}: found the principal point ({cx:g}, {cy:g}) outside the image of {width}x{height} "
            "pixels; the intrinsics were made for another image size"
            f"{_made_for(cx, cy, width, height)}. Scale fx, fy, cx, cy to this size"
        )
    try:
        camera = Camera(fx, fy, cx, cy, width, height)
    except ValueError as error:
        raise CaptureError(f"{source}: {error}; correct the intrinsics") from error
    complaint = off_centre(camera)
    if warn and complaint is not None:
        warnings.warn(f"{source}: {complaint}", PurifyWarning, stacklevel=3)
    return camera


def off_centre(camera: Camera) -> str | None:
    """What to say where the principal point speaks against intrinsics of images of this size."""
    width, height = camera.width, camera.height
    across, down = (camera.cx + 0.5) / width, (camera.cy + 0.5) / height
    made_for = _made_for(camera.cx, camera.cy, width, height)
    if max(abs(across - 0.5), abs(down - 0.5)) <= _OFF_CENTRE and not made_for:
        return None
    return (
        f"cx, cy = ({camera.cx:g}, {camera.cy:g}) is far from the middle of {width}x{height}: the intrinsics "
        f"look made for {made_for.strip(' ()') or 'images of another size, or cropped ones'}. If so, "
        "scale fx, fy, cx, cy to the images, or pass --intrinsics fx,fy,cx,cy"
    )


def _made_for(cx: float, cy: float, width: int, height: int) -> str:
    """` (640x480)`, where the principal point is the middle of an image of another size."""
    across, down = 2 * (cx + 0.5) / width, 2 * (cy + 0.5) / height
    # Images of a few pixels have no middle to speak of.
    clear = min(width, height) >= 64 and across > 0 and down > 0
    if not clear or abs(across / down - 1) > _ALIKE or abs(across - 1) < _OTHER_SIZE:
        return ""
    # Which of both is rounded does not matter: the size is for people.
    return f" ({round(2 * cx)}x{round(2 * cy)})"


def same_view(a: Size, b: Size) -> bool:
    """Whether images of two sizes, (width, height), can show the same: proportions within 1 %, or as far
    apart as rounding a side to whole pixels explains."""
    (w, h), (other_w, other_h) = a, b
    rounded = min(abs(h - other_h * w / other_w), abs(w - other_w * h / other_h)) <= 1
    return min(w, h) >= 1 and (rounded or bool(np.isclose(w * other_h, h * other_w, rtol=0.01)))


def resized(camera: Camera, size: Size, what: str, source: Path | str) -> Camera:
    """The camera of the same view in an image of another size, such as the depth beside a colour image.

    Args:
        size: (width, height); what: the image is called in messages.

    Raises:
        CaptureError: other proportions, so that it shows something else.
    """
    if not same_view(size, (camera.width, camera.height)):
        raise CaptureError(
            f"{source}: found a {what} of {size[0]}x{size[1]} pixels for a camera of "
            f"{camera.width}x{camera.height}; expected the same proportions, since both show the same view. "
            "Use the images as they were exported, or crop one to the view of the other"
        )
    return projection.resize_camera(camera, *size)


def guess_up(frames: Sequence[Frame]) -> np.ndarray:
    """`axes.guess_up` of frames, with a warning where the cameras hardly agree.

    Warns:
        UpWarning: as many cameras hang as stand, or all were held sideways: the guess has no ground.
    """
    poses = np.stack([frame.world_from_camera for frame in frames])
    agreement = float(np.linalg.norm(poses[:, :3, 1].mean(axis=0)))
    up = axes.guess_up(poses)
    if agreement < 0.3:
        warnings.warn(
            f"the cameras do not agree on which way is up ({agreement:.0%} agreement); "
            f"{axes.describe_axis(up)} is assumed. Say it with --up if this is wrong",
            UpWarning,
            stacklevel=3,
        )
    return up


def file_frame(
    name: str,
    world_from_camera: np.ndarray,
    camera: Camera,
    depth_camera: Camera,
    *,
    color: Path,
    depth: Path,
    metres_per_unit: float = 0.001,
    metres_per_float: float | None = None,
    label: Path | None = None,
    ids: Callable[[np.ndarray], np.ndarray] | None = None,
    instance: Path | None = None,
    mask: Path | None = None,
    lens: Lens | None = None,
    files: Sequence[Path] = (),
) -> Frame:
    """A frame whose images lie in files and are read, checked and undistorted when asked for.

    Args:
        metres_per_unit: of depth that is stored in whole numbers.
        metres_per_float: of depth that is stored in floats, where the capture says it; None: they are metres.
        label: image of label ids in the depth camera.
        ids: turns what it stores (0 = none) into int32 truth ids, -1 = none; None: it stores id + 1.
        instance: image of object ids + 1 in the depth camera, 0 = none.
        mask: image of the colour camera; where it is 0 the frame has neither depth nor truth.
        lens: distortion of both images, which share it where depth was registered to colour.
        files: what else the frame was read from, such as its pose.
    """
    read_truth = partial(_ids, depth_camera, lens, mask)
    unit: float | None = metres_per_unit
    if depth.suffix.lower() not in (".png", ".pgm"):
        unit = metres_per_float if stored_in_metres(depth) else metres_per_unit
    return Frame(
        name=name,
        camera=camera,
        depth_camera=depth_camera,
        world_from_camera=world_from_camera,
        color=partial(_color, color, camera, lens),
        depth=partial(_depth, depth, depth_camera, lens, mask, metres_per_unit, metres_per_float or 1.0),
        label=None if label is None else partial(read_truth, label, "label image", ids),
        instance=None if instance is None else partial(read_truth, instance, "mask of objects"),
        depth_unit=unit,
        files=tuple(file for file in (color, depth, label, instance, mask, *files) if file is not None),
    )


# Module-level functions in `partial`, not closures, so that frames can be sent to other processes.
def _color(path: Path, camera: Camera, lens: Lens | None) -> np.ndarray:
    return undistort(read_color(path, camera), camera, lens, smooth=True)


def _depth(
    path: Path,
    camera: Camera,
    lens: Lens | None,
    mask: Path | None,
    metres_per_unit: float,
    metres_per_float: float,
) -> np.ndarray:
    return _seen(read_depth(path, camera, metres_per_unit, metres_per_float), camera, lens, mask)


def _ids(
    camera: Camera,
    lens: Lens | None,
    mask: Path | None,
    path: Path,
    what: str,
    ids: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    stored = _seen(read_ids(path, camera, what), camera, lens, mask)
    return stored - 1 if ids is None else ids(stored)


def _seen(image: np.ndarray, camera: Camera, lens: Lens | None, mask: Path | None) -> np.ndarray:
    """Depth or ids (h, w) as an ideal camera has them, 0 outside the mask."""
    if mask is not None:
        image[~read_mask(mask, camera)] = 0
    return undistort(image, camera, lens, smooth=False)


def undistort(image: np.ndarray, camera: Camera, lens: Lens | None, *, smooth: bool) -> np.ndarray:
    """The image an ideal pinhole camera with the same intrinsics would have taken, same shape and dtype.

    Args:
        image: (h, w) or (h, w, channels), as the lens gave it.
        lens: None: the image is returned as it is.
        smooth: bilinear, for colour; otherwise nearest, for depth and ids, which must not be mixed.

    Returns:
        Pixels that the lens did not see are 0.
    """
    if lens is None:
        return image
    v, u = np.mgrid[: camera.height, : camera.width].astype(np.float64)
    ideal = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy], axis=-1)
    distorted = projection.distort(ideal, lens.k1, lens.k2, lens.p1, lens.p2, lens.k3)
    column, row = distorted[..., 0] * camera.fx + camera.cx, distorted[..., 1] * camera.fy + camera.cy
    x, y = np.rint(column).astype(np.int64), np.rint(row).astype(np.int64)
    inside = (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
    result = np.zeros_like(image)
    if not smooth:
        result[inside] = image[y[inside], x[inside]]
        return result
    at = np.stack([row[inside], column[inside]])
    for channel in range(image.shape[2]):
        # float32 and rounding by hand: map_coordinates would truncate to uint8.
        plane = image[..., channel].astype(np.float32)
        result[inside, channel] = np.rint(map_coordinates(plane, at, order=1, mode="nearest")).astype(
            image.dtype
        )
    return result

"""What all readers of image folders share: checked reading of images, cameras and poses; undistortion."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import map_coordinates

from purify3d import axes, geometry
from purify3d.errors import CaptureError, PurifyWarning
from purify3d.types import Camera, Frame

#: Pillow modes of a single channel of integers; 16-bit files open as one of the last four.
_INTEGER_MODES = ("L", "P", "I", "I;16", "I;16B", "I;16L")

#: What Pillow raises for files that are no images, cut off, or so large that they would fill the memory.
_BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


@dataclass(frozen=True)
class Lens:
    """Brown-Conrady distortion in OpenCV's names, applied to normalised image coordinates."""

    k1: float = 0.0
    k2: float = 0.0
    p1: float = 0.0
    p2: float = 0.0
    k3: float = 0.0


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) of an image; reads only its header.

    Raises:
        CaptureError: the file is missing or not an image.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except _BROKEN as error:
        raise _unreadable(path, error) from error


def read_color(path: Path, camera: Camera) -> np.ndarray:
    """(H, W, 3) uint8 RGB.

    An orientation tag of the file is ignored: intrinsics and depth belong to the pixels as they are stored.

    Raises:
        CaptureError: unreadable, or not of the camera's size.
    """
    return _read(path, camera, "colour image", lambda image: np.array(image.convert("RGB")))


def read_depth(path: Path, camera: Camera, metres_per_unit: float) -> np.ndarray:
    """(h, w) float32 metres along z, 0 = none.

    Raises:
        CaptureError: unreadable, not a 16-bit single channel, or not of the camera's size.
    """

    def decode(image: Image.Image) -> np.ndarray:
        if not image.mode.startswith("I"):
            raise CaptureError(
                f"{path}: found a depth image of mode {image.mode!r}; expected a 16-bit single-channel PNG. "
                "Export depth as raw 16-bit values, not as 8-bit or as a colour map"
            )
        return np.array(image)

    return _read(path, camera, "depth image", decode).astype(np.float32) * np.float32(metres_per_unit)


def read_ids(path: Path, camera: Camera, what: str = "label image") -> np.ndarray:
    """(h, w) int32, an image of ids as stored; messages call it `what`.

    Raises:
        CaptureError: unreadable, not a single channel, or not of the camera's size.
    """

    def decode(image: Image.Image) -> np.ndarray:
        if image.mode not in _INTEGER_MODES:
            raise CaptureError(
                f"{path}: found a {what} of mode {image.mode!r}; expected one channel of integer ids"
            )
        return np.array(image)

    return _read(path, camera, what, decode).astype(np.int32)


def _read(path: Path, camera: Camera, what: str, decode: Callable[[Image.Image], np.ndarray]) -> np.ndarray:
    try:
        with Image.open(path) as image:
            values = decode(image)
    except _BROKEN as error:
        raise _unreadable(path, error) from error
    if values.shape[:2] != (camera.height, camera.width):
        raise CaptureError(
            f"{path}: found a {what} of {values.shape[1]}x{values.shape[0]} pixels; its camera has "
            f"{camera.width}x{camera.height}. All images of a camera must have the size that its intrinsics "
            "were made for: resize the images, or correct the intrinsics"
        )
    return values


def _unreadable(path: Path, error: Exception) -> CaptureError:
    return CaptureError(
        f"image file is truncated or unreadable: {path} ({error}); re-copy the capture, or delete this "
        "frame's files"
    )


def make_camera(intrinsics: Sequence[float], size: tuple[int, int], source: Path | str) -> Camera:
    """Camera from (fx, fy, cx, cy) in pixels, integer pixel centres, and (width, height).

    Raises:
        CaptureError: not numbers a camera can have, or made for images of another size.
    """
    fx, fy, cx, cy = (float(value) for value in intrinsics)
    width, height = size
    if np.isfinite([cx, cy]).all() and not (-0.5 <= cx <= width - 0.5 and -0.5 <= cy <= height - 0.5):
        raise CaptureError(
            f"{source}: found the principal point ({cx:g}, {cy:g}) outside the image of {width}x{height} "
            "pixels; the intrinsics were made for another image size. Scale fx, fy, cx, cy to this size"
        )
    try:
        return Camera(fx, fy, cx, cy, width, height)
    except ValueError as error:
        raise CaptureError(f"{source}: {error}; correct the intrinsics") from error


def read_numbers(path: Path) -> np.ndarray:
    """The numbers of a small text file as a float64 matrix, inf and nan included.

    Raises:
        CaptureError: not a table of numbers.
    """
    try:
        return np.array(
            [line.split() for line in path.read_text().splitlines() if line.strip()], dtype=np.float64
        )
    except (OSError, ValueError) as error:
        raise CaptureError(
            f"{path}: found something that is not a matrix of numbers ({error}); re-copy the capture, or "
            "delete this frame's files"
        ) from error


def rigid_pose(values: np.ndarray, source: Path | str) -> np.ndarray | None:
    """(3, 4) or (4, 4) world_from_camera -> (4, 4) float64; None where it is not finite (tracking was lost).

    Raises:
        CaptureError: another shape, or no rotation (scaled, mirrored or sheared).
    """
    if values.shape not in ((3, 4), (4, 4)):
        raise CaptureError(f"{source}: found a pose of shape {values.shape}; expected 4x4 numbers")
    pose = np.eye(4)
    pose[:3] = values[:3]
    if not np.isfinite(pose).all():
        return None
    rotation = pose[:3, :3]
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 0.01 or np.linalg.det(rotation) < 0:
        raise CaptureError(
            f"{source}: found a pose whose 3x3 part is no rotation (determinant "
            f"{np.linalg.det(rotation):.3g}); expected a rigid camera-to-world transform in metres. "
            "Undo the scale or mirroring of the poses"
        )
    return pose


def guess_up(frames: Sequence[Frame]) -> np.ndarray:
    """`axes.guess_up` of frames, with a warning where the cameras hardly agree.

    Warns:
        PurifyWarning: as many cameras hang as stand, or all were held sideways: the guess has no ground.
    """
    poses = np.stack([frame.world_from_camera for frame in frames])
    agreement = float(np.linalg.norm(poses[:, :3, 1].mean(axis=0)))
    up = axes.guess_up(poses)
    if agreement < 0.3:
        warnings.warn(
            f"the cameras do not agree on which way is up ({agreement:.0%} agreement); "
            f"{axes.describe_axis(up)} is assumed. Say it with --up if this is wrong",
            PurifyWarning,
            stacklevel=3,
        )
    return up


def check_frames(frames: Sized, left_out: int, skipped: int, folder: Path) -> None:
    """Say how many frames were left out because a file is missing, and refuse a capture without any frame.

    Raises:
        CaptureError: no frame is left.
    """
    if not frames:
        raise CaptureError(
            f"{folder}: found no usable frame ({left_out} lack a colour, depth or pose file, {skipped} have "
            "a pose that is not finite); expected at least one with all three. Re-copy or re-export it"
        )
    if left_out:
        warnings.warn(
            f"{folder}: {left_out} frames are left out, they lack a colour, depth or pose file",
            PurifyWarning,
            stacklevel=3,
        )


def file_frame(
    name: str,
    world_from_camera: np.ndarray,
    camera: Camera,
    depth_camera: Camera,
    *,
    color: Path,
    depth: Path,
    metres_per_unit: float,
    label: Path | None = None,
    ids: Callable[[np.ndarray], np.ndarray] | None = None,
    instance: Path | None = None,
    lens: Lens | None = None,
    files: Sequence[Path] = (),
) -> Frame:
    """A frame whose images lie in files and are read, checked and undistorted when asked for.

    Args:
        label: image of label ids in the depth camera; `ids` turns what is stored (0 = none) into int32 truth
            ids, -1 = none.
        instance: image of object ids + 1 in the depth camera, 0 = none.
        lens: distortion of both images, which share it where depth was registered to colour.
        files: what else the frame was read from, such as its pose.
    """
    truth = None
    if label is not None and ids is not None:
        truth = partial(_ids, label, depth_camera, lens, ids, "label image")
    objects = None
    if instance is not None:
        objects = partial(_ids, instance, depth_camera, lens, ids_above_zero, "mask of objects")
    return Frame(
        name=name,
        camera=camera,
        depth_camera=depth_camera,
        world_from_camera=world_from_camera,
        color=partial(_color, color, camera, lens),
        depth=partial(_depth, depth, depth_camera, lens, metres_per_unit),
        label=truth,
        instance=objects,
        files=(
            color,
            depth,
            *((label,) if label is not None and truth else ()),
            *((instance,) if instance is not None else ()),
            *files,
        ),
    )


# Module-level functions in `partial`, not closures, so that frames can be sent to other processes.
def _color(path: Path, camera: Camera, lens: Lens | None) -> np.ndarray:
    image = read_color(path, camera)
    return image if lens is None else undistort(image, camera, lens, smooth=True)


def _depth(path: Path, camera: Camera, lens: Lens | None, metres_per_unit: float) -> np.ndarray:
    depth = read_depth(path, camera, metres_per_unit)
    return depth if lens is None else undistort(depth, camera, lens, smooth=False)


def _ids(
    path: Path, camera: Camera, lens: Lens | None, ids: Callable[[np.ndarray], np.ndarray], what: str
) -> np.ndarray:
    stored = read_ids(path, camera, what)
    return ids(stored if lens is None else undistort(stored, camera, lens, smooth=False))


def ids_above_zero(stored: np.ndarray) -> np.ndarray:
    """(h, w) int32 ids of an image that stores id + 1 and 0 for none: -1 = none."""
    return stored - 1


def undistort(image: np.ndarray, camera: Camera, lens: Lens, *, smooth: bool) -> np.ndarray:
    """The image an ideal pinhole camera with the same intrinsics would have taken, same shape and dtype.

    Args:
        image: (h, w) or (h, w, channels), as the lens gave it.
        smooth: bilinear, for colour; otherwise nearest, for depth and ids, which must not be mixed.

    Returns:
        Pixels that the lens did not see are 0.
    """
    v, u = np.mgrid[: camera.height, : camera.width].astype(np.float64)
    ideal = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy], axis=-1)
    seen = geometry.distort(ideal, lens.k1, lens.k2, lens.p1, lens.p2, lens.k3)
    column, row = seen[..., 0] * camera.fx + camera.cx, seen[..., 1] * camera.fy + camera.cy
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

"""Cameras and images of a COLMAP model, as text or binary.

Written from COLMAP's page "Output Format" (text) and the layout that its binary files have: little-endian,
counts of 64 bits, ids of 32 bits, then per camera (id, model, width, height, parameters as float64), per
image (id, qw qx qy qz, tx ty tz, camera id, name that ends with a zero byte, keypoints of 24 bytes each).
What newer versions add in rigs and frames files repeats the poses of the images.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from purify3d.base.errors import CaptureError
from purify3d.captures.reading import images
from purify3d.captures.reading.images import Lens
from purify3d.captures.reading.poses import is_turn
from purify3d.grid import projection
from purify3d.types import Camera

#: Camera models in the order of their numbers, with how many parameters each has.
_MODELS = (
    ("SIMPLE_PINHOLE", 3),
    ("PINHOLE", 4),
    ("SIMPLE_RADIAL", 4),
    ("RADIAL", 5),
    ("OPENCV", 8),
    ("OPENCV_FISHEYE", 8),
    ("FULL_OPENCV", 12),
    ("FOV", 5),
    ("SIMPLE_RADIAL_FISHEYE", 4),
    ("RADIAL_FISHEYE", 5),
    ("THIN_PRISM_FISHEYE", 12),
)
_COUNTS = dict(_MODELS)
_READABLE = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")
_KEYPOINT = 24
_T = TypeVar("_T")


@dataclass(frozen=True)
class ModelCamera:
    """A camera as the model has it: parameters in COLMAP's order, pixels counted from the image's corner."""

    model: str
    width: int
    height: int
    params: tuple[float, ...]

    def pinhole(self, source: Path) -> tuple[Camera, Lens | None]:
        """Our camera (integer pixel centres), and the distortion if it has any.

        Raises:
            CaptureError: a model that cannot be undistorted, or numbers that no camera has.
        """
        if self.model not in _READABLE:
            raise CaptureError(
                f"{source}: found camera model {self.model}; expected one of {', '.join(_READABLE)}. "
                "Undistort the images first (colmap image_undistorter writes PINHOLE cameras)"
            )
        if not np.isfinite(self.params).all():
            raise CaptureError(f"{source}: found camera parameters {self.params}; expected finite numbers")
        two_focals = self.model in ("PINHOLE", "OPENCV")
        fx, fy, cx, cy, *bent = self.params if two_focals else (self.params[0], *self.params)
        camera = images.make_camera((fx, fy, cx - 0.5, cy - 0.5), (self.width, self.height), source)
        lens = Lens(**dict(zip(("k1", "k2", "p1", "p2"), bent, strict=False)))
        return camera, lens if any(bent) else None


@dataclass(frozen=True)
class ModelImage:
    """An image as the model has it.

    Attributes:
        name: path below the folder of images.
        camera_from_world: (qw, qx, qy, qz, tx, ty, tz).
    """

    name: str
    camera_id: int
    camera_from_world: tuple[float, ...]

    def world_from_camera(self) -> np.ndarray:
        """(4, 4) float64; nan where the numbers are not finite or the quaternion is no rotation."""
        qw, qx, qy, qz, *translation = self.camera_from_world
        if not is_turn((qw, qx, qy, qz)):
            return np.full((4, 4), np.nan)
        pose = projection.pose_from_quaternion(np.array([qx, qy, qz, qw]), np.zeros(3)).T
        with np.errstate(over="ignore", invalid="ignore"):  # what is beyond reason is refused later
            pose[:3, 3] = -pose[:3, :3] @ translation
        return pose


def read_model(folder: Path) -> tuple[dict[int, ModelCamera], list[ModelImage]]:
    """Cameras by id, and images in the file's order; binary files go before text, as in COLMAP.

    Raises:
        CaptureError: a file is missing, cut off, or not of this format.
    """
    if (folder / "cameras.bin").is_file() and (folder / "images.bin").is_file():
        return _binary(folder / "cameras.bin", _cameras_bin), _binary(folder / "images.bin", _images_bin)
    camera = "CAMERA_ID MODEL WIDTH HEIGHT PARAMS"
    image = "IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, and its keypoints on the next line"
    cameras = dict(_text(folder / "cameras.txt", _camera_txt, camera, skip=0))
    # The line of keypoints is an empty one where there are none.
    return cameras, _text(folder / "images.txt", _image_txt, image, skip=1)


def _binary(path: Path, parse: Callable[[mmap.mmap], _T]) -> _T:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return parse(data)
    except (OSError, ValueError) as error:  # mmap takes no empty file
        raise CaptureError(f"{path}: {error}. Re-copy it, or export the model again") from error


def _need(data: mmap.mmap, size: int) -> int:
    """So many bytes, which the rest of the file has, so that no number of records is believed unseen."""
    if size > len(data) - data.tell():
        raise ValueError(
            f"found {len(data)} bytes, but {size} more were announced at byte {data.tell()}; the file is cut "
            "off or not of COLMAP"
        )
    return size


def _take(data: mmap.mmap, layout: str) -> tuple[Any, ...]:
    return struct.unpack("<" + layout, data.read(_need(data, struct.calcsize("<" + layout))))


def _cameras_bin(data: mmap.mmap) -> dict[int, ModelCamera]:
    cameras, (count,) = {}, _take(data, "Q")
    for _ in range(count):
        camera_id, model, width, height = _take(data, "IiQQ")
        if not 0 <= model < len(_MODELS):
            # Without the number of its parameters what follows cannot be read either.
            raise ValueError(
                f"found camera model number {model}; expected one of {', '.join(_READABLE)} (undistort the "
                "images first: colmap image_undistorter writes PINHOLE cameras)"
            )
        name, count_of = _MODELS[model]
        cameras[camera_id] = ModelCamera(name, width, height, _take(data, f"{count_of}d"))
    return cameras


def _images_bin(data: mmap.mmap) -> list[ModelImage]:
    found, (count,) = [], _take(data, "Q")
    for _ in range(count):
        _, *pose, camera_id = _take(data, "I7dI")
        if (end := data.find(b"\0", data.tell())) < 0:
            raise ValueError(f"found an image name without end at byte {data.tell()}")
        name = data.read(end + 1 - data.tell())[:-1].decode(errors="replace")
        (keypoints,) = _take(data, "Q")
        data.seek(_need(data, keypoints * _KEYPOINT), os.SEEK_CUR)
        found.append(ModelImage(name, camera_id, tuple(pose)))
    return found


def _text(path: Path, parse: Callable[[str], _T], expected: str, *, skip: int) -> list[_T]:
    """What each line holds that is no comment; `skip` lines after each are passed over."""
    if not path.is_file():
        raise CaptureError(f"{path} is missing; expected cameras and images of a COLMAP model, .bin or .txt")
    try:
        lines = enumerate(path.read_text(errors="replace").splitlines(), start=1)
    except OSError as error:
        raise CaptureError(f"{path}: cannot be read ({error.strerror}); re-copy it") from error
    found = []
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            found.append(parse(line))
        except (ValueError, IndexError) as error:
            raise CaptureError(
                f"{path}, line {number}: found {line[:80]!r}; expected {expected} ({error}). Export the "
                "model again"
            ) from error
        for _ in range(skip):
            next(lines, None)
    return found


def _camera_txt(line: str) -> tuple[int, ModelCamera]:
    words = line.split()
    camera_id, model, width, height = int(words[0]), words[1], int(words[2]), int(words[3])
    params = tuple(float(word) for word in words[4:])
    if len(params) != _COUNTS.get(model, len(params)):
        raise ValueError(f"{model} has {_COUNTS[model]} parameters")
    return camera_id, ModelCamera(model, width, height, params)


def _image_txt(line: str) -> ModelImage:
    words = line.split(maxsplit=9)
    int(words[0])
    return ModelImage(words[9].strip(), int(words[8]), tuple(float(word) for word in words[1:8]))

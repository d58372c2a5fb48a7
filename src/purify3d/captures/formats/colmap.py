"""COLMAP models with a depth image for each photo.

A model lies in sparse/0, in sparse, or in the folder itself, photos in images/ and depth in depth/ or depths/
under the photo's name: 16-bit PNG in mm, or .npy of metres. Without such a folder COLMAP's own maps are
taken, stereo/depth_maps/NAME.geometric.bin (`width&height&1&`, then float32 row by row), which are in units
of the model. Poses are world-to-camera with OpenCV axes; pixels count from the image's corner. A photo's
distortion is undone in its depth as well, since depth is registered to the photo. Reference: COLMAP's page
"Output Format".

Nothing in a model says how long a metre is: where poses did not come from a sensor that knows, they must be
scaled to the depth (`open_capture(scale=...)`).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from purify3d.base.arrays import array_headers
from purify3d.base.errors import CaptureError
from purify3d.captures.formats.colmap_model import ModelImage, read_model
from purify3d.captures.reading import images
from purify3d.captures.reading.depths import check_size
from purify3d.captures.reading.dropped import Dropped
from purify3d.captures.reading.frame_names import any_case, natural_sort_key
from purify3d.captures.reading.images import Intrinsics, Lens
from purify3d.captures.reading.keys import find_file
from purify3d.captures.reading.poses import rigid_pose
from purify3d.types import Camera, Frame, Scene
from purify3d.types.checks import measured

#: What the folder must hold, for people.
EXPECTS = "sparse/0 with cameras and images (.bin or .txt), images/ and depth/"

#: How the format stores poses.
POSES = "opencv", "world-to-camera"

_MODELS = ("sparse/0", "sparse", ".")
_DEPTHS = ("depth", "depths")
_STEREO = "stereo/depth_maps"


def recognises(path: Path) -> bool:
    """Does the path look like this format?"""
    return _model(path) is not None


def read(path: Path, *, intrinsics: Intrinsics | None = None) -> Scene:
    """Read a workspace, or the folder of a model below one; images stay on disk until asked for.

    Args:
        intrinsics: (fx, fy, cx, cy) of images without distortion, integer pixel centres; replaces the
            model's.

    Returns:
        Frames in order of their names, undistorted when read; `up` is guessed, since models turn anyhow.
        Positions are in units of the model.

    Raises:
        CaptureError: no model, no photos or no depth; a file that is cut off; a lens that cannot be
            undistorted.

    Warns:
        PurifyWarning: frames were left out; it names them.
    """
    model = _model(path)
    if model is None:
        raise CaptureError(
            f"{path}: found no cameras and images file; expected {EXPECTS}. Point to its folder"
        )
    root = next((f for f in (path, *path.resolve().parents[:2]) if (f / "images").is_dir()), None)
    if root is None:
        raise CaptureError(f"{path}: found no images/ beside the model; expected {EXPECTS}. Add the photos")
    depths = next((root / name for name in (*_DEPTHS, _STEREO) if (root / name).is_dir()), None)
    if depths is None:
        raise CaptureError(
            f"{root}: found no depth/; expected a depth image for each photo, 16-bit PNG in mm or .npy in "
            f"metres under the photo's name, or {_STEREO}/. A model alone has too few points: add depth"
        )
    known, listed = read_model(model)
    cameras = {i: known[i].pinhole(model) for i in {image.camera_id for image in listed} & known.keys()}

    def made(image: ModelImage, color: Path, depth: Path) -> Frame | None:
        """One frame; None if its pose is not finite."""
        size = images.image_size(color)
        pose = rigid_pose(image.world_from_camera(), model)
        if pose is None:
            return None
        camera, lens = cameras[image.camera_id]
        if intrinsics is not None:
            camera, lens = images.make_camera(intrinsics, size, "--intrinsics"), None
        if size != (camera.width, camera.height):
            expected = f"{camera.width}x{camera.height}"
            raise CaptureError(f"a photo of another size than its camera's {expected}")
        return _frame(image.name, color, depth, pose, camera, lens)

    dropped = Dropped(path)
    frames = []
    for image in sorted(listed, key=lambda image: natural_sort_key(image.name)):
        if image.camera_id not in cameras:
            dropped.refuse(image.name, "a camera that the model lacks")
            continue
        color, depth = (
            find_file(root / "images", image.name, "an image", str(model)),
            _depth_file(depths, image.name),
        )
        if not color.is_file() or depth is None:
            dropped.lacks(image.name, f"no {'depth image' if color.is_file() else 'photo'}")
            continue
        frame = dropped.attempt(image.name, partial(made, image, color, depth))
        if frame is not None:
            frames.append(frame)
    files = tuple(file for file in (_part(model, "cameras"), _part(model, "images")) if file is not None)
    return dropped.scene(frames, name=root.resolve().name, files=files)


def _model(path: Path) -> Path | None:
    for name in _MODELS:
        if _part(path / name, "cameras") is not None and _part(path / name, "images") is not None:
            return path / name
    return None


def _part(model: Path, what: str) -> Path | None:
    return next((file for s in ("bin", "txt") if (file := model / f"{what}.{s}").is_file()), None)


def _depth_file(folder: Path, name: str) -> Path | None:
    stem = folder / Path(name).with_suffix("")
    candidates = [Path(f"{stem}.png"), Path(f"{stem}.npy"), folder / f"{name}.geometric.bin"]
    return next((found for file in candidates if (found := any_case(file)).is_file()), None)


def _frame(name: str, color: Path, depth: Path, pose: np.ndarray, camera: Camera, lens: Lens | None) -> Frame:
    width, height = images.image_size(depth) if depth.suffix.lower() == ".png" else _floats(depth).shape[::-1]
    depth_camera = images.resized(camera, (width, height), "depth image", depth)
    frame = images.file_frame(name, pose, camera, depth_camera, color=color, depth=depth, lens=lens)
    if depth.suffix.lower() == ".png":
        return frame
    return replace(frame, depth=partial(_float_depth, depth, depth_camera, lens), depth_unit=None)


def _float_depth(path: Path, camera: Camera, lens: Lens | None) -> np.ndarray:
    stored = _floats(path)
    check_size(path, (stored.shape[1], stored.shape[0]), camera, "depth image")
    return images.undistort(measured(stored), camera, lens, smooth=False)


def _floats(path: Path) -> np.ndarray:
    """(h, w) floats of a file, left on disk.

    Raises:
        CaptureError: cut off, not of the format, or not floats of one channel.
    """
    try:
        if path.suffix.lower() == ".npy":
            array_headers(path)
            stored: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            with path.open("rb") as file:
                *sides, _ = file.read(64).split(b"&", 3)
            width, height, channels = (int(side) for side in sides)
            start = sum(len(side) + 1 for side in sides)
            if channels != 1 or min(width, height) < 1 or path.stat().st_size != start + 4 * width * height:
                raise ValueError(f"{width}x{height}x{channels} floats do not fill the file")
            stored = np.memmap(path, dtype="<f4", mode="r", offset=start, shape=(height, width))
        if stored.ndim != 2 or stored.dtype.kind != "f" or not stored.size:
            raise ValueError(f"{stored.dtype} of shape {stored.shape}")
    except (OSError, ValueError, EOFError, OverflowError) as error:
        raise CaptureError(
            f"{path}: expected depth as floats in metres, rows x columns ({error}); export it again, or "
            "delete it"
        ) from error
    return stored

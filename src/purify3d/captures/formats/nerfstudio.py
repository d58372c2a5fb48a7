"""nerfstudio's transforms.json, read and written: the format to exchange captures in.

Reference: the data conventions of the nerfstudio documentation. Poses are camera-to-world with OpenGL camera
axes. Pixels: nerfstudio shoots the ray of pixel (0, 0) through (0.5, 0.5), so cx and cy count from the
image's corner (COLMAP does the same) and lie half a pixel above ours. Depth is along z, 16-bit PNG in mm, or
any other kind of `depths.py`.

Units: nerfstudio's reader multiplies depth in metres by `applied_scale` before it compares it with the poses,
so the poses of such a file are in scaled units: here their translations are divided by it, and all is metres.
`applied_transform` says how the world was turned and moved since an earlier one. It stays as it is: poses and
depth of the file agree with each other, and no other world is asked for.
`depth_unit_scale_factor`, metres per unit of depth, is an option of nerfstudio's own reader that
some exporters write into the file; `integer_depth_scale`, of a depth that is stored in whole numbers, and
`depth_path` are what instant-ngp calls the unit and `depth_file_path`. `mask_path` is an image,
0 = leave out.

Where w and h are of another size than the image, but its proportions, the intrinsics are scaled to it.
Files lie in the folder of the json or in the one above; what leads further out is refused. The key of a frame
wins over that of the file; null is no value.

Beyond the documented keys, all ignored by nerfstudio itself: `up` (3 numbers) and `labels` (id -> name) at
the top; with a frame `label_file_path` and `instance_file_path` (16-bit PNGs of label id + 1 and object
id + 1, 0 = none, in the depth camera; an object has one id in all frames) and `depth_camera` (intrinsics of a
depth image that is no resampled view of the colour camera).
"""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.captures.formats.exchange import write_nerfstudio
from purify3d.captures.reading import images
from purify3d.captures.reading.depths import DEPTH_SUFFIXES
from purify3d.captures.reading.dropped import Dropped
from purify3d.captures.reading.frame_names import unique_frame_names
from purify3d.captures.reading.images import Intrinsics, Lens, Size
from purify3d.captures.reading.keys import find_file, matrix, number, positive, read_json, shown
from purify3d.captures.reading.poses import rigid_pose
from purify3d.grid import projection
from purify3d.types import Camera, Frame, Scene

__all__ = ["EXPECTS", "POSES", "read", "recognises", "write_nerfstudio"]

#: What the folder must hold, for people.
EXPECTS = "transforms.json"

#: How the format stores poses.
POSES = "opengl", "camera-to-world"

#: Camera models that are OPENCV with some coefficients 0.
_PERSPECTIVE = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")
_INTRINSICS = ("fl_x", "fl_y", "cx", "cy")
_DEPTHS = ("depth_file_path", "depth_path")
_UNITS = ("depth_unit_scale_factor", "integer_depth_scale")
#: What makes one doubt the intrinsics, by kind, in words of each frame: said once for all of them.
_Doubts = defaultdict[str, list[str]]
_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
_MM = 1000


def recognises(path: Path) -> bool:
    """Does the path look like this format?"""
    return path.suffix.lower() == ".json" if path.is_file() else (path / "transforms.json").is_file()


def read(path: Path, *, intrinsics: Intrinsics | None = None) -> Scene:
    """Read transforms.json, or the folder that holds it; images stay on disk until asked for.

    Args:
        intrinsics: (fx, fy, cx, cy) of images without distortion, integer pixel centres; replaces the file's.

    Returns:
        Frames in the file's order, undistorted when read. `up` is the file's if it has one, else guessed.

    Raises:
        CaptureError: not such a file, no depth, a lens model that cannot be undistorted, or no usable frame.

    Warns:
        PurifyWarning: frames that were left out, and intrinsics that were scaled or look wrong.
    """
    file = path if path.is_file() else path / "transforms.json"
    meta = _load(file)
    entries = [entry if isinstance(entry, dict) else {} for entry in meta["frames"]]
    if not any(entry.get(key) is not None for entry in entries for key in _DEPTHS):
        raise CaptureError(
            f"{file}: found {len(entries)} frames, all without depth_file_path; expected a depth "
            "image with each, since points come from depth. Export it with depth (16-bit PNG in mm)"
        )
    truth = _labels(meta.get("labels"), file)
    up = None if meta.get("up") is None else _up(meta["up"], file)
    dropped, doubts = Dropped(file), _Doubts(list)
    frames = []
    for name, entry in zip(_names(entries), entries, strict=True):
        # Keys of a frame win over those of the file.
        keys = {**meta, **{key: value for key, value in entry.items() if value is not None}}
        where = f"{file}, frame {keys.get('file_path', name)}"
        lacking = dropped.attempt(name, partial(_lacking, keys, file.parent, where))
        if lacking:
            dropped.lacks(name, lacking)
        elif lacking is not None:
            make = partial(_frame, name, keys, file.parent, where, intrinsics, doubts)
            frame = dropped.attempt(name, make)
            frames += [] if frame is None else [frame]
    scene = dropped.scene(frames, up, name=file.resolve().parent.name, truth=truth, files=(file,))
    for notes in doubts.values():
        count = "1 frame" if len(notes) == 1 else f"{len(notes)} frames"
        warnings.warn(f"{file}, {count}: {notes[0]}", PurifyWarning, stacklevel=2)
    return scene


def _load(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise CaptureError(f"{file} is missing; expected a nerfstudio capture. Point to its folder")
    meta = read_json(file)
    if not isinstance(meta, dict) or not isinstance(meta.get("frames"), list) or not meta["frames"]:
        raise CaptureError(f"{file}: found no frames; expected a list 'frames' with at least one entry")
    return meta


def _labels(values: Any, file: Path) -> dict[int, str]:
    try:
        return {int(i): str(name) for i, name in (values or {}).items()}
    except (AttributeError, ValueError) as error:
        raise CaptureError(
            f'{file}: found labels = {shown(values)}; expected an object such as {{"0": "wall"}}'
        ) from error


def _up(values: Any, file: Path) -> np.ndarray:
    try:
        x, y, z = (number({"up": value}, "up", "") for value in values)
        up = np.array([x, y, z])
    except (CaptureError, TypeError, ValueError):
        up = np.zeros(3)
    if not np.abs(up).max() <= 1e6 or np.linalg.norm(up) < 1e-6:
        raise CaptureError(
            f"{file}: found up = {shown(values)}; expected three numbers, a direction in the world"
        )
    return np.asarray(up / np.linalg.norm(up))


def _names(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """One for each frame, in which no path that is none takes part."""
    given = [entry.get("file_path") for entry in entries]
    paths = [str(path).replace("\\", "/") for path in given if isinstance(path, str) and path]
    short = iter(unique_frame_names(paths))
    names = [next(short) if isinstance(path, str) and path else "" for path in given]
    return [name or f"number {i}" for i, name in enumerate(names)]


def _lacking(keys: Mapping[str, Any], folder: Path, where: str) -> str:
    """Which file the frame lacks, in words; empty if none."""
    masked = keys.get("mask_path") is not None
    for key in ("file_path", _depth_key(keys), *(["mask_path"] if masked else [])):
        if keys.get(key) is None:
            return f"no {key}"
        if not os.path.isfile(_find(keys, key, folder, where)):
            return f"{key} {shown(keys[key])} is not there"
    return ""


def _depth_key(keys: Mapping[str, Any]) -> str:
    return next((key for key in _DEPTHS if keys.get(key) is not None), _DEPTHS[0])


def _find(keys: Mapping[str, Any], key: str, folder: Path, where: str) -> Path:
    return find_file(folder, keys[key], key, where, DEPTH_SUFFIXES if key in _DEPTHS else _SUFFIXES)


def _frame(
    name: str,
    keys: Mapping[str, Any],
    folder: Path,
    where: str,
    intrinsics: Intrinsics | None,
    doubts: _Doubts,
) -> Frame | None:
    """One frame from the keys that hold for it; None if its pose is not finite."""
    if keys.get("transform_matrix") is None:
        raise CaptureError(f"{where}: found no transform_matrix; expected 4x4 numbers. Re-export the capture")
    pose = rigid_pose(matrix(keys["transform_matrix"], "transform_matrix", where), where)
    if pose is None:
        return None
    if keys.get("applied_scale") is not None:
        pose[:3, 3] /= positive(keys, "applied_scale", where)
    color, depth = _find(keys, "file_path", folder, where), _find(keys, _depth_key(keys), folder, where)
    size = images.image_size(color)
    if intrinsics is None:
        camera, lens = _camera(keys, size, where, doubts), _lens(keys, where)
    else:
        camera, lens = images.make_camera(intrinsics, size, "--intrinsics", warn=False), None
    if (complaint := images.off_centre(camera)) is not None:
        doubts["centre"].append(complaint)
    label, instance, mask = (
        _find(keys, key, folder, where) if keys.get(key) is not None else None
        for key in ("label_file_path", "instance_file_path", "mask_path")
    )
    units = {key: positive(keys, key, where) for key in _UNITS if keys.get(key) is not None}
    if len(set(units.values())) > 1:
        raise CaptureError(f"{where}: found {shown(units)}; expected one unit of depth. Remove the wrong one")
    return images.file_frame(
        name,
        pose @ projection.OPENCV_FROM_OPENGL,
        camera,
        _depth_camera(keys, camera, depth, where),
        color=color,
        depth=depth,
        metres_per_unit=next(iter(units.values()), 1 / _MM),
        metres_per_float=units.get("depth_unit_scale_factor"),
        label=label,
        instance=instance,
        mask=mask,
        lens=lens,
    )


def _camera(keys: Mapping[str, Any], size: Size, where: str, doubts: _Doubts | None) -> Camera:
    """The camera of images of this size, (width, height), scaled to it if it was made for another one."""
    missing = [key for key in _INTRINSICS if key not in keys]
    if missing:
        raise CaptureError(
            f"{where}: found no {', '.join(missing)}; expected fl_x, fl_y, cx, cy for the file or the frame. "
            "Add them, or pass --intrinsics fx,fy,cx,cy"
        )
    fx, fy, cx, cy = (number(keys, key, where) for key in _INTRINSICS)
    stated = size
    if keys.get("w") is not None and keys.get("h") is not None:
        stated = round(positive(keys, "w", where)), round(positive(keys, "h", where))
    camera = images.make_camera(
        (fx, fy, cx - 0.5, cy - 0.5), (max(stated[0], 1), max(stated[1], 1)), where, warn=False
    )
    if stated == size or doubts is None:
        return camera
    if not images.same_view(stated, size):
        raise CaptureError(
            f"{where}: found an image of {size[0]}x{size[1]} pixels and intrinsics for w, h = "
            f"{stated[0]}x{stated[1]}; expected the same size. Resize the images, or correct the intrinsics"
        )
    doubts["size"].append(
        f"the intrinsics are for w, h = {stated[0]}x{stated[1]}, the images have {size[0]}x{size[1]}; fl_x, "
        "fl_y, cx, cy are scaled to the images"
    )
    return projection.resize_camera(camera, *size)


def _depth_camera(keys: Mapping[str, Any], camera: Camera, depth: Path, where: str) -> Camera:
    """What the file says, else the colour camera resampled to the size of the depth image."""
    if keys.get("depth_camera") is not None:
        own, inside = keys["depth_camera"], f"{where}, depth_camera"
        if not isinstance(own, dict):
            raise CaptureError(
                f"{inside}: found {shown(own)}; expected an object with fl_x, fl_y, cx, cy, w, h"
            )
        size = round(positive(own, "w", inside)), round(positive(own, "h", inside))
        return _camera(own, size, inside, None)
    return images.resized(camera, images.image_size(depth), "depth image", depth)


def _lens(keys: Mapping[str, Any], where: str) -> Lens | None:
    """Distortion of a perspective lens, None if it has none; anything else is refused, never ignored."""
    model = str(keys.get("camera_model") or "OPENCV")
    k4 = number(keys, "k4", where, 0.0)
    if model not in _PERSPECTIVE or keys.get("is_fisheye") or k4 != 0:
        found = "k4" if model in _PERSPECTIVE and not keys.get("is_fisheye") else model
        raise CaptureError(
            f"{where}: found lens model {found}; expected a perspective camera "
            f"({', '.join(_PERSPECTIVE)}) with k1, k2, k3, p1, p2. Undistort the images first"
        )
    lens = Lens(**{key: number(keys, key, where, 0.0) for key in ("k1", "k2", "p1", "p2", "k3")})
    return lens if any(astuple(lens)) else None

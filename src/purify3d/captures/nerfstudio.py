"""nerfstudio's transforms.json, read and written: the format to exchange captures in.

Reference: the data conventions of the nerfstudio documentation. Poses are camera-to-world with OpenGL camera
axes. Pixels: nerfstudio shoots the ray of pixel (0, 0) through (0.5, 0.5), so cx and cy count from the
image's corner (COLMAP does the same) and lie half a pixel above ours. Depth is along z, 16-bit PNG in mm.

`applied_transform` and `applied_scale` say how the poses in the file were moved away from an earlier world.
They are ignored: poses and depth of the file agree with each other, and no other world is asked for.

Beyond the documented keys, all ignored by nerfstudio itself: `up` (3 numbers) and `labels` (id -> name) at
the top; with a frame `label_file_path` and `instance_file_path` (16-bit PNGs of label id + 1 and object
id + 1, 0 = none, in the depth camera; an object has one id in all frames) and `depth_camera` (intrinsics of a
depth image that is no resampled view of the colour camera).
`depth_unit_scale_factor`, metres per unit of depth, is an option of nerfstudio's own reader that some
exporters write into the file.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from purify3d import geometry
from purify3d.captures import images
from purify3d.captures.images import Lens
from purify3d.errors import CaptureError
from purify3d.types import Camera, Frame, Scene

#: What the folder must hold, for people.
EXPECTS = "transforms.json"

#: How the format stores poses.
CONVENTION, DIRECTION = "opengl", "camera-to-world"

#: Camera models that are OPENCV with some coefficients 0.
_PERSPECTIVE = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")
_INTRINSICS = ("fl_x", "fl_y", "cx", "cy")
_MM = 1000


def recognises(path: Path) -> bool:
    """Does the path look like this format?"""
    return path.suffix.lower() == ".json" if path.is_file() else (path / "transforms.json").is_file()


def read(path: Path, *, intrinsics: tuple[float, float, float, float] | None = None) -> Scene:
    """Read transforms.json, or the folder that holds it; images stay on disk until asked for.

    Args:
        intrinsics: (fx, fy, cx, cy) of images without distortion, integer pixel centres; replaces the file's.

    Returns:
        Frames in the file's order, undistorted when read. `up` is the file's if it has one, else guessed.

    Raises:
        CaptureError: not such a file, no depth, a lens model that cannot be undistorted, or no usable frame.
    """
    file = path if path.is_file() else path / "transforms.json"
    meta = _load(file)
    frames, left_out, skipped = [], 0, 0
    try:
        if not any("depth_file_path" in entry for entry in meta["frames"]):
            raise CaptureError(
                f"{file}: found {len(meta['frames'])} frames, all without depth_file_path; expected a depth "
                "image with each, since points come from depth. Export it with depth (16-bit PNG in mm)"
            )
        names = {int(i): str(name) for i, name in meta.get("labels", {}).items()}
        for entry in meta["frames"]:
            keys = {**meta, **entry}  # keys of a frame win over those of the file
            color, depth = (file.parent / keys.get(key, "") for key in ("file_path", "depth_file_path"))
            if not (color.is_file() and depth.is_file()):
                left_out += 1
                continue
            frame = _frame(keys, file, color, depth, intrinsics)
            if frame is None:
                skipped += 1
            else:
                frames.append(frame)
        images.check_frames(frames, left_out, skipped, file)
        up = _up(meta["up"], file) if "up" in meta else images.guess_up(frames)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CaptureError(
            f"{file}: found a key that is missing or of another kind than the format has it ({error!r}); "
            "re-export the capture"
        ) from error
    return Scene(file.resolve().parent.name, tuple(frames), up, truth=names, skipped=skipped, files=(file,))


def _load(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise CaptureError(f"{file} is missing; expected a nerfstudio capture. Point to its folder")
    try:
        meta = json.loads(file.read_text())
    except (ValueError, RecursionError) as error:
        raise CaptureError(f"{file}: is not JSON ({error}); re-export the capture") from error
    if not isinstance(meta, dict) or not isinstance(meta.get("frames"), list) or not meta["frames"]:
        raise CaptureError(f"{file}: found no frames; expected a list 'frames' with at least one entry")
    return meta


def _up(values: Any, file: Path) -> np.ndarray:
    up = np.array(values, dtype=np.float64)
    if up.shape != (3,) or not np.isfinite(up).all() or np.linalg.norm(up) < 1e-6:
        raise CaptureError(f"{file}: found up = {values}; expected three numbers, a direction in the world")
    return up / np.linalg.norm(up)


def _frame(
    keys: Mapping[str, Any],
    file: Path,
    color: Path,
    depth: Path,
    intrinsics: tuple[float, float, float, float] | None,
) -> Frame | None:
    """One frame from the keys that hold for it; None if its pose is not finite."""
    where = f"{file}, frame {keys['file_path']}"
    pose = images.rigid_pose(np.array(keys["transform_matrix"], dtype=np.float64), where)
    if pose is None:
        return None
    if intrinsics is None:
        size = (int(keys["w"]), int(keys["h"])) if "w" in keys and "h" in keys else images.image_size(color)
        camera, lens = _camera(keys, size, where), _lens(keys, where)
    else:
        camera, lens = images.make_camera(intrinsics, images.image_size(color), "--intrinsics"), None
    label, instance = (
        file.parent / str(keys[key]) if keys.get(key) is not None else None
        for key in ("label_file_path", "instance_file_path")
    )
    return images.file_frame(
        Path(keys["file_path"]).stem,
        pose @ geometry.OPENCV_FROM_OPENGL,
        camera,
        _depth_camera(keys, camera, depth, where),
        color=color,
        depth=depth,
        metres_per_unit=float(keys.get("depth_unit_scale_factor", 1 / _MM)),
        label=label,
        ids=images.ids_above_zero,
        instance=instance,
        lens=lens,
    )


def _camera(keys: Mapping[str, Any], size: tuple[int, int], where: str) -> Camera:
    missing = [key for key in _INTRINSICS if key not in keys]
    if missing:
        raise CaptureError(
            f"{where}: found no {', '.join(missing)}; expected fl_x, fl_y, cx, cy for the file or the frame. "
            "Add them, or pass --intrinsics fx,fy,cx,cy"
        )
    fx, fy, cx, cy = (float(keys[key]) for key in _INTRINSICS)
    return images.make_camera((fx, fy, cx - 0.5, cy - 0.5), size, where)


def _depth_camera(keys: Mapping[str, Any], camera: Camera, depth: Path, where: str) -> Camera:
    """What the file says, else the colour camera resampled to the size of the depth image."""
    if "depth_camera" in keys:
        own = keys["depth_camera"]
        return _camera(own, (int(own["w"]), int(own["h"])), f"{where}, depth_camera")
    width, height = images.image_size(depth)
    if not np.isclose(width * camera.height, height * camera.width, rtol=0.01):
        raise CaptureError(
            f"{depth}: found a depth image of {width}x{height} pixels beside a colour image of "
            f"{camera.width}x{camera.height}; expected the same proportions, since both share one camera. "
            "Crop one to the view of the other"
        )
    return geometry.resize_camera(camera, width, height)


def _lens(keys: Mapping[str, Any], where: str) -> Lens | None:
    """Distortion of a perspective lens, None if it has none; anything else is refused, never ignored."""
    model = str(keys.get("camera_model", "OPENCV"))
    if model not in _PERSPECTIVE or keys.get("is_fisheye") or float(keys.get("k4", 0)) != 0:
        found = "k4" if model in _PERSPECTIVE and not keys.get("is_fisheye") else model
        raise CaptureError(
            f"{where}: found lens model {found}; expected a perspective camera "
            f"({', '.join(_PERSPECTIVE)}) with k1, k2, k3, p1, p2. Undistort the images first"
        )
    lens = Lens(**{key: float(keys.get(key, 0)) for key in ("k1", "k2", "p1", "p2", "k3")})
    return lens if any(astuple(lens)) else None


def write_nerfstudio(scene: Scene, folder: str | Path, *, color: Literal["jpg", "png"] = "jpg") -> Path:
    """Write a capture that `read` gives back: images, poses, up and all truth, not `scene.points`.

    The folder appears only when it is whole: it is built beside its place and renamed.

    Args:
        folder: made; may exist only if it is empty.
        color: `jpg` of quality 95, or `png` without loss.

    Returns:
        The folder.

    Raises:
        CaptureError: the folder holds something, or a frame of the scene cannot be read.
        ValueError: ids of labels or objects outside -1..65534.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CaptureError(
            f"{folder}: expected a new or empty folder to write to. Name another, or remove it"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = folder.parent / f".{folder.name}.{os.getpid()}.part"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    try:
        _write(scene, building, color)
        if folder.exists():
            folder.rmdir()
        building.rename(folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return folder


def _write(scene: Scene, folder: Path, suffix: str) -> None:
    cameras = {frame.camera for frame in scene.frames}
    shared = len(cameras) == 1
    meta: dict[str, Any] = {"camera_model": "OPENCV", "up": [float(value) for value in scene.up]}
    if shared:
        meta |= _camera_keys(scene.frames[0].camera)
    if scene.truth:
        meta["labels"] = {str(i): name for i, name in scene.truth.items()}
    for name in ("images", "depth", "labels", "instances"):
        (folder / name).mkdir()
    entries = []
    for index, frame in enumerate(scene.frames):
        world_from_camera = frame.world_from_camera.copy()
        world_from_camera[:3, 3] += scene.origin
        entry: dict[str, Any] = {
            "file_path": f"images/{index:05d}.{suffix}",
            "depth_file_path": f"depth/{index:05d}.png",
            "transform_matrix": (world_from_camera @ geometry.OPENCV_FROM_OPENGL).tolist(),
        }
        if not shared:
            entry |= _camera_keys(frame.camera)
        depth_camera = frame.depth_camera
        like_color = geometry.resize_camera(frame.camera, depth_camera.width, depth_camera.height)
        if not np.allclose(astuple(depth_camera), astuple(like_color), rtol=0, atol=1e-6):
            entry["depth_camera"] = _camera_keys(depth_camera)
        image = Image.fromarray(frame.color())
        if suffix == "jpg":
            # Full resolution of colour: what quality 95 keeps should not be lost by halving it.
            image.save(folder / entry["file_path"], quality=95, subsampling=0)
        else:
            image.save(folder / entry["file_path"])
        Image.fromarray(_millimetres(frame.depth())).save(folder / entry["depth_file_path"])
        for what, read_ids in (("label", frame.label), ("instance", frame.instance)):
            if read_ids is None:
                continue
            ids = read_ids()
            if ids.min() < -1 or ids.max() > 65534:
                raise ValueError(
                    f"frame {frame.name}: found {what} ids {ids.min()} to {ids.max()}; expected -1 to 65534, "
                    "which 16 bits can hold. Renumber them"
                )
            entry[f"{what}_file_path"] = f"{what}s/{index:05d}.png"
            Image.fromarray((ids + 1).astype(np.uint16)).save(folder / entry[f"{what}_file_path"])
        entries.append(entry)
    for name in ("labels", "instances"):
        if not any((folder / name).iterdir()):
            (folder / name).rmdir()
    (folder / "transforms.json").write_text(json.dumps({**meta, "frames": entries}, indent=1))


def _camera_keys(camera: Camera) -> dict[str, float]:
    return {
        "fl_x": camera.fx,
        "fl_y": camera.fy,
        "cx": camera.cx + 0.5,
        "cy": camera.cy + 0.5,
        "w": camera.width,
        "h": camera.height,
    }


def _millimetres(depth: np.ndarray) -> np.ndarray:
    """(h, w) metres -> uint16; what 16 bits cannot hold becomes 0 = unknown, not a wall: 65535 means none, too."""
    mm = np.rint(depth * _MM)
    return np.where((mm > 0) & (mm < 65535), mm, 0).astype(np.uint16)

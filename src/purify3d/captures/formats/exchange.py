"""Captures written as nerfstudio's transforms.json; `nerfstudio.py` reads it and describes the keys."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from purify3d.base.errors import CaptureError
from purify3d.base.files import write_folder
from purify3d.captures.conventions import moved
from purify3d.grid import projection
from purify3d.types import Camera, Frame, Scene

_MM = 1000


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
    return write_folder(folder, lambda building: _write(scene, building, color))


def _write(scene: Scene, folder: Path, suffix: str) -> None:
    cameras = {frame.camera for frame in scene.frames}
    shared = len(cameras) == 1
    for name in ("images", "depth"):
        (folder / name).mkdir()
    # Full resolution of colour: what quality 95 keeps should not be lost by halving it.
    options: dict[str, Any] = {"quality": 95, "subsampling": 0} if suffix == "jpg" else {}
    entries = []
    for index, frame in enumerate(scene.frames):
        names = f"images/{index:05d}.{suffix}", f"depth/{index:05d}.png"
        entry = frame_entry(moved(frame, scene.origin), *names, own_camera=not shared)
        Image.fromarray(frame.color()).save(folder / entry["file_path"], **options)
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
            (folder / f"{what}s").mkdir(exist_ok=True)
            Image.fromarray((ids + 1).astype(np.uint16)).save(folder / entry[f"{what}_file_path"])
        entries.append(entry)
    camera = _camera_keys(scene.frames[0].camera) if shared else {}
    write_transforms(folder, scene.up, entries, scene.truth or None, **camera)


def write_transforms(
    folder: Path,
    up: np.ndarray,
    entries: Iterable[Mapping[str, Any]],
    labels: Mapping[int, str] | None = None,
    **keys: float | None,
) -> None:
    """Write transforms.json of a folder.

    Args:
        up: (3,) direction of the world against gravity.
        entries: of the frames, see `frame_entry`.
        labels: names of the ids in label images; None: there is no truth.
        keys: others of the file, such as `depth_unit_scale_factor` or intrinsics that all frames share.
    """
    meta: dict[str, Any] = {"camera_model": "OPENCV", "up": [float(value) for value in up], **keys}
    if labels is not None:
        meta["labels"] = {str(i): name for i, name in labels.items()}
    text = json.dumps({**meta, "frames": list(entries)}, indent=1)
    (folder / "transforms.json").write_text(text, encoding="utf-8")


def frame_entry(frame: Frame, color: str, depth: str, *, own_camera: bool = True) -> dict[str, Any]:
    """The entry of a frame in transforms.json.

    Args:
        color, depth: files, relative to the folder.
        own_camera: with the intrinsics of the colour image; those of a depth image that is no resampled view
            of it always stand there.
    """
    entry: dict[str, Any] = {
        "file_path": color,
        "depth_file_path": depth,
        "transform_matrix": (frame.world_from_camera @ projection.OPENCV_FROM_OPENGL).tolist(),
        **(_camera_keys(frame.camera) if own_camera else {}),
    }
    depth_camera = frame.depth_camera
    like_color = projection.resize_camera(frame.camera, depth_camera.width, depth_camera.height)
    if not np.allclose(astuple(depth_camera), astuple(like_color), rtol=0, atol=1e-6):
        entry["depth_camera"] = _camera_keys(depth_camera)
    return entry


def _camera_keys(camera: Camera) -> dict[str, float]:
    """Pixels of transforms.json count from the corner."""
    return {
        "fl_x": camera.fx,
        "fl_y": camera.fy,
        "cx": camera.cx + 0.5,
        "cy": camera.cy + 0.5,
        "w": camera.width,
        "h": camera.height,
    }


def _millimetres(depth: np.ndarray) -> np.ndarray:
    """(h, w) metres -> uint16; what 16 bits cannot hold, and 65535, which means none, becomes 0."""
    mm = np.rint(depth * _MM)
    return np.where((mm > 0) & (mm < 65535), mm, 0).astype(np.uint16)

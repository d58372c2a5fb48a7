"""Polycam's raw data: keyframes/ with images, cameras, depth and confidence, named by timestamps.

Reference: the data format section of Polycam's polyform and the help page "How to Extract Raw Data". A camera
is a JSON file with fx, fy, cx, cy of an image of its width and height, and t_00..t_23, the rows of a 3x4
camera-to-world transform in metres with ARKit's axes (x right, y up, z back; the world is y-up). Depth is
16-bit PNG in mm, usually 256x192; confidence images hold 0 low, 127 medium, 255 high. Depth of low confidence
is left out (`phones.LOWEST_CONFIDENCE`).

corrected_images/ and corrected_cameras/ are undistorted and globally optimised; they are used if both are
there. Without them the images have the lens's slight distortion, which the export does not describe.
"""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

import numpy as np

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.base.files import read_text
from purify3d.captures.reading import images, phones
from purify3d.captures.reading.frame_names import list_files
from purify3d.captures.reading.poses import rigid_pose
from purify3d.grid import projection
from purify3d.types import Frame, Scene

#: What the path must hold, for people.
EXPECTS = "keyframes/ with images/, cameras/ and depth/"

#: How the format stores poses.
POSES = "opengl", "camera-to-world"

#: Folders of images and cameras, the better ones first.
_PAIRS = (("corrected_images", "corrected_cameras"), ("images", "cameras"))


def recognises(path: Path) -> bool:
    """Does the path look like this format?"""
    folder = _keyframes(path)
    return (folder / "depth").is_dir() and any(
        (folder / images).is_dir() and next((folder / cameras).glob("*.json"), None) is not None
        for images, cameras in _PAIRS
    )


def read(path: Path, *, intrinsics: tuple[float, float, float, float] | None = None) -> Scene:
    """Read an unpacked export, or its keyframes folder; images stay on disk until asked for.

    Args:
        intrinsics: (fx, fy, cx, cy) of the colour images, in place of those of each camera file.

    Returns:
        Frames in the order of their timestamps. `up` is +y.

    Raises:
        CaptureError: folders are missing, or no frame is usable.

    Warns:
        PurifyWarning: frames are left out, some lack confidence, or there are no corrected images.
    """
    folder = _keyframes(path)
    pair = next((p for p in _PAIRS if all((folder / name).is_dir() for name in p)), None)
    if pair is None or not (folder / "depth").is_dir():
        raise CaptureError(
            f"{path}: expected {EXPECTS}. Turn on developer mode in Polycam, process the capture again, and "
            "export it as raw data"
        )
    if pair == _PAIRS[1]:
        warnings.warn(
            f"{folder}: found no corrected_images and corrected_cameras; images with slight lens distortion "
            "and poses that were not optimised are used",
            PurifyWarning,
            stacklevel=2,
        )
    colors = _by_stem(folder / pair[0], images.COLOR_SUFFIXES)
    cameras = _by_stem(folder / pair[1], (".json",))
    depths = _by_stem(folder / "depth", (".png",))
    kept = _by_stem(folder / "confidence", (".png",))

    def made(stem: str) -> Frame | None:
        """One frame; None if its pose is not finite."""
        color, source = colors[stem], cameras[stem]
        keys = phones.read_json(read_text(source), source)
        rows = [[float(keys[f"t_{row}{column}"]) for column in range(4)] for row in range(3)]
        pose = rigid_pose(np.array(rows), source)
        if pose is None:
            return None
        arkit = [keys[key] for key in ("fx", "fy", "cx", "cy")]
        made_for = int(keys["width"]), int(keys["height"])
        camera = phones.make_camera(intrinsics, arkit, made_for, images.image_size(color), source)
        pose, read_color = pose @ projection.OPENCV_FROM_OPENGL, partial(images.read_color, color, camera)
        return phones.frame(stem, pose, camera, read_color, color, depths[stem], kept.get(stem), source)

    sieve = phones.Sieve(folder)
    parts = {"image": colors, "camera": cameras, "depth": depths}
    for stem in sorted(colors.keys() | cameras.keys(), key=lambda name: (len(name), name)):
        # Polycam keeps depth of all frames, but images and cameras of those that it chose.
        if sieve.is_whole(stem, {what: stem in found for what, found in parts.items()}):
            sieve.add(stem, partial(made, stem), kept.get(stem))
    name = folder.resolve().parent.name if folder.name == "keyframes" else folder.resolve().name
    return sieve.done(name=name)


def _keyframes(path: Path) -> Path:
    return path / "keyframes" if (path / "keyframes").is_dir() else path


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    return {file.stem: file for file in list_files(folder, suffixes)}

"""ScanNet-style folders: color/ depth/ pose/ intrinsic/, optionally label/ with labels.json, and instance/.

What ScanNet's own exporter writes, and many others imitate: depth as 16-bit PNG in mm, poses as 4x4
camera-to-world text with OpenCV axes (-inf where tracking was lost), two 4x4 intrinsic matrices with integer
pixel centres. Reference: the SensReader of the ScanNet release.

Truth objects are an addition of this package: instance/*.png named like the depth images, 16 bit, in the
depth camera, of object id + 1, 0 = none; an object has one id in all frames.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from purify3d.captures import images
from purify3d.clouds import read_cloud
from purify3d.errors import CaptureError, PurifyWarning
from purify3d.types import NO_LABEL, Camera, Scene

#: What the folder must hold, for people.
EXPECTS = "folders color/ depth/ pose/ intrinsic/"

_FOLDERS = ("color", "depth", "pose")
_IMAGES = (".jpg", ".jpeg", ".png")


def recognises(path: Path) -> bool:
    """Does the path look like this format?"""
    return all((path / name).is_dir() for name in _FOLDERS)


def read(path: Path, *, intrinsics: tuple[float, float, float, float] | None = None) -> Scene:
    """Read a folder; images stay on disk until asked for.

    Args:
        intrinsics: (fx, fy, cx, cy) of the colour image, in place of intrinsic_color.txt.

    Returns:
        Frames in numeric order of their names. `up` is +z for a scene of the ScanNet release, elsewhere
        guessed. `points` is the release's mesh `*_vh_clean_2.ply` where it lies in the folder.

    Raises:
        CaptureError: a folder is missing, no frame is usable, or intrinsics are missing or do not fit.
    """
    missing = [name for name in _FOLDERS if not (path / name).is_dir()]
    if missing:
        raise CaptureError(f"{path}: expected {EXPECTS}; missing are {', '.join(missing)}")
    colors, depths = _by_stem(path / "color", _IMAGES), _by_stem(path / "depth", (".png",))
    poses = _by_stem(path / "pose", (".txt",))
    stems = sorted(colors.keys() | depths.keys() | poses.keys(), key=_natural)
    whole = [stem for stem in stems if stem in colors and stem in depths and stem in poses]
    left_out = len(stems) - len(whole)
    images.check_frames(whole, left_out, 0, path)

    color_size, depth_size = images.image_size(colors[whole[0]]), images.image_size(depths[whole[0]])
    camera, depth_camera = _cameras(path / "intrinsic", color_size, depth_size, intrinsics)
    truth, labels = _truth(path)
    ids = partial(_truth_ids, unlabelled=_unlabelled(truth))
    instances = _by_stem(path / "instance", (".png",)) if (path / "instance").is_dir() else {}
    frames = []
    for stem in whole:
        pose = images.rigid_pose(images.read_numbers(poses[stem]), poses[stem])
        if pose is not None:
            frames.append(
                images.file_frame(
                    stem,
                    pose,
                    camera,
                    depth_camera,
                    color=colors[stem],
                    depth=depths[stem],
                    metres_per_unit=0.001,
                    label=labels.get(stem),
                    ids=ids,
                    instance=instances.get(stem),
                    files=[poses[stem]],
                )
            )
    skipped = len(whole) - len(frames)
    images.check_frames(frames, 0, skipped, path)
    released = re.match(r"scene\d{4}_\d{2}", path.resolve().name)
    clouds = sorted(path.glob("*_vh_clean_2.ply"))
    return Scene(
        name=path.resolve().name,
        frames=tuple(frames),
        up=np.array([0.0, 0.0, 1.0]) if released else images.guess_up(frames),
        points=read_cloud(clouds[0]) if clouds else None,
        truth={i: name for i, name in truth.items() if i not in _unlabelled(truth)},
        skipped=skipped,
        files=(*sorted((path / "intrinsic").glob("*.txt")), *path.glob("labels.json"), *clouds[:1]),
    )


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    return {file.stem: file for file in sorted(folder.iterdir()) if file.suffix.lower() in suffixes}


def _natural(stem: str) -> list[tuple[int, str]]:
    """Sort key by which frame 9 comes before frame 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.findall(r"\d+|\D+", stem)]


def _matrix(path: Path) -> tuple[float, float, float, float] | None:
    """(fx, fy, cx, cy) of a 3x3 or 4x4 intrinsic matrix, None if there is no such file."""
    if not path.is_file():
        return None
    k = images.read_numbers(path)
    if k.shape not in ((3, 3), (3, 4), (4, 4)):
        raise CaptureError(f"{path}: found a matrix of shape {k.shape}; expected 3x3 or 4x4 intrinsics")
    return float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2])


def _cameras(
    folder: Path,
    color_size: tuple[int, int],
    depth_size: tuple[int, int],
    intrinsics: tuple[float, float, float, float] | None,
) -> tuple[Camera, Camera]:
    """The colour and the depth camera; images of one size may share one set of intrinsics."""
    color_file, depth_file = folder / "intrinsic_color.txt", folder / "intrinsic_depth.txt"
    color, depth = intrinsics or _matrix(color_file), _matrix(depth_file)
    if color is None and depth is None:
        raise CaptureError(
            f"{folder}: found no intrinsics; expected intrinsic_color.txt (and intrinsic_depth.txt) with a "
            "3x3 or 4x4 matrix. Add them, or pass --intrinsics fx,fy,cx,cy"
        )
    if color_size == depth_size:
        # Given by hand, they stand for both: images of one size were registered to each other.
        color, depth = color or depth, intrinsics or depth or color
    if color is None or depth is None:
        (w, h), (dw, dh) = color_size, depth_size
        lacking = color_file if color is None else depth_file
        raise CaptureError(
            f"{folder}: found colour images of {w}x{h} and depth images of {dw}x{dh} pixels, but intrinsics "
            f"of one of them only; expected {lacking.name} too. Add it, or resize one to the other's size"
        )
    where = "--intrinsics" if intrinsics else color_file
    return images.make_camera(color, color_size, where), images.make_camera(depth, depth_size, depth_file)


def _truth(path: Path) -> tuple[dict[int, str], dict[str, Path]]:
    """Names of the truth ids, and the label images; both empty where the folder has no truth."""
    if not (path / "label").is_dir():
        return {}, {}
    file = path / "labels.json"
    if not file.is_file():
        warnings.warn(
            f"{path / 'label'} is left out: {file} (id -> name) is missing", PurifyWarning, stacklevel=3
        )
        return {}, {}
    try:
        names = {int(i): str(name) for i, name in json.loads(file.read_text()).items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise CaptureError(f'{file}: expected an object such as {{"1": "chair"}}; {error}') from error
    return names, _by_stem(path / "label", (".png",))


def _unlabelled(truth: Mapping[int, str]) -> frozenset[int]:
    """Ids that mean "no label": 0, and whatever is called so."""
    return frozenset({0} | {i for i, name in truth.items() if name.lower() in ("unlabeled", "unlabelled")})


def _truth_ids(stored: np.ndarray, *, unlabelled: frozenset[int]) -> np.ndarray:
    return np.where(np.isin(stored, list(unlabelled)), NO_LABEL, stored).astype(np.int32)

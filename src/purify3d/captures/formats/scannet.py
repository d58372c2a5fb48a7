"""ScanNet-style folders: color/ depth/ pose/ intrinsic/, optionally label/ with labels.json, and instance/.

What ScanNet's own exporter writes, and many others imitate: depth as 16-bit PNG in mm, poses as 4x4
camera-to-world text with OpenCV axes (-inf where tracking was lost), two 4x4 intrinsic matrices with integer
pixel centres. Reference: the SensReader of the ScanNet release.

Imitations differ, so more is taken: depth of every kind of `depths.py`; poses as 3x4, or 12 or 16 numbers in
a row, or .npy; and files of one frame may have different numbers of zeros (`0.png` beside `000000.txt`).

Truth objects are an addition of this package: instance/*.png named like the depth images, 16 bit, in the
depth camera, of object id + 1, 0 = none; an object has one id in all frames.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.base.files import read_text
from purify3d.captures.reading import images
from purify3d.captures.reading.depths import DEPTH_SUFFIXES
from purify3d.captures.reading.dropped import Dropped
from purify3d.captures.reading.frame_names import list_files, match_frame_names, natural_sort_key
from purify3d.captures.reading.poses import read_numbers, read_pose
from purify3d.clouds import read_cloud
from purify3d.types import NO_LABEL, Camera, Scene

#: What the folder must hold, for people.
EXPECTS = "folders color/ depth/ pose/ intrinsic/"

#: How the format stores poses.
POSES = "opencv", "camera-to-world"

_FOLDERS = ("color", "depth", "pose")
_SUFFIXES = {"color": images.COLOR_SUFFIXES, "depth": DEPTH_SUFFIXES, "pose": (".txt", ".npy")}

#: What names of files say about where they come from.
_ELSEWHERE = (
    (re.compile(r"frame-\d+\.(color|depth|pose)\."), "7-Scenes"),
    (re.compile(r"(frame|depth)\d+\.(jpg|png)"), "Replica"),
)


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
        raise CaptureError(
            f"{path}: expected {EXPECTS}; missing are {', '.join(missing)}{_elsewhere(_held(path))}"
        )
    files = match_frame_names({name: _by_stem(path / name, _SUFFIXES[name]) for name in _FOLDERS})
    dropped, keys = Dropped(path), sorted(set().union(*files.values()), key=natural_sort_key)
    parts = {key: {name: key in files[name] for name in _FOLDERS} for key in keys}
    whole = [key for key in keys if dropped.is_whole(key, parts[key], " file")]
    if not whole:
        dropped.settle(0, _instead(path))
    color_size, depth_size = (_first_size([files[name][key] for key in whole]) for name in ("color", "depth"))
    camera, depth_camera = _cameras(path / "intrinsic", color_size, depth_size, intrinsics)
    truth, labels = _truth(path)
    # Ids that mean "no label": 0, and whatever is called so.
    none = {0} | {i for i, name in truth.items() if name.lower() in ("unlabeled", "unlabelled")}
    ids = partial(_truth_ids, unlabelled=frozenset(none))
    instances = _by_stem(path / "instance", (".png",))
    frames = []
    for key in whole:
        color, depth, pose_file = (files[name][key] for name in _FOLDERS)
        pose = dropped.attempt(color.stem, partial(read_pose, pose_file))
        if pose is None:
            continue
        frames.append(
            images.file_frame(
                color.stem,
                pose,
                camera,
                depth_camera,
                color=color,
                depth=depth,
                label=labels.get(depth.stem),
                ids=ids,
                instance=instances.get(depth.stem),
                files=[pose_file],
            )
        )
    released = re.match(r"scene\d{4}_\d{2}", path.resolve().name)
    clouds = [file for file in list_files(path, (".ply",)) if file.stem.endswith("_vh_clean_2")]
    scene = dropped.scene(
        frames,
        np.array([0.0, 0.0, 1.0]) if released else None,
        truth={i: name for i, name in truth.items() if i not in none},
        files=(*sorted((path / "intrinsic").glob("*.txt")), *path.glob("labels.json"), *clouds[:1]),
    )
    return replace(scene, points=read_cloud(clouds[0])) if clouds else scene


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Ordinary files by stem; of several with one stem the kind that comes first in `suffixes`."""
    files = list_files(folder, suffixes)
    found: dict[str, Path] = {}
    for file in sorted(files, key=lambda file: suffixes.index(file.suffix.lower())):
        found.setdefault(file.stem, file)
    twice = sorted(set(files) - set(found.values()))
    if twice:
        warnings.warn(
            f"{folder}: {len(twice)} files are left out, such as {twice[0].name}: one of the same name is "
            "used in its place",
            PurifyWarning,
            stacklevel=3,
        )
    return found


def _first_size(paths: Sequence[Path]) -> tuple[int, int]:
    """(width, height) of the first image that can be read; the others say so when they are."""
    for path in paths[:-1]:
        try:
            return images.image_size(path)
        except CaptureError:
            continue
    return images.image_size(paths[-1])


def _held(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def _instead(path: Path) -> str:
    """What lies in the folders where nothing goes together, and what that suggests."""
    held, every = [], []
    for name in _FOLDERS:
        names = _held(path / name)
        every += names
        some = ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
        held.append(f"{name}/ holds {some or 'nothing'}")
    looked = "; ".join(f"{name}/*{'|'.join(_SUFFIXES[name])}" for name in _FOLDERS)
    return f". Looked for {looked} with the same name or number; {'; '.join(held)}{_elsewhere(every)}"


def _elsewhere(names: Sequence[str]) -> str:
    for pattern, source in _ELSEWHERE:
        if any(pattern.match(name) for name in names):
            return f". Names like {next(name for name in names if pattern.match(name))} are those of {source}"
    return ""


def _matrix(path: Path) -> tuple[float, float, float, float] | None:
    """(fx, fy, cx, cy) of a 3x3 or 4x4 intrinsic matrix, None if there is no such file."""
    if not path.is_file():
        return None
    k = read_numbers(path)
    if k.shape not in ((3, 3), (3, 4), (4, 4)):
        raise CaptureError(
            f"{path}: found a matrix of shape {k.shape}; expected 3x3 or 4x4 intrinsics, fx 0 cx / 0 fy cy / "
            "0 0 1. Write it so, or pass --intrinsics fx,fy,cx,cy"
        )
    if abs(k[0, 1]) > 0.5:
        raise CaptureError(
            f"{path}: found a skew of {k[0, 1]:g} pixels (first row, second column); expected 0, since "
            "cameras are pinholes here. Rectify the images"
        )
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
    camera = images.make_camera(color, color_size, where)
    if (depth, depth_size) == (color, color_size):
        return camera, camera
    return camera, images.make_camera(depth, depth_size, depth_file)


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
        names = {int(i): str(name) for i, name in json.loads(read_text(file)).items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise CaptureError(f'{file}: expected an object such as {{"1": "chair"}}; {error}') from error
    return names, _by_stem(path / "label", (".png",))


def _truth_ids(stored: np.ndarray, *, unlabelled: frozenset[int]) -> np.ndarray:
    return np.where(np.isin(stored, list(unlabelled)), NO_LABEL, stored).astype(np.int32)

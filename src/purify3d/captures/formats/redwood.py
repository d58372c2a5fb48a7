"""Redwood and Open3D reconstruction folders: colour, depth, and a trajectory.

Colour lies in color/, image/ or rgb/, depth in depth/ as 16-bit PNG in mm. A trajectory is either a .log,
five lines per frame (three integers, then a 4x4 camera-to-world matrix), or Open3D's PinholeCameraTrajectory
as .json, whose `extrinsic` is world-to-camera; its matrices go column by column. Axes are OpenCV's, pixel
centres are integers. Intrinsics come from the .json, else from Open3D's camera_intrinsic.json, else they are
those of PrimeSense cameras, which Open3D assumes: 525, 525, 319.5, 239.5 at 640x480. Reference: the file
format page of the Redwood data sets and the documentation of Open3D's reconstruction system.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from purify3d.base.errors import CaptureError
from purify3d.captures.reading import images, layouts
from purify3d.captures.reading.dropped import Dropped
from purify3d.captures.reading.frame_names import list_files, natural_sort_key
from purify3d.captures.reading.images import Intrinsics, Size
from purify3d.captures.reading.keys import read_json
from purify3d.captures.reading.poses import rigid_pose
from purify3d.grid import projection
from purify3d.types import Scene

#: What the folder must hold, for people.
EXPECTS = "color/ (or image/, rgb/), depth/ and trajectory.log (or Open3D's camera trajectory .json)"

#: How the format stores poses.
POSES = "opencv", "camera-to-world"

_COLORS = ("color", "image", "rgb")
_SIZE = (640, 480)
_PRIMESENSE = (525.0, 525.0, 319.5, 239.5)


@dataclass(frozen=True)
class _Record:
    """A pose of the trajectory: its number, (4, 4) world_from_camera or None where it is no matrix of
    numbers."""

    number: int
    pose: np.ndarray | None
    size: Size | None = None
    intrinsics: Intrinsics | None = None


def recognises(path: Path) -> bool:
    """Does the path look like this format?"""
    return _color_folder(path) is not None and (path / "depth").is_dir() and len(_trajectories(path)) > 0


def read(path: Path, *, intrinsics: Intrinsics | None = None) -> Scene:
    """Read a folder; images stay on disk until asked for.

    Args:
        intrinsics: (fx, fy, cx, cy) of the colour image, in place of those of the folder.

    Returns:
        Frames in order of the images, `up` guessed. With as many poses as colour images they go by order;
        else by the first integer of each record, for images numbered from 0.

    Raises:
        CaptureError: a folder or the trajectory is missing or unreadable, poses do not fit the images, no
            frame is usable, or the intrinsics are unknown.

    Warns:
        PurifyWarning: frames were left out; it names them.
    """
    folder, found = _color_folder(path), _trajectories(path)
    if folder is None or not (path / "depth").is_dir() or len(found) != 1:
        raise CaptureError(
            f"{path}: found trajectories {', '.join(file.name for file in found) or '(none)'}; expected "
            f"{EXPECTS}, one of each. Add what is missing, or move the others away"
        )
    trajectory = found[0]
    records = _read_json(trajectory) if trajectory.suffix == ".json" else _read_log(trajectory)
    colors, depths = _by_key(folder, images.COLOR_SUFFIXES), _by_key(path / "depth", (".png",))
    dropped = Dropped(path)
    entries, used = [], {}
    for key, record in _assign(sorted(colors, key=natural_sort_key), records, trajectory).items():
        name = colors[key].stem
        if key not in depths:
            dropped.lacks(name, "no depth image")
        elif record is None:
            dropped.lacks(name, "no pose in the trajectory")
        elif record.pose is None:
            dropped.refuse(name, "no pose of 16 numbers in the trajectory")
        else:
            pose = dropped.attempt(name, partial(rigid_pose, record.pose, trajectory))
            if pose is not None:
                entries.append(layouts.Entry(name, colors[key], depths[key], pose))
                used[name] = record
    entries, size, depth_size = layouts.of_one_size(entries, dropped)

    shared, source = _intrinsics(path, size) if intrinsics is None else (intrinsics, "--intrinsics")
    cameras = []
    for entry in entries:
        record = used[entry.name]
        own = record.intrinsics if intrinsics is None and record.size == size else None
        values, where = (own, trajectory) if own is not None else (shared, source)
        if values is None:
            raise CaptureError(
                f"{path}: found colour images of {size[0]}x{size[1]} pixels and no camera_intrinsic.json "
                f"for them; the defaults hold for {_SIZE[0]}x{_SIZE[1]} only. Add it, or pass "
                "--intrinsics fx,fy,cx,cy"
            )
        cameras.append(images.make_camera(values, size, where))
    return layouts.scene(entries, dropped, cameras, depth_size, files=(trajectory,))


def _color_folder(path: Path) -> Path | None:
    return next((path / name for name in _COLORS if (path / name).is_dir()), None)


def _trajectories(path: Path) -> list[Path]:
    """Files that can be the trajectory; where the usual names are there, these alone."""
    if not path.is_dir():
        return []
    usual = [path / "trajectory.log", path / "trajectory.json", path / "scene/trajectory.log"]
    there = [file for file in usual if file.is_file()][:1]
    logs = [file for file in list_files(path, (".log",)) if _begins_with_numbers(file)]
    return there or sorted([*logs, *(f for f in list_files(path, (".json",)) if "trajectory" in f.stem)])


def _begins_with_numbers(file: Path) -> bool:
    """Many programs leave a .log; in a trajectory the first line is three integers."""
    try:
        with file.open("rb") as opened:
            head = opened.read(256)
    except OSError:
        return False
    return re.match(rb"\s*\d+\s+\d+\s+\d+\s*\n", head) is not None


def _by_key(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Images by what colour and depth share of their names: all, or the number before a time stamp."""
    files = list_files(folder, suffixes)
    if all(re.fullmatch(r"\d+-\d+", file.stem) for file in files):
        return {file.stem.split("-")[0]: file for file in files}
    return {file.stem: file for file in files}


def _assign(keys: list[str], records: list[_Record], trajectory: Path) -> dict[str, _Record | None]:
    if len(keys) == len(records):
        return dict(zip(keys, records, strict=True))
    numbers = [int(digits[-1]) if (digits := re.findall(r"\d+", key)) else -1 for key in keys]
    by_number = {record.number: record for record in records}
    if not keys or numbers[0] != 0 or len(set(numbers)) < len(numbers) or len(by_number) < len(records):
        raise CaptureError(
            f"{trajectory}: found {len(records)} poses for {len(keys)} colour images; expected as many, "
            "or images numbered from 0 and poses with the numbers of theirs. Re-copy what is missing"
        )
    return {key: by_number.get(number) for key, number in zip(keys, numbers, strict=True)}


def _read_log(path: Path) -> list[_Record]:
    lines = [line for line in layouts.read_lines(path) if line.strip()]
    records = []
    for start in range(0, len(lines), 5):
        head = layouts.numbers(lines[start], 3)
        if head is None or not np.isfinite(head).all():
            raise CaptureError(
                f"{path}: found {lines[start][:60]!r} where record {start // 5} begins; expected three "
                "integers, then four lines of four numbers. Re-copy the trajectory"
            )
        rows = [layouts.numbers(line, 4) for line in lines[start + 1 : start + 5]]
        whole = [row for row in rows if row is not None]
        records.append(_Record(int(head[0]), np.stack(whole) if len(whole) == 4 else None))
    return records


def _matrix(values: Any, side: int) -> np.ndarray:
    """(side, side) float64 from numbers that go column by column."""
    return np.array(values, dtype=np.float64).reshape(side, side).T


def _pinhole(keys: Any) -> tuple[Intrinsics, Size]:
    """(fx, fy, cx, cy) and (width, height) of Open3D's PinholeCameraIntrinsic."""
    k = _matrix(keys["intrinsic_matrix"], 3)
    if abs(k[2, 2] - 1) > 1e-6 or np.abs([k[0, 1], k[1, 0], k[2, 0], k[2, 1]]).max() > 1e-6:
        raise ValueError("intrinsic_matrix is no pinhole without skew, column by column")
    return (k[0, 0], k[1, 1], k[0, 2], k[1, 2]), (int(keys["width"]), int(keys["height"]))


def _inverse(pose: np.ndarray) -> np.ndarray:
    """As it is where it has no inverse: what is not finite or no rotation is left out later."""
    try:
        return projection.inverse(pose) if np.isfinite(pose).all() else pose
    except np.linalg.LinAlgError:
        return pose


def _read_json(path: Path) -> list[_Record]:
    records = []
    try:
        for number, keys in enumerate(read_json(path)["parameters"]):
            values, size = _pinhole(keys["intrinsic"])
            records.append(_Record(number, _inverse(_matrix(keys["extrinsic"], 4)), size, values))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CaptureError(
            f"{path}: expected Open3D's PinholeCameraTrajectory, parameters with extrinsic and intrinsic; "
            f"found {error!r}. Export it again"
        ) from error
    return records


def _intrinsics(path: Path, size: Size) -> tuple[Intrinsics | None, Path | str]:
    """What the folder says for images of this size, else the default, None where there is none."""
    file = path / "camera_intrinsic.json"
    if not file.is_file():
        return (_PRIMESENSE if size == _SIZE else None), path
    try:
        values, made_for = _pinhole(read_json(file))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CaptureError(
            f"{file}: expected width, height and intrinsic_matrix (9 numbers, column by column); found "
            f"{error!r}. Export it again"
        ) from error
    if made_for != size:
        raise CaptureError(
            f"{file}: found intrinsics for {made_for[0]}x{made_for[1]} pixels; the colour images have "
            f"{size[0]}x{size[1]}. Correct the file, or pass --intrinsics fx,fy,cx,cy"
        )
    return values, file

"""Replica as rendered for NICE-SLAM: results/frame*.jpg, results/depth*.png and traj.txt.

traj.txt has a line per frame, 16 numbers of a 4x4 camera-to-world matrix with OpenCV axes. Depth is 16-bit
PNG with 6553.5 units per metre. cam_params.json beside or above the scene, `{"camera": {"w", "h", "fx", "fy",
"cx", "cy", "scale"}}`, goes before the published values. Pixel centres are integers: the published principal
point of 1200x680 images is (599.5, 339.5). Reference: the data loaders and configurations of NICE-SLAM.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np

from purify3d.base.errors import CaptureError
from purify3d.captures.reading import images, layouts
from purify3d.captures.reading.dropped import Dropped
from purify3d.captures.reading.frame_names import list_files
from purify3d.captures.reading.images import Intrinsics, Size
from purify3d.captures.reading.keys import read_json
from purify3d.captures.reading.poses import rigid_pose
from purify3d.types import Scene

#: What the folder must hold, for people.
EXPECTS = "results/frame*.jpg, results/depth*.png and traj.txt"

#: How the format stores poses.
POSES = "opencv", "camera-to-world"

_SIZE = (1200, 680)
_INTRINSICS = (600.0, 600.0, 599.5, 339.5)
_UNITS_PER_METRE = 6553.5


def recognises(path: Path) -> bool:
    """Does the path look like this format?"""
    return (path / "traj.txt").is_file() and any((path / "results").glob("frame*.*"))


def read(path: Path, *, intrinsics: Intrinsics | None = None) -> Scene:
    """Read a scene; images stay on disk until asked for.

    Args:
        intrinsics: (fx, fy, cx, cy) of the colour image, in place of cam_params.json or the published ones.

    Returns:
        Frames in order of their numbers, `up` guessed. Where traj.txt has a line for every number, frame 12
        has the thirteenth; where numbers have gaps and there is a line per frame, it goes by order.

    Raises:
        CaptureError: no frame is usable, the lines do not fit the frames, or the intrinsics are unknown.

    Warns:
        PurifyWarning: frames were left out; it names them.
    """
    trajectory = path / "traj.txt"
    lines = layouts.read_lines(trajectory)
    colors, depths = _numbered(path, "frame"), _numbered(path, "depth")
    dropped = Dropped(path)
    entries = []
    for number, line in _lines_of(sorted(colors.keys() | depths.keys()), len(lines), trajectory).items():
        name = f"frame{number:06d}"
        if number not in colors or number not in depths:
            dropped.lacks(name, f"no {'colour' if number in depths else 'depth'} image")
            continue
        if line >= len(lines):
            dropped.lacks(name, "no line in traj.txt")
            continue
        stored = layouts.numbers(lines[line], 16)
        if stored is None:
            dropped.refuse(name, "no line of 16 numbers in traj.txt")
            continue
        pose = dropped.attempt(name, partial(rigid_pose, stored.reshape(4, 4), trajectory))
        if pose is not None:
            entries.append(layouts.Entry(name, colors[number], depths[number], pose))
    entries, size, depth_size = layouts.of_one_size(entries, dropped)

    params, units = _cam_params(path, size)
    values = intrinsics or params
    if values is None:
        raise CaptureError(
            f"{path}: found images of {size[0]}x{size[1]} pixels and no cam_params.json; the published "
            f"intrinsics hold for {_SIZE[0]}x{_SIZE[1]} only. Add the file, or pass --intrinsics fx,fy,cx,cy"
        )
    camera = images.make_camera(values, size, "--intrinsics" if intrinsics else path)
    cameras = [camera] * len(entries)
    return layouts.scene(entries, dropped, cameras, depth_size, 1 / units, files=(trajectory,))


def _numbered(path: Path, kind: str) -> dict[int, Path]:
    suffixes = images.COLOR_SUFFIXES if kind == "frame" else (".png",)
    files = list_files(path / "results", suffixes)
    return {int(file.stem[len(kind) :]): file for file in files if re.fullmatch(f"{kind}[0-9]+", file.stem)}


def _lines_of(numbers: list[int], lines: int, trajectory: Path) -> dict[int, int]:
    """Which line belongs to which frame, counted from 0."""
    if not numbers or numbers[-1] < lines or numbers == list(range(len(numbers))):
        return {number: number for number in numbers}
    if len(numbers) == lines:
        return {number: line for line, number in enumerate(numbers)}
    raise CaptureError(
        f"{trajectory}: found {lines} lines for {len(numbers)} frames numbered {numbers[0]} to "
        f"{numbers[-1]}; expected a line per frame, or one per number. Re-copy traj.txt"
    )


def _cam_params(path: Path, size: Size) -> tuple[Intrinsics | None, float]:
    """(fx, fy, cx, cy), None if they are unknown, and units of depth per metre."""
    here = path.resolve()
    file = next((f for f in (here / "cam_params.json", here.parent / "cam_params.json") if f.is_file()), None)
    if file is None:
        return (_INTRINSICS if size == _SIZE else None), _UNITS_PER_METRE
    try:
        camera = read_json(file)["camera"]
        fx, fy, cx, cy, scale = (float(camera[key]) for key in ("fx", "fy", "cx", "cy", "scale"))
        made_for = int(camera["w"]), int(camera["h"])
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise CaptureError(
            f"{file}: expected an object camera with the numbers w, h, fx, fy, cx, cy, scale; found {error!r}"
        ) from error
    if made_for != size or not (np.isfinite(scale) and scale > 0):
        raise CaptureError(
            f"{file}: found intrinsics for {made_for[0]}x{made_for[1]} pixels and scale {scale:g}; expected "
            f"those of the images, {size[0]}x{size[1]}, and a positive scale. Correct the file"
        )
    return (fx, fy, cx, cy), scale

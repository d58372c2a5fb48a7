"""TUM RGB-D sequences: rgb.txt, depth.txt and groundtruth.txt, each a list with timestamps.

Depth is registered to colour, 16-bit PNG with 5000 units per metre; a pose is `t tx ty tz qx qy qz qw`,
camera-to-world. The format carries no intrinsics. Reference: "A benchmark for the evaluation of RGB-D SLAM
systems" (IROS 2012) and the data set's page on file formats.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from purify3d import geometry
from purify3d.captures import images
from purify3d.captures.images import Lens
from purify3d.errors import CaptureError
from purify3d.types import Scene

#: What the folder must hold, for people.
EXPECTS = "rgb.txt, depth.txt and groundtruth.txt"

#: Published calibration of the three cameras at 640x480. Freiburg 3 was undistorted before release. Depth was
#: registered to the raw colour image, so one remapping serves both.
_CALIBRATION: dict[str, tuple[tuple[float, float, float, float], Lens | None]] = {
    "1": (
        (517.306408, 516.469215, 318.643040, 255.313989),
        Lens(k1=0.262383, k2=-0.953104, p1=-0.005358, p2=0.002628, k3=1.163314),
    ),
    "2": (
        (520.908620, 521.007327, 325.141442, 249.701764),
        Lens(k1=0.231222, k2=-0.784899, p1=-0.003257, p2=-0.000105, k3=0.917205),
    ),
    "3": ((535.4, 539.2, 320.1, 247.6), None),
}
_CALIBRATED_SIZE = (640, 480)
_MAX_SECONDS = 0.02


def recognises(path: Path) -> bool:
    """Does the path look like this format?"""
    return all((path / name).is_file() for name in ("rgb.txt", "depth.txt", "groundtruth.txt"))


def read(path: Path, *, intrinsics: tuple[float, float, float, float] | None = None) -> Scene:
    """Read a sequence; images stay on disk until asked for.

    Args:
        intrinsics: (fx, fy, cx, cy) of images without distortion; None: the folder's name says which of the
            three published cameras it was, and freiburg1 and freiburg2 are undistorted when read.

    Returns:
        A frame per colour image that has a depth image and a pose within 20 ms, each used once.

    Raises:
        CaptureError: a list is missing or unreadable, nothing goes together, or the intrinsics are unknown.
    """
    lists = tuple(path / name for name in ("rgb.txt", "depth.txt", "groundtruth.txt"))
    color_at, colors = _read_list(path / "rgb.txt", 1)
    depth_at, depths = _read_list(path / "depth.txt", 1)
    pose_at, poses = _read_list(path / "groundtruth.txt", 7)
    with_depth = associate(color_at, depth_at)
    posed = associate(color_at[with_depth[:, 0]], pose_at)
    if not len(posed):
        raise CaptureError(
            f"{path}: found {len(colors)} colour images, {len(depths)} depth images and {len(poses)} poses, "
            f"but none with timestamps within {_MAX_SECONDS * 1000:.0f} ms of each other; expected seconds "
            "of one clock in all three lists"
        )
    listed = [
        (path / colors[with_depth[i, 0]][0], path / depths[with_depth[i, 1]][0], poses[j]) for i, j in posed
    ]
    usable = [entry for entry in listed if entry[0].is_file() and entry[1].is_file()]
    images.check_frames(usable, len(listed) - len(usable), 0, path)
    size, depth_size = images.image_size(usable[0][0]), images.image_size(usable[0][1])
    if depth_size != size:
        raise CaptureError(
            f"{usable[0][1]}: found {depth_size[0]}x{depth_size[1]} pixels, its colour image has "
            f"{size[0]}x{size[1]}; this format holds depth registered to colour. Register the depth images"
        )
    values, lens = _calibration(path, size) if intrinsics is None else (intrinsics, None)
    camera = images.make_camera(values, size, path if intrinsics is None else "--intrinsics")
    frames = []
    for color, depth, words in usable:
        pose = _pose(words, path / "groundtruth.txt")
        if pose is not None:
            frames.append(
                images.file_frame(
                    color.stem,
                    pose,
                    camera,
                    camera,
                    color=color,
                    depth=depth,
                    metres_per_unit=1 / 5000,
                    lens=lens,
                )
            )
    skipped = len(usable) - len(frames)
    images.check_frames(frames, 0, skipped, path)
    return Scene(path.resolve().name, tuple(frames), images.guess_up(frames), skipped=skipped, files=lists)


def associate(a: np.ndarray, b: np.ndarray, max_seconds: float = _MAX_SECONDS) -> np.ndarray:
    """Pair two lists of timestamps: closest pairs first, each entry at most once.

    Args:
        a, b: (A,), (B,) seconds in any order.

    Returns:
        (M, 2) int64 indices into a and b, ascending in a.
    """
    order = np.argsort(b, kind="stable")
    first = np.searchsorted(b[order], a - max_seconds, side="left")
    last = np.searchsorted(b[order], a + max_seconds, side="right")
    close = [(abs(a[i] - b[j]), i, j) for i in range(len(a)) for j in order[first[i] : last[i]]]
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for _, i, j in sorted(close):
        if i not in pairs and j not in taken:
            pairs[i] = j
            taken.add(j)
    return np.array(sorted(pairs.items()), dtype=np.int64).reshape(-1, 2)


def _read_list(path: Path, columns: int) -> tuple[np.ndarray, list[list[str]]]:
    """Timestamps (M,) float64 and the `columns` words after each; lines that start with # are comments."""
    if not path.is_file():
        raise CaptureError(f"{path} is missing; expected {EXPECTS} in one folder")
    rows = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
        # The data set's own tools accept commas and tabs between values.
        words = line.replace(",", " ").split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) <= columns:
            raise CaptureError(
                f"{path}, line {number}: found {line!r}; expected a timestamp and {columns} more"
            )
        rows.append(words)
    try:
        return np.array([float(row[0]) for row in rows]), [row[1 : columns + 1] for row in rows]
    except ValueError as error:
        raise CaptureError(f"{path}: expected lines that begin with seconds; {error}") from error


def _pose(words: list[str], source: Path) -> np.ndarray | None:
    """(4, 4) from tx ty tz qx qy qz qw; None where tracking was lost (not finite, or no rotation)."""
    try:
        values = np.array([float(word) for word in words])
    except ValueError as error:
        raise CaptureError(f"{source}: expected numbers tx ty tz qx qy qz qw; {error}") from error
    if not np.isfinite(values).all() or np.linalg.norm(values[3:]) < 1e-6:
        return None
    return geometry.pose_from_quaternion(values[3:], values[:3])


def _calibration(path: Path, size: tuple[int, int]) -> tuple[tuple[float, float, float, float], Lens | None]:
    name = path.resolve().name
    found = re.search(r"freiburg([123])", name.lower())
    if found is None or size != _CALIBRATED_SIZE:
        raise CaptureError(
            f"{path}: found no intrinsics, this format has none; the published ones are known only for "
            "images of 640x480 in a folder named after freiburg1, freiburg2 or freiburg3 (found "
            f"{size[0]}x{size[1]} in {name!r}). Pass --intrinsics fx,fy,cx,cy"
        )
    return _CALIBRATION[found.group(1)]

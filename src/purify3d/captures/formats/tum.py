"""TUM RGB-D sequences: rgb.txt, depth.txt and groundtruth.txt, each a list with timestamps.

Depth is registered to colour, 16-bit PNG with 5000 units per metre; a pose is `t tx ty tz qx qy qz qw`,
camera-to-world. The format carries no intrinsics. Reference: "A benchmark for the evaluation of RGB-D SLAM
systems" (IROS 2012) and the data set's page on file formats.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.base.files import read_text
from purify3d.captures.reading import images, layouts
from purify3d.captures.reading.depths import check_size
from purify3d.captures.reading.dropped import Dropped
from purify3d.captures.reading.frame_names import any_case, unique_frame_names
from purify3d.captures.reading.images import Lens
from purify3d.captures.reading.keys import find_file
from purify3d.captures.reading.poses import is_known
from purify3d.grid import projection
from purify3d.types import Scene

#: What the folder must hold, for people.
EXPECTS = "rgb.txt, depth.txt and groundtruth.txt"

#: How the format stores poses.
POSES = "opencv", "camera-to-world"

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
#: Between poses further apart than this a hand-held camera may have gone anywhere.
_MAX_GAP = 0.1


def recognises(path: Path) -> bool:
    """Does the path look like this format?"""
    return all((path / name).is_file() for name in ("rgb.txt", "depth.txt", "groundtruth.txt"))


def read(
    path: Path,
    *,
    intrinsics: tuple[float, float, float, float] | None = None,
    interpolate: bool = False,
) -> Scene:
    """Read a sequence; images stay on disk until asked for.

    Args:
        intrinsics: (fx, fy, cx, cy) of images without distortion; None: the folder's name says which of the
            three published cameras it was, and freiburg1 and freiburg2 are undistorted when read.
        interpolate: the pose of a colour image lies between the two poses around it, which may be up to 0.1 s
            apart; otherwise it is the closest one within 20 ms.

    Returns:
        A frame per colour image that has a depth image and a pose within 20 ms, each used once.

    Raises:
        CaptureError: a list is missing or unreadable, nothing goes together, or the intrinsics are unknown.

    Warns:
        PurifyWarning: colour images without depth or pose, and files that are not there.
    """
    lists = tuple(path / name for name in ("rgb.txt", "depth.txt", "groundtruth.txt"))
    color_at, colors = _read_list(path / "rgb.txt", 1)
    depth_at, depths = _read_list(path / "depth.txt", 1)
    pose_at, words = _read_list(path / "groundtruth.txt", 7)
    with_depth = associate(color_at, depth_at)
    at = color_at[with_depth[:, 0]]
    poses = [_pose(values, path / "groundtruth.txt") for values in words]
    posed: list[tuple[int, np.ndarray | None]] = [(i, poses[j]) for i, j in associate(at, pose_at).tolist()]
    if interpolate:
        posed = list(_interpolated(at, pose_at, poses))
    if not posed:
        raise CaptureError(
            f"{path}: found {len(colors)} colour images, {len(depths)} depth images and {len(poses)} poses, "
            f"but none with timestamps within {_MAX_SECONDS * 1000:.0f} ms of each other; expected seconds "
            "of one clock in all three lists"
        )
    _say_unpaired(path, len(colors), len(with_depth), len(posed), interpolate)
    dropped, usable = Dropped(path), []
    for i, pose in posed:
        j, k = with_depth[i]
        color = find_file(path, colors[j][0], "a photo", f"{path}/rgb.txt")
        depth = find_file(path, depths[k][0], "a depth image", f"{path}/depth.txt")
        if dropped.is_whole(color.name, {"colour": color.is_file(), "depth": depth.is_file()}, " file"):
            usable.append((color, depth, pose))
    if not usable:
        dropped.settle(0)
    size = images.image_size(usable[0][0])
    values, lens = _calibration(path, size) if intrinsics is None else (intrinsics, None)
    camera = images.make_camera(values, size, path if intrinsics is None else "--intrinsics")
    check_size(usable[0][1], images.image_size(usable[0][1]), camera, "depth image")
    names = unique_frame_names([color.as_posix() for color, _, _ in usable])
    frames = [
        images.file_frame(
            name, pose, camera, camera, color=color, depth=depth, metres_per_unit=1 / 5000, lens=lens
        )
        for name, (color, depth, pose) in zip(names, usable, strict=True)
        if pose is not None
    ]
    dropped.lost = len(usable) - len(frames)
    return dropped.scene(frames, files=lists)


def _say_unpaired(path: Path, colors: int, with_depth: int, posed: int, interpolate: bool) -> None:
    within = f"within {_MAX_SECONDS * 1000:.0f} ms"
    around = f"around them that are less than {_MAX_GAP * 1000:.0f} ms apart" if interpolate else within
    unpaired = []
    if with_depth < colors:
        unpaired.append(f"{colors - with_depth} of {colors} colour images have no depth image {within}")
    if posed < with_depth:
        others = f"{with_depth} with depth" if with_depth < colors else f"{colors} colour images"
        unpaired.append(f"{with_depth - posed} of {others} have no pose {around}")
    if unpaired:
        warnings.warn(f"{path}: {', and '.join(unpaired)}; they are left out", PurifyWarning, stacklevel=3)


def _interpolated(
    at: np.ndarray, pose_at: np.ndarray, poses: Sequence[np.ndarray | None]
) -> Iterator[tuple[int, np.ndarray]]:
    """Indices into `at` of times between two poses, and the poses there: straight line, shortest turn."""
    finite = [i for i, pose in enumerate(poses) if pose is not None]
    order = sorted(finite, key=lambda i: pose_at[i])
    times = pose_at[order]
    after = np.searchsorted(times, at, side="left")
    for i, j in enumerate(after):
        if j < len(times) and times[j] == at[i]:
            yield i, np.asarray(poses[order[j]])
        elif 0 < j < len(times) and times[j] - times[j - 1] <= _MAX_GAP:
            share = float((at[i] - times[j - 1]) / (times[j] - times[j - 1]))
            first, second = np.asarray(poses[order[j - 1]]), np.asarray(poses[order[j]])
            turn = Rotation.from_matrix(first[:3, :3].T @ second[:3, :3]).as_rotvec()
            pose = first.copy()
            pose[:3, :3] = first[:3, :3] @ Rotation.from_rotvec(share * turn).as_matrix()
            pose[:3, 3] = (1 - share) * first[:3, 3] + share * second[:3, 3]
            yield i, pose


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
    """Timestamps (M,) float64 and the `columns` words after each; lines that start with # are comments.

    The one word of a list of files may hold spaces, in quotes or where such a file exists.
    """
    if not path.is_file():
        raise CaptureError(f"{path} is missing; expected {EXPECTS} in one folder")
    times, rows = [], []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        # The data set's own tools accept commas and tabs between values.
        words = line.replace(",", " ").split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) <= columns:
            raise CaptureError(
                f"{path}, line {number}: found {line.strip()[:80]!r}; expected a timestamp and {columns} more"
            )
        time = layouts.numbers(words[0], 1)
        if time is None or not np.isfinite(time[0]):
            raise CaptureError(
                f"{path}, line {number}: found {words[0][:40]!r}; expected lines that begin with seconds"
            )
        times.append(time[0])
        rows.append([_name(path.parent, line)] if columns == 1 else words[1 : columns + 1])
    return np.array(times, dtype=np.float64), rows


def _name(folder: Path, line: str) -> str:
    rest = re.split(r"[\s,]+", line.strip(), maxsplit=1)[1].strip()
    if rest[0] in "\"'" and rest.find(rest[0], 1) > 0:
        return rest[1 : rest.find(rest[0], 1)]
    words = rest.replace(",", " ").split()
    return rest if len(words) > 1 and os.path.isfile(any_case(folder / rest)) else words[0]


def _pose(words: list[str], source: Path) -> np.ndarray | None:
    """(4, 4) from tx ty tz qx qy qz qw; None where tracking was lost (not finite, or no rotation)."""
    values = layouts.numbers(" ".join(words), 7)
    if values is None:
        raise CaptureError(f"{source}: found {' '.join(words)[:80]!r}; expected numbers tx ty tz qx qy qz qw")
    if not is_known(values, source) or np.linalg.norm(values[3:]) < 1e-6:
        return None
    return projection.pose_from_quaternion(values[3:], values[:3])


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

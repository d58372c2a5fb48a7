"""Stray Scanner: rgb.mp4, depth/, confidence/, odometry.csv and camera_matrix.csv.

Reference: docs/format.md of the app's repository. Depth is 16-bit PNG in mm, usually 256x192 (NPY in early
versions), confidence PNG of 0 low, 1 medium, 2 high; camera_matrix.csv is a 3x3 matrix for the video's size.
A row of odometry.csv belongs to a frame of the video, in order: `timestamp, frame, x, y, z, qx, qy, qz, qw`,
later versions with `fx, fy, cx, cy`, early ones without a header and only the 7 numbers of the pose.

Poses are camera-to-world in metres. The app multiplies ARKit's rotation by a half turn about x before it
writes it: the camera has OpenCV axes (x right, y down, z forward), while the world stays ARKit's, y up. Depth
of low confidence is left out (`phones.LOWEST_CONFIDENCE`).
"""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.base.files import read_text
from purify3d.captures.reading import phones, video
from purify3d.captures.reading.frame_names import list_files
from purify3d.types import Frame, Scene

#: What the folder must hold, for people.
EXPECTS = "rgb.mp4, depth/, odometry.csv and camera_matrix.csv"

#: How the format stores poses.
POSES = "opencv", "camera-to-world"

_POSE = ("qx", "qy", "qz", "qw", "x", "y", "z")
_LENS = ("fx", "fy", "cx", "cy")

#: Columns of files without a header, by how many there are.
_HEADLESS: dict[int, tuple[str, ...]] = {7: ("x", "y", "z", "qx", "qy", "qz", "qw")}
_HEADLESS[9] = ("timestamp", "frame", *_HEADLESS[7])


def recognises(path: Path) -> bool:
    """Does the path look like this format?"""
    return (path / "odometry.csv").is_file() and (
        (path / "rgb.mp4").is_file() or (path / "camera_matrix.csv").is_file()
    )


def read(path: Path, *, intrinsics: tuple[float, float, float, float] | None = None) -> Scene:
    """Read a recording; depth and frames of the video are read when asked for.

    Args:
        intrinsics: (fx, fy, cx, cy) of the video's frames, in place of those in the folder.

    Returns:
        A frame per row of odometry.csv that has a frame of the video and a depth image. `up` is +y.

    Raises:
        CaptureError: a file is missing or unreadable, or no frame is usable.
        MissingPackageError: PyAV is not installed.

    Warns:
        PurifyWarning: frames are left out, or some lack confidence.
    """
    movie, odometry, matrix = (path / name for name in ("rgb.mp4", "odometry.csv", "camera_matrix.csv"))
    needed = [movie, odometry, *([matrix] if intrinsics is None else [])]
    missing = [file.name for file in needed if not file.is_file()]
    missing += [] if (path / "depth").is_dir() else ["depth/"]
    if missing:
        raise CaptureError(
            f"{path}: expected {EXPECTS}; missing are {', '.join(missing)}. Copy the whole folder"
        )
    index = video.read_index(movie)
    rows = _rows(odometry)
    depths, kept = _numbered(path / "depth", (".png", ".npy")), _numbered(path / "confidence", (".png",))
    shared = _matrix(matrix) if intrinsics is None else []
    count = len(index.times)
    # 0, unless the app went on counting from an earlier recording.
    shift = 0 if not rows or max(rows) < count else min(rows)
    unused = count - sum(0 <= number - shift < count for number in rows)
    if unused:
        warnings.warn(
            f"{movie}: {unused} of its {count} frames are left out, odometry.csv has no pose for them",
            PurifyWarning,
            stacklevel=2,
        )

    def made(number: int, row: dict[str, str]) -> Frame | None:
        """One frame; None if its pose is not finite."""
        pose = phones.pose_from_quaternion([float(row[key]) for key in _POSE], str(odometry))
        if pose is None:
            return None
        own = [float(row[key]) for key in _LENS] if set(_LENS) <= row.keys() else shared
        camera = phones.make_camera(intrinsics, own, index.size, index.size, odometry)
        read_color = partial(video.read_frame, movie, number - shift)
        files = movie, depths[number], kept.get(number)
        return phones.frame(f"{number:06d}", pose, camera, read_color, *files)

    sieve = phones.Sieve(path)
    for number, row in rows.items():
        name = f"{number:06d}"
        if not 0 <= number - shift < count:
            sieve.lacks(name, f"rgb.mp4 has only {count} frames")
        elif number not in depths:
            sieve.lacks(name, "no depth image")
        else:
            sieve.add(name, partial(made, number, row), kept.get(number))
    return sieve.done(files=tuple(file for file in (odometry, matrix) if file.is_file()))


def _rows(file: Path) -> dict[int, dict[str, str]]:
    """Rows by frame number, each by the names of its columns."""
    try:
        lines = [line for line in csv.reader(read_text(file).splitlines()) if line]
    except (ValueError, csv.Error) as error:
        raise CaptureError(f"{file}: is no table ({error}); copy the recording again") from error
    head = [word.strip() for word in lines[0]] if lines else []
    if set(_POSE) <= set(head):
        columns: Sequence[str] = head
        lines = lines[1:]
    elif len(head) in _HEADLESS:
        columns = _HEADLESS[len(head)]
    else:
        raise CaptureError(
            f"{file}: found columns {', '.join(head) or 'none'}; expected timestamp, frame, x, y, z, qx, qy, "
            "qz, qw. Copy the recording again"
        )
    rows = {}
    for order, line in enumerate(lines):
        # A last line may be cut off: what it lacks is missed when its frame is made.
        row = dict(zip(columns, (word.strip() for word in line), strict=False))
        try:
            rows[int(row["frame"]) if "frame" in columns else order] = row
        except (KeyError, ValueError) as error:
            raise CaptureError(
                f"{file}, row {order + 1}: found frame {row.get('frame')!r}; expected a number such as 000005"
            ) from error
    return rows


def _numbered(folder: Path, suffixes: tuple[str, ...]) -> dict[int, Path]:
    files = list_files(folder, suffixes)
    return {int(file.stem): file for file in files if re.fullmatch("[0-9]{1,9}", file.stem)}


def _matrix(file: Path) -> list[float]:
    """fx, fy, cx, cy, counted from the image's corner."""
    try:
        rows = [[float(word) for word in line] for line in csv.reader(read_text(file).splitlines()) if line]
        matrix = np.array(rows)
    except (ValueError, csv.Error) as error:
        raise CaptureError(f"{file}: expected 3 rows of 3 numbers ({error}); copy it again") from error
    if matrix.shape != (3, 3) or not np.allclose(matrix[2], [0, 0, 1]):
        raise CaptureError(
            f"{file}: found {matrix.tolist()}; expected a 3x3 matrix whose last row is 0, 0, 1. Copy it again"
        )
    return [float(matrix[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2))]

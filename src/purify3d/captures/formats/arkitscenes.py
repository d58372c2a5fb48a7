"""ARKitScenes as downloaded: lowres_wide/, lowres_depth/, lowres_wide_intrinsics/ and lowres_wide.traj.

Reference: DATA.md and raw/README.md of the ARKitScenes repository. Files are called VIDEO_SECONDS. Images are
256x192, depth 16-bit PNG in mm, confidence (optional) 0 low to 2 high; a .pincam file holds `width height fx
fy cx cy`, and a line of the .traj file seconds, a rotation as axis times angle, and a translation in metres,
world-to-camera. By its maintainers' word the camera has OpenCV axes and the world is z-up.

There are more images than poses: an image is used if a pose was taken within 5 ms of it, the tolerance of the
release's own loader. Depth of low confidence is left out (`phones.LOWEST_CONFIDENCE`). The larger images of
wide/ have times of their own and are not read.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from purify3d.base.errors import CaptureError
from purify3d.base.files import MOST_TEXT
from purify3d.captures.formats import tum
from purify3d.captures.reading import images, phones
from purify3d.captures.reading.frame_names import list_files
from purify3d.captures.reading.poses import is_known, read_numbers
from purify3d.grid import projection
from purify3d.types import Frame, Scene

#: What the folder must hold, for people.
EXPECTS = "lowres_wide/, lowres_depth/, lowres_wide_intrinsics/ and lowres_wide.traj"

#: How the format stores poses.
POSES = "opencv", "world-to-camera"

_FOLDERS = ("lowres_wide", "lowres_depth", "lowres_wide_intrinsics")
_TRAJECTORY = "lowres_wide.traj"

#: Of a pose; the release's own loader allows as much.
_POSE_SECONDS = 0.005
#: Of depth and intrinsics, whose names are rounded to a millisecond in either direction.
_FILE_SECONDS = 0.0015


def recognises(path: Path) -> bool:
    """Does the path look like this format?"""
    folder = _frames_folder(path)
    return (folder / "lowres_depth").is_dir() and (folder / "lowres_wide").is_dir()


def read(path: Path, *, intrinsics: tuple[float, float, float, float] | None = None) -> Scene:
    """Read a video's folder; images stay on disk until asked for.

    Args:
        path: a folder of the raw data set, or of 3dod, where all lies in VIDEO_frames inside it.
        intrinsics: (fx, fy, cx, cy) of the images of lowres_wide, in place of the .pincam files.

    Returns:
        Frames in the order of time, one per pose that has an image. `up` is +z.

    Raises:
        CaptureError: a folder or the trajectory is missing, or no frame is usable.

    Warns:
        PurifyWarning: frames are left out, or some lack confidence.
    """
    path = _frames_folder(path)
    trajectory = path / _TRAJECTORY
    needed = _FOLDERS if intrinsics is None else _FOLDERS[:2]
    missing = [f"{name}/" for name in needed if not (path / name).is_dir()]
    missing += [] if trajectory.is_file() else [_TRAJECTORY]
    if missing:
        raise CaptureError(
            f"{path}: expected {EXPECTS}; missing are {', '.join(missing)}. Download these assets too"
        )
    table = read_numbers(trajectory, MOST_TEXT)
    if table.ndim != 2 or table.shape[1] != 7:
        raise CaptureError(
            f"{trajectory}: expected lines of 7 numbers: seconds, rotation, translation; re-download it"
        )
    seconds, poses = table[:, 0], table[:, 1:]
    colors, color_at = _timed(path / "lowres_wide", ".png")
    posed = tum.associate(color_at, seconds, _POSE_SECONDS)
    if not len(posed):
        raise CaptureError(
            f"{path}: found {len(colors)} images and {len(seconds)} poses, but none within "
            f"{_POSE_SECONDS * 1000:.0f} ms of each other; expected seconds of one clock in the names of "
            f"images and in {_TRAJECTORY}. Are both of the same video?"
        )
    at = color_at[posed[:, 0]]
    depths = _beside(path / "lowres_depth", ".png", at)
    lenses = _beside(path / "lowres_wide_intrinsics", ".pincam", at)
    kept = _beside(path / "confidence", ".png", at)

    def made(k: int, color: Path, row: np.ndarray) -> Frame | None:
        """One frame; None if its pose is not finite."""
        if not is_known(row, trajectory):
            return None
        camera_from_world = np.eye(4)
        camera_from_world[:3, :3] = Rotation.from_rotvec(row[:3]).as_matrix()
        camera_from_world[:3, 3] = row[3:]
        size, lens = images.image_size(color), lenses.get(k)
        made_for, values = size, np.zeros(4)
        if lens is not None and intrinsics is None:
            table = read_numbers(lens)
            if table.shape != (1, 6) or not np.isfinite(table).all():
                raise CaptureError(
                    f"{lens}: found other than 6 numbers; expected width height fx fy cx cy. Download it "
                    "again"
                )
            made_for, values = (int(table[0, 0]), int(table[0, 1])), table[0, 2:]
        camera = phones.make_camera(intrinsics, values.tolist(), made_for, size, lens or color)
        pose, read_color = projection.inverse(camera_from_world), partial(images.read_color, color, camera)
        return phones.frame(color.stem, pose, camera, read_color, color, depths[k], kept.get(k), lens)

    sieve = phones.Sieve(path)
    for k, (i, j) in enumerate(posed):
        name = colors[i].stem
        if k not in depths or (intrinsics is None and k not in lenses):
            sieve.lacks(name, f"no {'depth image' if k not in depths else '.pincam file'} of its time")
        else:
            sieve.add(name, partial(made, k, colors[i], poses[j]), kept.get(k))
    return sieve.done(np.array([0.0, 0.0, 1.0]), files=(trajectory,))


def _frames_folder(path: Path) -> Path:
    within = path / f"{path.resolve().name}_frames"
    return within if within.is_dir() else path


def _timed(folder: Path, suffix: str) -> tuple[list[Path], np.ndarray]:
    """Files in order of the seconds in their names, VIDEO_SECONDS, and these (N,)."""
    found = []
    for file in list_files(folder, (suffix,)):
        try:
            found.append((float(file.stem.rpartition("_")[2]), file))
        except ValueError as error:
            raise CaptureError(
                f"{file}: expected a name of a video and seconds, such as 47333462_123.456{suffix}"
            ) from error
    found.sort()
    return [file for _, file in found], np.array([time for time, _ in found], dtype=np.float64)


def _beside(folder: Path, suffix: str, at: np.ndarray) -> dict[int, Path]:
    """The file of each time (N,) by its index, where there is one."""
    files, times = _timed(folder, suffix)
    return {int(k): files[j] for k, j in tum.associate(at, times, _FILE_SECONDS)}

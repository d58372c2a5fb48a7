"""Regions of Matterport3D as they are downloaded: region_segmentations/regionN.ply and undistorted images.

    HOUSE/region_segmentations/regionN.ply          the capture: a mesh, see `matterport_truth.py`
    HOUSE/undistorted_camera_parameters/HOUSE.conf  cameras of all images of the house
    HOUSE/undistorted_color_images/*_iC_Y.jpg
    HOUSE/undistorted_depth_images/*_dC_Y.png       16 bits, 0.25 mm along z, 0 = none

In the .conf file a line `intrinsics_matrix` with 9 numbers holds for the lines `scan DEPTH COLOR` with 16
numbers after it: camera-to-world row by row, OpenGL axes, metres. Its pixels count from the bottom left, so
that the row of the principal point is height - 1 - cy, pixel centres being integers (the release's own files
matterport_camera_intrinsics, which count from the top, say the same). Which images belong to a region: those
with the camera inside the bounding box of its mesh, or if there is none the 100 nearest to its middle.
Reference: the description of the data in the Matterport3D release.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.base.files import read_text
from purify3d.captures.formats import matterport_truth
from purify3d.captures.reading import images, layouts
from purify3d.captures.reading.dropped import Dropped
from purify3d.captures.reading.frame_names import list_files, natural_sort_key
from purify3d.captures.reading.keys import find_file
from purify3d.captures.reading.poses import rigid_pose
from purify3d.clouds import read_cloud
from purify3d.grid import projection
from purify3d.types import Scene

#: What the path must hold, for people.
EXPECTS = "region_segmentations/regionN.ply with undistorted_camera_parameters/ in the folder above"

#: How the format stores poses.
POSES = "opengl", "camera-to-world"

_METRES_PER_UNIT = 0.00025
_NEAREST = 100
_CONF, _COLOR, _DEPTH = (
    f"undistorted_{name}" for name in ("camera_parameters", "color_images", "depth_images")
)
_REGION = re.compile(r"region\d+\.ply")


@dataclass(frozen=True)
class Shot:
    """A line `scan` of a .conf file.

    Attributes:
        depth, color: names of files.
        intrinsics: fx, fy, cx, cy in pixels, cy from the bottom.
        pose: (4, 4) float64 as stored.
    """

    depth: str
    color: str
    intrinsics: tuple[float, float, float, float]
    pose: np.ndarray


def recognises(path: Path) -> bool:
    """Does the path look like this format?"""
    if path.is_dir():
        return (path / _CONF).is_dir() and (path / "region_segmentations").is_dir()
    return bool(_REGION.fullmatch(path.name)) and (path.resolve().parent.parent / _CONF).is_dir()


def read(
    path: Path,
    *,
    intrinsics: tuple[float, float, float, float] | None = None,
    labels: str | None = None,
    table: Path | None = None,
) -> Scene:
    """Read the region of a mesh; images stay on disk until asked for.

    Args:
        intrinsics: (fx, fy, cx, cy) of the colour images, counted from the top, in place of the file's.
        labels: the truth of which benchmark, one of `matterport_truth.BENCHMARKS`; None: of none, every
            name of the column `nyuClass` is a class.
        table: category_mapping.tsv; None: see `matterport_truth.find_table`.

    Returns:
        Frames in the order of the .conf file, called by their panorama, camera and turn (`PANO_0_5`); `up` is
        +z. `points` are the vertices of the mesh.

    Raises:
        CaptureError: no region, no usable frame, or a damaged mesh, table or .conf file; or `labels` is given
            and there is no table.

    Warns:
        PurifyWarning: frames were left out, or there is no table and so no truth.
    """
    if path.is_dir():
        regions = sorted((file.name for file in regions_of(path)), key=natural_sort_key)
        held = ", ".join(regions[:3]) + (f" and {len(regions) - 3} more" if len(regions) > 3 else "")
        raise CaptureError(
            f"{path}: found a house of Matterport3D; expected one of its regions. Point to a mesh in "
            f"region_segmentations/ ({held or 'which holds none'})"
        )
    house = path.resolve().parent.parent
    conf = conf_of(house)
    points = read_cloud(path)
    used: tuple[Path, ...] = (conf, path)
    names: dict[int, str] = {}
    table = table or matterport_truth.find_table(path)
    if table is not None:
        points, names = matterport_truth.read(path, points, table, labels)
        used += (table,)
    elif labels is not None:
        raise CaptureError(
            f"{path}: found no {matterport_truth.TABLE} in the folders above; expected it for the truth of "
            f"{labels}. Copy it there from metadata/ of the release's repository"
        )
    else:
        warnings.warn(
            f"{path}: there is no truth without {matterport_truth.TABLE} in a folder above; copy it there "
            "from metadata/ of the release's repository",
            PurifyWarning,
            stacklevel=2,
        )
    dropped = Dropped(path)
    shots, entries = {}, []
    for shot in _within(read_conf(conf), points.xyz.numpy()):
        name = _name(shot.color)
        color = find_file(house / _COLOR, shot.color, "a photo", str(house))
        depth = find_file(house / _DEPTH, shot.depth, "a depth image", str(house))
        if not dropped.is_whole(name, {"colour": color.is_file(), "depth": depth.is_file()}, " image"):
            continue
        pose = dropped.attempt(name, partial(rigid_pose, shot.pose, conf))
        if pose is not None:
            shots[name] = shot
            entries.append(layouts.Entry(name, color, depth, pose @ projection.OPENCV_FROM_OPENGL, (conf,)))
    entries, size, depth_size = layouts.of_one_size(entries, dropped)
    cameras = []
    for entry in entries:
        fx, fy, cx, cy = shots[entry.name].intrinsics
        values = intrinsics or (fx, fy, cx, size[1] - 1 - cy)
        cameras.append(images.make_camera(values, size, conf, warn=False))
    about: dict[str, Any] = {"name": region_name(path), "points": points, "truth": names, "files": used}
    up = np.array([0.0, 0.0, 1.0])
    return layouts.scene(entries, dropped, cameras, depth_size, _METRES_PER_UNIT, up, **about)


def region_name(mesh: Path) -> str:
    """What the benchmark's lists call the region of a mesh: HOUSE_regionN."""
    return f"{mesh.resolve().parent.parent.name}_{mesh.stem}"


def regions_of(house: Path) -> list[Path]:
    """The meshes of all regions of a house."""
    return [file for file in (house / "region_segmentations").glob("*.ply") if _REGION.fullmatch(file.name)]


def conf_of(house: Path) -> Path:
    """The .conf file of a house.

    Raises:
        CaptureError: there is none, or several.
    """
    found = list_files(house / _CONF, (".conf",))
    if len(found) != 1:
        raise CaptureError(
            f"{house / _CONF}: found {len(found)} .conf files; expected one. Download the folder again"
        )
    return found[0]


def read_conf(path: Path) -> list[Shot]:
    """All images of a house, in order.

    Raises:
        CaptureError: a line that cannot be understood, or no image.
    """
    intrinsics, shots = None, []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        match line.split():
            case ["intrinsics_matrix", *words]:
                k = layouts.numbers(" ".join(words), 9)
                if k is None or not np.isfinite(k).all():
                    raise _line(path, number, line, "9 numbers")
                intrinsics = float(k[0]), float(k[4]), float(k[2]), float(k[5])
            case ["scan", depth, color, *words]:
                pose = layouts.numbers(" ".join(words), 16)
                outside = any(re.search(r"[/\\]|^\.\.", name) for name in (depth, color))
                if pose is None or intrinsics is None or outside:
                    raise _line(path, number, line, "after intrinsics_matrix two names and 16 numbers")
                shots.append(Shot(depth, color, intrinsics, pose.reshape(4, 4)))
    if not shots:
        raise CaptureError(f"{path}: found no lines that begin with scan; download it again")
    return shots


def _line(path: Path, number: int, line: str, expected: str) -> CaptureError:
    return CaptureError(
        f"{path}: line {number} is {line.strip()[:60]!r}; expected {expected}. Download it again"
    )


def _within(shots: list[Shot], xyz: np.ndarray) -> list[Shot]:
    """Shots whose camera is inside the bounding box of (N, 3) points, else the nearest to their mean.

    Those whose place is not finite come along, to be counted.
    """
    center = np.stack([shot.pose[:3, 3] for shot in shots])
    known = np.isfinite(center).all(axis=1)
    inside = known & ((center >= xyz.min(axis=0)) & (center <= xyz.max(axis=0))).all(axis=1)
    if not inside.any():
        distance = np.linalg.norm(center - xyz.mean(axis=0, dtype=np.float64), axis=1)
        nearest = np.argsort(np.where(known, distance, np.inf), kind="stable")[:_NEAREST]
        inside[nearest] = known[nearest]
    return [
        shot for shot, taken in zip(shots, inside, strict=True) if taken or not np.isfinite(shot.pose).all()
    ]


def _name(color: str) -> str:
    """PANO_0_5 of PANO_i0_5.jpg."""
    return re.sub(r"_i(\d+_\d+)$", r"_\1", Path(color).stem)

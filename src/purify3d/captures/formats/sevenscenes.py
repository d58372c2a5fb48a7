"""7-Scenes: frame-000000.color.png, .depth.png and .pose.txt, in one folder or in folders seq-01, seq-02, ...

Depth is 16-bit PNG in mm, 65535 where nothing was measured; a pose is a 4x4 camera-to-world matrix with
OpenCV axes. All sequences of a scene share one world. The data set publishes the intrinsics of the depth
camera only (585, 585, 320, 240 at 640x480) and its depth is not registered to colour; as is common for these
scenes, colour is taken to share the depth camera, which is a few pixels off. Reference: "Scene coordinate
regression forests for camera relocalization in RGB-D images" (CVPR 2013) and the data set's page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from purify3d.base.errors import CaptureError
from purify3d.captures.reading import images, layouts
from purify3d.captures.reading.dropped import Dropped
from purify3d.captures.reading.frame_names import any_case, natural_sort_key
from purify3d.captures.reading.images import Intrinsics
from purify3d.captures.reading.poses import read_pose
from purify3d.types import Scene

#: What the folder must hold, for people.
EXPECTS = "frame-*.color.png, frame-*.depth.png and frame-*.pose.txt, or seq-* folders of them"

#: How the format stores poses.
POSES = "opencv", "camera-to-world"

_SIZE = (640, 480)
_INTRINSICS = (585.0, 585.0, 320.0, 240.0)
_KINDS = {"color.png": "colour image", "depth.png": "depth image", "pose.txt": "pose file"}


def recognises(path: Path) -> bool:
    """Does the path look like this format?"""
    return path.is_dir() and next(_files(path, "color.png"), None) is not None


def read(path: Path, *, intrinsics: Intrinsics | None = None) -> Scene:
    """Read a sequence, or all sequences of a scene; images stay on disk until asked for.

    Args:
        intrinsics: (fx, fy, cx, cy) of both images, in place of the published ones.

    Returns:
        Frames in order of sequences and numbers, `up` guessed.

    Raises:
        CaptureError: no frame is usable, or images of another size than 640x480 without `intrinsics`.

    Warns:
        PurifyWarning: frames were left out; it names them.
    """
    dropped = Dropped(path)
    stems = {file.parent / file.name.split(".", 1)[0] for kind in _KINDS for file in _files(path, kind)}
    folders = {stem.parent for stem in stems}
    entries = []
    for stem in sorted(stems, key=lambda stem: natural_sort_key(str(stem))):
        name = stem.name if len(folders) == 1 else f"{stem.parent.name}/{stem.name}"
        color, depth, pose_file = (any_case(stem.parent / f"{stem.name}.{kind}") for kind in _KINDS)
        files = zip(_KINDS.values(), (color, depth, pose_file), strict=True)
        if not dropped.is_whole(name, {what: file.is_file() for what, file in files}):
            continue
        pose = dropped.attempt(name, partial(read_pose, pose_file))
        if pose is not None:
            entries.append(layouts.Entry(name, color, depth, pose, (pose_file,)))
    entries, size, depth_size = layouts.of_one_size(entries, dropped)

    if intrinsics is None and (size, depth_size) != (_SIZE, _SIZE):
        raise CaptureError(
            f"{path}: found colour images of {size[0]}x{size[1]} and depth images of "
            f"{depth_size[0]}x{depth_size[1]} pixels; the published intrinsics hold for "
            f"{_SIZE[0]}x{_SIZE[1]} only. Pass --intrinsics fx,fy,cx,cy"
        )
    camera = images.make_camera(intrinsics or _INTRINSICS, size, "--intrinsics" if intrinsics else path)
    return layouts.scene(entries, dropped, [camera] * len(entries), depth_size)


def _files(path: Path, kind: str) -> Iterator[Path]:
    pattern = re.compile(rf"frame-.*\.{re.escape(kind)}", re.IGNORECASE)
    for folder in (path, *path.glob("seq-*/")):
        yield from (file for file in folder.glob("frame-*") if pattern.fullmatch(file.name))

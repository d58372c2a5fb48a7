"""Scenes that `purify3d prepare` made of a benchmark: transforms.json, images/, depth/ and cloud.ply.

transforms.json is nerfstudio's (`nerfstudio.py`) with the names of the truth ids under `labels`. cloud.ply
has the points to be labelled, in the benchmark's own order, with truth: `int label` and `int instance`,
-1 = none. prepared-scene.json says what it was made from.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from purify3d.captures.formats import nerfstudio
from purify3d.captures.formats.nerfstudio import POSES
from purify3d.captures.reading.images import Intrinsics
from purify3d.clouds import read_cloud
from purify3d.types import Scene

__all__ = ["CLOUD", "EXPECTS", "POSES", "read", "recognises"]

#: The points, beside transforms.json.
CLOUD = "cloud.ply"
#: What tells the folder from others with a transforms.json.
MARK = "prepared-scene.json"
#: What the folder must hold, for people.
EXPECTS = f"transforms.json, {CLOUD} and {MARK}"


def recognises(path: Path) -> bool:
    """Does the path look like this format?"""
    return all((path / name).is_file() for name in ("transforms.json", CLOUD, MARK))


def read(path: Path, *, intrinsics: Intrinsics | None = None) -> Scene:
    """Read a prepared scene; images stay on disk until asked for.

    Args:
        intrinsics: as `nerfstudio.read`.

    Raises:
        CaptureError: as `nerfstudio.read` and `read_cloud`.
    """
    scene = nerfstudio.read(path, intrinsics=intrinsics)
    cloud = path / CLOUD
    return replace(scene, points=read_cloud(cloud), files=(*scene.files, cloud))

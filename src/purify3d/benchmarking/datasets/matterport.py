"""Matterport3D: scenes are regions of houses, HOUSE/region_segmentations/regionN.ply below the root."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from purify3d.benchmarking.datasets.finding import each_once, folders_below
from purify3d.captures.formats import matterport, matterport_truth
from purify3d.types import Frame, Scene

LABELS = matterport_truth.BENCHMARKS
SPLITS = ("test", "train")
#: The cameras stand on a tripod: no image repeats another.
EVERY = 1


def scenes(root: Path) -> dict[str, Path]:
    """The meshes of regions below a folder, by name of the region (HOUSE_regionN).

    Raises:
        CaptureError: there is none, or one region lies there twice.
    """
    meshes = (mesh for folder in folders_below(root) for mesh in sorted(matterport.regions_of(folder)))
    otherwise = (
        "HOUSE/region_segmentations/regionN.ply up to 4 folders down; expected the scans of the Matterport3D "
        "release. Download and unzip them, or point to their folder"
    )
    return each_once(root, ((matterport.region_name(mesh), mesh) for mesh in meshes), "region", otherwise)


def pick(frames: Sequence[Frame], every: int) -> list[Frame]:
    """Every n-th frame."""
    return list(frames[::every])


def open_scene(path: Path, labels: str) -> tuple[Scene, Callable[[Frame], tuple[bytes, str] | None]]:
    """A region with its mesh and truth, and what gives the file of a frame's colour image and its suffix.

    Raises:
        CaptureError: as `captures.matterport.read`.
    """
    return matterport.read(path, labels=labels), _color_file


def _color_file(frame: Frame) -> tuple[bytes, str]:
    file = frame.files[0]
    return file.read_bytes(), file.suffix.lower()

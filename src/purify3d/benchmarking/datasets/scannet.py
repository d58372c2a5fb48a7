"""ScanNet v2: scenes are folders with a .sens file, the mesh and its labels, anywhere below the root."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from purify3d.base.errors import CaptureError
from purify3d.benchmarking.datasets.finding import each_once, folders_below
from purify3d.captures.formats import scannet_truth, sens
from purify3d.types import Frame, Scene

LABELS = scannet_truth.BENCHMARKS
SPLITS = ("val", "train")
#: The benchmark's exporter keeps every 20th frame of the video.
EVERY = 20


def scenes(root: Path) -> dict[str, Path]:
    """The .sens files below a folder, by name of the scene.

    Raises:
        CaptureError: there is none, or one scene lies there twice.
    """
    files = (file for folder in folders_below(root) for file in sorted(folder.glob("*.sens")))
    otherwise = (
        ".sens file up to 4 folders down; expected the scans of the ScanNet release, such as "
        "scans/scene0011_00/scene0011_00.sens. Download them, or point to their folder"
    )
    return each_once(root, ((file.stem, file) for file in files), "scene", otherwise)


def pick(frames: Sequence[Frame], every: int) -> list[Frame]:
    """Every n-th frame of the video; one whose pose was lost is not replaced by its neighbour."""
    return [frame for frame in frames if int(frame.name) % every == 0]


def open_scene(path: Path, labels: str) -> tuple[Scene, Callable[[Frame], tuple[bytes, str] | None]]:
    """A scene with its mesh and truth, and what gives the file of a frame's colour image and its suffix.

    Raises:
        CaptureError: as `sens.read`, or there is no mesh.
    """
    mesh = path.with_name(f"{path.stem}_vh_clean_2.ply")
    if not mesh.is_file():
        raise CaptureError(f"{mesh}: found no such file; expected the scene's mesh. Download it too")
    recording = sens.read_index(path)

    def color_file(frame: Frame) -> tuple[bytes, str] | None:
        kind = recording.kinds[0]
        return None if kind == "raw" else (recording.color_file(int(frame.name)), f".{kind}")

    return sens.read(path, labels=labels), color_file

"""What readers of plain layouts share: images and poses that go together, lists of numbers, settled sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from purify3d.base.files import read_text
from purify3d.captures.reading import images
from purify3d.captures.reading.dropped import Dropped
from purify3d.types import Camera, Scene


@dataclass(frozen=True)
class Entry:
    """A frame that has both images and a pose.

    Attributes:
        world_from_camera: (4, 4) float64, rigid, OpenCV axes, metres.
        files: what else it was read from.
    """

    name: str
    color: Path
    depth: Path
    world_from_camera: np.ndarray
    files: tuple[Path, ...] = ()


def of_one_size(
    entries: Sequence[Entry], dropped: Dropped
) -> tuple[list[Entry], tuple[int, int], tuple[int, int]]:
    """The entries whose images have the sizes that most have, and these (width, height) of colour and depth.

    Raises:
        CaptureError: no entry has two readable images.
    """
    sized = []
    for entry in entries:
        size = dropped.attempt(entry.name, partial(images.image_size, entry.color))
        if size is None:
            continue
        depth_size = dropped.attempt(entry.name, partial(images.image_size, entry.depth))
        if depth_size is not None:
            sized.append((entry, (size, depth_size)))
    if not sized:
        dropped.settle(0)
    usual = Counter(sizes for _, sizes in sized).most_common(1)[0][0]
    for entry, sizes in sized:
        if sizes != usual:
            dropped.refuse(entry.name, "images of another size than most")
    return [entry for entry, sizes in sized if sizes == usual], *usual


def scene(
    entries: Sequence[Entry],
    dropped: Dropped,
    cameras: Sequence[Camera],
    depth_size: tuple[int, int],
    metres_per_unit: float = 0.001,
    up: np.ndarray | None = None,
    **others: Any,
) -> Scene:
    """The scene of entries whose depth images show the view of their colour images.

    Args:
        cameras: of colour, one for each entry.
        depth_size: (width, height) of all depth images.
        metres_per_unit: of depth that is stored in whole numbers.
        up, others: as `Dropped.scene`.

    Raises:
        CaptureError: as `images.resized` and `Dropped.settle`.
    """
    frames = [
        images.file_frame(
            entry.name,
            entry.world_from_camera,
            camera,
            images.resized(camera, depth_size, "depth image", entry.depth),
            color=entry.color,
            depth=entry.depth,
            metres_per_unit=metres_per_unit,
            files=entry.files,
        )
        for entry, camera in zip(entries, cameras, strict=True)
    ]
    return dropped.scene(frames, up, **others)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without blank ones at its end.

    Raises:
        CaptureError: as `files.read_text`.
    """
    return read_text(path).rstrip().splitlines()


def numbers(words: str, count: int) -> np.ndarray | None:
    """(count,) float64 of a line of numbers, nan and inf included; None if it holds anything else."""
    try:
        values = np.array([float(word) for word in words.split()])
    except ValueError:
        return None
    return values if len(values) == count else None

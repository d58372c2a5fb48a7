"""What is exported: a run, and of it what takes work only when a format asks for it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
from torch import Tensor

from purify3d.base.progress import Progress
from purify3d.labels.objects import Found
from purify3d.labels.questions import Answer
from purify3d.labels.segmentation import Segmentation
from purify3d.pictures.palettes import heat_colors, label_colors
from purify3d.pictures.principal import pca_colors
from purify3d.types import PointCloud, PointFeatures, Scene

Colors = Literal["label", "photo", "heat", "pca"]


@dataclass(frozen=True)
class Wishes:
    """What may be chosen of an export.

    Attributes:
        colors: of points and vertices: of their label, of the photos, heat of `text`, or the three main
            directions of the purified features.
        text: words whose heat is exported too.
        mesh: of GLB, make a mesh of the frames where the run has none.
        features: of NPZ, the purified features too.
        limit: frames at most, evenly spaced, of formats that hold frames; None: all.
    """

    colors: Colors = "label"
    text: str | None = None
    mesh: bool = False
    features: bool = False
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.colors not in get_args(Colors):
            raise ValueError(f"found colors = {self.colors!r}; expected one of {', '.join(get_args(Colors))}")
        if self.colors == "heat" and self.text is None:
            raise ValueError("found colors = 'heat' and no text; expected the words whose heat is shown")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"found limit = {self.limit}; expected at least one frame")


class Exported(Protocol):
    """What exports read of a run, see `runs.Run`."""

    job: Any
    folder: Path | None
    progress: Progress

    @property
    def scene(self) -> Scene: ...

    @property
    def labels(self) -> Segmentation: ...

    @property
    def views(self) -> Tensor: ...

    @property
    def purified(self) -> PointFeatures: ...

    @property
    def capture(self) -> Scene: ...

    def query(self, text: str) -> Answer: ...

    def objects(self) -> list[Found]: ...


@dataclass
class Content:
    """A run, and what is wished of it.

    Raises:
        RunError: when something of it is missing or cannot be read, as are the attributes below.
    """

    run: Exported
    wishes: Wishes = field(default_factory=Wishes)

    @property
    def progress(self) -> Progress:
        return self.run.progress

    @property
    def scene(self) -> Scene:
        """Name, up, origin and points."""
        return self.run.scene

    @property
    def name(self) -> str:
        """Of the run's folder; in memory that of the scene."""
        return self.scene.name if self.run.folder is None else self.run.folder.resolve().name

    @property
    def points(self) -> PointCloud:
        return self.scene.cloud()

    @property
    def result(self) -> Segmentation:
        """Label and score of each point."""
        return self.run.labels

    @property
    def views(self) -> np.ndarray:
        """(N,) int32 frames that saw each point."""
        return self.run.views.numpy()

    @property
    def names(self) -> tuple[str, ...]:
        return self.result.names

    @property
    def label_colors(self) -> np.ndarray:
        """(C, 3) uint8."""
        return label_colors(self.names)

    @property
    def ids(self) -> np.ndarray:
        """(C + 1,) int64 id of each label: of its benchmark, else from 1 on; the last one, 0, is none."""
        ids = self.run.job.dataset_ids() or range(1, len(self.names) + 1)
        return np.array([*ids, 0], dtype=np.int64)

    @cached_property
    def answer(self) -> Answer | None:
        """What the run says to the words, if there are any."""
        return None if self.wishes.text is None else self.run.query(self.wishes.text)

    @property
    def heat(self) -> np.ndarray | None:
        """(N,) float32 0..1 of the words, if there are any."""
        return None if self.answer is None else self.answer.heat.numpy().astype(np.float32)

    @property
    def purified(self) -> PointFeatures:
        """Pooled features."""
        return self.run.purified

    @cached_property
    def rgb(self) -> np.ndarray:
        """(N, 3) uint8 colours as wished."""
        if self.wishes.colors == "photo":
            return self.points.rgb.numpy()
        if self.wishes.colors == "pca":
            return pca_colors(self.purified)
        if self.wishes.colors == "heat" and self.heat is not None:
            return heat_colors(self.heat)
        return self.result.colors()

    @cached_property
    def objects(self) -> list[Found]:
        """Single objects."""
        return self.run.objects()

    @cached_property
    def capture(self) -> Scene:
        """The capture with its frames, as many as wished.

        Raises:
            CaptureError: it cannot be opened where the run found it.
        """
        scene, limit = self.run.capture, self.wishes.limit
        frames = scene.frames
        if limit is not None and len(frames) > limit:
            chosen = np.linspace(0, len(frames) - 1, limit).round().astype(int)
            frames = tuple(frames[i] for i in chosen)
        return replace(scene, frames=frames)

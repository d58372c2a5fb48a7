"""What is exported: a run, and of it what takes work only when a format asks for it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.base.progress import Progress
from purify3d.exporting.formats import Wishes
from purify3d.labels.objects import Found
from purify3d.labels.questions import Answer
from purify3d.labels.segmentation import Segmentation
from purify3d.pictures.palettes import heat_colors, label_colors
from purify3d.pictures.principal import pca_colors
from purify3d.types import PointCloud, PointFeatures, Scene


class Exported(Protocol):
    """What exports read of a run, see `runs.Run`."""

    job: Any
    folder: Path | None
    progress: Progress

    @property
    def scene(self) -> Scene: ...

    @property
    def points(self) -> PointCloud: ...

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
    def name(self) -> str:
        """Of the run's folder; in memory that of the scene."""
        return self.run.scene.name if self.run.folder is None else self.run.folder.resolve().name

    @property
    def label_colors(self) -> np.ndarray:
        """(C, 3) uint8."""
        return label_colors(self.run.labels.names)

    @property
    def ids(self) -> np.ndarray:
        """(C + 1,) int64 id of each label: of its benchmark, else from 1 on; the last one, 0, is none."""
        ids = self.run.job.dataset_ids() or range(1, len(self.run.labels.names) + 1)
        return np.array([*ids, 0], dtype=np.int64)

    @cached_property
    def answer(self) -> Answer | None:
        """What the run says to the words, if there are any."""
        return None if self.wishes.text is None else self.run.query(self.wishes.text)

    @property
    def heat(self) -> np.ndarray | None:
        """(N,) float32 0..1 of the words, if there are any."""
        return None if self.answer is None else self.answer.heat.numpy().astype(np.float32)

    @cached_property
    def rgb(self) -> np.ndarray:
        """(N, 3) uint8 colours as wished."""
        if self.wishes.colors == "photo":
            return self.run.points.rgb.numpy()
        if self.wishes.colors == "pca":
            return pca_colors(self.run.purified)
        if self.wishes.colors == "heat" and self.heat is not None:
            return heat_colors(self.heat)
        return self.run.labels.colors()

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

    def tell_unread(self, unread: Sequence[str]) -> None:
        """Say which frames of the capture are left out, if some are.

        Raises:
            CaptureError: all of them are.

        Warns:
            PurifyWarning: some are.
        """
        if not unread:
            return
        frames = self.capture.frames
        said = f"{len(unread)} of {len(frames)} frames cannot be read: {', '.join(unread[:5])}"
        if len(unread) == len(frames):
            raise CaptureError(f"{self.run.job.capture.path}: {said}; expected frames. Copy it again")
        warnings.warn(f"{said}; they are left out", PurifyWarning, stacklevel=4)

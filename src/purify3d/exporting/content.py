"""What is exported: a finished run, read once, with what takes work made when a format asks for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from torch import Tensor

from purify3d.backbones import Backbone, embed_vocabulary, load_backbone
from purify3d.base.errors import CaptureError, LabelError
from purify3d.base.progress import Progress, silent
from purify3d.labels.questions import Answer
from purify3d.labels.segmentation import Segmentation
from purify3d.pictures.palettes import heat_colors, label_colors
from purify3d.pictures.principal import pca_colors
from purify3d.runs import artefacts
from purify3d.runs.ask import ask, purified_features
from purify3d.runs.folder import Run
from purify3d.runs.objects import Found, objects_of
from purify3d.types import PointCloud, PointFeatures, Scene

Colors = Literal["label", "photo", "heat", "pca"]
_PATIENCE = 30.0  # seconds to wait for another process that writes the run


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
        device: of the 2D model, where words are looked up.
    """

    colors: Colors = "label"
    text: str | None = None
    mesh: bool = False
    features: bool = False
    limit: int | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.colors not in get_args(Colors):
            raise ValueError(f"found colors = {self.colors!r}; expected one of {', '.join(get_args(Colors))}")
        if self.colors == "heat" and self.text is None:
            raise ValueError("found colors = 'heat' and no text; expected the words whose heat is shown")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"found limit = {self.limit}; expected at least one frame")


@dataclass
class Content:
    """A finished run.

    Raises:
        RunError: when something of it is missing or cannot be read, as are the attributes below.
    """

    run: Run
    wishes: Wishes = field(default_factory=Wishes)
    progress: Progress = silent

    @cached_property
    def scene(self) -> Scene:
        """Name, up, origin and points; without frames."""
        return artefacts.read_scene(self.run)

    @property
    def points(self) -> PointCloud:
        return self.scene.cloud()

    @cached_property
    def _said(self) -> tuple[Segmentation, Tensor]:
        return artefacts.read_labels(self.run, self.scene)

    @property
    def result(self) -> Segmentation:
        """Label and score of each point."""
        return self._said[0]

    @property
    def views(self) -> np.ndarray:
        """(N,) int32 frames that saw each point."""
        return self._said[1].numpy()

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
        try:
            ids = self.run.job.dataset_ids()
        except LabelError:  # labels of one's own
            ids = tuple(range(1, len(self.names) + 1))
        return np.array([*ids, 0], dtype=np.int64)

    @cached_property
    def backbone(self) -> Backbone:
        """The run's 2D model."""
        return load_backbone(self.run.job.backbone, device=self.wishes.device)

    @cached_property
    def answer(self) -> Answer | None:
        """What the run says to the words, if there are any."""
        if self.wishes.text is None:
            return None
        return ask(self.run, self.wishes.text, self.backbone, progress=self.progress)[0]

    @property
    def heat(self) -> np.ndarray | None:
        """(N,) float32 0..1 of the words, if there are any."""
        return None if self.answer is None else self.answer.heat.numpy().astype(np.float32)

    @cached_property
    def purified(self) -> PointFeatures:
        """Pooled features; made and kept in the run folder if no question did so before."""
        bank = embed_vocabulary(self.backbone, ["thing"])
        with self.run.writing(patience=_PATIENCE):
            return purified_features(self.run, self.points, bank, self.backbone, self.progress)

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
        """Single objects; also written into the run folder, as `purify3d objects` does."""
        affinity = self.run.job.method.purify.affinity
        heeds_model = affinity not in ("geometric", "uniform")
        return objects_of(self.run, backbone=self.backbone if heeds_model else None, progress=self.progress)[
            0
        ]

    @cached_property
    def capture(self) -> Scene:
        """The capture with its frames, as many as wished.

        Raises:
            CaptureError: it cannot be opened where the run found it.
        """
        capture = self.run.job.capture
        try:
            scene = capture.open()
        except CaptureError as error:
            raise CaptureError(
                f"{error}. This export needs the frames of the capture {capture.path}: put it back there, or "
                f"correct its path in {self.run.folder / 'config.json'}"
            ) from error
        if np.abs(scene.origin - self.scene.origin).max() > 0:
            raise CaptureError(
                f"{capture.path}: found frames about {scene.origin.tolist()} and points about "
                f"{self.scene.origin.tolist()}; expected the capture of the run. Repeat the run"
            )
        frames, limit = scene.frames, self.wishes.limit
        if limit is not None and len(frames) > limit:
            chosen = np.linspace(0, len(frames) - 1, limit).round().astype(int)
            frames = tuple(frames[i] for i in chosen)
        return Scene(scene.name, frames, scene.up, scene.points, files=scene.files, origin=scene.origin)

"""What there is to see of a finished run: points, both versions of its features, labels, truth."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from purify3d.backbones import embed_vocabulary
from purify3d.features.labels_from_frames import in_vocabulary
from purify3d.grid.neighbors import spacing
from purify3d.labels.questions import classify, scores
from purify3d.labels.regions import heat
from purify3d.labels.segmentation import Segmentation
from purify3d.pictures.principal import pca_colors
from purify3d.runs import Run
from purify3d.types import PointFeatures, Scene, TextEmbeddings, Vocabulary
from purify3d.viewing.detail import fair_order
from purify3d.viewing.words import Words

_KEPT = 6  # questions whose heat is kept; 8 bytes a point each
_ROWS = 1 << 18  # points that are compared with all labels at a time


@dataclass(frozen=True, eq=False)
class Version:
    """Features of all points, as lifted or pooled, and the labels they give.

    Attributes:
        features: of N points; labels: of the same.
    """

    features: PointFeatures
    labels: Segmentation

    def compare(self, text_embeddings: TextEmbeddings) -> Tensor:
        """(N,) float32 cosine with a question of one label, as `query` has it; 0 where nothing is known.

        Raises:
            SpaceMismatchError: words of another model.
        """
        return text_embeddings.best(scores(self.features, text_embeddings))[:, 0]

    def feature(self, point: int) -> Tensor:
        """(1, D) unit feature of one point; 0 where nothing is known of it."""
        values, basis = self.features.values[point : point + 1], self.features.basis
        dense = values if basis is None else values @ basis
        return dense / dense.norm().clamp_min(1e-12)

    @cached_property
    def principal(self) -> np.ndarray:
        """(N, 3) uint8, see `pca_colors`."""
        return pca_colors(self.features)


class ViewedScene:
    """A run as pages show it. Any number of threads may ask it.

    Attributes:
        scene: with points; its origin is what users' coordinates have more.
        vocabulary: of the labels.
        views: (N,) int32, frames that saw each point.
        truth: (N,) int32 in the vocabulary, -1 = none of its words; None where the capture has no truth.
        center: (3,) float32, metres: what is subtracted before positions are sent.
        xyz: (N, 3) float32, centred.
        order: (N,) int32, see `fair_order`.
        spacing: metres between the points.
    """

    def __init__(
        self, scene: Scene, vocabulary: Vocabulary, views: np.ndarray, load: Callable[[bool], Version]
    ) -> None:
        """
        Args:
            load: the version of the features with or without pooling, when it is first looked at.
        """
        points = scene.cloud()
        place = points.xyz.numpy()
        self.scene, self.vocabulary, self.views = scene, vocabulary, views
        self.truth = in_vocabulary(points.label, scene.truth, vocabulary).numpy() if scene.truth else None
        low, high = (place.min(0), place.max(0)) if len(place) else (np.zeros(3), np.zeros(3))
        self.center = ((low + high) / 2).astype(np.float32)
        self.xyz = place - self.center
        self.order = fair_order(len(place))
        self.spacing = spacing(points.xyz) or 0.02
        self._load, self._lock = load, threading.Lock()
        self._versions: dict[bool, Version] = {}
        self.warmth = lru_cache(maxsize=_KEPT)(self._warmth)

    def __len__(self) -> int:
        return len(self.xyz)

    @classmethod
    def of(cls, run: Run, words: Words) -> ViewedScene:
        """What a finished run holds; pools its features first where no question has done so.

        Raises:
            RunError: a file is missing or cannot be read.
            SpaceMismatchError: another backbone.
        """
        scene, labels, pooled = run.scene, run.labels, run.purified
        text_embeddings = None

        def load(purified: bool) -> Version:
            if purified:
                return Version(pooled, labels)
            nonlocal text_embeddings
            text_embeddings = text_embeddings or embed_vocabulary(words, labels.vocabulary)
            method = run.job.method
            features = run.features.within(method.purify.fill)
            return Version(features, _classified(features, text_embeddings, method.threshold))

        return cls(scene, labels.vocabulary, pooled.views.numpy(), load)

    def version(self, purified: bool) -> Version:
        """As lifted, or pooled."""
        with self._lock:
            if purified not in self._versions:
                self._versions[purified] = self._load(purified)
            return self._versions[purified]

    def _warmth(self, text_embeddings: TextEmbeddings, purified: bool) -> tuple[Tensor, Tensor]:
        """(N,) cosine and (N,) heat 0..1 of a question, as `query` has them."""
        score = self.version(purified).compare(text_embeddings)
        return score, heat(score)

    def users(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) centred positions -> float64 metres in the coordinates of the capture."""
        return np.asarray(points, dtype=np.float64) + self.center.astype(np.float64) + self.scene.origin


def _classified(
    features: PointFeatures, text_embeddings: TextEmbeddings, threshold: float | None
) -> Segmentation:
    """`classify` of any number of points, in memory for a few."""
    parts = []
    for start in range(0, len(features), _ROWS):
        rows = slice(start, start + _ROWS)
        part = features.at(rows)
        parts.append(classify(scores(part, text_embeddings), text_embeddings, threshold=threshold))
    return Segmentation(
        torch.cat([part.label for part in parts]),
        torch.cat([part.score for part in parts]),
        text_embeddings.vocabulary,
    )

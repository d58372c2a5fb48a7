"""The result: a label for every point, and what one does with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from purify3d.base.devices import Movable
from purify3d.clouds.ply import write_ply
from purify3d.pictures.palettes import colors_of_labels
from purify3d.types import PointCloud, Vocabulary


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation(Movable):
    """A label for every point.

    Attributes:
        label: (N,) int32 index into the vocabulary, -1 = none of these.
        score: (N,) float32 mean cosine of the pooled features to the label, -1..1.
        vocabulary: C labels that were asked for.
    """

    label: Tensor
    score: Tensor
    vocabulary: Vocabulary

    def __post_init__(self) -> None:
        if self.label.shape != self.score.shape or self.label.dim() != 1:
            raise ValueError(
                f"label and score must be (N,), found {tuple(self.label.shape)}, {tuple(self.score.shape)}"
            )

    def __len__(self) -> int:
        return len(self.label)

    def __repr__(self) -> str:
        given = float((self.label >= 0).float().mean()) if len(self) else 0.0
        return f"Segmentation({len(self):,} points, {len(self.names)} labels, {given:.0%} labelled)"

    @property
    def names(self) -> tuple[str, ...]:
        """(C,) what each label is called."""
        return self.vocabulary.names

    def mask(self, label: str) -> Tensor:
        """(N,) bool: the points with this label; any of its wordings will do.

        Raises:
            KeyError: it was not asked for.
        """
        wanted = label.strip().lower()
        for index, words in enumerate(self.vocabulary.synonyms):
            if wanted in (word.lower() for word in words):
                return self.label == index
        raise KeyError(f"found no label {label!r}; expected one of {', '.join(self.names)}")

    def numpy(self) -> np.ndarray:
        """(N,) int32 labels."""
        return self.label.cpu().numpy()

    def colors(self) -> np.ndarray:
        """(N, 3) uint8, each label in the colour of its name, dark grey where there is none."""
        return colors_of_labels(self.numpy(), self.names)

    def save(
        self,
        path: str | Path,
        points: PointCloud,
        *,
        views: np.ndarray | None = None,
        origin: np.ndarray | None = None,
    ) -> None:
        """Write the labelled cloud as PLY: label, score and label colour of each point.

        Args:
            points: the N points that were labelled.
            views: (N,) how many frames saw each, written beside.
            origin: (3,) metres to add to the positions, `Scene.origin`.

        Raises:
            ValueError: another number of points.
            OSError: the file cannot be written.
        """
        if len(points) != len(self):
            raise ValueError(f"found {len(points)} points and {len(self)} labels; expected those labelled")
        write_ply(
            Path(path),
            points,
            rgb=self.colors(),
            label=self.numpy(),
            score=self.score.cpu().numpy(),
            views=views,
            names=self.names,
            origin=origin,
        )

"""How good labels are, where the truth is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from purify3d.features.labels_from_frames import in_vocabulary
from purify3d.labels.segmentation import Segmentation
from purify3d.types.checks import Array

#: Left out of f-mIoU and f-mAcc, the foreground means of the paper.
BACKGROUND = frozenset({"wall", "floor", "ceiling"})


@dataclass(frozen=True)
class Scores:
    """Per-class and mean scores, 0..1.

    A class without a single truth point in anything accumulated is absent: its scores are None and it enters
    no mean; points wrongly given to it still count against the classes they were taken from.

    Attributes:
        names: (C,); iou, accuracy: (C,), None where absent.
        miou, macc: means over the classes present; fmiou, fmacc: without wall, floor and ceiling.
            None where no class is present.
        points: how many points had truth.
    """

    names: tuple[str, ...]
    iou: tuple[float | None, ...]
    accuracy: tuple[float | None, ...]
    miou: float | None
    macc: float | None
    fmiou: float | None
    fmacc: float | None
    points: int


class Confusion:
    """A confusion matrix that accumulates over scenes.

    Attributes:
        counts: (C, C + 1) int64, truth by prediction; the last column is "none of these".
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.counts = torch.zeros(len(names), len(names) + 1, dtype=torch.int64)

    def add(self, truth: Tensor, predicted: Tensor) -> None:
        """Count (N,) truth against (N,) predicted labels; points with truth < 0 never count.

        Raises:
            ValueError: lengths differ, or a label is not below C.
        """
        if truth.shape != predicted.shape:
            raise ValueError(f"{len(truth)} truth labels but {len(predicted)} predictions")
        known = truth >= 0
        row, column = truth[known].long(), predicted[known].long()
        classes = len(self.names)
        if len(row) and int(torch.maximum(row, column).max()) >= classes:
            raise ValueError(f"labels must be below {classes}, the number of names")
        column = torch.where(column < 0, classes, column)
        cells = torch.bincount(row * (classes + 1) + column, minlength=self.counts.numel())
        self.counts += cells.reshape(self.counts.shape)

    def scores(self) -> Scores:
        """IoU = TP / (TP + FP + FN), accuracy = TP / (TP + FN), over everything added so far."""
        cells = parts(self.counts.numpy())
        iou, accuracy = (_numbers(values) for values in per_class(cells))
        front = [name.lower() not in BACKGROUND for name in self.names]
        return Scores(
            names=self.names,
            iou=iou,
            accuracy=accuracy,
            miou=_mean(iou),
            macc=_mean(accuracy),
            fmiou=_mean([v for v, keep in zip(iou, front, strict=True) if keep]),
            fmacc=_mean([v for v, keep in zip(accuracy, front, strict=True) if keep]),
            points=int(cells[1].sum()),
        )


def evaluate(result: Segmentation, truth: Array, names: Mapping[int, str]) -> Scores:
    """Scores of labels against (N,) truth ids called `names`; truth outside the vocabulary does not count.

    A point that has truth and got no label counts as wrong.
    """
    confusion = Confusion(result.names)
    confusion.add(in_vocabulary(torch.as_tensor(truth), names, result.vocabulary), result.label)
    return confusion.scores()


def parts(counts: np.ndarray) -> np.ndarray:
    """(C, C + 1) truth by prediction, the last column "no label" -> (3, C) float64: right, true, given."""
    right = np.diagonal(counts).astype(np.float64)
    return np.stack([right, counts.sum(1), counts[:, :-1].sum(0)]).astype(np.float64)


def per_class(scenes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(..., 3, C) -> IoU = right / (true + given - right) and accuracy = right / true, (..., C) each, 0 to 1,
    nan where the class is absent."""
    right, true, given = scenes[..., 0, :], scenes[..., 1, :], scenes[..., 2, :]
    with np.errstate(invalid="ignore", divide="ignore"):
        there = np.where(true > 0, true, np.nan)
        return right / (there + given - right), right / there


def _numbers(values: np.ndarray) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else float(value) for value in values)


def _mean(values: tuple[float | None, ...] | list[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None

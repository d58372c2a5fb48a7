"""From words to labels and heat."""

from __future__ import annotations

import torch
from torch import Tensor

from purify3d.types import NO_LABEL, PointFeatures, Segmentation, TextBank


def scores(features: PointFeatures, bank: TextBank) -> Tensor:
    """(N, T) cosine between each point and each wording; of pooled features the mean over what was pooled.

    Raises:
        SpaceMismatchError: features and text come from different models.
    """
    bank.check_space(features.space)
    return features.dot(bank.embedding) / features.norm().clamp_min(1e-12)[:, None]


def classify(scores: Tensor, bank: TextBank, *, threshold: float | None = None) -> Segmentation:
    """Each point takes its best label, or none where no label reaches `threshold`.

    A point whose scores are all exactly 0 has nothing to go by, and gets none either.

    Args:
        scores: (N, T) as from `scores` or `pooled_scores`.
        threshold: a cosine in -1..1; None labels every point.
    """
    score, label = bank.best(scores).max(1)
    label = label.to(torch.int32)
    label = torch.where(scores.any(1), label, NO_LABEL)
    if threshold is not None:
        label = torch.where(score >= threshold, label, NO_LABEL)
    return Segmentation(label, score, bank.vocabulary)

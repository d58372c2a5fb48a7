"""From words to labels and heat."""

from __future__ import annotations

import torch
from torch import Tensor

from purify3d.errors import SpaceMismatchError
from purify3d.purify import pool
from purify3d.types import NO_LABEL, Affinity, FeatureSpace, PointFeatures, Segmentation, TextBank, Voxels


def scores(features: PointFeatures, bank: TextBank) -> Tensor:
    """(N, T) cosine between each point and each wording; of pooled features the mean over what was pooled.

    Raises:
        SpaceMismatchError: features and text come from different models.
    """
    check_space(features.space, bank)
    return features.dot(bank.embedding) / features.norm().clamp_min(1e-12)[:, None]


def pooled_scores(
    features: PointFeatures, bank: TextBank, voxels: Voxels, affinity: Affinity, rounds: int
) -> Tensor:
    """(N, T) what `scores(purify(features, ...), bank)` gives, for D / T times less work.

    Pooling is linear, so the dot products are pooled in place of the features (method, section 3.3); dividing
    by a positive number per point changes no label.

    Raises:
        SpaceMismatchError: features and text come from different models.
    """
    check_space(features.space, bank)
    columns = torch.cat([features.dot(bank.embedding), features.norm()[:, None]], dim=1)
    if rounds > 0:
        columns = voxels.spread(pool(affinity, voxels.mean(columns), rounds))
    return columns[:, :-1] / columns[:, -1:].clamp_min(1e-12)


def check_space(space: FeatureSpace, bank: TextBank) -> None:
    """
    Raises:
        SpaceMismatchError: features of this space cannot be compared with the words of this bank.
    """
    if space.id != bank.space.id:
        raise SpaceMismatchError(
            f"found features of {space.id!r} and text embeddings of {bank.space.id!r}, expected one "
            "model for both; use the backbone that the features were lifted with, or lift again"
        )


def classify(scores: Tensor, bank: TextBank, *, threshold: float | None = None) -> Segmentation:
    """Each point takes its best label, or none where no label reaches `threshold`.

    Args:
        scores: (N, T) as from `scores` or `pooled_scores`.
        threshold: a cosine in -1..1; None labels every point.
    """
    score, label = bank.best(scores).max(1)
    label = label.to(torch.int32)
    if threshold is not None:
        label = torch.where(score >= threshold, label, NO_LABEL)
    return Segmentation(label, score, bank.vocabulary)

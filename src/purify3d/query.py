"""From words to labels and heat."""

from __future__ import annotations

import torch
from torch import Tensor

from purify3d.errors import SpaceMismatchError
from purify3d.purify import pool
from purify3d.types import NO_LABEL, Affinity, PointFeatures, Segmentation, TextBank, Voxels


def check_space(features: PointFeatures, bank: TextBank) -> None:
    """Features and text may be compared only within one model.

    Raises:
        SpaceMismatchError: naming both models.
    """
    if features.space.id != bank.space.id:
        raise SpaceMismatchError(
            f"found features of {features.space.id!r} and text embeddings of {bank.space.id!r}, expected one "
            "model for both; use the backbone that the features were lifted with, or lift again"
        )


def pooled_scores(
    features: PointFeatures, bank: TextBank, voxels: Voxels, affinity: Affinity, rounds: int
) -> Tensor:
    """(N, T) mean cosine between each wording and the features that reach a point after pooling.

    The dot products F t are pooled in place of the features, and divided by the pooled lengths |F|: the
    cosines of all contributing points, weighted by affinity and feature length. Dividing by a positive
    number per point changes no label: labels are those of pooled features (architecture of the method,
    section 3.3: pooling is linear). Without rounds it is the plain cosine of each point's own feature.

    Raises:
        SpaceMismatchError: features and text come from different models.
    """
    check_space(features, bank)
    text = bank.embedding if features.basis is None else bank.embedding @ features.basis.T
    dot, length = features.values @ text.T, features.norm()[:, None]
    if rounds > 0:
        pooled = pool(affinity, voxels.mean(torch.cat([dot, length], dim=1)), rounds)
        dot, length = voxels.spread(pooled).split([dot.shape[1], 1], dim=1)
    return dot / length.clamp_min(1e-12)


def classify(scores: Tensor, bank: TextBank, *, threshold: float | None = None) -> Segmentation:
    """Each point takes its best label, or none where no label reaches `threshold`.

    Args:
        scores: (N, T) as from `pooled_scores`.
        threshold: a cosine in -1..1; None labels every point.
    """
    score, label = bank.best(scores).max(1)
    label = label.to(torch.int32)
    if threshold is not None:
        label = torch.where(score >= threshold, label, NO_LABEL)
    return Segmentation(label, score, bank.vocabulary)

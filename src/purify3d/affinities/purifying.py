"""Purification: features pooled along the affinities of their voxels (GeoPurify, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from purify3d.affinities.building import AffinityConfig, affinity
from purify3d.affinities.embeddings import Embedding
from purify3d.affinities.pooling import pool_features, pool_scores
from purify3d.backbones import TextEncoder
from purify3d.base.progress import Progress, silent
from purify3d.base.settings import setting
from purify3d.types import PointCloud, PointFeatures, TextBank


@dataclass(frozen=True)
class PurifyConfig(AffinityConfig):
    """How features are pooled. The settings of the affinity, and:

    Attributes:
        rounds: products with the affinity (the paper's T = 18 is 19 products); 0 leaves features as lifted.
        fill: metres; a point that no camera saw is labelled, and counts as a neighbour, by a copy of the
            nearest seen point within this distance. 0: such points get no label; inf: the paper's rule.
    """

    rounds: int = setting(19, stage="purify", low=0, high=1000)
    fill: float = setting(0.0, stage="purify", low=0, infinite=True)


def purify(
    points: PointCloud,
    features: PointFeatures,
    config: PurifyConfig | None = None,
    *,
    embedding: Embedding | None = None,
    backbone: TextEncoder | None = None,
    neighbor: Tensor | None = None,
    progress: Progress = silent,
) -> PointFeatures:
    """Features of N points, pooled over the neighbours of their voxels.

    Points that no camera saw are silenced first, unless `config.fill` reaches them: they stay 0 and say
    nothing. `length` is pooled along with the features, so that scores of the result are mean cosines.

    Args:
        points: with normals and colours, as from `with_points`.
        features: of the same points, as from `lift`.
        embedding, backbone, neighbor: see `affinity`.

    Raises:
        CheckpointError: see `affinity`.
    """
    config = config or PurifyConfig()
    features = features.within(config.fill)
    if config.rounds == 0:
        return features
    operator = affinity(
        points,
        features,
        config,
        embedding=embedding,
        backbone=backbone,
        neighbor=neighbor,
        progress=progress,
    )
    return pool_features(features, *operator, config.rounds, progress=progress)


def purified_scores(
    points: PointCloud,
    features: PointFeatures,
    bank: TextBank,
    config: PurifyConfig | None = None,
    *,
    embedding: Embedding | None = None,
    backbone: TextEncoder | None = None,
    neighbor: Tensor | None = None,
    progress: Progress = silent,
) -> Tensor:
    """(N, T) the scores of purified features for T wordings, for D / T times less work than by `purify`.

    Args: see `purify`.

    Raises:
        SpaceMismatchError: features and text come from different models.
        CheckpointError: see `affinity`.
    """
    config = config or PurifyConfig()
    features = features.within(config.fill)
    operator = affinity(
        points,
        features,
        config,
        embedding=embedding,
        backbone=backbone,
        neighbor=neighbor,
        progress=progress,
    )
    return pool_scores(features, bank, *operator, config.rounds, progress=progress)

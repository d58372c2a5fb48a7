"""Purification: features pooled along the affinities of their voxels (GeoPurify, section 3.3)."""

from __future__ import annotations

from torch import Tensor

from purify3d.affinities.building import affinity
from purify3d.affinities.config import PurifyConfig
from purify3d.affinities.embeddings import Embedding
from purify3d.affinities.pooling import pool_features, pool_scores
from purify3d.backbones import TextEncoder
from purify3d.base.progress import Progress, silent
from purify3d.types import PointCloud, PointFeatures, TextEmbeddings


def purify(
    points: PointCloud,
    features: PointFeatures,
    config: PurifyConfig | None = None,
    *,
    embedding: Embedding | None = None,
    backbone: TextEncoder | None = None,
    progress: Progress = silent,
) -> PointFeatures:
    """Features of N points, pooled over the neighbours of their voxels.

    Points that no camera saw are silenced first, unless `config.fill` reaches them: they stay 0 and say
    nothing. `length` is pooled along with the features, so that scores of the result are mean cosines.

    Args:
        points: with normals and colours, as from `with_points`.
        features: of the same points, as from `lift`.
        embedding: see `affinity`.
        backbone: see `affinity`.

    Raises:
        CheckpointError: see `affinity`.
    """
    config = config or PurifyConfig()
    features = features.within(config.fill)
    if config.rounds == 0:
        return features
    operator = affinity(points, features, config, embedding=embedding, backbone=backbone, progress=progress)
    return pool_features(features, *operator, config.rounds, progress=progress)


def purified_scores(
    points: PointCloud,
    features: PointFeatures,
    text_embeddings: TextEmbeddings,
    config: PurifyConfig | None = None,
    *,
    embedding: Embedding | None = None,
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
    operator = affinity(points, features, config, embedding=embedding, neighbor=neighbor, progress=progress)
    return pool_scores(features, text_embeddings, *operator, config.rounds, progress=progress)

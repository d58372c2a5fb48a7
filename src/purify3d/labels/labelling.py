"""From features to labels: what comes after lifting, in memory."""

from __future__ import annotations

from torch import Tensor

from purify3d.affinities.embeddings import Embedding
from purify3d.affinities.purifying import purified_scores
from purify3d.base.progress import Progress, silent
from purify3d.labels.config import SegmentConfig
from purify3d.labels.questions import classify, scores
from purify3d.labels.segmentation import Segmentation
from purify3d.types import PointCloud, PointFeatures, TextEmbeddings


def label_points(
    points: PointCloud,
    features: PointFeatures,
    text_embeddings: TextEmbeddings,
    config: SegmentConfig | None = None,
    *,
    embedding: Embedding | None = None,
    neighbor: Tensor | None = None,
    progress: Progress = silent,
) -> Segmentation:
    """What comes after lifting: pool the scores of N features over their neighbours, and label.

    Points that no camera saw get no label, unless `config.purify.fill` reaches them.

    Args:
        embedding: see `affinity`.
        neighbor: see `affinity`.

    Raises:
        SpaceMismatchError: features and words come from different models.
        CheckpointError: see `affinity`.
    """
    config = config or SegmentConfig()
    if config.purify.rounds == 0:
        as_lifted = features.within(config.purify.fill)
        return classify(scores(as_lifted, text_embeddings), text_embeddings, threshold=config.threshold)
    pooled = purified_scores(
        points,
        features,
        text_embeddings,
        config.purify,
        embedding=embedding,
        neighbor=neighbor,
        progress=progress,
    )
    return classify(pooled, text_embeddings, threshold=config.threshold)

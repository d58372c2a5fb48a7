"""From features to labels: what comes after lifting, in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from purify3d.affinities.embeddings import Embedding
from purify3d.affinities.purifying import PurifyConfig, purified_scores
from purify3d.base.progress import Progress, silent
from purify3d.base.settings import check, setting
from purify3d.features.lifting import LiftConfig
from purify3d.labels.questions import classify, scores
from purify3d.labels.segmentation import Segmentation
from purify3d.types import PointCloud, PointFeatures, TextBank


@dataclass(frozen=True)
class SegmentConfig:
    """Everything that shapes a segmentation, beside the capture, the labels and the 2D model.

    Attributes:
        lift, purify: settings of these stages.
        threshold: cosine below which a point gets no label; None labels all.
    """

    lift: LiftConfig = field(default_factory=LiftConfig)
    purify: PurifyConfig = field(default_factory=PurifyConfig)
    threshold: float | None = setting(None, stage="label", low=-1, high=1)

    def __post_init__(self) -> None:
        check(self)


def label_points(
    points: PointCloud,
    features: PointFeatures,
    bank: TextBank,
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
        return classify(scores(as_lifted, bank), bank, threshold=config.threshold)
    pooled = purified_scores(
        points, features, bank, config.purify, embedding=embedding, neighbor=neighbor, progress=progress
    )
    return classify(pooled, bank, threshold=config.threshold)

"""The method end to end, in memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from purify3d.affinities import Embedding, PurifyConfig, affinity, load_embedding
from purify3d.asking import classify, scores
from purify3d.backbones import Backbone, embed_vocabulary
from purify3d.devices import AUTO, find_device
from purify3d.labelsets import read_labels
from purify3d.lifting import LiftConfig, lift
from purify3d.progress import Progress, silent
from purify3d.purifying import pooled_scores
from purify3d.segmentation import Segmentation
from purify3d.settings import check, setting
from purify3d.types import Labels, PointCloud, PointFeatures, Scene, TextBank


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


def segment(
    scene: Scene,
    labels: Labels,
    backbone: Backbone,
    config: SegmentConfig | None = None,
    *,
    device: str | torch.device = AUTO,
    progress: Progress = silent,
) -> Segmentation:
    """Label every point of a scene: the whole method.

    Args:
        scene: with points, as from `with_points`.
        labels: names such as "chair, table, sofa|couch", a list of them, or a set such as "scannet20".
        device: where all but the 2D model computes, which has its own; see `find_device`.

    Returns:
        One label and score per point of `scene.points`, where these lie.

    Raises:
        ValueError: the scene has no points.
        CaptureError, LabelError, BackboneError, CheckpointError: see the stages.
    """
    config = config or SegmentConfig()
    home, there = scene.cloud().xyz.device, find_device(device)
    points = scene.cloud().to(there)
    scene = replace(scene, points=points)
    bank = embed_vocabulary(backbone, read_labels(labels))
    features = lift(scene, backbone, bank, config.lift, progress=progress)
    embedding = load_embedding(config.purify.affinity, backbone, device=there)
    found = label_points(points, features, bank, config, embedding=embedding, progress=progress)
    return found.to(home)


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
    rounds = config.purify.rounds
    features = features.within(config.purify.fill)
    if rounds == 0:
        return classify(scores(features, bank), bank, threshold=config.threshold)
    voxels, neighbors = affinity(
        points, features, config.purify, embedding=embedding, neighbor=neighbor, progress=progress
    )
    pooled = pooled_scores(features, bank, voxels, neighbors, rounds, progress=progress)
    return classify(pooled, bank, threshold=config.threshold)

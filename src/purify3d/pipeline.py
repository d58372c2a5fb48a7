"""The method end to end, in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from purify3d.backbones import Backbone, PointBackbone, embed_vocabulary
from purify3d.errors import CheckpointError
from purify3d.lift import LiftConfig, lift
from purify3d.progress import Progress, silent
from purify3d.purify import PurifyConfig, affinity, geometric_embedding, trust
from purify3d.query import classify, pooled_scores
from purify3d.spatial import grid_neighbors, voxelize
from purify3d.student import Student, load_released
from purify3d.types import (
    Affinity,
    PointCloud,
    PointFeatures,
    Scene,
    Segmentation,
    TextBank,
    Vocabulary,
    Voxels,
)

#: (points, voxels, features) -> (V, E): one vector per voxel, compared by distance.
Embedding = Callable[[PointCloud, Voxels, PointFeatures], Tensor]


@dataclass(frozen=True)
class SegmentConfig:
    """Everything that shapes a segmentation, beside the capture, the labels and the 2D model.

    Attributes:
        voxel: edge in metres of the voxels that frames are fused at.
        affinity: `geometric`, `uniform`, the folder or hub id of a student, or `released:FILE`.
        threshold: cosine below which a point gets no label; None labels all.
    """

    voxel: float = 0.02
    affinity: str = "geometric"
    threshold: float | None = None
    lift: LiftConfig = field(default_factory=LiftConfig)
    purify: PurifyConfig = field(default_factory=PurifyConfig)


def segment(
    scene: Scene,
    labels: Vocabulary | str,
    backbone: Backbone,
    config: SegmentConfig | None = None,
    *,
    progress: Progress = silent,
) -> Segmentation:
    """Label every point of a scene: the whole method.

    Args:
        scene: with points, as from `with_points`.
        labels: names such as "chair, table, sofa|couch".

    Returns:
        One label and score per point of `scene.points`.

    Raises:
        ValueError: the scene has no points.
        CaptureError, LabelError, CheckpointError: see the stages.
    """
    config = config or SegmentConfig()
    points = points_of(scene)
    bank = embed_vocabulary(backbone, Vocabulary.parse(labels) if isinstance(labels, str) else labels)
    features = point_features(scene, backbone, bank, config.lift, progress=progress)
    voxels, neighbors = connect(points, features, load_embedding(config.affinity), config.purify)
    scores = pooled_scores(features, bank, voxels, neighbors, config.purify.rounds)
    return classify(scores, bank, threshold=config.threshold)


def points_of(scene: Scene) -> PointCloud:
    """
    Raises:
        ValueError: the scene has no points.
    """
    if scene.points is None:
        raise ValueError("the scene has no points yet; call with_points(scene) first")
    return scene.points


def point_features(
    scene: Scene,
    backbone: Backbone,
    bank: TextBank,
    config: LiftConfig,
    *,
    progress: Progress = silent,
) -> PointFeatures:
    """One feature per point: those that the backbone brings, else lifted from the frames.

    Raises:
        ValueError: the scene has no points.
        CaptureError, BackboneError: see `lift` and the backbone.
    """
    points = points_of(scene)
    if isinstance(backbone, PointBackbone):
        return backbone.point_features(points, scene.name)
    return lift(scene.frames, points, backbone, bank, config, progress=progress)


def connect(
    points: PointCloud, features: PointFeatures, embed: Embedding, config: PurifyConfig
) -> tuple[Voxels, Affinity]:
    """The voxels of a cloud and how much each listens to its neighbours; without rounds, to none."""
    voxels = voxelize(points.xyz, config.voxel)
    if config.rounds == 0:
        nobody = torch.empty(len(voxels), 0)
        return voxels, Affinity(nobody.long(), nobody)
    neighbor = grid_neighbors(voxels.index, config.neighbors)
    alike = affinity(embed(points, voxels, features), neighbor, config.sharpness)
    return voxels, trust(alike, features, voxels, config.confidence)


def load_embedding(name: str) -> Embedding:
    """What voxels are compared by.

    Args:
        name: `geometric`, `uniform`, the folder or hub id of a student, or `released:FILE`.

    Raises:
        CheckpointError: nothing of that name fits.
    """
    if name == "uniform":
        return lambda points, voxels, features: torch.zeros(len(voxels), 1)
    if name == "geometric":
        return lambda points, voxels, features: geometric_embedding(points, voxels)
    if name.startswith("released:"):
        return load_released(name.removeprefix("released:")).embed
    if not Path(name).exists() and name.count("/") != 1:
        raise CheckpointError(
            f"found affinity {name!r}; expected geometric, uniform, the folder or hub id of a student, or "
            "released:FILE"
        )
    return Student.from_pretrained(name).embed

"""The method end to end, in memory."""

from __future__ import annotations

from dataclasses import replace

import torch

from purify3d.affinities.embeddings import load_embedding
from purify3d.backbones import Backbone, embed_vocabulary
from purify3d.base.devices import AUTO, find_device
from purify3d.base.progress import Progress, silent
from purify3d.features.lifting import lift
from purify3d.labels.labelling import SegmentConfig, label_points
from purify3d.labels.segmentation import Segmentation
from purify3d.types import Labels, Scene
from purify3d.types.labelsets import read_labels


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

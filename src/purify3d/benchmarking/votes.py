"""Region vote: whole regions are pooled in place of neighbours, the baseline of everything that is learned.

The regions are those of the geometric teacher at each of its scales; a point takes the mean over the scales
of the mean over its region, once, whatever the rounds.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from purify3d.affinities.config import PurifyConfig
from purify3d.grid.voxels import first_points, voxelize
from purify3d.labels.questions import classify
from purify3d.labels.segmentation import Segmentation
from purify3d.training.teachers.geometric import GeometricTeacher
from purify3d.training.teachers.targets import Targets
from purify3d.types import PointCloud, PointFeatures, TextEmbeddings, Voxels

#: The method's name.
VOTE = "region-vote"
_BLOCK = 1 << 16  # points added at a time, in double precision


def vote_fingerprint() -> str:
    """Changes when the regions do, so that measured scenes are not reused."""
    return f"{VOTE} {GeometricTeacher().fingerprint}"


def label_by_regions(
    points: PointCloud,
    features: PointFeatures,
    text_embeddings: TextEmbeddings,
    config: PurifyConfig,
    threshold: float | None = None,
) -> Segmentation:
    """Labels of N points by the scores of their regions.

    Args:
        config: whose `voxel` and `fill` hold here as for pooling along neighbours.
        threshold: see `classify`.

    Raises:
        SpaceMismatchError: features and words come from different models.
    """
    text_embeddings.check_space(features.space)
    features, voxels = features.within(config.fill), voxelize(points.xyz, config.voxel)
    columns = torch.cat([features.dot(text_embeddings.embedding), features.norm()[:, None]], dim=1)
    voted = voxels.to_points(region_vote(voxels.mean(columns), Targets(voxel_regions(points, voxels))))
    cosines = voted[:, :-1] / voted[:, -1:].clamp_min(1e-12)
    return classify(torch.where(features.known[:, None], cosines, 0), text_embeddings, threshold=threshold)


def voxel_regions(points: PointCloud, voxels: Voxels) -> Tensor:
    """(V, S) int64 region of each voxel at each of S scales, -1 = none: those of its first point."""
    group = GeometricTeacher().teach(points.to("cpu"), up=np.array([0.0, 0.0, 1.0])).group
    group = group.to(voxels.of_point.device)
    return group[first_points(voxels.of_point, len(voxels))]


def region_vote(values: Tensor, targets: Targets) -> Tensor:
    """Mean over the scales of the mean over the point's region.

    Scales at which nothing is known of a point do not count for it; where nothing is known at any, the point
    keeps its own values.

    Args:
        values: (N, C) float.
        targets: of the same points; features are not looked at.

    Returns:
        (N, C) float32.

    Raises:
        ValueError: values of another number of points.
    """
    _check(values, targets)
    total = torch.zeros(values.shape, dtype=torch.float32, device=values.device)
    for group in targets.group.to(values.device).T:
        known = (group >= 0).nonzero()[:, 0]
        _, region, size = torch.unique(group[known], return_inverse=True, return_counts=True)
        # A wall has more points than single precision can add up one by one.
        mean = torch.zeros(len(size), values.shape[1], dtype=torch.float64, device=values.device)
        for rows, into in zip(known.split(_BLOCK), region.split(_BLOCK), strict=True):
            mean.index_add_(0, into, values[rows].double())
        mean = (mean / size[:, None]).float()
        for rows, into in zip(known.split(_BLOCK), region.split(_BLOCK), strict=True):
            total[rows] += mean[into]
    scales = (targets.group >= 0).sum(1).to(values.device)[:, None]
    return torch.where(scales > 0, total / scales.clamp_min(1), values.float())


def _check(values: Tensor, targets: Targets) -> None:
    if values.dim() != 2 or len(values) != len(targets):
        raise ValueError(
            f"found values {tuple(values.shape)} and a targets of {len(targets)} points; expected "
            f"({len(targets)}, C) values of the same points"
        )

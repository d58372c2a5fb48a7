"""Voting in regions: the simplest way to use a lesson, and the baseline of every other."""

from __future__ import annotations

import torch
from torch import Tensor

from purify3d.teachers.lesson import Lesson

_BLOCK = 1 << 16  # points added at a time, in double precision


def region_vote(values: Tensor, lesson: Lesson) -> Tensor:
    """Mean over the scales of the mean over the point's region.

    Scales at which nothing is known of a point do not count for it; where nothing is known at any, the point
    keeps its own values.

    Args:
        values: (N, C) float.
        lesson: of the same points; features are not looked at.

    Returns:
        (N, C) float32.

    Raises:
        ValueError: values of another number of points.
    """
    _check(values, lesson)
    total = torch.zeros(values.shape, dtype=torch.float32, device=values.device)
    for group in lesson.group.to(values.device).T:
        known = (group >= 0).nonzero()[:, 0]
        _, region, size = torch.unique(group[known], return_inverse=True, return_counts=True)
        # A wall has more points than single precision can add up one by one.
        mean = torch.zeros(len(size), values.shape[1], dtype=torch.float64, device=values.device)
        for rows, into in zip(known.split(_BLOCK), region.split(_BLOCK), strict=True):
            mean.index_add_(0, into, values[rows].double())
        mean = (mean / size[:, None]).float()
        for rows, into in zip(known.split(_BLOCK), region.split(_BLOCK), strict=True):
            total[rows] += mean[into]
    scales = (lesson.group >= 0).sum(1).to(values.device)[:, None]
    return torch.where(scales > 0, total / scales.clamp_min(1), values.float())


def region_vote_plain(values: Tensor, lesson: Lesson) -> Tensor:
    """What `region_vote` computes, by the (N, N) matrix of who is together, scale by scale."""
    _check(values, lesson)
    means = []
    for group in lesson.group.T:
        together = ((group[:, None] == group) & (group[:, None] >= 0)).double()
        size = together.sum(1, keepdim=True)
        means.append(torch.where(size > 0, together @ values.double() / size, torch.nan))
    voted = torch.stack(means).nanmean(0).float()
    return torch.where(voted.isnan(), values.float(), voted)


def _check(values: Tensor, lesson: Lesson) -> None:
    if values.dim() != 2 or len(values) != len(lesson):
        raise ValueError(
            f"found values {tuple(values.shape)} and a lesson of {len(lesson)} points; expected "
            f"({len(lesson)}, C) values of the same points"
        )

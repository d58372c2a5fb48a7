"""Pool features along affinities (GeoPurify, section 3.3).

The affinity is a row-stochastic matrix A; pooling is F <- A F, `rounds` times. It is linear, so whatever is
linear in the features may be pooled in their place: the scores F t of a fixed vocabulary give the same labels
as pooled features for a fraction of the work.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from purify3d.devices import falling_back
from purify3d.progress import Progress, silent
from purify3d.teachers.lesson import Lesson
from purify3d.teachers.vote import region_vote
from purify3d.tiling import TiledAffinity
from purify3d.types import Affinity, PointFeatures, Regions, TextBank, Voxels

#: What voxels can be pooled along.
Heard = Affinity | TiledAffinity | Regions
_COLUMNS = 16  # at a time in tiles
_LARGEST = 2**31 - 1  # neighbours at a time: places among them are counted in 32 bits


@falling_back
def pool(affinity: Heard, values: Tensor, rounds: int, *, progress: Progress = silent) -> Tensor:
    """Multiply (V, C) values with the affinity `rounds` times; any C, float32. Regions are heard once."""
    if isinstance(affinity, Regions):
        return region_vote(values, Lesson(affinity.group)) if rounds else values
    if isinstance(affinity, TiledAffinity):
        for _ in progress(range(rounds), name="pool", total=rounds):
            values = affinity.times(values)
        return values
    k = affinity.neighbor.shape[1]
    if rounds == 0 or k == 0:
        return values
    block = max(1, _LARGEST // k)
    parts = list(
        zip(affinity.neighbor.split(block), affinity.weight.to(values.dtype).split(block), strict=True)
    )
    for _ in progress(range(rounds), name="pool", total=rounds):
        # A bag per voxel: gathers, weighs and sums in one pass, without an array of (V, K, C).
        pooled = [embedding_bag(near, values, per_sample_weights=heard, mode="sum") for near, heard in parts]
        values = pooled[0] if len(pooled) == 1 else torch.cat(pooled)
    return values


def _pooled(columns: Tensor, voxels: Voxels, affinity: Heard, rounds: int, progress: Progress) -> Tensor:
    """(N, C) of points, pooled over their voxels, as a new tensor.

    Columns do not hear each other: where memory is short, some at a time are enough.
    """
    if not isinstance(affinity, TiledAffinity):
        return voxels.to_points(pool(affinity, voxels.mean(columns), rounds, progress=progress))
    result = torch.empty_like(columns)
    for some, place in zip(columns.split(_COLUMNS, 1), result.split(_COLUMNS, 1), strict=True):
        place[:] = voxels.to_points(pool(affinity, voxels.mean(some), rounds, progress=progress))
    return result


def pool_plain(affinity: Affinity, values: Tensor, rounds: int) -> Tensor:
    """What `pool` computes, as one would write it down: the oracle of its tests."""
    for _ in range(rounds):
        values = (affinity.weight[:, :, None] * values[affinity.neighbor]).sum(1)
    return values


def purify(
    features: PointFeatures,
    voxels: Voxels,
    affinity: Heard,
    rounds: int,
    *,
    progress: Progress = silent,
) -> PointFeatures:
    """Features of N points pooled over their voxels' neighbours.

    `length` is pooled along with them, so that dot products divided by it are mean cosines. Points that say
    nothing (see `PointFeatures.within`) add nothing and stay silent.

    Args:
        voxels: as from `purify3d.affinity`.
        affinity: as from `purify3d.affinity`.
        rounds: products with the affinity; 0 gives the features back.

    Raises:
        ValueError: rounds that cannot be, or features of other points than the voxels.
    """
    if not isinstance(rounds, int) or rounds < 0:
        raise ValueError(f"found rounds = {rounds!r}; expected a whole number of at least 0")
    if rounds == 0:
        return features
    columns = torch.cat([features.values, features.norm()[:, None]], dim=1)
    pooled = _pooled(columns, voxels, affinity, rounds, progress)
    pooled.masked_fill_(~features.known[:, None], 0)
    return replace(features, values=pooled[:, :-1], length=pooled[:, -1], agreement=None)


def pooled_scores(
    features: PointFeatures,
    bank: TextBank,
    voxels: Voxels,
    affinity: Heard,
    rounds: int,
    *,
    progress: Progress = silent,
) -> Tensor:
    """(N, T) what `scores(purify(features, ...), bank)` gives, for D / T times less work.

    Pooling is linear, so the dot products are pooled in place of the features; dividing by a positive number
    per point changes no label.

    Raises:
        SpaceMismatchError: features and text come from different models.
    """
    bank.check_space(features.space)
    bank = bank.to(features.values.device)
    columns = torch.cat([features.dot(bank.embedding), features.norm()[:, None]], dim=1)
    if rounds > 0:
        columns = _pooled(columns, voxels, affinity, rounds, progress)
    cosines = columns[:, :-1] / columns[:, -1:].clamp_min(1e-12)
    return torch.where(features.known[:, None], cosines, 0)

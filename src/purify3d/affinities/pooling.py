"""Pool features along affinities (GeoPurify, section 3.3).

The affinity is a row-stochastic matrix A; pooling is F <- A F, `rounds` times. It is linear, so whatever is
linear in the features may be pooled in their place: the scores F t of a fixed vocabulary give the same labels
as pooled features for a fraction of the work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from purify3d.affinities.tiles import TiledAffinity
from purify3d.base.devices import falling_back
from purify3d.base.progress import Progress, silent
from purify3d.types import Affinity, PointFeatures, TextEmbeddings, Voxels

_COLUMNS = 16  # at a time in tiles
_LARGEST = 2**31 - 1  # neighbours at a time: places among them are counted in 32 bits


def pool(
    affinity: Affinity | TiledAffinity, values: Tensor, rounds: int, *, progress: Progress = silent
) -> Tensor:
    """Multiply (V, C) values with the affinity `rounds` times; any C, float32."""
    for _ in progress(range(rounds), name="pool", total=rounds):
        values = affinity.times(values) if isinstance(affinity, TiledAffinity) else product(affinity, values)
    return values


@falling_back
def product(affinity: Affinity, values: Tensor) -> Tensor:
    """The product of an affinity and (V, C) values."""
    k = affinity.neighbor.shape[1]
    if k == 0:
        return values
    block = max(1, _LARGEST // k)
    # A bag per voxel: gathers, weighs and sums in one pass, without an array of (V, K, C).
    parts = [
        embedding_bag(near, values, per_sample_weights=weight, mode="sum")
        for near, weight in zip(
            affinity.neighbor.split(block), affinity.weight.to(values.dtype).split(block), strict=True
        )
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _pooled(
    columns: Callable[[Tensor, slice], Tensor],
    count: int,
    voxels: Voxels,
    affinity: Affinity | TiledAffinity,
    rounds: int,
    progress: Progress,
) -> Tensor:
    """(N, C) of points, pooled over their voxels, as a new tensor.

    Columns are pooled independently: where memory is short, some at a time are enough.

    Args:
        columns: gives some (n, c) of the columns for points (n,) int64.
        count: C.
    """

    def pooled(some: slice) -> Tensor:
        # In one expression: nobody else holds the means while they are pooled.
        return pool(
            affinity,
            voxels.mean_of(lambda point: columns(point, some), some.stop - some.start),
            rounds,
            progress=progress,
        )

    if not isinstance(affinity, TiledAffinity):
        return voxels.to_points(pooled(slice(0, count)))
    result = torch.empty(len(voxels.of_point), count, device=voxels.of_point.device)
    for first in range(0, count, _COLUMNS):
        some = slice(first, min(first + _COLUMNS, count))
        result[:, some] = voxels.to_points(pooled(some))
    return result


def _with_length(columns: Tensor, length: Tensor, last: bool) -> Tensor:
    """(n, C) columns, and after the last of them the lengths (n,)."""
    return torch.cat([columns, length[:, None]], dim=1) if last else columns


def pool_features(
    features: PointFeatures,
    voxels: Voxels,
    affinity: Affinity | TiledAffinity,
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

    length, count = features.norm(), features.values.shape[1] + 1

    def columns(point: Tensor, some: slice) -> Tensor:
        return _with_length(features.values[:, some][point], length[point], some.stop == count)

    pooled = _pooled(columns, count, voxels, affinity, rounds, progress)
    pooled.masked_fill_(~features.known[:, None], 0)
    return replace(features, values=pooled[:, :-1], length=pooled[:, -1], agreement=None)


def pool_scores(
    features: PointFeatures,
    text_embeddings: TextEmbeddings,
    voxels: Voxels,
    affinity: Affinity | TiledAffinity,
    rounds: int,
    *,
    progress: Progress = silent,
) -> Tensor:
    """(N, T) what `scores(pool_features(features, ...), text_embeddings)` gives, for D / T times less work.

    Pooling is linear, so the dot products are pooled in place of the features; dividing by a positive number
    per point changes no label.

    Raises:
        SpaceMismatchError: features and text come from different models.
    """
    text_embeddings.check_space(features.space)
    text_embeddings = text_embeddings.to(features.values.device)

    length, count = features.norm(), len(text_embeddings.embedding) + 1

    def columns(point: Tensor, some: slice) -> Tensor:
        dots = features.at(point).dot(text_embeddings.embedding[some])
        return _with_length(dots, length[point], some.stop == count)

    if rounds == 0:
        pooled = columns(torch.arange(len(features), device=features.values.device), slice(0, count))
    else:
        pooled = _pooled(columns, count, voxels, affinity, rounds, progress)
    cosines = pooled[:, :-1] / pooled[:, -1:].clamp_min(1e-12)
    return torch.where(features.known[:, None], cosines, 0)

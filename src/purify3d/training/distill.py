"""What the student learns from a teacher: which points should embed alike, and which apart.

The distillation of GeoPurify (arXiv 2510.02186), without labels: an anchor is drawn to its positive and
pushed from its negatives by InfoNCE (van den Oord et al., arXiv 1807.03748). M anchors, N points (or voxels)
of one scene, G groups of points that share a teacher feature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from purify3d.training.config import TrainConfig
from purify3d.training.gather import gather_rows
from purify3d.training.teachers import Targets

#: Cosines are counted in steps of 2^-20, about 1e-6, and tie where these agree: less is rounding.
_STEPS = 1 << 20
_ANCHORS = 256  # whose tied points are drawn at a time
_Kept = tuple[Tensor, Tensor]  # keys and groups, (M, count) each


@dataclass(frozen=True)
class Pairs:
    """Point numbers; an anchor is neither its positive nor one of its negatives, nor is the positive.

    Attributes:
        anchor, positive: (M,) int64.
        negative: (M, macro + micro) int64, macro first, each part from the lowest cosine up. A point may be
            in both parts.
    """

    anchor: Tensor
    positive: Tensor
    negative: Tensor


@torch.no_grad()
def mine(
    teacher: Tensor,
    neighbor: Tensor,
    anchors: Tensor,
    *,
    config: TrainConfig,
    seed: int,
    group: Tensor | None = None,
    chunk: int = 4096,
) -> Pairs:
    """The teacher's positive and negatives of every anchor; streams, in memory of anchors x chunk.

    The positive has the highest cosine in the scene. Points whose cosines tie are equally likely to be taken,
    anew for every anchor; the same arguments give the same pairs. (Points of one group follow each other in
    a random order that the anchors of one call share.)

    Args:
        teacher: (N, C) features of any length, or (G, C) with `group`.
        neighbor: (N, K) int64 spatial neighbours of every point.
        anchors: (M,) int64 point numbers.
        config: `macro` negatives of lowest cosine in the whole scene, `micro` among the neighbours (15 in the
            released code).
        group: (N,) int64, the row of `teacher` each point has. Saves work in the proportion of N to G.
        chunk: rows of `teacher` at a time.

    Raises:
        ValueError: fewer than macro + 2 points, or too few neighbours for `config.micro`.
    """
    device = teacher.device
    generator = torch.Generator(device).manual_seed(seed)
    groups = _Groups(torch.arange(len(teacher), device=device) if group is None else group, generator)
    _check(len(groups.of_point), neighbor, config)
    own = normalize(teacher[groups.row[groups.of_point[anchors]]].float(), dim=1)

    def alike(rows: Tensor) -> Tensor:
        return _steps(own, normalize(teacher[rows].float(), dim=1))

    return _mine(groups, alike, neighbor[anchors], anchors, config, generator, chunk)


@torch.no_grad()
def mine_targets(
    targets: Targets,
    neighbor: Tensor,
    anchors: Tensor,
    *,
    config: TrainConfig,
    seed: int,
    chunk: int = 4096,
) -> Pairs:
    """The positive and negatives that a teacher's targets gives every anchor it says enough of.

    With features, what `mine` finds. With groups alone, the cosine of two points is the share of scales at
    which they are together, counted exactly: the positive shares the most scales, macro negatives the fewest
    (none, as long as there are enough such points), and points that tie are equally likely to be taken, anew
    for every anchor.

    Nothing is learned from what is not known: points without any group are neither anchors nor positives nor
    negatives, and an anchor that shares no scale with any other point is left out. Neighbours that share as
    many scales as the positive are no micro negatives; further macro negatives take their places, and the
    places of neighbours that nothing is known of. (One of these may be a micro negative already.)

    Args:
        targets: of N points.
        neighbor: (N, K) int64 spatial neighbours of every point.
        anchors: (M,) int64 point numbers.
        chunk: groups at a time.

    Returns:
        Pairs of at most M anchors, in the order of `anchors`.

    Raises:
        ValueError: too few points, of neighbours or of those that something is known of; or no anchor that
            has a positive.
    """
    if targets.feature is not None:
        group = targets.group[:, 0]
        return mine(targets.feature, neighbor, anchors, config=config, seed=seed, group=group, chunk=chunk)
    points = targets.known.nonzero()[:, 0]
    _check(len(targets), neighbor, config)
    if len(points) < (wanted := config.macro + config.micro + 2):
        raise ValueError(
            f"found {len(points)} of {len(targets)} points of which the teacher knows something, expected at "
            f"least {wanted}: an anchor, its positive and all negatives"
        )
    known = anchors[targets.known[anchors]]
    group, place = targets.group[points], torch.full((len(targets),), -1)
    place[points] = torch.arange(len(points))
    own_place, near = place[known], place[neighbor[known]]
    # Points that are together at every scale share one row: a few thousand rows for any number of points.
    table, row = torch.unique(group, dim=0, return_inverse=True)
    generator = torch.Generator().manual_seed(seed)
    groups, own = _Groups(row, generator), group[own_place]

    def alike(rows: Tensor) -> Tensor:
        return _scales(own[:, None], table[rows])

    def enough(positive: Tensor) -> Tensor:
        return _scales(own, group[positive])[:, None]

    pairs = _mine(groups, alike, near, own_place, config, generator, chunk, enough)
    has = _scales(group[pairs.anchor], group[pairs.positive]) > 0
    if not has.any():
        raise ValueError(
            f"found no anchor among {len(anchors)} that is in a group with another point; expected "
            "groups of several points. Take a teacher of coarser groups, or more anchors"
        )
    pairs = Pairs(pairs.anchor[has], pairs.positive[has], pairs.negative[has])
    return Pairs(points[pairs.anchor], points[pairs.positive], points[pairs.negative])


def _mine(
    groups: _Groups,
    alike: Callable[[Tensor], Tensor],
    near: Tensor,
    anchors: Tensor,
    config: TrainConfig,
    generator: torch.Generator,
    chunk: int,
    enough: Callable[[Tensor], Tensor] | None = None,
) -> Pairs:
    """Pairs from anything that tells how alike anchors and groups are.

    Args:
        alike: some (c,) of `groups.row` -> (M, c) whole numbers, float.
        near: (M, K) neighbours of the anchors, -1 = nobody.
        enough: (M,) positives -> (M, 1), as alike as which neighbours are no negatives; further macro
            negatives take the places that stay empty. None: all neighbours may be negatives.
    """
    device = anchors.device
    near_group = torch.where(near >= 0, groups.of_point[near], -1)
    near_steps = torch.full(near.shape, torch.inf, device=device)
    spare = 0 if enough is None else config.micro
    # The anchor (and among the lowest its positive) may be among the first, so one (two) more are kept.
    highest = lowest = None
    for start in range(0, len(groups.row), chunk):
        rows = groups.row[start : start + chunk]
        steps = alike(rows)
        size = groups.size[start : start + chunk]
        highest = _keep(highest, -steps + _least(size, steps.shape, generator), start, 2)
        lowest = _keep(lowest, steps + _least(size, steps.shape, generator), start, config.macro + spare + 2)
        anchor, k = ((near_group >= start) & (near_group < start + len(rows))).nonzero(as_tuple=True)
        near_steps[anchor, k] = steps[anchor, near_group[anchor, k] - start]
    assert highest is not None
    assert lowest is not None
    positive = groups.first_points(highest, 1, anchors[:, None], generator)[:, 0]
    neither = torch.stack([anchors, positive], dim=1)
    macro = groups.first_points(lowest, config.macro + spare, neither, generator)
    near_key = near_steps + torch.rand(near.shape, generator=generator, device=device, dtype=torch.float64)
    if enough is None:
        micro = _micro(near, near_key, neither, config)
    else:
        macro, further = macro[:, : config.macro], macro[:, config.macro :]
        near_key = near_key.masked_fill(near_steps >= enough(positive), torch.inf)
        micro = _micro(near, near_key, neither, config, further)
    return Pairs(anchors, positive, torch.cat([macro, micro], 1))


def info_nce(embedding: Tensor, pairs: Pairs, temperature: float) -> Tensor:
    """Mean over anchors of -log softmax of the positive's cosine among those of positive and negatives.

    Args:
        embedding: (N, E) unit rows.

    Returns:
        () loss; gradients reach the embeddings of anchors, positives and negatives.
    """
    others = gather_rows(embedding, torch.cat([pairs.positive[:, None], pairs.negative], dim=1))
    cosine = (others @ gather_rows(embedding, pairs.anchor)[:, :, None]).squeeze(2)
    return cross_entropy(cosine / temperature, torch.zeros_like(pairs.anchor))


class _Groups:
    """Points by group. Every point draws a uniform number, and of tied points those of least draws are taken.

    A group's draws need not all be made: the least of s is one random number, and so is each next one, given
    those before.

    Attributes:
        row: (G,) which row of the teacher each group that has points is.
        of_point: (N,) the group of each point.
        size: (G,) points per group.
    """

    def __init__(self, group: Tensor, generator: torch.Generator) -> None:
        self.row, self.of_point, self.size = torch.unique(group, return_inverse=True, return_counts=True)
        shuffled = torch.randperm(len(group), generator=generator, device=group.device)
        self._point = shuffled[self.of_point[shuffled].argsort(stable=True)]  # by group, shuffled within
        self._start = self.size.cumsum(0) - self.size
        self._largest = int(self.size.max())

    def first_points(self, kept: _Kept, count: int, without: Tensor, generator: torch.Generator) -> Tensor:
        """The `count` points of lowest key in the kept groups, (M, count), leaving out (M, X) points."""
        parts = zip(*(values.split(_ANCHORS) for values in (*kept, without)), strict=True)
        return torch.cat(
            [self._first_points(key, group, some, count, generator) for key, group, some in parts]
        )

    def _first_points(
        self, key: Tensor, group: Tensor, without: Tensor, count: int, generator: torch.Generator
    ) -> Tensor:
        size = self.size[group][..., None]
        j = torch.arange(min(count + without.shape[1], self._largest), device=group.device)
        step = key.floor()
        # Given the j least of s draws, the others are s - j uniform draws above them.
        shape = (*group.shape, len(j))
        draw = _least((size - j).clamp_min(1), shape, generator)
        draw[..., 0] = key - step
        draw = 1 - (1 - draw).cumprod(-1)
        # Any point of the group may have its least draw; the next ones follow in the shuffled order.
        turn = (torch.rand(size.shape, generator=generator, device=key.device).double() * size).long()
        point = self._point[self._start[group][..., None] + (turn + j) % size]
        key = torch.where(j < size, step[..., None] + draw, torch.inf).flatten(1)
        point = point.flatten(1)
        key = key.masked_fill((point[..., None] == without[:, None]).any(2), torch.inf)
        return point.gather(1, key.topk(count, largest=False).indices)


def _steps(a: Tensor, b: Tensor) -> Tensor:
    """Cosines of unit rows (A, C) and (B, C) as whole numbers of steps, (A, B) float32."""
    return (a @ b.T).mul_(_STEPS).round_()


def _least(size: Tensor, shape: torch.Size | tuple[int, ...], generator: torch.Generator) -> Tensor:
    """The least of `size` uniform draws from 0..1, float64: 1 - (1 - U)^(1/size) for one draw U."""
    draw = torch.rand(shape, generator=generator, device=size.device)
    return draw.neg_().log1p_().div_(size).expm1_().neg_().double()


def _keep(kept: _Kept | None, key: Tensor, start: int, count: int) -> _Kept:
    """The `count` lowest of those kept and of keys (M, c), whose groups are numbered from `start`."""
    value, index = key.topk(min(count, key.shape[1]), largest=False)
    if kept is None:
        return value, index
    value, index = torch.cat([kept[0], value], 1), torch.cat([kept[1], index + start], 1)
    value, order = value.topk(min(count, value.shape[1]), largest=False)
    return value, index.gather(1, order)


def _scales(a: Tensor, b: Tensor) -> Tensor:
    """At how many scales two points of (..., S) groups are together, float32."""
    shape = torch.broadcast_shapes(a.shape, b.shape)[:-1]
    count = torch.zeros(shape, dtype=torch.float32)
    for ours, theirs in zip(a.unbind(-1), b.unbind(-1), strict=True):
        count += (ours == theirs) & (ours >= 0)
    return count


def _micro(
    near: Tensor, key: Tensor, without: Tensor, config: TrainConfig, further: Tensor | None = None
) -> Tensor:
    """The `micro` points of lowest key (M, K) among neighbours (M, K), leaving out (M, X) points and those of
    infinite key; where these are too few, the rest are the first of `further` (M, micro)."""
    key = key.masked_fill((near[..., None] == without[:, None]).any(2), torch.inf)
    value, index = key.topk(config.micro, largest=False)
    found = near.gather(1, index)
    if further is not None:
        empty = value.isinf()
        return torch.where(empty, further.gather(1, (empty.cumsum(1) - 1).clamp_min(0)), found)
    if value.isinf().any():
        raise ValueError(
            f"{near.shape[1]} neighbours, less the anchor and its positive, are too few for {config.micro} "
            "micro negatives: give each point more neighbours"
        )
    return found


def _check(points: int, neighbor: Tensor, config: TrainConfig) -> None:
    if config.neighbors <= config.micro:
        raise ValueError(
            f"found {config.neighbors} neighbours and {config.micro} micro negatives; expected more "
            "neighbours than micro negatives"
        )
    if points < config.macro + 2:
        raise ValueError(
            f"found a scene of {points} points, expected at least {config.macro + 2}: an anchor, its "
            f"positive and {config.macro} macro negatives"
        )
    if neighbor.shape[0] != points or neighbor.shape[1] < config.micro:
        raise ValueError(
            f"found neighbours {tuple(neighbor.shape)}, expected ({points}, K) with K more than "
            f"{config.micro}"
        )

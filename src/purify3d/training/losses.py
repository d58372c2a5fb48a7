"""What a step of training minimises, and what says whether it helped."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from purify3d.training.gather import gather_rows
from purify3d.training.teachers import Targets


def draw_anchors(group: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """(M,) voxels to take the loss at, each at most once.

    Drawn by the size of their group to the power of -1/2, so that small objects count beside walls.
    Voxels of which no scale knows a group are left out.

    Args:
        group: (V, S) int64, -1 = nothing known.
    """
    weight = torch.zeros(len(group))
    for scale in group.T:
        known = scale >= 0
        if known.any():
            _, of_voxel, size = torch.unique(scale[known], return_inverse=True, return_counts=True)
            weight[known] += size[of_voxel].float().rsqrt()
    count = min(count, int((weight > 0).sum()))
    if count == 0:
        return torch.empty(0, dtype=torch.int64)
    # Sampling without replacement: the largest of u^(1/w) (Efraimidis and Spirakis, 2006).
    key = torch.rand(len(weight), generator=generator).clamp_min(1e-12).log() / weight.clamp_min(1e-12)
    return torch.where(weight > 0, key, -torch.inf).topk(count).indices


def neighbors_of(index: Tensor, anchors: Tensor, k: int) -> Tensor:
    """(M, k) int64 the nearest other voxels of each anchor; fewer where the scene has no more."""
    cells = index.cpu().numpy()
    k = min(k, len(cells) - 1)
    _, found = cKDTree(cells).query(cells[anchors.cpu().numpy()], k=[*range(2, k + 2)], workers=1)
    return torch.from_numpy(np.asarray(found, dtype=np.int64).reshape(len(anchors), k))


def mass_loss(
    embedding: Tensor, group: Tensor, anchors: Tensor, neighbor: Tensor, *, sharpness: float, evenness: float
) -> tuple[Tensor, Tensor]:
    """How much of an anchor's weight leaves its own group.

    -log of the weight (softmax over the neighbours, as in `softmax_weights`) that stays on the
    anchor's group, plus `evenness` times how unevenly it is spread there (the divergence from uniform), mean
    over anchors and over the scales in which an anchor has a group and a neighbour in it.

    Args:
        embedding: (V, E) as it will be compared; group: (V, S) int64, -1 = nothing known.
        anchors: (M,); neighbor: (M, K).

    Returns:
        () loss; () the weight that stays, 0..1, over anchors with neighbours of both kinds.
    """
    group, anchors, neighbor = (sides.to(embedding.device) for sides in (group, anchors, neighbor))
    near = gather_rows(embedding, neighbor)
    squared = (near - gather_rows(embedding, anchors)[:, None]).square().sum(2)
    log_weight = (-sharpness / 2 * squared).log_softmax(1)
    total, count = embedding.sum() * 0, 0  # a step without any pair has a gradient, of zeros
    kept: list[Tensor] = []
    for scale in group.T:
        mine, theirs = scale[anchors], scale[neighbor]
        same = (theirs == mine[:, None]) & (mine >= 0)[:, None]
        use = same.any(1)
        if not use.any():
            continue
        own = log_weight[use].masked_fill(~same[use], -torch.inf)
        mass = own.logsumexp(1)
        share = torch.where(same[use], own - mass[:, None], 0)
        divergence = (share.exp() * share * same[use]).sum(1) + same[use].sum(1).log()
        total = total + (-mass + evenness * divergence).sum()
        count += int(use.sum())
        mixed = ~same[use].all(1)
        kept.append(mass.detach()[mixed].exp())
    stays = torch.cat(kept) if kept else embedding.new_zeros(0)
    return total / max(count, 1), stays.mean() if len(stays) else embedding.new_ones(())


@torch.no_grad()
def pair_accuracy(
    embedding: Tensor, targets: Targets, anchors: Tensor, neighbor: Tensor, generator: torch.Generator
) -> float:
    """How often an anchor is nearer to a neighbour that the teacher calls alike than to one that it does not.

    Of each anchor with both kinds one of each is drawn. Alike is what shares a group in more scales; for a
    teacher with features, what is above the mean of the neighbours' cosines. 0.5 is chance; nan without
    any such anchor.
    """
    if targets.feature is None:
        own = targets.group[anchors][:, None]
        closeness = ((targets.group[neighbor] == own) & (own >= 0)).float().mean(2)
        high = closeness == closeness.amax(1, keepdim=True)
    else:
        unit = torch.nn.functional.normalize(targets.feature, dim=1)
        own, near = unit[targets.group[anchors, 0]], unit[targets.group[neighbor, 0]]
        closeness = (near @ own[:, :, None])[:, :, 0]
        high = closeness > closeness.mean(1, keepdim=True)
    both = high.any(1) & (~high).any(1)
    if not both.any():
        return float("nan")

    def one(mask: Tensor) -> Tensor:
        draws = torch.rand(mask.shape, generator=generator).masked_fill(~mask, -1)
        return neighbor[both].gather(1, draws.argmax(1, keepdim=True))[:, 0]

    here = embedding[anchors[both]]
    near, far = ((embedding[one(mask[both])] - here).square().sum(1) for mask in (high, ~high))
    return float((near < far).float().mean() + (near == far).float().mean() / 2)

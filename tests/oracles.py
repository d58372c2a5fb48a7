"""What fast paths compute, as one would write it down: the oracles of their tests."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from purify3d.benchmarking.votes import _check as check_votes
from purify3d.training.config import TrainConfig
from purify3d.training.distill import Pairs, _check, _micro, _steps
from purify3d.training.teachers import Targets
from purify3d.types import Affinity


def pool_plain(affinity: Affinity, values: Tensor, rounds: int) -> Tensor:
    """What `pool` computes, as one would write it down: the oracle of its tests."""
    for _ in range(rounds):
        values = (affinity.weight[:, :, None] * values[affinity.neighbor]).sum(1)
    return values


def region_vote_plain(values: Tensor, targets: Targets) -> Tensor:
    """What `region_vote` computes, by the (N, N) matrix of who is together, scale by scale."""
    check_votes(values, targets)
    means = []
    for group in targets.group.T:
        together = ((group[:, None] == group) & (group[:, None] >= 0)).double()
        size = together.sum(1, keepdim=True)
        means.append(torch.where(size > 0, together @ values.double() / size, torch.nan))
    voted = torch.stack(means).nanmean(0).float()
    return torch.where(voted.isnan(), values.float(), voted)


def submanifold_conv_dense(features: Tensor, kernel: Tensor, index: Tensor) -> Tensor:
    """What `submanifold_conv` means: a dense convolution of the bounding box, read at the occupied cells.

    Slow and as large as the box; it defines the operation and is the oracle of its tests.

    Args:
        features: (V, Cin); kernel: (27, Cin, Cout); index: (V, 3) integer cells, all different.

    Returns:
        (V, Cout).
    """
    cells = (index - index.amin(0)).long()
    x, y, z = cells.unbind(1)
    width, height, depth = (cells.amax(0) + 1).tolist()
    # conv3d wants (Cin, depth, height, width); x is the fastest axis of the kernel, so it comes last here.
    grid = features.new_zeros(features.shape[1], depth, height, width).index_put(
        (torch.arange(features.shape[1])[:, None], z, y, x), features.T
    )
    weight = kernel.reshape(3, 3, 3, *kernel.shape[1:]).permute(4, 3, 0, 1, 2)
    return torch.nn.functional.conv3d(grid[None], weight, padding=1)[0][:, z, y, x].T


@torch.no_grad()
def mine_plain(
    teacher: Tensor, neighbor: Tensor, anchors: Tensor, *, config: TrainConfig, seed: int
) -> Pairs:
    """What `mine` computes, by the (M, N) matrix of all cosines; other random numbers where cosines tie."""
    _check(len(teacher), neighbor, config)
    generator = torch.Generator(teacher.device).manual_seed(seed)
    unit = normalize(teacher.float(), dim=1)
    steps = _steps(unit[anchors], unit)
    key = steps + torch.rand(steps.shape, generator=generator, device=steps.device, dtype=torch.float64)
    positive = key.scatter(1, anchors[:, None], -torch.inf).argmax(1)
    neither = torch.stack([anchors, positive], dim=1)
    macro = key.scatter(1, neither, torch.inf).topk(config.macro, largest=False).indices
    near = neighbor[anchors]
    return Pairs(anchors, positive, torch.cat([macro, _micro(near, key.gather(1, near), neither, config)], 1))

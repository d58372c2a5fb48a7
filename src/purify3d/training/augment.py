"""What is varied between steps: how a scene lies on the grid, its light, and what the student may see."""

from __future__ import annotations

from itertools import permutations, product

import torch
from torch import Tensor

from purify3d.affinities.config import GEOMETRY_CHANNELS, SURENESS_CHANNELS, StudentConfig
from purify3d.training.config import TrainConfig


def symmetries() -> Tensor:
    """(48, 3, 3) int64: the rotations and reflections that map the grid onto itself."""
    unit, ways = torch.eye(3, dtype=torch.int64), product(permutations(range(3)), product((1, -1), repeat=3))
    return torch.stack([unit[list(order)] * torch.tensor(signs)[:, None] for order, signs in ways])


def augment(
    index: Tensor, inputs: Tensor, student: StudentConfig, config: TrainConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A scene as this step sees it.

    Cells and normals turn alike, so that a scene with y up and one with z up are the same to the student.

    Args:
        index: (V, 3) cells; inputs: (V, C) float32 as from `student_input`, changed in a copy.
    """
    inputs = inputs.clone()
    rgb = slice(inputs.shape[1] - GEOMETRY_CHANNELS, inputs.shape[1] - 3)
    normal = slice(inputs.shape[1] - 3, inputs.shape[1])
    chosen, draws = torch.randint(48, (), generator=generator), torch.rand(2, generator=generator)
    if config.turns:
        turn = symmetries()[chosen]
        index = index @ turn.T.to(index)
        inputs[:, normal] = inputs[:, normal] @ turn.T.to(inputs)
    if config.jitter:
        light = 1 + config.jitter * torch.randn((), generator=generator)
        tint = config.jitter * torch.randn(3, generator=generator) / 2
        grain = config.jitter / 5 * torch.randn(inputs[:, rgb].shape, generator=generator)
        inputs[:, rgb] = (inputs[:, rgb] * light + tint + grain).clamp(0, 1)
    if draws[0] < config.drop_normals:
        inputs[:, normal] = 0
    if student.words and draws[1] < config.drop_words:
        start = student.feature_dim
        inputs[:, start : start + len(student.words) + SURENESS_CHANNELS] = 0
    return index, inputs


def crop(index: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Numbers of the `count` voxels nearest to one drawn at random; all of them where there are no more."""
    if count == 0 or len(index) <= count:
        return torch.arange(len(index))
    center = index[torch.randint(len(index), (), generator=generator)]
    distance = (index - center).double().square().sum(1)
    return distance.topk(count, largest=False).indices.sort().values

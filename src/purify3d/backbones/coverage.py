"""Maps of networks that see more than the image: brought to cover exactly the image."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

_STRIDES = (2, 4, 8, 16, 32, 64)


def excess(seen: int, cells: int) -> float:
    """How far a map of `cells` reaches along a side of `seen` pixels, in sides: 1 where it fits.

    Convolutions with a stride round up: 541 pixels give 136 cells of 4, which are 544 pixels. Whatever else
    makes maps of another size, such as resizing, keeps to the image.
    """
    rounded = (stride for stride in _STRIDES if seen % cells and math.ceil(seen / stride) == cells)
    return next((cells * stride / seen for stride in rounded), 1.0)


def fit(logits: Tensor, height: int, width: int) -> Tensor:
    """(C, h, w) logits of an input of (height, width) pixels -> (C, h, w) that cover exactly this input."""
    rows, columns = excess(height, logits.shape[1]), excess(width, logits.shape[2])
    if rows == columns == 1:
        return logits
    # In grid_sample's coordinates the map is -1..1; the input ends before 1.
    scale = torch.tensor([[1 / columns, 0, 1 / columns - 1], [0, 1 / rows, 1 / rows - 1]])
    grid = affine_grid(scale[None].to(logits), [1, *logits.shape], align_corners=False)
    return grid_sample(logits[None], grid, padding_mode="border", align_corners=False)[0]

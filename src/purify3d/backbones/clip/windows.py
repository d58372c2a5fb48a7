"""An image cut into overlapping windows, on a grid of patches; all positions and sizes are in patches."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

Grid = tuple[int, int]  # rows, columns


def patch_grid(height: int, width: int, shorter: int) -> Grid:
    """The grid that an image of this size is resized to: `shorter` patches along its shorter side, and along
    the other as many whole patches as keep the aspect best. The grid covers the image exactly."""
    scale = shorter / min(height, width)
    return max(shorter, round(height * scale)), max(shorter, round(width * scale))


def starts(length: int, side: int) -> list[int]:
    """First patch of every window of `side` patches along `length`: neighbours overlap by half or more, and
    the last window ends where the image does."""
    return [*range(0, length - side, max(1, side // 2)), length - side]


def corners(grid: Grid, side: int) -> list[Grid]:
    """Top left patch of every window of a grid, row by row."""
    return [(top, left) for top in starts(grid[0], side) for left in starts(grid[1], side)]


def blend(windows: Iterable[tuple[Grid, Tensor]], grid: Grid) -> Tensor:
    """(corner, (D, side, side)) windows that cover a grid -> (D, rows, columns), their mean at each patch."""
    total: Tensor | None = None
    count = torch.zeros(grid)
    for (top, left), values in windows:
        if total is None:
            total = torch.zeros(len(values), *grid)
        place = (slice(top, top + values.shape[1]), slice(left, left + values.shape[2]))
        total[:, *place] += values
        count[place] += 1
    assert total is not None
    return total / count

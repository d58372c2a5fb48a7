"""Where a model's map puts an edge that is known to the pixel."""

from collections.abc import Callable

import numpy as np
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

#: Heights and widths that no stride divides.
AWKWARD = [(360, 540), (540, 360), (241, 321), (479, 641), (97, 131)]


def edge_shifts(brightness: Callable[[np.ndarray], Tensor], height: int, width: int) -> dict[str, float]:
    """How many pixels a model is off, for an edge across the image near either end and in the middle.

    Args:
        brightness: (H, W, 3) uint8 image -> (h, w) map of what the model saw, 0 where black to 1 where white.
    """
    shifts = {}
    for axis, length in enumerate((height, width)):
        for share in (0.15, 0.5, 0.95):
            edge = round(share * length)
            image = np.zeros((height, width, 3), np.uint8)
            image[(slice(None),) * axis + (slice(edge, None),)] = 255
            # However wide the edge is in the map, what lies beyond it is the white share.
            found = length * (1 - float(brightness(image).double().mean()))
            shifts[f"{'yx'[axis]}={edge}"] = found - edge
    return shifts


def pooled(images: Tensor, stride: int) -> Tensor:
    """(B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride)), the mean of each cell: what a network of
    convolutions sees whose stride rounds up."""
    rows, columns = (-side % stride for side in images.shape[2:])
    return avg_pool2d(pad(images, (0, columns, 0, rows), mode="replicate"), stride)


def worst(shifts: dict[str, float]) -> float:
    return max(map(abs, shifts.values()))

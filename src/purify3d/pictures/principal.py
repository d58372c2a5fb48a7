"""Features as colours."""

from __future__ import annotations

import numpy as np
import torch

from purify3d.pictures.palettes import NO_LABEL_COLOR
from purify3d.types import PointFeatures

_SAMPLE = 50_000  # points that the directions are found from
_TRIM = 1.0  # percent of the points beyond black, and beyond white


def pca_colors(features: PointFeatures) -> np.ndarray:
    """(N, 3) uint8: red, green and blue are the three directions in which the unit features differ most.

    Each is stretched so that all but the outermost hundredths of the points fit. Dark grey where features say
    nothing. The same features always give the same colours.
    """
    values = features.values
    if features.basis is not None:  # same lengths and angles in no more channels than are stored
        power, turn = torch.linalg.eigh((features.basis @ features.basis.T).double())
        values = values @ (turn * power.clamp_min(0).sqrt()).float()
    length = values.norm(dim=1, keepdim=True)
    known = (length[:, 0] > 0).numpy()
    unit = (values / length.clamp_min(1e-12)).numpy()
    shown = np.zeros((len(unit), 3))
    if known.any():
        sample = unit[known][:: max(1, int(known.sum()) // _SAMPLE)].astype(np.float64)
        center = sample.mean(axis=0)
        _, directions = np.linalg.eigh((sample - center).T @ (sample - center))
        main = directions[:, ::-1][:, :3]
        main = main * np.sign(main[np.abs(main).argmax(axis=0), np.arange(main.shape[1])])
        place = (unit - center) @ main
        low, high = np.percentile(place[known], [_TRIM, 100 - _TRIM], axis=0)
        shown[:, : main.shape[1]] = (place - low) / np.maximum(high - low, 1e-9)
    colors = (shown.clip(0, 1) * 255).round().astype(np.uint8)
    colors[~known] = NO_LABEL_COLOR
    return colors

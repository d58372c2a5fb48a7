"""Colours for labels and for heat."""

from __future__ import annotations

import colorsys

import numpy as np

#: Shown for points that carry no label.
NO_LABEL_COLOR = (70, 70, 70)

# Sasha Trubetskoy's list of distinct colours, most distinguishable first, without black, white and grey.
_DISTINCT = (
    (0, 130, 200), (245, 130, 48), (60, 180, 75), (230, 25, 75), (145, 30, 180), (255, 225, 25),
    (70, 240, 240), (240, 50, 230), (210, 245, 60), (250, 190, 212), (0, 128, 128), (220, 190, 255),
    (170, 110, 40), (255, 250, 200), (128, 0, 0), (170, 255, 195), (128, 128, 0), (255, 215, 180),
    (0, 0, 128),
)  # fmt: skip


def label_colors(count: int) -> np.ndarray:
    """(count, 3) uint8, distinct; label i has the same colour whatever the count."""
    golden = 0.61803398875
    extra = [
        tuple(
            round(255 * c)
            for c in colorsys.hsv_to_rgb(i * golden % 1, 0.45 + 0.25 * (i % 3), 0.95 - 0.2 * (i % 2))
        )
        for i in range(max(0, count - len(_DISTINCT)))
    ]
    return np.array([*_DISTINCT, *extra][:count], dtype=np.uint8).reshape(-1, 3)


def colors_of_labels(label: np.ndarray, count: int) -> np.ndarray:
    """(N,) labels with -1 = none -> (N, 3) uint8."""
    return np.concatenate([label_colors(count), [NO_LABEL_COLOR]]).astype(np.uint8)[label]


def heat_colors(heat: np.ndarray) -> np.ndarray:
    """(N,) heat in 0..1 -> (N, 3) uint8, from dark blue over purple and orange to bright yellow."""
    stops = np.array(
        [[13, 8, 135], [126, 3, 168], [204, 71, 120], [248, 149, 64], [240, 249, 33]], dtype=float
    )
    position = np.clip(heat, 0, 1) * (len(stops) - 1)
    return np.stack([np.interp(position, range(len(stops)), stops[:, c]) for c in range(3)], 1).astype(
        np.uint8
    )

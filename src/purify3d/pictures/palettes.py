"""Colours for words and for heat.

A colour belongs to a word: two pictures of different label lists can be compared. Distances are Euclidean in
CIELAB (CIE 1976, D65), where about 2 can just be seen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import numpy as np
import torch

from purify3d.base.colors import rgb_to_lab

#: Shown for points that carry no label.
NO_LABEL_COLOR = (70, 70, 70)
#: Of labels beside ground truth; they differ to the eye with and without red-green blindness.
RIGHT, WRONG, UNLABELLED = (222, 226, 230), (213, 94, 0), (0, 114, 178)
#: Least distance in CIELAB of two labels of one list, as far as the colours last (some 280 labels).
LEAST_DISTANCE = 12.0

# What rooms are made of, most common first. Walls, floors and ceilings are calm; the others were chosen one
# by one, each as far as possible from those before it to the eye with and without red-green blindness.
_COLORS = json.loads((files("purify3d.data") / "colors.json").read_text())
_WORDS: dict[str, list[int]] = _COLORS["words"]
#: Words that have the colour of others.
_SAME: dict[str, str] = _COLORS["same"]
_COMMON = 128  # of the palette's colours, those that a word may come upon first: the most different ones
_PALETTE = 256


def label_colors(names: Sequence[str]) -> np.ndarray:
    """(C, 3) uint8 colours of C label names.

    A word has the same colour in every list, upper or lower case. Only where an earlier label of the list has
    it already, or one closer than `LEAST_DISTANCE`, a label takes the next free colour of a fixed palette.
    """
    palette, place = _palette(), _places()
    nearest = np.full(len(palette), np.inf)  # of each colour of the palette, to those that are taken
    taken = np.empty((len(names), 3))
    result = np.empty((len(names), 3), dtype=np.uint8)
    for i, name in enumerate(names):
        word = " ".join(name.casefold().split())
        digest = hashlib.sha256(word.encode("utf-8", "surrogatepass")).digest()
        start = int.from_bytes(digest[:8], "big") % _COMMON
        fixed = _WORDS.get(_SAME.get(word, word))
        if fixed is not None:
            away = np.linalg.norm(lab(np.array(fixed)) - taken[:i], axis=1).min(initial=np.inf)
        if fixed is not None and away >= LEAST_DISTANCE:
            result[i] = fixed
        else:
            free = np.roll(nearest >= LEAST_DISTANCE, -start)
            # The wanted one where nothing is free any more.
            wanted = palette[start] if fixed is None else fixed
            result[i] = palette[(start + free.argmax()) % len(palette)] if free.any() else wanted
        taken[i] = lab(result[i])
        nearest = np.minimum(nearest, np.linalg.norm(place - taken[i], axis=1))
    return result


def colors_of_labels(label: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """(N,) labels, -1 = none, of labels called `names` -> (N, 3) uint8."""
    return np.concatenate([label_colors(names), np.array([NO_LABEL_COLOR], dtype=np.uint8)])[label]


def heat_colors(heat: np.ndarray) -> np.ndarray:
    """(N,) heat in 0..1 -> (N, 3) uint8, from dark blue over purple and orange to bright yellow."""
    stops = np.array(
        [[13, 8, 135], [126, 3, 168], [204, 71, 120], [248, 149, 64], [240, 249, 33]], dtype=float
    )
    position = np.clip(heat, 0, 1) * (len(stops) - 1)
    return np.stack([np.interp(position, range(len(stops)), stops[:, c]) for c in range(3)], 1).astype(
        np.uint8
    )


def error_colors(label: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(N,) labels and ground truth, -1 = none -> (N, 3) uint8: RIGHT, WRONG, UNLABELLED where there is ground
    truth, NO_LABEL_COLOR elsewhere."""
    kind = np.select([truth < 0, label < 0, label != truth], [0, 1, 2], default=3)
    return np.array([NO_LABEL_COLOR, UNLABELLED, WRONG, RIGHT], dtype=np.uint8)[kind]


def lab(rgb: np.ndarray) -> np.ndarray:
    """(..., 3) sRGB 0..255 -> (..., 3) float64 CIELAB, see `rgb_to_lab`."""
    value = torch.from_numpy(np.asarray(rgb, dtype=np.float64) / 255)
    return rgb_to_lab(value.reshape(-1, 3)).reshape(value.shape).numpy()


@cache
def _places() -> np.ndarray:
    """(256, 3) float64 CIELAB of the palette."""
    return lab(_palette())


@cache
def _palette() -> np.ndarray:
    """(256, 3) uint8: each colour as far as possible from all before it, from white and from words."""
    steps = np.linspace(0, 255, 25).round()
    candidates = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    place = lab(candidates)
    shown = (place[:, 0] > 25) & (place[:, 0] < 95)  # neither nearly black nor nearly white
    candidates, place = candidates[shown], place[shown]
    nearest = np.full(len(place), np.inf)
    for color in (NO_LABEL_COLOR, (255, 255, 255), *_WORDS.values()):
        nearest = np.minimum(nearest, np.linalg.norm(place - lab(np.array(color)), axis=1))
    chosen = []
    for _ in range(_PALETTE):
        farthest = int(nearest.argmax())
        chosen.append(candidates[farthest])
        nearest = np.minimum(nearest, np.linalg.norm(place - place[farthest], axis=1))
    return np.array(chosen, dtype=np.uint8)

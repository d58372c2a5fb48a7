"""Scores from confusion matrices of many scenes, with what chance in the choice of scenes makes of them.

A scene is (3, C): of each class the points that are right, those that truly are of it, and those given to
it. IoU = right / (true + given - right), accuracy = right / true; a class without a true point is absent.
Scores of several scenes are those of their sums, as the benchmarks do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from purify3d.labels.metrics import BACKGROUND, per_class
from purify3d.types.labelsets import load_label_set

#: What an absent class is to a mean: left out of it, or 0 in it.
Absent = Literal["skip", "zero"]
#: Resamples of scenes behind an interval, and the shares of them that lie below its ends.
RESAMPLES, ENDS = 1000, (2.5, 97.5)
#: Of fewer scenes an interval is too narrow.
ENOUGH = 10


def groups_of(label_set: str | None, names: Sequence[str]) -> dict[str, list[int]]:
    """Indices of the classes behind each mean but the first: `f` (without wall, floor and ceiling), and the
    `base` and `novel`, `head`, `common` and `tail` of a label set that has them."""
    found = {"f": [i for i, name in enumerate(names) if name.lower() not in BACKGROUND]}
    known = None if label_set is None else load_label_set(label_set)
    for group in ("base", "novel", "head", "common", "tail"):
        indices = getattr(known, group, None)
        if indices:
            found[group] = list(indices)
    return found


def means(
    scenes: np.ndarray, groups: Mapping[str, Sequence[int]], absent: Absent = "skip"
) -> dict[str, np.ndarray]:
    """(..., 3, C) -> `miou`, `macc`, of each group `GROUP_miou` and `GROUP_macc` (of `f`: `fmiou`, `fmacc`),
    and with `base` and `novel` the harmonic mean of their mIoU, `hiou`; (...,) each, nan without a class."""
    iou, accuracy = per_class(scenes)
    if absent == "zero":
        iou, accuracy = np.nan_to_num(iou), np.nan_to_num(accuracy)
    found = {"miou": _mean(iou), "macc": _mean(accuracy)}
    for group, indices in groups.items():
        start = group if group == "f" else f"{group}_"
        found[f"{start}miou"] = _mean(iou[..., list(indices)])
        found[f"{start}macc"] = _mean(accuracy[..., list(indices)])
    if "base" in groups and "novel" in groups:
        base, novel = found["base_miou"], found["novel_miou"]
        with np.errstate(invalid="ignore", divide="ignore"):
            found["hiou"] = np.where(base + novel == 0, 0.0, 2 * base * novel / (base + novel))
    return found


def draws(scenes: int, seed: int) -> np.ndarray:
    """(RESAMPLES, scenes) float64: how often each scene is drawn when as many are drawn with replacement."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(scenes, np.full(scenes, 1 / scenes), size=RESAMPLES).astype(np.float64)


def resampled(scenes: np.ndarray, seed: int) -> np.ndarray:
    """(S, 3, C) -> (RESAMPLES, 3, C) sums over scenes drawn with replacement. The same seed draws the same of
    as many scenes, so that two methods on them are paired."""
    return np.tensordot(draws(len(scenes), seed), scenes, 1)


def paired(before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
    """What (S,) scores of the same scenes gain, scene by scene.

    Returns:
        `mean`; `error`: its standard error over scenes, None for fewer than two; `better`: how many scenes
        gain, of `scenes`, where both have a score.
    """
    gain = after - before
    gain = gain[np.isfinite(gain)]
    return {
        "mean": float(gain.mean()) if len(gain) else None,
        "error": float(gain.std(ddof=1) / np.sqrt(len(gain))) if len(gain) > 1 else None,
        "better": int((gain > 0).sum()),
        "scenes": len(gain),
    }


def interval(values: np.ndarray) -> list[float] | None:
    """The middle 95 % of (resamples,) values; None where there are none."""
    values = values[np.isfinite(values)]
    return [float(end) for end in np.percentile(values, ENDS)] if len(values) else None


def summary(
    scenes: np.ndarray, groups: Mapping[str, Sequence[int]], seed: int, absent: Absent = "skip"
) -> dict[str, Any]:
    """The numbers of a method over (S, 3, C) scenes, 0 to 1, None where there is no class.

    Args:
        absent: of classes in no scene; a class that one scene lacks is never in that scene's own mean.

    Returns:
        Each of `means` over the sums of all scenes; `iou` and `accuracy` per class; `interval`: 95 % of each
        mean over resampled scenes; `scene_mean`: of each mean the mean of the scenes' own, and its
        `interval`. Intervals are None for a single scene, which says nothing of others.
    """
    total = scenes.sum(0)
    iou, accuracy = per_class(total)
    drawn = draws(len(scenes), seed)
    others = means(resampled(scenes, seed), groups, absent)
    own = means(scenes, groups)
    alone = len(scenes) < 2
    return {
        **{key: number(value) for key, value in means(total, groups, absent).items()},
        "iou": [number(value) for value in iou],
        "accuracy": [number(value) for value in accuracy],
        "interval": {key: None if alone else interval(values) for key, values in others.items()},
        "scene_mean": {
            key: {
                "mean": number(_mean(values)),
                "interval": None if alone else interval(_weighted(drawn, values)),
            }
            for key, values in own.items()
        },
    }


def number(value: Any) -> float | None:
    """A float as JSON holds it: nan is None."""
    return float(value) if np.isfinite(value) else None


def _mean(values: np.ndarray) -> np.ndarray:
    """Over the last axis, of those that are there; nan where none is."""
    there = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(there, values, 0.0).sum(-1) / there.sum(-1))


def _weighted(drawn: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(B, S) times drawn, (S,) values -> (B,) means of those that are there."""
    there = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(drawn @ np.where(there, values, 0.0) / (drawn @ there))

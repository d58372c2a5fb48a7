"""Precision, recall and average precision of single objects, by the rule of the ScanNet benchmark.

Source: BenchmarkScripts/3d_evaluation/evaluate_semantic_instance.py of github.com/ScanNet/ScanNet, read at
0a881f5. The rule in other words:

* Some classes are counted. A point whose truth is of none of them, or that has none, is void.
* A prediction matches a true object of its class where their IoU is above the threshold; just reaching it is
  too little. All points of the prediction count for it, void ones too.
* Predictions of fewer than 100 points are left out. Nobody need find a true object of fewer than 100.
* True objects take, in their order, all predictions that match them and are no earlier one's hit. The first
  is the hit, with the best score of all it takes; each of the other scores is a mistake's.
* A prediction that matches no true object of any size is a mistake, unless the share of its points that are
  void or on small true objects of its class is above the threshold.
* At every score there is a precision and a recall of what is at least as sure; at recall 0 precision is 1. AP
  is the area under straight lines through these points, 0 without predictions; a class without true objects
  is in no mean. AP is averaged over thresholds of .50, .55, ... .90; AP50 and AP25 are those of one.

The script looks for void points by comparing ids of objects with those of classes, which finds none; its head
says that truth of no valid class is ignored, and so it is here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.integrate import trapezoid

SMALLEST = 100  # points of an object that counts
#: IoU thresholds of AP.
THRESHOLDS = tuple(percent / 100 for percent in range(50, 95, 5))


@dataclass(frozen=True)
class Guess:
    """A predicted object: its label, its score, and (P,) numbers of its points."""

    label: int
    score: float
    members: np.ndarray


@dataclass(frozen=True)
class Truth:
    """What N points are: (N,) label and (N,) object, -1 = none."""

    label: np.ndarray
    instance: np.ndarray


#: A scene: what was found, and what is there.
Found = tuple[Sequence[Guess], Truth]


def measured(scenes: Sequence[Found], classes: Sequence[int], counted: Sequence[int]) -> dict[str, float]:
    """`AP`, `AP50`, `AP25`, and `precision` and `recall` at IoUs of 50 and 25, 0 to 1.

    Args:
        classes: over which precision and recall are taken together and AP is averaged.
        counted: points of no such class are void.
    """
    at = {t: [outcomes(scenes, c, t, counted) for c in classes] for t in (0.25, *THRESHOLDS)}
    area = {t: _mean([average_precision(*one) for one in found if _objects(one)]) for t, found in at.items()}
    values = {"AP": _mean([area[t] for t in THRESHOLDS]), "AP50": area[0.5], "AP25": area[0.25]}
    for percent in (50, 25):
        found = at[percent / 100]
        hits = sum(hit for scored, _ in found for _, hit in scored)
        values[f"precision {percent}"] = hits / max(sum(len(scored) for scored, _ in found), 1)
        values[f"recall {percent}"] = hits / max(sum(map(_objects, found)), 1)
    return values


def outcomes(
    scenes: Sequence[Found], number: int, threshold: float, counted: Sequence[int]
) -> tuple[list[tuple[float, bool]], int]:
    """Of one class: (score, whether it is a hit) of each prediction that counts, and how many true objects
    are missed."""
    scored: list[tuple[float, bool]] = []
    missed = 0
    for guesses, truth in scenes:
        void = ~np.isin(truth.label, counted) | (truth.instance < 0)
        ids, size = np.unique(truth.instance[~void & (truth.label == number)], return_counts=True)
        small = size < SMALLEST
        mine = [g for g in guesses if g.label == number and len(g.members) >= SMALLEST]
        free = np.ones(len(mine), dtype=bool)
        common = np.stack([*_common(mine, truth, number, ids)], axis=1) if mine else np.zeros((len(ids), 0))
        points, score = (
            np.array([f(g) for g in mine]) for f in (lambda g: len(g.members), lambda g: g.score)
        )
        match = common / (size[:, None] + points - common) > threshold
        for row in np.flatnonzero(~small):
            takers = np.flatnonzero(match[row] & free)
            missed += not len(takers)
            free[takers[:1]] = False
            scored += [(s, i == 0) for i, s in enumerate(sorted(score[takers].tolist(), reverse=True))]
        for column in np.flatnonzero(~match.any(axis=0)):
            ignored = void[mine[column].members].sum() + common[small, column].sum()
            if ignored / points[column] <= threshold:
                scored.append((float(score[column]), False))
    return scored, missed


def _common(guesses: Sequence[Guess], truth: Truth, number: int, ids: np.ndarray) -> Iterator[np.ndarray]:
    """Of each prediction (G,) points that it shares with each of the true objects `ids` of a class."""
    for guess in guesses:
        inside = truth.instance[guess.members][truth.label[guess.members] == number]
        inside = inside[inside >= 0]
        yield np.bincount(np.searchsorted(ids, inside), minlength=len(ids))


def average_precision(scored: Sequence[tuple[float, bool]], missed: int) -> float:
    """Area under precision over recall, see above; 0 where nothing was found."""
    if not scored:
        return 0.0
    score, hit = np.array([s for s, _ in scored]), np.array([h for _, h in scored])
    order = np.argsort(-score)
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))  # equal scores come together
    hits = np.cumsum(hit[order])
    precision, recall = hits[last] / (last + 1), hits[last] / (hits[-1] + missed)
    return float(trapezoid(np.append(1, precision), np.append(0, recall)))


def _objects(found: tuple[list[tuple[float, bool]], int]) -> int:
    """How many true objects there are."""
    scored, missed = found
    return missed + sum(hit for _, hit in scored)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else 0.0

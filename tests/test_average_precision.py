"""How single objects are scored: by hand, and against the official rule told point by point."""

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

SCRIPTS = str(Path(__file__).resolve().parents[1] / "benchmarks")


@pytest.fixture(scope="module")
def rule() -> Iterator[Any]:
    """benchmarks/instances.py."""
    sys.path.insert(0, SCRIPTS)
    try:
        import instances

        yield instances
    finally:
        sys.path.remove(SCRIPTS)


def guess(rule: Any, score: float, *ranges: tuple[int, int], label: int = 0) -> Any:
    return rule.Guess(label, score, np.concatenate([np.arange(*r) for r in ranges]))


# ---------------------------------------------------------------------------------------------- the area


def test_the_area_by_hand(rule: Any) -> None:
    """A hit, a mistake and a hit, of four objects: (recall, precision) are (0, 1), (1/4, 1), (1/4, 1/2) and
    (1/2, 2/3), joined by straight lines."""
    scored = [(0.2, True), (0.9, True), (0.5, False)]
    assert rule.average_precision(scored, 2) == pytest.approx(1 / 4 + 1 / 4 * (1 / 2 + 2 / 3) / 2)
    assert rule.average_precision([], 4) == 0
    assert rule.average_precision([(0.5, False)], 1) == 0
    assert rule.average_precision([(0.5, True)], 0) == 1


def test_equal_scores_come_together(rule: Any) -> None:
    """One step from (0, 1) to (1, 1/2), whatever the order."""
    for scored in ([(0.5, True), (0.5, False)], [(0.5, False), (0.5, True)]):
        assert rule.average_precision(scored, 0) == pytest.approx(3 / 4)


# ------------------------------------------------------------------------------------------- what matches


def test_an_overlap_must_exceed_the_threshold(rule: Any) -> None:
    truth = rule.Truth(np.zeros(400, int), np.repeat([0, 1], 200))
    half, more = guess(rule, 0.9, (0, 100)), guess(rule, 0.9, (0, 101))
    assert rule.outcomes([([half], truth)], 0, 0.5, [0]) == ([(0.9, False)], 2)
    assert rule.outcomes([([more], truth)], 0, 0.5, [0]) == ([(0.9, True)], 1)


def test_small_ones_are_left_out(rule: Any) -> None:
    """True objects of 99 and 100 points; predictions of exactly these, and the larger one less a point."""
    truth = rule.Truth(np.zeros(199, int), np.repeat([0, 1], [99, 100]))
    small, large, short = (guess(rule, 0.5, r) for r in ((0, 99), (99, 199), (99, 198)))
    assert rule.outcomes([([small], truth)], 0, 0.5, [0]) == ([], 1)
    assert rule.outcomes([([large], truth)], 0, 0.5, [0]) == ([(0.5, True)], 0)
    assert rule.outcomes([([short], truth)], 0, 0.5, [0]) == ([], 1)
    over = guess(rule, 0.5, (0, 100))  # matches the small one: neither a hit nor a mistake
    assert rule.outcomes([([over], truth)], 0, 0.5, [0]) == ([], 1)


def test_void_points_count_in_the_overlap_and_excuse_a_mistake(rule: Any) -> None:
    """An object of 200 points, 200 of a class that is not counted, 200 of nothing, 200 of another class."""
    truth = rule.Truth(np.repeat([0, 5, -1, 1], 200), np.repeat([0, 1, -1, 2], 200))

    def said(*ranges: tuple[int, int]) -> Any:
        return rule.outcomes([([guess(rule, 0.5, *ranges)], truth)], 0, 0.5, [0, 1])

    assert said((0, 200), (200, 399)) == ([(0.5, True)], 0)  # IoU 200 / 399
    assert said((0, 200), (200, 400)) == ([(0.5, False)], 1)  # IoU and share of void are 1 / 2 each
    assert said((0, 100), (200, 301)) == ([], 1)
    assert said((0, 100), (450, 551)) == ([], 1)
    assert said((0, 100), (600, 701)) == ([(0.5, False)], 1)  # another class is a mistake


def test_of_several_that_match_the_surest_is_the_hit(rule: Any) -> None:
    truth = rule.Truth(np.zeros(200, int), np.zeros(200, int))
    three = [guess(rule, s, (0, 200 - 10 * i)) for i, s in enumerate((0.4, 0.9, 0.6))]
    scored, missed = rule.outcomes([(three, truth)], 0, 0.5, [0])
    assert (sorted(scored), missed) == ([(0.4, False), (0.6, False), (0.9, True)], 0)


def test_a_mistake_may_be_the_hit_of_a_later_object(rule: Any) -> None:
    """The second prediction lies on both objects, at IoU 1 / 3 each; the first object has a hit already."""
    truth = rule.Truth(np.zeros(400, int), np.repeat([0, 1], 200))
    two = [guess(rule, 0.9, (0, 200)), guess(rule, 0.4, (100, 300))]
    scored, missed = rule.outcomes([(two, truth)], 0, 0.25, [0])
    assert (scored, missed) == ([(0.9, True), (0.4, False), (0.4, True)], 0)


def test_averages_in_full(rule: Any) -> None:
    """A chair found at IoU 0.8 and one missed; a table with nothing; no lamp, though one is predicted."""
    label, instance = np.repeat([0, 0, 1], 200), np.repeat([0, 1, 2], 200)
    found = [guess(rule, 0.9, (0, 160)), guess(rule, 0.8, (0, 150), (200, 210), label=2)]
    values = rule.measured([(found, rule.Truth(label, instance))], [0, 1, 2], [0, 1, 2])
    assert values["AP50"] == values["AP25"] == pytest.approx((1 / 2 + 0) / 2)
    # At 0.50 to 0.75 the chair is a hit; at 0.80 and above it is a mistake, and 0 is all.
    assert values["AP"] == pytest.approx(6 / 9 * 1 / 4)
    assert (values["precision 50"], values["recall 50"]) == (1 / 2, 1 / 3)


# ------------------------------------------------------------------------------------------------ oracle


def official(scenes: list[Any], number: int, threshold: float, counted: list[int]) -> float:
    """AP of a class as the benchmark's script finds it, with sets of points and one prediction after another;
    nan where there is no true object."""
    sure: list[float] = []
    right: list[float] = []
    unfound, any_true, any_said = 0, False, False
    for guesses, truth in scenes:
        of_object: dict[int, set[int]] = {}
        void = set()
        for point, (label, instance) in enumerate(
            zip(truth.label.tolist(), truth.instance.tolist(), strict=True)
        ):
            if label not in counted or instance < 0:
                void.add(point)
            elif label == number:
                of_object.setdefault(instance, set()).add(point)
        said = [
            (set(g.members.tolist()), g.score) for g in guesses if g.label == number and len(g.members) >= 100
        ]
        large = [points for _, points in sorted(of_object.items()) if len(points) >= 100]
        any_true, any_said = any_true or bool(large), any_said or bool(said)
        visited = set()
        for points in large:
            best = None
            for i, (members, score) in enumerate(said):
                if i in visited or len(points & members) / len(points | members) <= threshold:
                    continue
                if best is None:
                    best = score
                    visited.add(i)
                else:
                    sure.append(min(best, score))
                    right.append(0)
                    best = max(best, score)
            if best is None:
                unfound += 1
            else:
                sure.append(best)
                right.append(1)
        for members, score in said:
            if any(len(p & members) / len(p | members) > threshold for p in of_object.values()):
                continue
            excused = len(void & members) + sum(len(p & members) for p in of_object.values() if len(p) < 100)
            if excused / len(members) <= threshold:
                sure.append(score)
                right.append(0)
    if not any_true:
        return math.nan
    if not any_said or not sure:
        return 0.0
    # The curve from the least sure to the surest, then (0, 1); each precision weighs half the way between the
    # recalls before and after it.
    curve = []
    for least in sorted(set(sure)):
        kept = [r for s, r in zip(sure, right, strict=True) if s >= least]
        curve.append((sum(kept) / len(kept), sum(kept) / (sum(right) + unfound)))
    curve.append((1.0, 0.0))
    recalls = [curve[0][1], *(recall for _, recall in curve), 0.0]
    return sum(p * (recalls[i] - recalls[i + 2]) / 2 for i, (p, _) in enumerate(curve))


@given(st.integers(0, 2**31))
@settings(max_examples=150, deadline=None)
def test_it_is_the_official_rule(rule: Any, seed: int) -> None:
    """Rows of points cut into objects, and predictions that begin and end near them: sizes around 100,
    overlaps around the thresholds, void points, scores that tie."""
    rng = np.random.default_rng(seed)
    scenes = []
    for _ in range(rng.integers(1, 4)):
        sizes = rng.choice([60, 99, 100, 120, 200, 240], 8)
        label = np.repeat(rng.integers(-1, 3, 8), sizes)
        instance = np.repeat(np.where(rng.random(8) < 0.85, np.arange(8), -1), sizes)
        ends = np.concatenate([[0], np.cumsum(sizes)])
        guesses = []
        for _ in range(rng.integers(0, 14)):
            first = rng.integers(0, 8)
            low, high = ends[[first, first + 1]] + rng.choice([-60, -20, 0, 0, 10, 50], 2)
            members = np.arange(max(low, 0), min(max(high, low + 90), ends[-1]))
            guesses.append(rule.Guess(int(rng.integers(0, 3)), float(rng.integers(1, 6)) / 5, members))
        scenes.append((guesses, rule.Truth(label, instance)))
    counted = [0, 1]
    every = (0.25, *rule.THRESHOLDS)
    wanted = {t: [official(scenes, c, t, counted) for c in counted] for t in every}
    for t in every:
        for c in counted:
            scored, missed = rule.outcomes(scenes, c, t, counted)
            there = missed + sum(hit for _, hit in scored)
            found = rule.average_precision(scored, missed) if there else math.nan
            assert found == pytest.approx(wanted[t][c], abs=1e-12, nan_ok=True)
    values = rule.measured(scenes, counted, counted)
    if not all(math.isnan(value) for value in wanted[0.25]):
        assert values["AP25"] == pytest.approx(np.nanmean(wanted[0.25]))
        assert values["AP"] == pytest.approx(np.nanmean([wanted[t] for t in rule.THRESHOLDS]))

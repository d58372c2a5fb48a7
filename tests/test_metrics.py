"""Scores against counting by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from purify3d.features.labels_from_frames import in_vocabulary
from purify3d.labels.metrics import Confusion
from purify3d.types import Vocabulary


def test_scores_by_hand() -> None:
    confusion = Confusion(("wall", "chair", "lamp"))
    truth = torch.tensor([0, 0, 0, 1, 1, -1])
    predicted = torch.tensor([0, 0, 1, 1, -1, 2])
    confusion.add(truth, predicted)
    scores = confusion.scores()
    assert scores.iou == (pytest.approx(2 / 3), pytest.approx(1 / 3), None)
    assert scores.accuracy == (pytest.approx(2 / 3), pytest.approx(1 / 2), None)
    assert scores.miou == pytest.approx(1 / 2)
    assert scores.macc == pytest.approx(7 / 12)
    assert scores.fmiou == pytest.approx(1 / 3)
    assert scores.points == 5


def test_points_given_to_an_absent_class_still_count_against_the_present() -> None:
    confusion = Confusion(("chair", "lamp"))
    confusion.add(torch.tensor([0, 0]), torch.tensor([0, 1]))
    assert confusion.scores().iou == (0.5, None)


@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(-1, 3)), max_size=60))
def test_scores_are_set_arithmetic_and_accumulate(pairs: list[tuple[int, int]]) -> None:
    whole, parts = Confusion(tuple("abcd")), Confusion(tuple("abcd"))
    table = torch.tensor(pairs, dtype=torch.int32).reshape(-1, 2)
    whole.add(table[:, 0], table[:, 1])
    for chunk in table.split(7):
        parts.add(chunk[:, 0], chunk[:, 1])
    scores = whole.scores()
    assert scores == parts.scores()
    known = [(t, p) for t, p in pairs if t >= 0]
    for label in range(4):
        truth = {i for i, (t, _) in enumerate(known) if t == label}
        found = {i for i, (_, p) in enumerate(known) if p == label}
        expected = len(truth & found) / len(truth | found) if truth else None
        assert scores.iou[label] == (None if expected is None else pytest.approx(expected))
    present = [v for v in scores.iou if v is not None]
    assert scores.miou == (pytest.approx(sum(present) / len(present)) if present else None)


def test_labels_must_fit() -> None:
    with pytest.raises(ValueError, match="below 2"):
        Confusion(("a", "b")).add(torch.tensor([0]), torch.tensor([2]))
    with pytest.raises(ValueError, match="2 truth labels but 1"):
        Confusion(("a", "b")).add(torch.tensor([0, 1]), torch.tensor([0]))


def test_truth_names_meet_the_vocabulary_by_any_synonym() -> None:
    names = {3: "Couch", 7: "dining table", 9: "lamp"}
    vocabulary = Vocabulary.parse("table|dining table, sofa|couch")
    label = torch.tensor([3, 7, 9, -1], dtype=torch.int32)
    assert in_vocabulary(label, names, vocabulary).tolist() == [1, 0, -1, -1]

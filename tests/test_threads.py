"""Items come in order, few at a time, and an error ends the rest."""

import pytest
import torch

from purify3d.base.threads import in_threads


@pytest.mark.parametrize("threads", [1, 3])
def test_results_keep_the_order_and_few_items_wait(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    taken, ahead = 0, []

    def items():
        nonlocal taken
        for number in range(40):
            taken += 1
            yield number

    found = []
    for done, square in enumerate(in_threads(lambda number: number * number, items()), start=1):
        ahead.append(taken - done)
        found.append(square)
    assert found == [number**2 for number in range(40)]
    assert max(ahead) <= threads


def test_an_error_reaches_the_caller_and_nothing_more_is_begun() -> None:
    begun = []

    def fails(number: int) -> int:
        begun.append(number)
        if number == 2:
            raise ValueError("two")
        return number

    with pytest.raises(ValueError, match="two"):
        list(in_threads(fails, range(1000)))
    assert len(begun) < 100


def test_an_error_of_the_items_reaches_the_caller() -> None:
    def items():
        yield 1
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        list(in_threads(lambda number: number, items()))

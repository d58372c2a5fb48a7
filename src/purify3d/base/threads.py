"""Threads for what numpy and scipy compute: they let others run meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`map(function, items)`, as many at a time as torch may use threads, and no more waiting.

    Items are taken in the caller's thread, one for each that is done, so that neither all items nor all
    results are ever in memory.
    """
    count = torch.get_num_threads()
    with ThreadPoolExecutor(count) as workers:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(workers.submit(function, item))
                if len(waiting) > count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # an error in one: the others are not begun
            for each in waiting:
                each.cancel()

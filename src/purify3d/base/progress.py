"""Progress without printing: stages pass what they iterate over through a callable."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Wraps an iterable of `total` items of the stage `name`; yields the same items."""

    def __call__(self, items: Iterable[T], *, name: str, total: int) -> Iterable[T]: ...


def silent(items: Iterable[T], *, name: str, total: int) -> Iterable[T]:
    """The default: report to nobody."""
    return items


def progress_bars(items: Iterable[T], *, name: str, total: int) -> Iterable[T]:
    """A bar a stage on stderr, for scripts and notebooks: `segment(..., progress=progress_bars)`."""
    from tqdm.auto import tqdm

    yield from tqdm(items, desc=name, total=total, dynamic_ncols=True)

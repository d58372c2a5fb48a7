"""Checkpoints of the transformers library: loaded by folder or hub id, without bars on somebody's terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from purify3d.errors import require


def transformers(extra: str = "hub") -> ModuleType:
    """The library.

    Raises:
        MissingPackageError: naming the extra.
    """
    return require("transformers", extra)


@contextmanager
def quiet_loading() -> Iterator[None]:
    """No progress bars from the library inside; its setting is restored after."""
    logging = require("transformers.utils.logging", "hub")
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()

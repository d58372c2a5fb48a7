"""The one place that turns what can go wrong into one line and an exit code."""

from __future__ import annotations

import os
import sys
import traceback

import click

from purify3d.base.errors import LabelError, PurifyError

#: What PyTorch, its allocators, the loader of libraries and thread pools say.
_NO_MEMORY = (
    "out of memory",
    "enough memory",
    "allocate memory",
    "failed to map segment",
    "can't start new thread",
    "Resource temporarily unavailable",
)
_BUG = "this is a fault of purify3d: please report it with what PURIFY3D_DEBUG=1 prints"


def plain(text: str) -> str:
    """Text without what a terminal would obey: names come from strangers' files."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def leave(error: BaseException) -> None:
    """Say what went wrong and exit: 2 for wrong usage, 1 for everything else.

    PURIFY3D_DEBUG=1 in the environment shows where.
    """
    if os.environ.get("PURIFY3D_DEBUG"):
        traceback.print_exception(error)
    if isinstance(error, click.ClickException):
        error.show()
        sys.exit(error.exit_code)
    click.echo(f"error: {plain(explained(error))}", err=True)
    sys.exit(2 if isinstance(error, LabelError) else 1)


def explained(error: BaseException) -> str:
    """One line for people; never torch's advice to run code from files."""
    # A path or what a library said may hold line ends.
    text = " ".join(line.strip() for line in str(error).splitlines())
    if isinstance(error, BrokenPipeError):
        return "nobody reads the output any more"
    if isinstance(error, PurifyError | OSError):
        return text
    if isinstance(error, RecursionError):
        return "a file is nested too deeply to be read; expected a few levels, as exporters write them"
    if isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY):
        return "out of memory; use larger voxels (--voxel 0.04), fewer frames (--limit), or a smaller cloud"
    if isinstance(error, UnicodeError):
        return f"found text that cannot be written or read ({text}); type it again, or save the file as UTF-8"
    if isinstance(error, OverflowError):
        return f"found a number that is too large ({text}); correct it"
    if "weights_only" in text:
        text = "a file holds objects whose reading would run code"
    return f"{type(error).__name__}: {text}; {_BUG}"

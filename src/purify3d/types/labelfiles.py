"""Labels as people write them: with commas between them, or in a file, one a line."""

from __future__ import annotations

import os
import re
from pathlib import Path

from purify3d.base.errors import CaptureError, LabelError
from purify3d.base.files import read_text

_FILE = re.compile(r"@|/|\.\.?/|~|.*\.(txt|csv|json)$", re.IGNORECASE | re.DOTALL)


def named_file(labels: str) -> str | None:
    """The file that a text names in place of labels, if it is there."""
    text = labels.strip()
    path = os.path.expanduser(text.removeprefix("@"))
    return path if (_FILE.match(text) or Path(text).suffix) and os.path.isfile(path) else None


def spelled_out(labels: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """The labels themselves: those of the file that a text names (`@FILE`, or a file whose name has a suffix
    or begins as a path does; lines that begin with # are left out), else what was given.

    Raises:
        LabelError: a file that is not there or holds no such lines, or a text that is neither.
    """
    if not isinstance(labels, str):
        _check_words(labels)
        return labels
    if (path := named_file(labels)) is None:
        _check_words((labels.strip(),))
        return labels
    try:
        lines = [line.strip() for line in read_text(Path(path)).splitlines()]
    except CaptureError as error:
        raise LabelError(f"cannot read labels from the file {error}") from error
    found = tuple(line for line in lines if line and not line.startswith("#"))
    if not found:
        raise LabelError(
            f"{path}: found no label in this file; expected one a line, synonyms joined by a bar"
        )
    if mixed := [line for line in found if "," in line]:
        raise LabelError(
            f"{path}: found a comma in {mixed[0]!r:.80}; expected one label a line, synonyms joined by a bar"
        )
    _check_words(found)
    return found


def _check_words(labels: tuple[str, ...]) -> None:
    """Refuse what stands for a file among labels, and lines.

    Raises:
        LabelError: there is such a one.
    """
    for label in labels:
        if len(label.strip().splitlines()) > 1:
            raise LabelError(
                f"found a line break in {label!r:.80}; expected labels with commas between them, or a file "
                "with one label a line, as @FILE"
            )
        for word in re.split(r"[,|]", label):
            if _FILE.match(word.strip()):
                raise LabelError(
                    f"found {word.strip()!r:.80}, which looks like a file; expected labels, or, given alone, "
                    "a text file that exists, with one label a line. Check the path"
                )

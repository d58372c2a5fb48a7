"""Tables as text with tabs between the columns, whose first line names them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from purify3d.base.errors import CaptureError
from purify3d.base.files import read_text

_MOST_BYTES = 50_000_000


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows below the first, of these columns only; blank lines are passed over.

    Raises:
        CaptureError: no text, a column that is not there, or a row that is too short for one.
    """
    lines = read_text(path, _MOST_BYTES).splitlines()
    head = [name.strip() for name in lines[0].split("\t")] if lines else []
    missing = [name for name in columns if name not in head]
    if missing:
        raise CaptureError(
            f"{path}: found the columns {', '.join(head[:8]) or 'of an empty file'}; expected also "
            f"{', '.join(missing)}, with tabs between columns. Download it again"
        )
    at = {name: head.index(name) for name in columns}
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split("\t")
        if not line.strip():
            continue
        if len(cells) <= max(at.values()):
            raise CaptureError(
                f"{path}: line {number} has {len(cells)} columns; expected {len(head)}. Download it again"
            )
        rows.append({name: cells[i].strip() for name, i in at.items()})
    return rows

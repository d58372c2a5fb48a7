"""Values of JSON that strangers wrote: numbers that are numbers, and files that are the capture's own."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from purify3d.base.errors import CaptureError
from purify3d.base.files import path_inside, read_text
from purify3d.captures.reading.frame_names import any_case


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        CaptureError: no ordinary file, over 256 MB, no JSON, or nested deeper than anything real.
    """
    return parse_json(read_text(path), path)


def parse_json(text: str | bytes, source: Path | str) -> Any:
    """What JSON from `source` holds.

    Raises:
        CaptureError: no JSON, or nested deeper than anything real.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise CaptureError(f"{source}: is not JSON of a capture (nested too deeply); re-export it") from error
    except ValueError as error:
        raise CaptureError(f"{source}: is not JSON ({error}); re-export the capture") from error


def number(keys: Mapping[str, Any], key: str, where: str, default: float | None = None) -> float:
    """A finite number; `default`, where there is one, if the key is missing or null.

    Raises:
        CaptureError: missing, or anything but a finite number.
    """
    value = keys.get(key)
    if value is None and default is not None:
        return default
    found = _float(value)
    if found is None or not math.isfinite(found):
        raise CaptureError(f"{where}: found {key} = {shown(value)}; expected a number. Correct it")
    return found


def positive(keys: Mapping[str, Any], key: str, where: str) -> float:
    """A finite number above 0.

    Raises:
        CaptureError: missing, or anything else.
    """
    value = number(keys, key, where)
    if value <= 0:
        raise CaptureError(f"{where}: found {key} = {value:g}; expected a number above 0. Correct it")
    return value


def matrix(value: Any, key: str, where: str) -> np.ndarray:
    """(rows, columns) float64 of nested lists, inf and nan included; 12 or 16 in one row become rows of 4.

    Raises:
        CaptureError: no list of equally long lists of numbers.
    """
    rows = value if isinstance(value, list) and value and isinstance(value[0], list) else [value]
    if all(isinstance(row, list) and len(row) == len(rows[0]) and len(row) > 0 for row in rows):
        found = [[_float(entry) for entry in row] for row in rows]
        if all(entry is not None for row in found for entry in row):
            values = np.array(found, dtype=np.float64)
            return values.reshape(-1, 4) if len(rows) == 1 and values.size in (12, 16) else values
    raise CaptureError(f"{where}: found {key} = {shown(value)}; expected 4x4 numbers. Re-export the capture")


def find_file(folder: Path, value: Any, key: str, where: str, suffixes: Sequence[str] = ()) -> Path:
    """The file that a key names, there or not, with or without suffix, or by a Windows path.

    It must lie in the folder of the capture or in the one above, where the parts of a split capture share
    their images. A capture from elsewhere that named any other file would draw private things into
    the results. Links are followed: whoever made them has the files.

    Args:
        suffixes: to try where the name has none of them.

    Raises:
        CaptureError: no name, or one that leads out.
    """
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise CaptureError(f"{where}: found {key} = {shown(value)}; expected the name of a file")
    first = None
    for name in dict.fromkeys((value, value.replace("\\", "/"))):
        try:
            path = path_inside(folder, name, above=True)
        except ValueError as error:
            raise CaptureError(
                f"{where}: {key}: {error}; expected a path relative to the capture's folder. Copy the file "
                "there and correct the path"
            ) from error
        endings = [""] if path.suffix.lower() in suffixes else ["", *suffixes]
        for candidate in (folder / (name + ending) for ending in endings):
            found = any_case(candidate)
            if os.path.isfile(found):
                return found
        first = first or path
    assert first is not None
    return first


def shown(value: Any) -> str:
    """A value as JSON shows it, cut to what fits a line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _float(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None

"""Results of a benchmark on the same scenes: what differs, and whether it may be chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from purify3d.base.errors import RunError
from purify3d.benchmarking import table
from purify3d.benchmarking.scene import parts_of
from purify3d.labels.metrics import per_class

_MOST = 10  # scenes that are listed


@dataclass(frozen=True)
class Column:
    """One method of one result.

    Attributes:
        title: what it is called; results: of `read_results`.
    """

    title: str
    results: Mapping[str, Any]
    method: str

    def scenes(self, names: Sequence[str]) -> np.ndarray:
        """(S, 3, C), see `table`."""
        scenes = (self.results["scenes"][name] for name in names)
        return parts_of(scenes, self.method, len(self.results["labels"]))


def compare(columns: Sequence[Column], *, seed: int = 0) -> dict[str, Any]:
    """Differences of each column to the first, scene by scene.

    Returns:
        `scenes`: the common ones; `left_out`: those that a column lacks; `notes`: what else differs, in
        words; `columns`: of each but the first `title`, `against`, `means` and `classes` (name ->
        `before`, `after`, `difference`, `interval` of 95 %; None where a class is absent or there is but one
        scene), `paired` (of the scenes' mIoU, see `table.paired`), and `changed` (scenes by the size of their
        difference of mIoU, largest first). Absent classes count as in the first.

    Raises:
        RunError: fewer than two columns, other labels, or no common scene.
    """
    if len(columns) < 2:
        raise RunError("found one method of one result; expected two to compare. Name another result")
    first = columns[0]
    for column in columns[1:]:
        if column.results["labels"] != first.results["labels"]:
            raise RunError(
                f"{column.title} is over {_labels(column)} and {first.title} over {_labels(first)}; expected "
                "the same labels. Benchmark both with the same --labels"
            )
    every = dict.fromkeys(name for column in columns for name in column.results["scenes"])
    common = [name for name in every if all(name in column.results["scenes"] for column in columns)]
    if not common:
        raise RunError(
            f"{first.title} and {columns[1].title} have no scene in common; expected results of one data set"
        )
    each = [column.scenes(common) for column in columns]
    return {
        "scenes": common,
        "left_out": [name for name in every if name not in common],
        "notes": _notes(columns, each, common),
        "columns": [
            {
                "title": column.title,
                "against": first.title,
                **_against(each[0], scenes, first.results, common, seed),
            }
            for column, scenes in zip(columns[1:], each[1:], strict=True)
        ],
    }


def _against(
    before: np.ndarray, after: np.ndarray, results: Mapping[str, Any], names: Sequence[str], seed: int
) -> dict[str, Any]:
    """What (S, 3, C) scenes called `names` have gained; see `compare`."""
    groups = results["groups"]
    totals = [scenes.sum(0) for scenes in (before, after)]
    sums = [table.resampled(scenes, seed) for scenes in (before, after)]
    was, now, low, high = (table.means(values, groups, results["absent"]) for values in (*totals, *sums))
    iou = [per_class(values)[0] for values in (*totals, *sums)]
    own = [table.means(scenes, groups)["miou"] for scenes in (before, after)]
    change = own[1] - own[0]
    order = np.argsort(-np.nan_to_num(np.abs(change)), kind="stable")[:_MOST]

    def row(before: Any, after: Any, resampled: np.ndarray) -> dict[str, Any]:
        found = _difference(before, after)
        return {**found, "interval": table.interval(resampled) if len(names) > 1 else None}

    return {
        "means": {key: row(was[key], now[key], high[key] - low[key]) for key in was},
        "classes": {
            name: row(iou[0][i], iou[1][i], iou[3][:, i] - iou[2][:, i])
            for i, name in enumerate(results["labels"])
        },
        "paired": table.paired(*own),
        "changed": [
            {"scene": names[i], **_difference(own[0][i], own[1][i])} for i in order if np.isfinite(change[i])
        ],
    }


def _difference(before: Any, after: Any) -> dict[str, float | None]:
    values = {"before": before, "after": after, "difference": np.asarray(after) - before}
    return {name: table.number(value) for name, value in values.items()}


def _labels(column: Column) -> str:
    return column.results["label_set"] or f"{len(column.results['labels'])} labels of its own"


def _notes(columns: Sequence[Column], each: Sequence[np.ndarray], common: Sequence[str]) -> list[str]:
    """Why a comparison may not be of like with like."""
    notes = []
    first = columns[0]
    settings = _settings(first)
    for column, scenes in zip(columns[1:], each[1:], strict=True):
        if odd := int((scenes[:, 1] != each[0][:, 1]).any(1).sum()):
            notes.append(
                f"{column.title}: the truth of {odd} of {len(common)} scenes has other points than in "
                f"{first.title}"
            )
        other = _settings(column)
        differing = [key for key in settings.keys() | other.keys() if settings.get(key) != other.get(key)]
        notes += [
            f"{column.title}: {key} is {other.get(key)}, was {settings.get(key)}"
            for key in sorted(differing)
            if key != "device"
        ]
    return notes


def _settings(column: Column) -> dict[str, Any]:
    return _flat(column.results["settings"]) | {key: column.results[key] for key in ("absent", "exact")}


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found |= _flat(value)
        elif key != "labels":
            found[key] = value
    return found

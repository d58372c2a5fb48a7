"""What became slower, faster, larger or smaller between two measurements.

    python benchmarks/compare.py OLD NEW [--share 0.2] [--fail]

OLD and NEW are JSON files that the benchmarks wrote (`--json FILE`), or two folders of them, such as
`make bench BENCH=FOLDER` fills; files of one name are compared. Seconds, milliseconds and bytes are listed
that changed by more than `--share`, but not what is below 10 ms or 10 MB on both sides. Baselines are marked:
where they changed too, the machine did. `--fail`: exit code 1 where something of ours is slower or larger.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: A number's unit is the first of these in its name or in that of what it is part of, from the inside out:
#: (part of the name, unit, factor to seconds or GB, what more of it is).
UNITS = (
    ("ms", "ms", 1e-3, "slower"),
    ("seconds", "s", 1.0, "slower"),
    ("total", "s", 1.0, "slower"),
    ("totals", "s", 1.0, "slower"),
    ("gb", "GB", 1.0, "larger"),
    ("bytes", "bytes", 1.0, "larger"),  # of a voxel or point
)
_OPPOSITE = {"slower": "faster", "larger": "smaller"}
_LEAST = 0.01  # seconds or GB: less is noise
#: Rows of a list are the same row where these are equal; other lists go by position.
KEYS = (
    "voxels",
    "points",
    "frames",
    "tiles",
    "affinity",
    "student",
    "channels",
    "width",
    "a",
    "room",
    "labels",
)
BASELINES = ("released", "vectorised", "all points")
#: Said of the machine or derived from what is compared: nothing that became slower.
_NOT = ("about", "settings", "runs", "ours_totals")
#: Facts without which two measurements tell little about each other.
_ALIKE = ("processor", "cores", "threads", "system", "python", "versions")


@dataclass(frozen=True)
class Change:
    """One number that differs.

    Attributes:
        name: where it lies: file, row, name.
        old, new: in `unit`.
        word: slower, faster, larger or smaller.
        baseline: it is not of ours.
    """

    name: str
    old: float
    new: float
    unit: str
    word: str
    baseline: bool

    @property
    def worse(self) -> bool:
        return self.word in _OPPOSITE and not self.baseline

    def __str__(self) -> str:
        of = " (baseline)" if self.baseline else ""
        times = f"{self.new / self.old:.2f} times" if self.old else "from nothing"
        return f"{self.word:8} {self.name}{of}: {self.old:g} -> {self.new:g} {self.unit}, {times}"


def numbers(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:
    """All that is measured in a JSON value, with the names that lead there."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key not in _NOT and not key.startswith("ratio"):
                yield from numbers(each, (*path, str(key)))
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from numbers(each, (*path, _row(each) or str(place)))
    elif isinstance(value, int | float) and not isinstance(value, bool) and unit_of(path):
        yield path, float(value)


def _row(value: Any) -> str:
    """What a row of a list is called; empty where it says nothing."""
    if not isinstance(value, dict):
        return ""
    return ", ".join(f"{key} {value[key]}" for key in KEYS if isinstance(value.get(key), str | int | float))


def unit_of(path: tuple[str, ...]) -> tuple[str, float, str] | None:
    """(unit, factor to seconds or GB, what more of it is); None: it is no time and no memory."""
    for name in reversed(path):
        words = name.lower().replace("_", " ").split()
        for part, unit, factor, word in UNITS:
            if part in words:
                return unit, factor, word
    return None


def changes(old: Any, new: Any, share: float = 0.2, name: str = "") -> list[Change]:
    """What differs by more than a share of the old value, the largest change first.

    Args:
        share: 0.2 lists what took 20 % more, or so much less that the old took 20 % more.
        name: comes before the names.
    """
    before, found = dict(numbers(old)), []
    for path, value in numbers(new):
        unit = unit_of(path)
        if path not in before or unit is None:
            continue
        was = before[path]
        if max(was, value) * unit[1] < _LEAST or max(was, value) <= (1 + share) * min(was, value):
            continue
        word = unit[2] if value > was else _OPPOSITE[unit[2]]
        place = " / ".join((name, *path) if name else path)
        baseline = any(part in BASELINES for part in path)
        found.append(Change(place, was, value, unit[0], word, baseline))
    return sorted(found, key=lambda each: -max(each.new, each.old) / max(min(each.new, each.old), 1e-9))


def unmatched(old: Any, new: Any) -> tuple[list[str], list[str]]:
    """Names that only one of two has."""
    one, other = (dict(numbers(each)) for each in (old, new))
    return [" / ".join(p) for p in one if p not in other], [" / ".join(p) for p in other if p not in one]


def apart(old: Any, new: Any) -> list[str]:
    """Facts about the machines, and settings, that differ, one a line."""
    said = []
    facts = [(each.get("about") or {}) | {"settings": each.get("settings")} for each in (old, new)]
    for key in (*_ALIKE, "settings"):
        one, other = (each.get(key) for each in facts)
        if one != other:
            said.append(f"{key}: {one} -> {other}")
    return said


def read(path: Path) -> dict[str, Any]:
    """Measurements by name: of one file, or of all in a folder.

    Raises:
        ValueError: nothing there, or not what a benchmark writes.
    """
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"found no JSON files in {path}; expected what benchmarks write (`make bench`)")
    found = {}
    for file in files:
        try:
            value = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{file} cannot be read as JSON ({error}); run its benchmark again") from error
        if not isinstance(value, dict):
            raise ValueError(f"{file} holds no measurement; expected what a benchmark wrote with --json")
        found[file.stem if path.is_dir() else ""] = value
    return found


def report(old: dict[str, Any], new: dict[str, Any], share: float) -> tuple[list[str], bool]:
    """Lines for people, and whether something of ours is worse."""
    lines, worse = [], False
    for name in sorted(old.keys() | new.keys()):
        if name not in old or name not in new:
            lines.append(f"only in {'NEW' if name in new else 'OLD'}: {name}")
            continue
        one, other = old[name], new[name]
        title = name or "comparison"
        lines += [f"{title}: not measured alike, {fact}" for fact in apart(one, other)]
        found = changes(one, other, share, name)
        worse |= any(change.worse for change in found)
        lines += [str(change) for change in found] or [f"{title}: nothing changed by more than {share:.0%}"]
        for side, names in zip(("OLD", "NEW"), unmatched(one, other), strict=True):
            if names:
                rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
                lines.append(f"{title}: only in {side}: {'; '.join(names[:3])}{rest}")
    return lines, worse


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--share", type=float, default=0.2)
    parser.add_argument("--fail", action="store_true")
    args = parser.parse_args()
    if args.old.is_dir() != args.new.is_dir():
        parser.error("found a file and a folder; expected two files or two folders")
    try:
        old, new = read(args.old), read(args.new)
    except ValueError as error:
        parser.error(str(error))
    lines, worse = report(old, new, args.share)
    print("\n".join(lines))
    sys.exit(1 if worse and args.fail else 0)


if __name__ == "__main__":
    main()

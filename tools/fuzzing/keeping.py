"""Kinds of faults: one small input each, and what is kept of it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fuzzing.mutations import Changes
from fuzzing.pool import Outcome, Pool
from fuzzing.seeds import Seed

_TRIES = 40  # readings spent on making one input smaller
_FACTS, _INPUT = "kind.json", "input"


@dataclass
class Fault:
    """A kind, the first case that showed it, and how many did."""

    reader: str
    case: int
    told: list[str]
    changes: Changes
    outcome: Outcome
    count: int = 1

    @property
    def last_line(self) -> str:
        return (self.outcome.text.strip().splitlines() or [self.outcome.kind])[-1][:200]


def minimal(pool: Pool, fault: Fault, seed: Seed, tries: int = _TRIES) -> Changes:
    """Fewer files changed, and less of each, that still end the same way."""
    left = min(tries, 4) if fault.outcome.verdict == "hang" else tries  # each lasts as long as the limit

    def same(changes: Changes) -> bool:
        nonlocal left
        left -= 1
        return left >= 0 and pool.one((fault.reader, changes)).kind == fault.outcome.kind

    best = dict(fault.changes)
    for name in list(best):
        without = {each: content for each, content in best.items() if each != name}
        if without and same(without):
            best = without
    for name, content in list(best.items()):
        if content is None or name not in seed.files:
            continue
        old, new = seed.files[name], content
        start = next(
            (i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new))
        )
        most = min(len(old), len(new)) - start
        end = next((i for i in range(most) if old[-1 - i] != new[-1 - i]), most)
        best[name] = new = _less(new, old, start, end, lambda tried, name=name: same(best | {name: tried}))
    return best


def _less(new: bytes, old: bytes, start: int, end: int, holds: object) -> bytes:
    """`new` with parts of what differs put back (where lengths agree) or left out."""
    assert callable(holds)
    step = (len(new) - end - start) // 2
    while step >= 1:
        at = start
        while at < len(new) - end:
            part = slice(at, min(at + step, len(new) - end))
            if len(new) == len(old):
                tried = new[: part.start] + old[part] + new[part.stop :]
            else:
                tried = new[: part.start] + new[part.stop :]
            if tried != new and holds(tried):
                new = tried
                if len(new) == len(old):
                    at += step
            else:
                at += step
        step //= 4
    return new


def keep(folder: Path, fault: Fault, seed: Seed) -> Path:
    """Write FOLDER/KIND: the whole damaged input, and what it is."""
    name = re.sub(r"\W+", "_", fault.outcome.kind.partition(":")[0]).strip("_")[:80]
    place = folder / f"{name}-{hashlib.sha256(fault.outcome.kind.encode()).hexdigest()[:6]}"
    shutil.rmtree(place, ignore_errors=True)
    for file, content in {**seed.files, **fault.changes}.items():
        if content is not None:
            (place / _INPUT / file).parent.mkdir(parents=True, exist_ok=True)
            (place / _INPUT / file).write_bytes(content)
    facts = {
        "reader": fault.reader,
        "case": fault.case,
        "count": fault.count,
        "mutation": fault.told,
        "changed": sorted(fault.changes),
        "kind": fault.outcome.kind,
        "text": fault.outcome.text,
    }
    (place / _FACTS).write_text(json.dumps(facts, indent=1))
    return place


def kept(place: Path, seeds: Mapping[str, Seed]) -> tuple[str, Changes]:
    """The task that `keep` wrote down."""
    reader = json.loads((place / _FACTS).read_text())["reader"]
    root = place / _INPUT
    files = {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}
    gone: Changes = {name: None for name in seeds[reader].files if name not in files}
    return reader, gone | files

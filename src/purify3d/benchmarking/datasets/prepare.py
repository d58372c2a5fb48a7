"""A benchmark as it was downloaded -> a folder of captures, one a scene."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

from filelock import Timeout

from purify3d.base.errors import CaptureError
from purify3d.base.files import clear_partial, locked, write_text
from purify3d.base.progress import Progress, silent
from purify3d.base.workers import Workers, serial
from purify3d.benchmarking.datasets import writing

#: Benchmarks by name.
KINDS = {
    "scannet": "purify3d.benchmarking.datasets.scannet",
    "matterport": "purify3d.benchmarking.datasets.matterport",
}
#: What was done and what was not, in the folder of the scenes.
REPORT = "prepared.json"

_LOCK = ".lock"


@dataclass
class Prepared:
    """What `prepare` did.

    Attributes:
        made_with: benchmark, labels and every.
        scenes: what each scene of the folder says of itself, by name: `frames`, `points`, `labelled` points,
            `objects`, `lost_poses`, the frames `left_out` with the reason, and `warnings`.
        skipped: scenes that are not there, with the reason.
        before: those that were finished before.
    """

    made_with: dict[str, Any]
    scenes: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    before: tuple[str, ...] = ()


def split_names(kind: str, split: str) -> list[str]:
    """The scenes of a list that ships, in its order.

    Raises:
        CaptureError: no such list.
    """
    known = import_module(_module(kind)).SPLITS
    if split not in known:
        raise CaptureError(f"found split {split!r}; expected one of {', '.join(known)}")
    return (files("purify3d.data") / "splits" / f"{kind}-{split}.txt").read_text().split()


def prepare(
    kind: str,
    root: str | Path,
    out: str | Path,
    *,
    labels: str | None = None,
    split: str | None = None,
    every: int | None = None,
    workers: Workers = serial,
    progress: Progress = silent,
) -> Prepared:
    """Make a folder of captures from a download; each is OUT/NAME, for `open_capture`.

    A scene is whole or absent, and a finished one is not repeated: the same call goes on where one was
    stopped. Every image is decoded; a frame that cannot be is left out, and a scene that cannot be used is
    skipped; both are in the result and in OUT/prepared.json, with the reason.

    Args:
        kind: one of `KINDS`.
        root: folder of the download.
        out: folder of the scenes; made.
        labels: the benchmark whose truth the points get; None: the kind's first.
        split: only the scenes of a list that ships; None: all that are there.
        every: keep every n-th frame; None: 20 for ScanNet, 1 for Matterport3D.
        workers: that prepare the scenes; the files do not depend on them.

    Raises:
        CaptureError: nothing to prepare, no scene could be, OUT holds scenes made with other settings or
            something else, or another process is writing there.
        ValueError: `every` below 1.
    """
    module = import_module(_module(kind))
    every = module.EVERY if every is None else every
    labels = module.LABELS[0] if labels is None else labels
    if every < 1:
        raise ValueError(f"found every = {every}; expected at least 1")
    if labels not in module.LABELS:
        raise CaptureError(f"found labels {labels!r}; expected one of {', '.join(module.LABELS)}")
    found = module.scenes(Path(root))
    wanted = sorted(found) if split is None else sorted(split_names(kind, split))
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    done = Prepared({"benchmark": kind, "labels": labels, "every": every})
    done.skipped = {name: f"not in {root}" for name in wanted if name not in found}
    try:
        with locked(folder / _LOCK):
            clear_partial(folder)  # of a process that was killed: nobody else is here
            tasks = []
            for name in wanted:
                target = folder / name
                if target.exists():
                    done.scenes[name] = _finished(target, done.made_with)
                elif name in found:
                    tasks.append(
                        writing.PrepareTask(name, module.__name__, found[name], target, done.made_with)
                    )
            done.before = tuple(done.scenes)
            for name in done.before:
                done.skipped.pop(name, None)
            _report(folder, done)
            for outcome in progress(workers(tasks, writing.make), name="prepare", total=len(tasks)):
                if outcome.result is None:
                    done.skipped[outcome.name] = outcome.why
                else:
                    done.scenes[outcome.name] = outcome.result
                _report(folder, done)
    except Timeout as error:
        raise CaptureError(
            f"{folder}: another process is preparing scenes there. Wait for it, or name another folder"
        ) from error
    if not done.scenes:
        name, why = next(iter(done.skipped.items()))
        raise CaptureError(f"{folder}: none of {len(done.skipped)} scenes could be prepared; {name}: {why}")
    return done


def _module(kind: str) -> str:
    if kind not in KINDS:
        raise CaptureError(f"found benchmark {kind!r}; expected one of {', '.join(KINDS)}")
    return KINDS[kind]


def _finished(target: Path, made_with: dict[str, Any]) -> dict[str, Any]:
    facts = writing.facts_of(target)
    if facts is None:
        raise CaptureError(f"{target}: found something that is no prepared scene. Name another folder")
    if facts["made_with"] != made_with:
        before, now = (
            ", ".join(f"{key} {value}" for key, value in made.items())
            for made in (facts["made_with"], made_with)
        )
        raise CaptureError(f"{target}: was prepared with {before}; asked for is {now}. Name another folder")
    return facts


def _report(folder: Path, done: Prepared) -> None:
    scenes = {
        name: {key: value for key, value in facts.items() if key != "made_with"}
        for name, facts in sorted(done.scenes.items())
    }
    skipped = dict(sorted(done.skipped.items()))
    text = json.dumps({"made_with": done.made_with, "scenes": scenes, "skipped": skipped}, indent=1)
    write_text(folder / REPORT, text + "\n")

"""Scenes into a folder of results: each measured once, whole or absent, then the table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import Timeout

from purify3d import __version__
from purify3d.base.errors import RunError
from purify3d.base.files import check_folder, locked, make_folders, write_text
from purify3d.base.progress import Progress, silent
from purify3d.base.settings import to_plain
from purify3d.base.workers import Outcome, Workers, serial
from purify3d.benchmarking import report, table
from purify3d.benchmarking.scene import (
    Facts,
    SceneTask,
    attempt_scenes,
    job_of,
    parts_of,
    run_scene,
    shown_of,
)
from purify3d.runs.job import Job
from purify3d.types.labelsets import set_name

#: The numbers, and the page that shows them.
RESULTS, PAGE = "results.json", "report.html"

_SCENES, _SCORES, _LOCK = "scenes", "scores", ".lock"


def benchmark(
    captures: Mapping[str, str],
    job: Job,
    methods: Sequence[str],
    folder: str | Path,
    *,
    workers: Workers = serial,
    pictures: int = 12,
    absent: table.Absent = "skip",
    exact: bool = False,
    check: bool = True,
    overwrite: bool = False,
    command: Sequence[str] = (),
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measure methods on captures with truth.

    FOLDER/scenes/NAME is a run folder of each scene, FOLDER/scores/NAME.json what was measured of it;
    the same call goes on where one was stopped, and repeats nothing that has the same inputs. A scene that
    fails is in `failed` with its reason, and the others go on.

    Args:
        captures: by name; see `datasets.listing.captures_of`.
        job: what is done to each; its path and affinity are replaced. Its seed is that of the resamples too.
        methods: `raw`, `region-vote`, or values of `affinity`.
        workers: that measure the scenes.
        pictures: of how many scenes the page has pictures, worst first.
        absent: what classes in no scene are to the means over all scenes.
        exact: features stay as they were computed, and in memory: no scene has a run folder or a picture, and
            further methods lift again.

    Returns:
        What FOLDER/results.json holds, see docs/benchmarks.md.

    Raises:
        RunError: no scene could be measured, another process works there, or the folder cannot be written.
        ValueError: no method, or one twice.
    """
    methods = tuple(methods)
    if not methods or len(set(methods)) < len(methods):
        raise ValueError(f"found methods {', '.join(methods) or 'none'}; expected at least one, each once")
    if not captures:
        raise ValueError("found no captures; expected at least one")
    folder = Path(folder)
    shown = job_of(job, shown_of(methods))
    try:
        make_folders(folder, _SCORES)
        for name in captures:
            check_folder(make_folders(folder, _SCENES) / name)
        with locked(folder / _LOCK):
            tasks = [
                SceneTask(
                    name,
                    replace(shown, capture=replace(shown.capture, path=path)).resolved(),  # for any directory
                    methods,
                    (folder / _SCENES / name).absolute(),
                    _read_scores(folder / _SCORES / f"{name}.json"),
                    exact,
                    check,
                    overwrite,
                    tuple(command),
                )
                for name, path in captures.items()
            ]
            outcomes: dict[str, Outcome[Facts]] = {}
            attempts = attempt_scenes(tasks, run_scene, workers)
            for outcome in progress(attempts, name="benchmark", total=len(tasks)):
                outcomes[outcome.name] = outcome
                if outcome.result is not None and not outcome.result.reused:
                    scores = folder / _SCORES / f"{outcome.name}.json"
                    write_text(scores, json.dumps(outcome.result.values, allow_nan=False) + "\n")
            done = {name: facts for name in captures if (facts := outcomes[name].result) is not None}
            failed = {name: outcomes[name].why for name in captures if name not in done}
            if not done:
                name, why = next(iter(failed.items()))
                raise RunError(f"{folder}: none of {len(failed)} scenes could be measured; {name}: {why}")
            results = _results(done, failed, job, shown, methods, absent, exact, command)
            text = json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False)
            write_text(folder / RESULTS, text + "\n")
            write_text(folder / PAGE, report.page(results, folder / _SCENES, pictures=pictures))
            return results
    except Timeout as error:
        raise RunError(
            f"{folder}: another process measures there. Wait for it, or name another folder"
        ) from error
    except OSError as error:
        raise RunError(
            f"cannot write to {folder} ({error}); free some space or name another folder"
        ) from error


def _results(
    done: Mapping[str, Facts],
    failed: Mapping[str, str],
    job: Job,
    shown: Job,
    methods: tuple[str, ...],
    absent: table.Absent,
    exact: bool,
    command: Sequence[str],
) -> dict[str, Any]:
    scenes = {name: facts.values for name, facts in done.items()}
    names = job.vocabulary.names
    label_set = set_name(job.labels)
    groups = table.groups_of(label_set, names)
    overall: dict[str, Any] = {}
    own: dict[str, np.ndarray] = {}
    for method in methods:
        each = parts_of(scenes.values(), method, len(names))
        overall[method] = table.summary(each, groups, job.seed, absent)
        own[method] = table.means(each, groups)["miou"]
        for scene, value in zip(scenes.values(), own[method], strict=True):
            scene["methods"][method]["miou"] = table.number(value)
    settings = to_plain(shown)
    del settings["capture"]["path"], settings["method"]["purify"]["affinity"]
    return {
        "purify3d": __version__,
        "torch": torch.__version__,
        "command": list(command),
        "labels": list(names),
        "label_set": label_set,
        "groups": groups,
        "settings": settings,
        "methods": list(methods),
        "shown": shown_of(methods),
        "resamples": table.RESAMPLES,
        "absent": absent,
        "exact": exact,
        "overall": overall,
        "differences": [
            {"method": after, "against": before, **table.paired(own[before], own[after])}
            for before, after in combinations(methods, 2)
        ],
        "scenes": scenes,
        "failed": dict(failed),
        "reused": [name for name, facts in done.items() if facts.reused],
    }


def read_results(path: str | Path) -> dict[str, Any]:
    """results.json, or that of a folder.

    Raises:
        RunError: missing, or not what `benchmark` writes.
    """
    file = Path(path) / RESULTS if Path(path).is_dir() else Path(path)
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
        for method in results["methods"]:
            parts_of(results["scenes"].values(), method, len(results["labels"]))
        results["groups"], results["label_set"], results["shown"], results["settings"]
        results["absent"], results["exact"], results["differences"]
    except OSError as error:
        raise RunError(
            f"{file}: cannot be read ({error.strerror}); expected the --output of 'purify3d benchmark'"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise RunError(
            f"{file}: is not what 'purify3d benchmark' writes ({error!r}); make it again"
        ) from error
    return dict(results)


def _read_scores(file: Path) -> dict[str, Any] | None:
    """What was measured of a scene earlier; None where it is missing or not ours, which only repeats work."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        good = all(isinstance(entry["made_from"], str) for entry in found["methods"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None
    return found if good else None

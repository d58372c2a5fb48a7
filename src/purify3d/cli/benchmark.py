"""`purify3d benchmark` and `compare`: the field's numbers over many scenes with truth."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import click

from purify3d.captures import CaptureConfig
from purify3d.cli import flags, show
from purify3d.labels.config import SegmentConfig
from purify3d.runs.job import PRESETS, Job, changed

_OTHER = "otherfurniture|other furniture"


@click.command(cls=flags.Command)
@click.argument("dataset", nargs=-1, required=True)
@click.option(
    "--methods",
    default="raw,student",
    help="What is measured, with commas: raw (nothing is pooled), region-vote (whole regions are), student, "
    "geometric, uniform, the folder or hub id of a student, or released:FILE.",
)
@click.option("-o", "--output", required=True, help="Folder of the results; the same again goes on there.")
@click.option("--other-furniture", is_flag=True, help="Count the 20th class of scannet20 too.")
@flags.jobs("How many scenes at a time, each in a process of its own.")
@click.option("--ray", help="Address of a Ray cluster that scenes are spread over, or local.")
@click.option(
    "--pictures",
    type=click.IntRange(0, 10_000),
    default=12,
    help="Of how many scenes the page has pictures, the worst first.",
)
@click.option(
    "--absent",
    type=click.Choice(["skip", "zero"]),
    default="skip",
    help="What classes in no scene are to the means: left out (skip), or 0 (zero), as in OpenScene's and "
    "GeoPurify's code.",
)
@click.option(
    "--exact",
    is_flag=True,
    help="Features stay in memory as they were computed, in place of 64 bytes a point in a run folder. "
    "Scenes have no pictures then, and further methods lift again.",
)
@flags.preset
@flags.no_check
@flags.overwrite
@flags.json
@flags.of(Job, but=("path", "onto", "affinity"))
def benchmark(
    dataset: tuple[str, ...],
    methods: str,
    output: str,
    other_furniture: bool,
    jobs: int,
    ray: str | None,
    pictures: int,
    absent: Literal["skip", "zero"],
    exact: bool,
    preset: str | None,
    no_check: bool,
    overwrite: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Measure methods on many scenes with ground truth.

    The result is mIoU and mAcc, per class and per scene. DATASET is a folder of captures, such as 'purify3d
    prepare' makes, several captures, or procedural rooms: synthetic:val, synthetic:test, synthetic:0..9.
    A scene that fails is named with its reason, the others go on, and the exit code is 1.

    Examples:
        purify3d benchmark "synthetic:0..1?frames=8" --labels "wall, floor, chair" -o runs/benchmark
        purify3d benchmark prepared --labels scannet20 --preset paper --methods raw,geometric -o results
    """
    from purify3d.base.workers import workers
    from purify3d.benchmarking import PAGE, RESULTS
    from purify3d.benchmarking import benchmark as benchmark_
    from purify3d.benchmarking.datasets.listing import captures_of

    chosen = flags.checked(lambda: workers(jobs, ray))
    given = {name: value for name, value in settings.items() if value is not None}
    if "labels" not in given:
        raise click.UsageError("found no --labels; expected a set such as scannet20, names, or a file")
    labels = _labels(given.pop("labels"), other_furniture)
    asked = [method.strip() for method in methods.split(",") if method.strip()]
    folder = flags.folder(output, Path("benchmark"))
    method = PRESETS.get(preset or "", SegmentConfig())
    job = flags.checked(lambda: changed(Job(CaptureConfig("."), labels, method=method), given))
    _check_methods(job, asked)
    captures = captures_of(dataset, job.capture.reader)
    click.echo(f"{len(captures)} scenes, {len(asked)} methods", err=True)
    results = flags.checked(
        lambda: benchmark_(
            captures,
            job,
            asked,
            folder,
            workers=chosen,
            pictures=pictures,
            absent=absent,
            exact=exact,
            check=not no_check,
            overwrite=overwrite,
            command=["purify3d", *sys.argv[1:]],
            progress=show.progress,
        )
    )
    if as_json:
        click.echo(json.dumps(results))
    else:
        _show(results)
        show.wrote(folder / name for name in (RESULTS, PAGE))
    for name, why in results["failed"].items():
        click.echo(f"{name} failed: {why}", err=True)
    if results["failed"]:
        sys.exit(1)


@click.command(cls=flags.Command)
@click.argument("results", nargs=-1, required=True)
@flags.seed("Seed of the random draws of scenes that the intervals come from.")
@flags.json
def compare(results: tuple[str, ...], seed: int, as_json: bool) -> None:
    """What differs between RESULTS of benchmarks on the same scenes.

    Per class and overall. A RESULT is a folder of 'purify3d benchmark' or its results.json, with @METHOD for
    another method than the last that pools. A single RESULT compares its methods. Each is held against the
    first.

    Examples:
        purify3d compare runs/benchmark
        purify3d compare runs/benchmark@raw runs/benchmark@student --json
    """
    from purify3d.benchmarking.compare import compare as compare_

    found = compare_([column for text in results for column in _columns(text, len(results) == 1)], seed=seed)
    if as_json:
        return click.echo(json.dumps(found))
    _show_comparison(found)


def _labels(text: str, other_furniture: bool) -> str | tuple[str, ...]:
    from purify3d.types.labelsets import load_label_set

    if not other_furniture:
        return text
    if text.strip() != "scannet20":
        raise click.UsageError(f"found --other-furniture with --labels {text!r}; expected scannet20")
    return (*load_label_set("scannet20").vocabulary.names, _OTHER)


def _check_methods(job: Any, methods: list[str]) -> None:
    """A wrong name fails before hours of work, and once instead of in every scene."""
    from purify3d.affinities.embeddings import load_embedding
    from purify3d.benchmarking import RAW, VOTE
    from purify3d.benchmarking.scene import job_of

    for method in methods:
        affinity = flags.checked(partial(job_of, job, method)).resolved().method.purify.affinity
        if method not in (RAW, VOTE):
            load_embedding(affinity)


def _columns(text: str, alone: bool) -> list[Any]:
    from purify3d.base.errors import RunError
    from purify3d.benchmarking import read_results
    from purify3d.benchmarking.compare import Column

    path, at, method = text.rpartition("@")
    if not at or Path(text).exists():
        path, method = text, ""
    results = read_results(path)
    if alone and not method:
        return [Column(name, results, name) for name in results["methods"]]
    method = method or results["shown"]
    if method not in results["methods"]:
        raise RunError(f"{path}: found method {method!r}; expected one of {', '.join(results['methods'])}")
    return [Column(f"{path}@{method}", results, method)]


def _show(results: Mapping[str, Any]) -> None:
    from purify3d.benchmarking.report import (
        ABSENT,
        caution,
        cost,
        difference_rows,
        mean_scores,
        shown_means,
        worst_first,
    )

    means, methods = shown_means(results), results["methods"]
    overall, scenes = results["overall"], results["scenes"]
    rows = [
        [label, *(show.percent(overall[m]["iou"][i]) for m in methods)]
        for i, label in enumerate(results["labels"])
        if overall[methods[0]]["iou"][i] is not None
    ]
    show.table(["IoU, %", *methods], rows)
    absent = len(results["labels"]) - len(rows)
    click.echo(
        f"{absent} of {len(results['labels'])} classes are in no scene, so {ABSENT[results['absent']]}"
        if absent
        else ""
    )
    for title, rows_of in zip(("all scenes", "mean of scenes"), mean_scores(results), strict=True):
        show.table(
            [title, *means.values(), "mIoU, 95 %"],
            [[m, *(show.percent(v) for v, _ in row), _ends(row[0][1])] for m, row in rows_of.items()],
        )
        click.echo()
    if said := caution(len(scenes)):
        click.echo(f"intervals are 95 % of draws of as many scenes{said}\n")
    if results["differences"]:
        show.table(["mean of scenes", "mIoU ± standard error", "better on"], difference_rows(results))
        click.echo()
    costs = {name: cost(scene, methods) for name, scene in scenes.items()}
    show.table(
        ["scene, worst first", *methods, "seconds", "peak GB"],
        [
            [
                name,
                *(show.percent(scenes[name]["methods"][m]["miou"]) for m in methods),
                f"{costs[name][0]:.1f}",
                f"{costs[name][1]:.2f}",
            ]
            for name in worst_first(results)
        ],
    )
    if results["reused"]:
        click.echo(f"{len(results['reused'])} scenes were measured before, not repeated")
    for name, scene in scenes.items():
        for said in scene.get("warnings", []):
            click.echo(f"{name}: {said}")


def _show_comparison(found: Mapping[str, Any]) -> None:
    from purify3d.benchmarking.report import MEANS, caution, plus_minus

    left = f"; {len(found['left_out'])} are not in all results and left out" if found["left_out"] else ""
    click.echo(f"{len(found['scenes'])} common scenes{left}")
    for note in found["notes"]:
        click.echo(f"note: {note}")
    for column in found["columns"]:
        click.echo()
        click.echo(f"{column['title']} against {column['against']}")
        rows = {MEANS[key]: row for key, row in column["means"].items() if key in MEANS} | column["classes"]
        show.table(
            ["%", "before", "after", "difference", "95 %"],
            [
                [*_gained(name, row), _ends(row["interval"], _signed)]
                for name, row in rows.items()
                if row["difference"] is not None
            ],
        )
        if said := caution(len(found["scenes"])):
            click.echo(f"intervals are 95 % of draws of as many scenes{said}")
        paired = column["paired"]
        click.echo(
            f"mIoU of a scene {plus_minus(paired['mean'], paired['error'])}, better on {paired['better']} of "
            f"{paired['scenes']} scenes; those that changed most:"
        )
        most = [_gained(row["scene"], row) for row in column["changed"]]
        show.table(["scene", "before", "after", "difference"], most)


def _gained(name: str, row: Mapping[str, Any]) -> list[str]:
    return [name, show.percent(row["before"]), show.percent(row["after"]), _signed(row["difference"])]


def _signed(value: float) -> str:
    return f"{100 * value:+.1f}"


def _ends(ends: list[float] | None, written: Callable[[float], str] = show.percent) -> str:
    return "-" if ends is None else " to ".join(map(written, ends))

"""How results and progress look on a terminal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from purify3d.base.progress import progress_bars
from purify3d.cli.errors import plain

if TYPE_CHECKING:
    from purify3d.base.workers import Outcome
    from purify3d.benchmarking.scene import Facts
    from purify3d.labels.questions import Answer
    from purify3d.runs import Run

T = TypeVar("T")


def progress(items: Iterable[T], *, name: str, total: int) -> Iterable[T]:
    """A bar for each stage on a terminal; elsewhere a line when it is over, and on the way about every minute
    one with what is left, by the pace so far."""
    if sys.stderr.isatty():
        yield from progress_bars(items, name=name, total=total)
        return
    start = said = time.perf_counter()
    for number, item in enumerate(items):
        now = time.perf_counter()
        if number and now - said > 60:
            said, left = now, (now - start) / number * (total - number)
            click.echo(f"{name}: step {number} of {total}, {left / 60:.1f} minutes left", err=True)
        yield item
    seconds = time.perf_counter() - start
    steps = f"{total} step{'s' if total != 1 else ''}"
    click.echo(f"{name}: {steps} in {seconds:.1f} s ({total / max(seconds, 1e-9):.1f}/s)", err=True)


def pairs(facts: dict[str, Any], as_json: bool = False) -> None:
    """One fact a line."""
    if as_json:
        return click.echo(json.dumps(facts))
    width = max(map(len, facts))
    for name, value in facts.items():
        click.echo(
            plain(f"{name:<{width}}  {', '.join(map(str, value)) if isinstance(value, list) else value}")
        )


def unwritable(run: Path) -> bool:
    """Say that a run of somebody else is asked; False: it keeps nothing."""
    click.echo(f"{run} cannot be written, so nothing is kept; -o FOLDER writes the files there", err=True)
    return False


def wrote(files: Iterable[Path]) -> None:
    """One file a line."""
    for file in files:
        click.echo(f"wrote {file}")


def report(run: Run, as_json: bool) -> None:
    """What a finished segmentation says of itself."""
    metrics, legend = run.metrics, run.files.read_json("labels.json")
    files = [run.files.path / name for name in run.files.stages["label"]["files"]]
    if as_json:
        facts = {"metrics": metrics, "labels": legend, "files": [str(file) for file in files]}
        return click.echo(json.dumps(facts))
    if "purified" in metrics:
        scores(metrics)
    else:
        table(
            ["label", "points", "share"],
            [[e["name"], f"{e['points']}", f"{e['points'] / metrics['points']:.1%}"] for e in legend],
        )
    labelled = 1 - legend[-1]["points"] / metrics["points"]
    click.echo(
        f"of {metrics['points']} points {metrics['seen']:.1%} were seen by a camera, "
        f"{labelled:.1%} have a label"
    )
    click.echo()
    table(
        ["stage", "seconds", "peak GB"],
        [[name, f"{v['seconds']:.1f}", f"{v['peak_gb']:.2f}"] for name, v in metrics["stages"].items()],
    )
    wrote(files)


def summary(outcomes: Sequence[Outcome[Facts]], folder: Path) -> None:
    """What became of several captures."""
    rows = [
        [
            one.name,
            f"{one.result.values['points']}",
            f"{one.result.values['given']:.1%}",
            f"{one.result.values['seconds']:.1f}",
            str(folder / one.name),
        ]
        for one in outcomes
        if one.result is not None
    ]
    if rows:
        table(["capture", "points", "labelled", "seconds", "folder"], rows)
    failed = [one for one in outcomes if one.result is None]
    for one in failed:
        click.echo(f"failed: {one.name}: {one.why}")
    click.echo(f"{len(rows)} of {len(outcomes)} captures are labelled")


def answer(found: Answer, files: Sequence[Path]) -> None:
    """What a scene answers to a question."""
    rows = [
        [
            str(i),
            f"{region.score:.3f}",
            str(region.points),
            *(" ".join(f"{value:.2f}" for value in triple) for triple in (region.center, region.size)),
        ]
        for i, region in enumerate(found.regions, start=1)
    ]
    against = f"peak {found.peak:.3f}; {found.better:.0%} of common words fit its hottest place better"
    if not found.found:
        click.echo(f"nothing like this here ({against})")
    else:
        table(["#", "score", "points", "centre x y z, m", "size x y z, m"], rows)
        click.echo(against if rows else f"no region stands out ({against})")
    wrote(files)


def scores(metrics: dict[str, Any]) -> None:
    """IoU per class and the means, raw beside purified."""
    raw, purified = metrics["raw"], metrics["purified"]
    rows = [
        [name, percent(raw["iou"][i]), percent(purified["iou"][i])]
        for i, name in enumerate(purified["names"])
        if purified["iou"][i] is not None
    ]
    rows += [
        [name, percent(raw[key]), percent(purified[key])]
        for name, key in (("mIoU", "miou"), ("mAcc", "macc"), ("f-mIoU", "fmiou"), ("f-mAcc", "fmacc"))
    ]
    table(["IoU, %", "raw", "purified"], rows)
    absent = [n for n, v in zip(purified["names"], purified["iou"], strict=True) if v is None]
    if absent:
        click.echo(f"not in the scene, so in no mean: {', '.join(absent)}")


def percent(value: float | None) -> str:
    """A share as tables have it; "-" where there is none."""
    return "-" if value is None else f"{100 * value:.1f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns aligned: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True)),
        ]
        click.echo(plain("  ".join(cells).rstrip()))

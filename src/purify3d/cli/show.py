"""How results and progress look on a terminal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from purify3d.runs.folder import Run

T = TypeVar("T")


def progress(items: Iterable[T], *, name: str, total: int) -> Iterable[T]:
    """One bar a stage on a terminal; elsewhere one plain line when it is over."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, desc=name, total=total, dynamic_ncols=True)
        return
    start = time.perf_counter()
    yield from items
    seconds = time.perf_counter() - start
    click.echo(f"{name}: {total} steps in {seconds:.1f} s ({total / max(seconds, 1e-9):.1f}/s)", err=True)


def report(run: Run, files: Sequence[Path], as_json: bool) -> None:
    """What a finished segmentation says of itself."""
    metrics, legend = run.read_json("metrics.json"), run.read_json("labels.json")
    if as_json:
        click.echo(json.dumps({"metrics": metrics, "labels": legend, "files": [str(f) for f in files]}))
        return
    if "purified" in metrics:
        scores(metrics)
    else:
        table(
            ["label", "points", "share"],
            [[e["name"], f"{e['points']}", f"{e['points'] / metrics['points']:.1%}"] for e in legend],
        )
    click.echo()
    table(
        ["stage", "seconds", "peak GB"],
        [[name, f"{v['seconds']:.1f}", f"{v['peak_gb']:.2f}"] for name, v in metrics["stages"].items()],
    )
    for file in files:
        click.echo(f"wrote {file}")


def scores(metrics: dict[str, Any]) -> None:
    """IoU per class and the means, raw beside purified."""
    raw, purified = metrics["raw"], metrics["purified"]
    rows = [
        [name, _percent(raw["iou"][i]), _percent(purified["iou"][i])]
        for i, name in enumerate(purified["names"])
        if purified["iou"][i] is not None
    ]
    rows += [
        [name, _percent(raw[key]), _percent(purified[key])]
        for name, key in (("mIoU", "miou"), ("mAcc", "macc"), ("f-mIoU", "fmiou"), ("f-mAcc", "fmacc"))
    ]
    table(["IoU, %", "raw", "purified"], rows)
    absent = [n for n, v in zip(purified["names"], purified["iou"], strict=True) if v is None]
    if absent:
        click.echo(f"not in the scene, so in no mean: {', '.join(absent)}")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns aligned: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True)),
        ]
        click.echo("  ".join(cells).rstrip())

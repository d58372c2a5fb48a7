"""`purify3d prepare`: a benchmark as it was downloaded into a folder of captures."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from purify3d.cli import flags, show

if TYPE_CHECKING:
    from purify3d.benchmarking.datasets import Prepared


@click.command(cls=flags.Command)
@click.argument("benchmark", type=click.Choice(["scannet", "matterport"]))
@click.argument("root")
@click.option("-o", "--output", required=True, help="Folder of the prepared scenes.")
@click.option("--labels", help="Label set of the ground truth [default: scannet20, matterport21].")
@click.option(
    "--split", help="Only scenes of a published list: val, train (scannet); test, train (matterport)."
)
@click.option(
    "--every",
    type=click.IntRange(min=1),
    help="Keep every n-th frame [default: 20 (scannet), 1 (matterport)].",
)
@flags.jobs("How many scenes at a time.")
@flags.json
def prepare(
    benchmark: str,
    root: str,
    output: str,
    labels: str | None,
    split: str | None,
    every: int | None,
    jobs: int,
    as_json: bool,
) -> None:
    """Make captures of a BENCHMARK that was downloaded to ROOT.

    Each scene becomes a folder in OUTPUT that the other commands read, with the benchmark's points and ground
    truth.
    The same command again goes on where it was stopped. prepared.json says what was skipped, and why.

    Examples:
        purify3d prepare scannet scans --split val -o prepared
        purify3d prepare matterport houses --labels matterport160 --jobs 4 -o prepared-160
    """
    click.echo(f"preparing {root}", err=True)
    from purify3d.base.workers import workers
    from purify3d.benchmarking.datasets import REPORT
    from purify3d.benchmarking.datasets import prepare as prepare_

    folder = flags.folder(output, Path(benchmark))
    done = prepare_(
        benchmark,
        root,
        folder,
        labels=labels,
        split=split,
        every=every,
        workers=workers(jobs),
        progress=show.progress,
    )
    if as_json:
        return click.echo(json.dumps(asdict(done)))
    _show(done)
    click.echo(f"wrote {folder / REPORT}")


def _show(done: Prepared) -> None:
    columns = ("frames", "points", "labelled", "objects", "lost_poses")
    rows = [[name, *(str(facts[key]) for key in columns)] for name, facts in sorted(done.scenes.items())]
    show.table(["scene", *(key.replace("_", " ") for key in columns)], rows)
    if done.before:
        click.echo(f"{len(done.before)} were finished before, not repeated")
    for name, facts in sorted(done.scenes.items()):
        for frame, why in facts["left_out"].items():
            click.echo(f"{name}: frame {frame} is left out: {why}")
        for said in facts["warnings"]:
            click.echo(f"{name}: {said}")
    for name, why in sorted(done.skipped.items()):
        click.echo(f"{name} is skipped: {why}")

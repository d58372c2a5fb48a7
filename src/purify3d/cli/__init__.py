"""The command line: the only package that prints for people and exits.

Results go to stdout, progress and warnings to stderr. Heavy imports happen inside the commands, so that help
is quick. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 undecided (check).
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from purify3d import __version__
from purify3d.base.errors import PurifyWarning
from purify3d.base.limits import check_address_space
from purify3d.captures import CaptureConfig
from purify3d.cli import flags, show
from purify3d.cli.benchmark import benchmark, compare
from purify3d.cli.check import check
from purify3d.cli.errors import leave, plain
from purify3d.cli.export import export
from purify3d.cli.objects import objects
from purify3d.cli.prepare import prepare
from purify3d.cli.segment import segment, segment_one
from purify3d.cli.training import select, train
from purify3d.cli.view import view
from purify3d.runs.job import job


def main() -> None:
    """Entry point of the `purify3d` program."""
    # Tensors in huge pages: asking for a million small ones takes seconds on a virtual machine. PyTorch looks
    # when it first makes a tensor; it means nothing but on Linux.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    warnings.showwarning = _show_warning
    try:
        if code := program(standalone_mode=False):  # of ctx.exit; commands return nothing
            sys.exit(code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit("interrupted; finished stages are kept, run the same command again to go on")
    except Exception as error:
        leave(error)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, PurifyWarning):
        click.echo(f"warning: {plain(str(message))}", err=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def program() -> None:
    """Open-vocabulary 3D segmentation of posed RGB-D scans."""
    check_address_space()


@program.command(cls=flags.Command)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("text")
@click.option("--top", default=5, type=click.IntRange(min=1), help="List at most so many regions.")
@click.option(
    "--threshold",
    type=float,
    callback=flags.within(-1, 1),
    help="Mean cosine of the hottest points, -1 to 1, from which TEXT counts as found.",
)
@flags.beside
@flags.device
@flags.json
def query(
    run: Path,
    text: str,
    top: int,
    threshold: float | None,
    output: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Where in a finished RUN is TEXT?

    The answer is heat per point, and the regions that stand out. TEXT is held against common words: where it
    fits no better than words of things that are not there, the answer is that there is nothing like it.
    --threshold decides in their place.

    Examples:
        purify3d query runs/room "something to sit on"
        purify3d query runs/room "traffic light" --top 3 --json
    """
    click.echo(f"asking {run}", err=True)
    from purify3d.runs import Run
    from purify3d.runs.answers import write_answer

    finished = Run.open(run, device=device, progress=show.progress)
    finished.need_features()
    if not finished.files.whole("purify"):
        click.echo(
            "the first question pools the features and keeps them; further ones only compare", err=True
        )
    answer = finished.query(text, limit=top, threshold=threshold)
    place = flags.folder(output, None)
    kept = place is not None or finished.files.writable or show.unwritable(run)
    files = write_answer(finished, text, answer, output=place) if kept else ()
    if as_json:
        facts = {
            "text": text,
            "found": answer.found,
            "peak": answer.peak,
            "better": answer.better,
            "regions": [asdict(region) for region in answer.regions],
            "files": [str(file) for file in files],
        }
        return click.echo(json.dumps(facts))
    show.answer(answer, files)


@program.command("eval", cls=flags.Command)
@click.argument("run", type=click.Path(path_type=Path))
@flags.json
def evaluate(run: Path, as_json: bool) -> None:
    """Compare a finished RUN with the ground truth of its capture.

    IoU and accuracy of each class and their means, before and after pooling.

    Examples:
        purify3d eval runs/room
        purify3d eval runs/demo/run --json
    """
    from purify3d.runs import Run

    metrics = Run.open(run).scores
    if as_json:
        return click.echo(json.dumps(metrics))
    show.scores(metrics)


@program.command(cls=flags.Command)
@click.argument("path")
@flags.device
@flags.json
@flags.capture
def info(path: str, device: str, as_json: bool, **capture: Any) -> None:
    """What is PATH?

    A capture, a run folder, a student, or a 2D model such as segmenter:lite.

    Examples:
        purify3d info "synthetic:7?frames=24"
        purify3d info segmenter:lite --json
        purify3d info runs/room
    """
    from purify3d.cli.describe import describe

    given = {name: value for name, value in capture.items() if value is not None}
    facts = describe(path, device=device, capture=flags.checked(lambda: CaptureConfig(path, **given)))
    show.pairs(facts, as_json)


@program.command(cls=flags.Command)
@click.option("--frames", default=48, type=click.IntRange(2, 5000), help="Frames that the room is filmed in.")
@click.option(
    "--room",
    default=7,
    type=click.IntRange(0, 10**9),
    help="Number of the room; each is furnished differently.",
)
@click.option("-o", "--output", help="Folder for the capture and the run [default: runs/demo].")
@flags.model
def demo(frames: int, room: int, output: str | None, **model: Any) -> None:
    """Label a procedural room and compare with its ground truth.

    The room is furnished, filmed, lifted and purified, offline, in minutes.

    Examples:
        purify3d demo
        purify3d demo --room 9 --frames 24 -o runs/room-9
    """
    from purify3d.captures.formats.nerfstudio import write_nerfstudio
    from purify3d.rooms import CLASSES, synthetic_scene

    folder = flags.folder(output, Path("runs/demo"))
    capture = folder / f"room-{room}-{frames}"
    if not capture.exists():
        write_nerfstudio(synthetic_scene(room, frames=frames), capture)
    given = {name: value for name, value in model.items() if value is not None}
    show.report(segment_one(folder / "run", job(capture, CLASSES, **given), overwrite=True), as_json=False)


for command in (segment, objects, export, check, prepare, benchmark, compare, select, train, view):
    program.add_command(command)

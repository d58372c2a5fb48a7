"""`purify3d select` and `train`: from captures to a student."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from purify3d.affinities.config import COMPACT, PAPER
from purify3d.base.settings import to_plain
from purify3d.cli import flags, show
from purify3d.training.config import PAPER_TRAINING, TrainConfig

if TYPE_CHECKING:
    from purify3d.base.workers import Workers
    from purify3d.training.preparing import Making


#: Settings of a student that `--student` decides.
SHAPE = ("feature_dim", "blocks", "out_channels", "voxel_size", "words")


@click.command(cls=flags.Command)
@click.argument("captures", nargs=-1, required=True)
@click.option("-o", "--output", required=True, help="Folder of the student.")
@click.option(
    "--teacher",
    default="geometric",
    help="What it learns from: sonata[:WEIGHTS], geometric, or truth (labels).",
)
@click.option(
    "--student",
    "shape",
    type=click.Choice(["compact", "paper"]),
    default="compact",
    help="Network: compact reads evidence for words and serves every 2D model; paper is 512 wide and reads "
    "the features of one.",
)
@click.option(
    "--backbone",
    default="segmenter:lite",
    help="2D model whose features it reads beside the geometry, or none.",
)
@click.option("--steps", type=click.IntRange(min=1), help="Train for so many steps, whatever the time.")
@click.option(
    "--minutes",
    type=float,
    callback=flags.within(0.01, 10**5),
    help="Train for as many steps as fit [default: 20].",
)
@click.option(
    "--hold-out",
    type=click.IntRange(min=0),
    help="Keep the last n captures for measuring [default: a tenth].",
)
@click.option(
    "--cache", cls=flags.Flag, common=False, help="Folder for prepared scenes [default: OUTPUT/scenes]."
)
@click.option(
    "--cache-limit",
    cls=flags.Flag,
    common=False,
    type=float,
    callback=flags.within(0.01, 1e6),
    default=20.0,
    help="GB that prepared scenes may take.",
)
@flags.jobs("How many captures are made ready at a time.")
@click.option(
    "--ray",
    cls=flags.Flag,
    common=False,
    help="Address of a Ray cluster that captures are made ready on, or local.",
)
@flags.device
@flags.overwrite
@flags.json
@flags.of(COMPACT, but=SHAPE)
@flags.of(TrainConfig)
def train(
    captures: tuple[str, ...],
    output: str,
    teacher: str,
    shape: str,
    backbone: str,
    steps: int | None,
    minutes: float | None,
    hold_out: int | None,
    cache: str | None,
    cache_limit: float,
    jobs: int,
    ray: str | None,
    device: str,
    overwrite: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a student on CAPTURES, without labels.

    It learns from a teacher that knows geometry. CAPTURES are folders in known formats, or procedural rooms
    (synthetic:2000, synthetic:2000..2019). The same command again goes on where a training was stopped, and
    ends with the same weights.

    Examples:
        purify3d train synthetic:2000..2019 --minutes 20 -o runs/student
        purify3d train prepared/* --teacher sonata --hold-out 5 -o runs/student-sonata
    """
    from purify3d.affinities.embeddings import words_of
    from purify3d.base.devices import find_device
    from purify3d.base.workers import workers
    from purify3d.cli.describe import describe
    from purify3d.runs.job import model_anywhere
    from purify3d.training import parallel, train, write_report
    from purify3d.training.loop import LOG, STATE
    from purify3d.training.preparing import Making, loaded

    chosen = flags.checked(lambda: workers(jobs, ray))
    folder = flags.folder(output, Path("student"))
    config = flags.changed(PAPER_TRAINING if shape == "paper" else TrainConfig(), settings)
    network = flags.changed(PAPER if shape == "paper" else COMPACT, settings)
    if steps is None and minutes is None:
        minutes = 20.0
    device = str(find_device(device))
    with parallel.together(device) as device:
        names = _expanded(captures)
        if (folder / "model.safetensors").is_file() and not overwrite:
            _refuse_another(folder, names, teacher)
            click.echo(
                f"{folder} holds a finished student, not repeated (--overwrite trains it again)", err=True
            )
            return show.pairs(describe(str(folder)), as_json)
        known = None if backbone == "none" else model_anywhere(backbone)
        model = None if known is None else loaded(known, device)
        if shape == "paper":
            network = replace(network, feature_dim=0 if model is None else model.space.dim)
        elif model is None:
            network = replace(network, words=())
        if network.words and model is not None and words_of(network, model) is None:
            click.echo(
                f"warning: {backbone} knows only words of a table, so the student reads none and learns from "
                "geometry alone; --backbone none says the same",
                err=True,
            )
        kept = Path(cache or folder / "scenes").absolute()
        taught = model_anywhere(teacher) if ":" in teacher else teacher  # a bare one is a name, no path
        making = Making(network, taught, known, kept, cache_limit * 1e9, device)
        recipe = making.recipe()  # a model that is not there is said once, and not of every capture
        if ray is not None:  # which gives each capture a GPU of its own
            making = replace(making, device=device.partition(":")[0])
        files = _prepared(names, making, chosen)
        count = hold_out if hold_out is not None else (len(files) // 10 if len(files) >= 5 else 0)
        if count >= len(files):
            raise click.UsageError(f"found {len(files)} captures and --hold-out {count}; expected fewer")
        split = len(files) - count
        if both := [
            name for name, file in zip(names[split:], files[split:], strict=True) if file in files[:split]
        ]:
            raise click.UsageError(
                f"found {both[0]} among the captures to train on and those held out; expected each once"
            )
        if overwrite and parallel.rank() == 0:  # not before everything else is known to be there
            for name in (STATE, LOG, "model.safetensors"):
                (folder / name).unlink(missing_ok=True)
        parallel.wait()
        student, facts = train(
            folder,
            network,
            files[:split],
            files[split:],
            config,
            steps=steps,
            minutes=minutes,
            device=device,
            progress=show.progress if parallel.rank() == 0 else lambda items, **_: items,
        )
        if parallel.rank() != 0:
            return
        if steps is not None and facts["steps"] != steps:
            click.echo(
                f"warning: found --steps {steps} and a training of {facts['steps']} steps that was stopped; "
                "it went on as it was begun. --overwrite trains anew",
                err=True,
            )
        facts |= {
            "captures": names[:split],
            "held_out": names[split:],
            "teacher": recipe.teacher.name,
            "licence": recipe.teacher.licence,
            "backbone": None if model is None else model.space.id,
            "device": device,
            "processes": parallel.size(),
            "settings": to_plain(config),
            "command": ["purify3d", *sys.argv[1:]],
        }
        write_report(folder, network, facts, folder / LOG)
        student.save_pretrained(folder)  # last: a folder with weights is finished, reports and all
        (folder / STATE).unlink(missing_ok=True)
        show.pairs(describe(str(folder)), as_json)


@click.command(cls=flags.Command)
@click.argument("captures", nargs=-1, required=True)
@click.option("--count", default=20, type=click.IntRange(min=1), help="How many to take.")
@click.option(
    "--by",
    type=click.Choice(["words", "geometry", "labels"]),
    default="words",
    help="What scenes are compared by; labels reads their ground truth, as the paper does.",
)
@click.option("--backbone", default="segmenter:lite", help="2D model, for --by words.")
@click.option(
    "--frames", default=24, type=click.IntRange(min=1), help="Look at so many frames of each scene."
)
@flags.seed("Seed of the random draws in clustering.")
@flags.device
@flags.json
def select(
    captures: tuple[str, ...],
    count: int,
    by: Any,
    backbone: str,
    frames: int,
    seed: int,
    device: str,
    as_json: bool,
) -> None:
    """Which of many CAPTURES are worth training on?

    Lists --count of them, one a line, ready for `purify3d train`.

    Examples:
        purify3d select synthetic:2000..2003 --count 2 --frames 4
        purify3d select prepared/* --by geometry --json
    """
    import numpy as np

    from purify3d.backbones import load_backbone
    from purify3d.captures import open_capture
    from purify3d.training.selection import choose, histogram

    names = _expanded(captures)
    if count > len(names):
        raise click.UsageError(f"found {len(names)} captures and --count {count}; expected at most as many")
    model = load_backbone(backbone, device=device) if by == "words" else None
    looked = show.progress(names, name="look", total=len(names))
    rows = [histogram(open_capture(name, limit=frames), by, model) for name in looked]
    widest = max(map(len, rows))
    chosen = choose(np.stack([np.pad(row, (0, widest - len(row))) for row in rows]), count, seed=seed)
    if as_json:
        return click.echo(json.dumps({"by": by, "seed": seed, "captures": [names[i] for i in chosen]}))
    for i in chosen:
        click.echo(names[i])


def _refuse_another(folder: Path, names: list[str], teacher: str) -> None:
    """A finished student of other captures or another teacher is not what was asked for."""
    from purify3d.base.errors import RunError
    from purify3d.training import facts_of

    known = facts_of(folder)
    trained = [*known.get("captures", []), *known.get("held_out", [])]
    if known and (trained != names or known.get("teacher") != teacher.partition(":")[0]):
        raise RunError(
            f"{folder} holds a finished student of {len(trained)} captures and the teacher "
            f"{known.get('teacher')!r}; found {len(names)} captures, or others, and {teacher!r}. Name "
            "another --output, or give --overwrite to train it again"
        )


def _expanded(captures: tuple[str, ...]) -> list[str]:
    """The captures, `synthetic:A..B` as one for each room."""
    from purify3d.base.errors import CaptureError
    from purify3d.benchmarking.datasets.listing import expanded

    try:
        return expanded(captures)
    except CaptureError as error:
        raise click.UsageError(str(error)) from error


def _prepared(names: list[str], making: Making, workers: Workers) -> list[Path]:
    """Prepared scenes, each made by one process; with torchrun the others wait for it.

    Raises:
        CaptureError: some cannot be; the others are made and kept.
    """
    from purify3d.base.errors import CaptureError
    from purify3d.captures import open_capture
    from purify3d.runs.job import capture_anywhere
    from purify3d.training import parallel
    from purify3d.training.preparing import prepare_all

    found = [capture_anywhere(name) for name in names]
    mine = found[parallel.rank() :: parallel.size()]
    made = prepare_all(mine, making, workers=workers, progress=show.progress)
    failed = {name: one.why for name, one in made.items() if one.result is None}
    if len(made) > 1:
        for name, why in failed.items():
            click.echo(f"{name} failed: {why}", err=True)
    if failed:
        name, why = next(iter(failed.items()))
        raise CaptureError(
            f"{len(failed)} of {len(made)} captures could not be made ready for training: {name}: {why}. "
            "Repair them or leave them out; the others are kept and not made again"
        )
    recipe, cache = making.recipe(), making.cache()
    files = [made[n].result if n in made else cache.path_of(open_capture(n), recipe) for n in found]
    parallel.wait()
    return [file for file in files if file is not None]

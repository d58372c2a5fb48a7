"""`purify3d segment`: one capture, or many."""

from __future__ import annotations

import glob
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from purify3d.base.files import name_of
from purify3d.captures import CaptureConfig
from purify3d.cli import flags, show
from purify3d.runs.job import PRESETS, Job, changed

if TYPE_CHECKING:
    from purify3d.runs import Run


@click.command(cls=flags.Command)
@click.argument("captures", nargs=-1)
@flags.output
@flags.preset
@click.option("--config", type=click.Path(path_type=Path), help="config.json of a run to repeat.")
@flags.overwrite
@flags.no_check
@flags.jobs("How many of several captures at a time.")
@flags.json
@flags.of(Job, but=("path",))
def segment(
    captures: tuple[str, ...],
    output: str | None,
    preset: str | None,
    config: Path | None,
    overwrite: bool,
    no_check: bool,
    jobs: int,
    as_json: bool,
    **settings: Any,
) -> None:
    """Label every point of a capture with words.

    CAPTURES are folders in one of the known formats, a transforms.json, or synthetic:SEED. What a run was
    made with lies in its config.json: `purify3d segment --config FILE` repeats it, and flags change it. Of
    several captures (also as a quoted pattern, "scans/*") each gets a folder of its name in --output
    [default: runs], one that fails stops no other, and the summary says which did.

    Examples:
        purify3d segment "synthetic:7?frames=24" --labels "wall, floor, bed, chair, table" -o runs/room
        purify3d segment --config runs/room/config.json --rounds 6 -o runs/room
        purify3d segment my_scan --labels scannet20 --preset paper --affinity geometric
    """
    paths = [path for capture in captures for path in _matching(capture)]
    job = _job(paths[0] if paths else None, preset, config, settings)
    if len(paths) > 1:
        return _many(paths, job, output, overwrite, no_check, jobs, as_json)
    folder = flags.folder(output, Path("runs") / name_of(job.capture.path))
    show.report(segment_one(folder, job, overwrite=overwrite, check=not no_check), as_json)


def segment_one(folder: Path, job: Job, *, overwrite: bool, check: bool = True) -> Run:
    """Do a job and say what is reused."""
    from purify3d.base.axes import describe_axis
    from purify3d.pipeline import run_job
    from purify3d.runs import check_writable
    from purify3d.runs.folder import Folder

    Folder(folder)
    check_writable(folder)
    scene = job.capture.open()
    skipped = f", {scene.skipped} skipped (pose not finite)" if scene.skipped else ""
    click.echo(
        f"{scene.name}: {len(scene.frames)} frames{skipped}, up is {describe_axis(scene.up)}", err=True
    )
    run = run_job(
        job,
        folder,
        scene=scene,
        overwrite=overwrite,
        check=check,
        command=["purify3d", *sys.argv[1:]],
        report=lambda line: click.echo(line, err=True),
        progress=show.progress,
    )
    for stage in run.reused:
        click.echo(f"{stage}: already done in {folder}, not repeated", err=True)
    return run


def _many(
    paths: list[str],
    job: Job,
    output: str | None,
    overwrite: bool,
    no_check: bool,
    jobs: int,
    as_json: bool,
) -> None:
    """Several captures, each into a folder of its own; one summary."""
    from purify3d.base.workers import Outcome, workers
    from purify3d.benchmarking.datasets.listing import captures_of
    from purify3d.benchmarking.scene import Facts, SceneTask, attempt_scenes, segment_scene

    if job.capture.onto is not None:
        raise click.UsageError("found --onto and several captures; expected one capture for one cloud")
    named = captures_of(paths, job.capture.reader)
    folder = flags.folder(output, Path("runs"))
    tasks = [
        SceneTask(
            name,
            replace(job, capture=replace(job.capture, path=path)),
            (),
            folder / name,
            check=not no_check,
            overwrite=overwrite,
            command=("purify3d", *sys.argv[1:]),
        )
        for name, path in named.items()
    ]
    done: dict[str, Outcome[Facts]] = {}
    for outcome in attempt_scenes(tasks, segment_scene, workers(jobs)):
        done[outcome.name] = outcome
        for warning in outcome.result.values.get("warnings", []) if outcome.result else ():
            click.echo(f"warning: {outcome.name}: {warning}", err=True)
        said = f"failed: {outcome.why}" if outcome.result is None else "done"
        click.echo(f"{len(done)}/{len(tasks)} {outcome.name}: {said}", err=True)
    outcomes = [done[task.name] for task in tasks]
    if as_json:
        click.echo(json.dumps({o.name: o.result.values if o.result else {"failed": o.why} for o in outcomes}))
    else:
        show.summary(outcomes, folder)
    if any(outcome.result is None for outcome in outcomes):
        click.get_current_context().exit(1)


def _matching(capture: str) -> list[str]:
    """The capture, or those that a quoted pattern stands for; an address of a room is no pattern."""
    from purify3d.captures import is_procedural

    if is_procedural(capture) or Path(capture).exists() or not glob.has_magic(capture):
        return [capture]
    found = sorted(glob.glob(capture))
    if not found:
        raise click.UsageError(
            f"found nothing that matches {capture!r}; expected captures. Check the pattern"
        )
    return found


def _job(capture: str | None, preset: str | None, config: Path | None, settings: dict[str, Any]) -> Job:
    """What the flags ask for, on top of a preset, on top of a configuration, where they are named."""
    given = {name: value for name, value in settings.items() if value is not None}
    if capture is not None:
        given["path"] = capture
    if config is not None:
        base = flags.checked(lambda: Job.read(config, **given))
    elif capture is None:
        raise click.UsageError("found no CAPTURE; expected one, or --config with the settings of a run")
    elif "labels" not in given:
        raise click.UsageError(
            'found no --labels; expected names ("chair, table, sofa|couch"), a set, or a file'
        )
    else:
        base = flags.checked(lambda: Job(CaptureConfig(capture), given["labels"]))
    if preset is not None:
        base = replace(base, method=PRESETS[preset])
    return flags.checked(lambda: changed(base, given))

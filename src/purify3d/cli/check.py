"""`purify3d check`: is a capture what it is taken for?"""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from purify3d.base.files import name_of
from purify3d.cli import flags, show


@click.command(cls=flags.CaptureCommand)
@click.argument("path")
@click.option("--onto", help="Cloud or mesh that is to be labelled: does it lie where the frames see it?")
@click.option("-o", "--output", help="Picture of overlaid views [default: runs/NAME-check.png].")
@click.option("--fix", help="Folder to write a corrected capture to, if a mistake was found.")
@flags.json
def check(
    path: str, onto: str | None, output: str | None, fix: str | None, as_json: bool, **capture: Any
) -> None:
    """Look at a capture before an hour is lost: frames, units, axes, and whether the frames agree.

    Exit code 1 if something is wrong. With --fix the capture without the mistake is written as a nerfstudio
    capture (transforms.json, images as JPEG of quality 95, depth in millimetres).
    """
    from purify3d.base.errors import CaptureError
    from purify3d.checking import cloud_fit, examine, look
    from purify3d.checking.overlay import overlay
    from purify3d.clouds import read_cloud
    from purify3d.runs.job import CaptureConfig

    given = {name: value for name, value in capture.items() if value is not None}
    config = flags.checked(lambda: CaptureConfig(path, **given))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        scene, stored = config.whole()
    if config.every or config.limit:
        kept = scene.frames[:: config.every or 1][: config.limit]
        scene = replace(scene, frames=kept)
    report = examine(scene, stored, max_depth=config.max_depth)
    remarks = [str(warning.message) for warning in said] + report.remarks + [report.far] * bool(report.far)
    unknown = math.isnan(report.agreement.share) and report.found is None
    good, verdict = report.good or unknown, report.verdict
    views = look(scene.frames)
    if onto is not None:
        fit = cloud_fit(read_cloud(onto, origin=scene.origin).xyz.numpy(), views.within(config.max_depth))
        good, verdict = good and fit.good, f"{verdict}. {onto}: {fit.sentence()}"
    picture = Path(output) if output else Path("runs") / f"{name_of(path)}-check.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    overlay(scene.frames, views).save(picture)
    written: Path | None = None
    if fix is not None:
        if report.found is None:
            raise CaptureError(f"{path}: found no mistake that can be mended; nothing is written. {verdict}")
        written = _mend(config, report, Path(fix))
    if as_json:
        facts = report.facts | {
            "agree": None if math.isnan(report.agreement.share) else report.agreement.share,
            "good": good,
            "found": None if report.found is None else report.found.fix.wrong,
            "agree_without": None if report.found is None else report.found.share,
            "remarks": remarks,
            "verdict": verdict,
            "picture": str(picture),
            "fixed": None if written is None else str(written),
        }
        click.echo(json.dumps(facts))
    else:
        show.pairs(report.facts)
        for remark in remarks:
            click.echo(f"note: {remark}")
        click.echo(f"{'ok' if good else 'WRONG'}: {verdict}")
        click.echo(f"wrote {picture}")
        if written is not None:
            click.echo(f"wrote {written}, a corrected capture: purify3d segment {written} --labels ...")
    if not good and written is None:
        click.get_current_context().exit(1)


def _mend(config: Any, report: Any, folder: Path) -> Path:
    """The capture without its mistake, upright, as a nerfstudio capture."""
    from purify3d.captures.formats.nerfstudio import write_nerfstudio
    from purify3d.captures.reading.images import guess_up

    scene, _ = config.whole()
    mended = report.found.fix.of_scene(scene)
    if config.up is None:
        mended = replace(mended, up=guess_up(mended.frames))
    return write_nerfstudio(mended, folder)

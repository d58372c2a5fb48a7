"""`purify3d check`: is a capture what it is taken for?"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import click

from purify3d.base.files import name_of, write_whole
from purify3d.captures import CaptureConfig
from purify3d.cli import flags, show

_SAID = {"right": "ok", "wrong": "WRONG", "undecided": "UNDECIDED"}
_EXIT = {"right": 0, "wrong": 1, "undecided": 3}


@click.command(cls=flags.Command)
@click.argument("path")
@click.option(
    "--onto", help="Cloud or mesh that is to be labelled: see whether it lies where the frames show it."
)
@click.option("-o", "--output", help="Picture of overlaid views [default: runs/NAME-check.png].")
@click.option("--fix", help="Folder to write a corrected capture to, if a mistake was found.")
@flags.json
@flags.capture
def check(
    path: str, onto: str | None, output: str | None, fix: str | None, as_json: bool, **capture: Any
) -> None:
    """Look whether the frames of a capture agree with each other.

    Wrong units, axes or poses are named before an hour is lost. Exit code 1 if something is wrong, 3 if that
    cannot be decided: frames that see nothing together, or sizes as in no scan. With --fix the capture is
    written without the mistake, as a nerfstudio capture (transforms.json, images as JPEG of quality 95, depth
    in millimetres).

    Examples:
        purify3d check "synthetic:7?frames=24"
        purify3d check my_scan --depth-unit 0.001 --fix my_scan_fixed
    """
    from purify3d import checking

    given = {name: value for name, value in capture.items() if value is not None}
    config = flags.checked(lambda: CaptureConfig(path, onto=onto, **given))
    report = checking.check(**vars(config))
    picture = Path(output) if output else Path("runs") / f"{name_of(path)}-check.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    write_whole(picture, report.picture().save)
    written = None if fix is None else report.write_fixed(fix)
    if as_json:
        facts = report.facts | {
            "agree": None if math.isnan(report.agreement.share) else report.agreement.share,
            "status": report.status,
            "good": report.good,
            "found": None if report.found is None else report.found.fix.wrong,
            "agree_without": None
            if report.found is None or math.isnan(report.found.share)
            else report.found.share,
            "wrong_frames": [frame.name for frame in report.wrong],
            "remarks": report.remarks,
            "verdict": report.verdict,
            "picture": str(picture),
            "fixed": None if written is None else str(written),
        }
        click.echo(json.dumps(facts))
    else:
        show.pairs(report.facts)
        for remark in report.remarks:
            click.echo(f"note: {remark}")
        click.echo(f"{_SAID[report.status]}: {report.verdict}")
        click.echo(f"wrote {picture}")
        if written is not None:
            click.echo(f"wrote {written}, a corrected capture: purify3d segment {written} --labels ...")
    if not report.good and written is None:
        click.get_current_context().exit(_EXIT[report.status])

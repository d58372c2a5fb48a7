"""`purify3d objects`: the single things of a finished run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from purify3d.cli import flags, show

if TYPE_CHECKING:
    from purify3d.runs.objects import Found


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--text", help="Only what fits these words, the best first.")
@click.option("--top", type=click.IntRange(min=1), help="Objects to list [default: all]; the files hold all.")
@click.option(
    "--least", type=click.IntRange(min=1), help="Points of an object; fewer are none [default: 60]."
)
@click.option(
    "--cut",
    type=float,
    callback=flags.within(0, 2),
    help="Cut what holds together less than this, such as 0.01, in two [default: 0, never].",
)
@flags.device
@flags.json
def objects(
    run: Path,
    text: str | None,
    top: int | None,
    least: int | None,
    cut: float | None,
    device: str,
    as_json: bool,
) -> None:
    """The single objects of a finished RUN: label, score, upright box, points and the best photos of each.

    They are written as JSON (the fields of ROS vision_msgs/Detection3D), as CSV, and as a PLY of boxes, in
    metres and in the coordinates of the capture.
    """
    click.echo(f"objects of {run}", err=True)
    from purify3d.backbones import load_backbone
    from purify3d.labels.objects import ObjectConfig
    from purify3d.runs import Run
    from purify3d.runs.objects import as_json as detections
    from purify3d.runs.objects import objects_of

    finished = Run.finished(run)
    job = finished.job
    heeds_words = text is not None or job.method.purify.affinity not in (
        "geometric",
        "uniform",
    )
    backbone = load_backbone(job.backbone, device=device) if heeds_words else None
    given = {name: value for name, value in (("least", least), ("cut", cut)) if value is not None}
    config = ObjectConfig(**given)  # type: ignore[arg-type]
    found, files = objects_of(finished, text=text, backbone=backbone, config=config, progress=show.progress)
    if as_json:
        frame = finished.read_json("scene.json")["name"]
        facts = detections(found[:top], frame) | {"files": [str(file) for file in files]}
        return click.echo(json.dumps(facts))
    _show(found, top)
    for file in files:
        click.echo(f"wrote {file}")


def _show(found: list[Found], top: int | None) -> None:
    rows = [
        [
            one.id,
            f"{one.thing.score:.3f}",
            str(one.thing.points),
            " ".join(f"{value:.2f}" for value in one.thing.center),
            " ".join(f"{value:.2f}" for value in one.thing.size),
            f"{math.degrees(one.thing.yaw):.0f}",
            one.photos[0] if one.photos else "-",
        ]
        for one in found[:top]
    ]
    if not rows:
        return click.echo("no such object here")
    show.table(["object", "score", "points", "centre x y z, m", "size, m", "yaw, deg", "best photo"], rows)
    if len(rows) < len(found):
        click.echo(f"{len(found) - len(rows)} more are in the files")

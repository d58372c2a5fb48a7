"""`purify3d objects`: the single things of a finished run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from purify3d.cli import flags, show
from purify3d.labels.config import ObjectConfig

if TYPE_CHECKING:
    from purify3d.labels.objects import Found


@click.command(cls=flags.Command)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--text", help="Only what fits these words, the best first.")
@click.option(
    "--top", type=click.IntRange(min=1), help="List at most so many; the files hold all [default: all]."
)
@flags.beside
@flags.device
@flags.json
@flags.of(ObjectConfig())
def objects(
    run: Path,
    text: str | None,
    top: int | None,
    output: str | None,
    device: str,
    as_json: bool,
    **settings: Any,
) -> None:
    """The single objects of a finished RUN, in upright boxes.

    Each has a label, a score, a box, points and the photos that show it best. They are written as JSON (the
    fields of ROS vision_msgs/Detection3D), as CSV, and as a PLY of boxes, in metres and in the coordinates of
    the capture.

    Examples:
        purify3d objects runs/room --top 10
        purify3d objects runs/room --text "bed" --json
    """
    from purify3d.runs import Run
    from purify3d.runs.objects import as_json as detections
    from purify3d.runs.objects import write_found

    config = flags.changed(ObjectConfig(), settings)
    finished = Run.open(run, device=device, progress=show.progress)
    found = finished.objects(text, config)
    place = flags.folder(output, None)
    kept = place is not None or finished.files.writable or show.unwritable(run)
    files = write_found(finished, found, text, output=place) if kept else []
    if as_json:
        facts = detections(found[:top], finished.scene.name) | {"files": [str(file) for file in files]}
        return click.echo(json.dumps(facts))
    _show(found, top)
    show.wrote(files)


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

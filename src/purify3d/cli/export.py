"""`purify3d export`: a finished run as a file of other programs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from purify3d.cli import flags, show
from purify3d.exporting import COLORS, FORMATS, Wishes


@click.command(cls=flags.Command)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--to", required=True, type=click.Choice(list(FORMATS)), help="Format to write.")
@click.option("-o", "--output", help="File, or folder of scannet and coco [default: in RUN/export].")
@click.option(
    "--colors",
    type=click.Choice(COLORS),
    help="What points are coloured by [default: label; heat with --text].",
)
@click.option("--text", help="Words whose heat is exported too (ply, npz) or shown as colour.")
@click.option("--mesh", is_flag=True, help="glb: make a mesh of the frames where the run has none.")
@click.option("--features", is_flag=True, help="npz: pooled features too.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help="coco, rrd, --mesh: use at most so many frames [default: all].",
)
@click.option("--overwrite", is_flag=True, help="Replace what an earlier export left there.")
@flags.device
@flags.json
def export(
    run: Path,
    to: str,
    output: str | None,
    colors: str | None,
    text: str | None,
    mesh: bool,
    features: bool,
    limit: int | None,
    overwrite: bool,
    device: str,
    as_json: bool,
) -> None:
    """Write a finished RUN as a file that other programs open.

    ply: CloudCompare, MeshLab. las, laz: QGIS, PDAL. glb: Blender, web pages. rrd: the rerun viewer. npz:
    numpy. scannet: the benchmark's submission. coco: a label and an object for each pixel of the photos.
    Positions are those of the capture. rrd, coco and --mesh read its frames, the others the run alone.

    Examples:
        purify3d export runs/room --to ply -o room.ply
        purify3d export runs/room --to glb --mesh --text "bed"
    """
    click.echo(f"export of {run}", err=True)
    from purify3d.runs import Run

    shown = colors or ("heat" if text else "label")
    wishes = flags.checked(
        lambda: Wishes(shown, text, mesh, features, limit)  # type: ignore[arg-type]
    )
    finished = Run.open(run, device=device, progress=show.progress)
    made = finished.export(to, flags.folder(output, None), wishes, overwrite=overwrite)
    if as_json:
        return click.echo(json.dumps({"format": to, "path": str(made), "points": len(finished.points)}))
    click.echo(f"wrote {made}")

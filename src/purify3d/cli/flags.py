"""Flags that several commands share: the same name means the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]

output = click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder for the results [default: runs/NAME]."
)
backbone = click.option(
    "--backbone", default="segmenter:lite", show_default=True, help="2D model, as family:argument."
)
device = click.option("--device", default="cpu", show_default=True, help="Of the 2D model: cpu, cuda.")
seed = click.option("--seed", default=0, show_default=True, help="Of everything random.")
overwrite = click.option("--overwrite", is_flag=True, help="Replace a run of something else.")
json = click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")


def capture(command: Command) -> Command:
    """How a capture is read."""
    for option in (
        click.option("--reader", help="Capture format: scannet, nerfstudio, tum [default: by the path]."),
        click.option("--up", help="World direction against gravity: +z, -y, or three numbers."),
        click.option("--intrinsics", help="fx,fy,cx,cy in pixels, in place of the capture's own."),
        click.option("--every", type=click.IntRange(min=1), help="Use every n-th frame."),
        click.option("--limit", type=click.IntRange(min=1), help="Use at most n frames, evenly spaced."),
    ):
        command = option(command)
    return command


def method(command: Command) -> Command:
    """How features are lifted, pooled and asked."""
    for option in (
        click.option(
            "--affinity",
            default="geometric",
            show_default=True,
            help="What neighbours are compared by: geometric, uniform, a student's folder, released:FILE.",
        ),
        click.option("--fusion", type=click.Choice(["mean", "consensus"]), default="mean", show_default=True),
        click.option(
            "--rounds",
            type=click.IntRange(min=0),
            default=19,
            show_default=True,
            help="Pooling products; 0 leaves the lifted labels.",
        ),
        click.option(
            "--voxel",
            type=click.FloatRange(min=0, min_open=True),
            default=0.02,
            help="Metres [default: 0.02]",
        ),
        click.option(
            "--confidence",
            type=click.FloatRange(min=0),
            default=4.0,
            show_default=True,
            help="Weight of neighbours whose views agree; 0 = the paper's.",
        ),
        click.option("--threshold", type=float, help="Cosine below which a point gets no label (-1)."),
    ):
        command = option(command)
    return command


def parse_intrinsics(text: str | None) -> tuple[float, float, float, float] | None:
    """`fx,fy,cx,cy` as numbers."""
    if text is None:
        return None
    try:
        fx, fy, cx, cy = (float(value) for value in text.split(","))
    except ValueError as error:
        raise click.BadParameter(
            f"found {text!r}; expected four numbers fx,fy,cx,cy", param_hint="--intrinsics"
        ) from error
    return fx, fy, cx, cy

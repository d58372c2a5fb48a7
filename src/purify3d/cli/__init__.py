"""The command line: the only package that prints for people and exits.

Results go to stdout, progress and warnings to stderr. Heavy imports happen inside the commands, so that help
is quick. Exit codes: 0 done, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import json
import platform
import sys
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from purify3d import __version__
from purify3d.cli import flags, show
from purify3d.errors import LabelError, PurifyError, PurifyWarning

if TYPE_CHECKING:
    from purify3d.runs.folder import Run
    from purify3d.types import Vocabulary


def main() -> None:
    """Entry point of the `purify3d` program."""
    warnings.showwarning = _show_warning
    try:
        program(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.Abort:
        sys.exit("interrupted; finished stages are kept, run the same command again to go on")
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except LabelError as error:
        _fail(error, 2)
    except (PurifyError, OSError) as error:
        _fail(error, 1)


def _fail(error: Exception, code: int) -> None:
    click.echo(f"error: {error}", err=True)
    sys.exit(code)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, PurifyWarning):
        click.echo(f"warning: {message}", err=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def program() -> None:
    """Open-vocabulary 3D segmentation of posed RGB-D scans."""


@program.command()
@click.argument("capture")
@click.option(
    "--labels", required=True, help='"chair, table, sofa|couch" (a bar joins synonyms), or a set: scannet20.'
)
@click.option("--onto", type=click.Path(path_type=Path), help="Cloud or mesh to label (PLY, OBJ, LAS).")
@click.option(
    "--format", "format_", type=click.Choice(["ply", "scannet"]), default="ply", show_default=True,
    help="scannet: also labels.txt with one benchmark id a line.",
)  # fmt: skip
@flags.method
@flags.capture
@flags.backbone
@flags.device
@flags.seed
@flags.output
@flags.overwrite
@flags.json
def segment(
    capture: str,
    labels: str,
    onto: Path | None,
    format_: str,
    backbone: str,
    device: str,
    seed: int,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Label every point of a CAPTURE with words.

    CAPTURE is a folder in one of the known formats, a transforms.json, or synthetic:SEED.
    """
    from purify3d.labelsets import read_labels

    vocabulary, ids = read_labels(labels)
    if format_ == "scannet" and ids is None:
        raise click.UsageError("--format scannet needs --labels to name a label set with ids: scannet20")
    run = _segment_into(
        output or Path("runs") / _name(capture),
        capture,
        vocabulary,
        backbone=backbone,
        device=device,
        seed=seed,
        onto=onto,
        overwrite=overwrite,
        **flags,
    )
    files = [run.folder / name for name in ("labels.ply", "picture.png")]
    if format_ == "scannet" and ids is not None:
        from purify3d.runs.export import write_benchmark_ids

        files.append(write_benchmark_ids(run, ids))
    show.report(run, files, as_json)


@program.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("text")
@click.option("--top", default=5, show_default=True, type=click.IntRange(min=1), help="Regions to list.")
@flags.device
@flags.json
def query(run: Path, text: str, top: int, device: str, as_json: bool) -> None:
    """Where in a finished RUN is TEXT? Heat per point, and the regions that stand out."""
    from purify3d.backbones import load_backbone
    from purify3d.runs import ask
    from purify3d.runs.folder import Run

    finished = Run.finished(run)
    answer = ask(finished, text, load_backbone(finished.config["backbone"], device=device), limit=top)
    if as_json:
        regions = [asdict(region) for region in answer.regions]
        click.echo(json.dumps({"text": text, "regions": regions, "files": [str(f) for f in answer.files]}))
        return
    rows = [
        [
            str(i),
            f"{r.score:.3f}",
            str(r.points),
            *(" ".join(f"{v:.2f}" for v in t) for t in (r.center, r.size)),
        ]
        for i, r in enumerate(answer.regions, start=1)
    ]
    show.table(["#", "score", "points", "centre x y z, m", "size x y z, m"], rows)
    if not rows:
        click.echo("no region stands out")
    for file in answer.files:
        click.echo(f"wrote {file}")


@program.command("eval")
@click.argument("run", type=click.Path(path_type=Path))
@flags.json
def evaluate(run: Path, as_json: bool) -> None:
    """Compare a finished RUN with the truth of its capture: IoU and accuracy per class."""
    from purify3d.runs import evaluate_run
    from purify3d.runs.folder import Run

    metrics = evaluate_run(Run.finished(run))
    if as_json:
        return click.echo(json.dumps(metrics))
    show.scores(metrics)


@program.command()
@click.argument("path")
@flags.device
@flags.json
def info(path: str, device: str, as_json: bool) -> None:
    """What is PATH? A capture, a run folder, or a backbone such as segmenter:lite."""
    from purify3d.describe import describe

    facts = describe(path, device=device)
    if as_json:
        click.echo(json.dumps(facts))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        click.echo(f"{name:<{width}}  {', '.join(map(str, value)) if isinstance(value, list) else value}")


@program.command()
@click.option(
    "--frames", default=48, show_default=True, type=click.IntRange(min=2), help="Views of the room."
)
@click.option("--seed", default=7, show_default=True, help="Which room.")
@flags.backbone
@flags.device
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("runs/demo"), show_default=True)
def demo(frames: int, seed: int, backbone: str, device: str, output: Path) -> None:
    """Furnish a room, film it, lift, purify, and compare with the truth: offline, in minutes."""
    from purify3d.captures.nerfstudio import write_nerfstudio
    from purify3d.rooms import CLASSES, synthetic_scene
    from purify3d.types import Vocabulary

    capture = output / f"room-{seed}-{frames}"
    if not capture.exists():
        click.echo(f"rendering {frames} frames of room {seed}", err=True)
        write_nerfstudio(synthetic_scene(seed, frames=frames), capture)
    run = _segment_into(
        output / "run",
        str(capture),
        Vocabulary.parse(list(CLASSES)),
        backbone=backbone,
        device=device,
        seed=seed,
        overwrite=True,
    )
    show.report(run, [run.folder / name for name in ("labels.ply", "picture.png")], as_json=False)


# --------------------------------------------------------------------------------------------------- helpers


def _segment_into(
    folder: Path,
    capture: str,
    vocabulary: Vocabulary,
    *,
    backbone: str,
    device: str,
    seed: int,
    onto: Path | None = None,
    overwrite: bool = False,
    reader: str | None = None,
    up: str | None = None,
    intrinsics: str | None = None,
    every: int | None = None,
    limit: int | None = None,
    affinity: str = "geometric",
    fusion: Literal["mean", "consensus"] = "mean",
    rounds: int = 19,
    confidence: float = 4.0,
    voxel: float = 0.02,
    threshold: float | None = None,
) -> Run:
    import torch

    from purify3d.affinities import PurifyConfig, load_embedding
    from purify3d.backbones import load_backbone
    from purify3d.captures import open_capture
    from purify3d.clouds import read_cloud
    from purify3d.geometry import describe_axis
    from purify3d.lifting import LiftConfig
    from purify3d.pipeline import SegmentConfig
    from purify3d.runs import segment_into
    from purify3d.runs.folder import Run, files_fingerprint, fingerprint

    torch.manual_seed(seed)
    run = Run(folder, overwrite=overwrite)
    config = SegmentConfig(
        threshold=threshold,
        lift=LiftConfig(fusion=fusion),
        purify=PurifyConfig(affinity=affinity, voxel=voxel, rounds=rounds, confidence=confidence),
    )
    load_embedding(affinity)  # a wrong name shall fail before the work starts
    scene = open_capture(
        capture, format=reader, up=up, intrinsics=flags.parse_intrinsics(intrinsics), every=every, limit=limit
    )
    if onto is not None:
        scene = replace(scene, points=read_cloud(onto))
    skipped = f", {scene.skipped} skipped (pose not finite)" if scene.skipped else ""
    click.echo(
        f"{scene.name}: {len(scene.frames)} frames{skipped}, up is {describe_axis(scene.up)}", err=True
    )
    reused = segment_into(
        run,
        scene,
        vocabulary,
        load_backbone(backbone, device=device),
        config,
        source=fingerprint(
            files_fingerprint(Path(capture)),
            files_fingerprint(onto) if onto else None,
            [f.name for f in scene.frames],
        ),
        about={
            "command": ["purify3d", *sys.argv[1:]],
            "capture": capture,
            "backbone": backbone,
            "versions": {
                "purify3d": __version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
            "seed": seed,
            "device": device,
            "threads": torch.get_num_threads(),
        },
        progress=show.progress,
    )
    for stage in reused:
        click.echo(f"{stage}: already done in {folder}, not repeated", err=True)
    return run


def _name(capture: str) -> str:
    """A folder name for the results of a capture."""
    path = Path(capture)
    if path.suffix == ".json":
        path = path.parent
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in path.resolve().name)

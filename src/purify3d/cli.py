"""The command line: the only file that prints for people and exits.

Results go to stdout, progress and warnings to stderr. Heavy imports happen inside the commands, so that help
is quick. Exit codes: 0 done, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import json
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from purify3d import __version__
from purify3d.errors import LabelError, PurifyError, PurifyWarning

if TYPE_CHECKING:
    from purify3d.store import Run
    from purify3d.types import Vocabulary

T = TypeVar("T")
Command = Callable[..., Any]


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


# ---------------------------------------------------------------------------------------------- shared flags

_output = click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder for the results [default: runs/NAME]."
)
_backbone = click.option(
    "--backbone", default="segmenter:lite", show_default=True, help="2D model, as family:argument."
)
_device = click.option("--device", default="cpu", show_default=True, help="Of the 2D model: cpu, cuda.")
_seed = click.option("--seed", default=0, show_default=True, help="Of everything random.")
_overwrite = click.option("--overwrite", is_flag=True, help="Replace a run of something else.")
_json = click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")


def _capture_flags(command: Command) -> Command:
    for option in (
        click.option("--reader", help="Capture format: scannet, nerfstudio, tum [default: by the path]."),
        click.option("--up", help="World direction against gravity: +z, -y, or three numbers."),
        click.option("--intrinsics", help="fx,fy,cx,cy in pixels, in place of the capture's own."),
        click.option("--every", type=click.IntRange(min=1), help="Use every n-th frame."),
        click.option("--limit", type=click.IntRange(min=1), help="Use at most n frames, evenly spaced."),
    ):
        command = option(command)
    return command


def _method_flags(command: Command) -> Command:
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
        click.option("--threshold", type=float, help="Cosine below which a point gets no label (-1)."),
    ):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def program() -> None:
    """Open-vocabulary 3D segmentation of posed RGB-D scans."""


# -------------------------------------------------------------------------------------------------- commands


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
@_method_flags
@_capture_flags
@_backbone
@_device
@_seed
@_output
@_overwrite
@_json
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
        from purify3d.export import write_benchmark_ids

        files.append(write_benchmark_ids(run, ids))
    _report(run, files, as_json)


@program.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("text")
@click.option("--top", default=5, show_default=True, type=click.IntRange(min=1), help="Regions to list.")
@_device
@_json
def query(run: Path, text: str, top: int, device: str, as_json: bool) -> None:
    """Where in a finished RUN is TEXT? Heat per point, and the regions that stand out."""
    from purify3d.backbones import load_backbone
    from purify3d.runs import ask
    from purify3d.store import Run

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
    _table(["#", "score", "points", "centre x y z, m", "size x y z, m"], rows)
    if not rows:
        click.echo("no region stands out")
    for file in answer.files:
        click.echo(f"wrote {file}")


@program.command("eval")
@click.argument("run", type=click.Path(path_type=Path))
@_json
def evaluate(run: Path, as_json: bool) -> None:
    """Compare a finished RUN with the truth of its capture: IoU and accuracy per class."""
    from purify3d.runs import evaluate_run
    from purify3d.store import Run

    metrics = evaluate_run(Run.finished(run))
    if as_json:
        return click.echo(json.dumps(metrics))
    _scores_table(metrics)


@program.command()
@click.argument("path")
@_device
@_json
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
@_backbone
@_device
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("runs/demo"), show_default=True)
def demo(frames: int, seed: int, backbone: str, device: str, output: Path) -> None:
    """Furnish a room, film it, lift, purify, and compare with the truth: offline, in minutes."""
    from purify3d.captures.nerfstudio import write_nerfstudio
    from purify3d.captures.synthetic import CLASSES, synthetic_scene
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
    _report(run, [run.folder / name for name in ("labels.ply", "picture.png")], as_json=False)


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
    voxel: float = 0.02,
    threshold: float | None = None,
) -> Run:
    import torch

    from purify3d.backbones import load_backbone
    from purify3d.captures import open_capture
    from purify3d.captures.clouds import read_cloud
    from purify3d.geometry import describe_axis
    from purify3d.lift import LiftConfig
    from purify3d.pipeline import SegmentConfig, load_embedding
    from purify3d.purify import PurifyConfig
    from purify3d.runs import segment_into
    from purify3d.store import Run, files_fingerprint, fingerprint

    torch.manual_seed(seed)
    run = Run(folder, overwrite=overwrite)
    config = SegmentConfig(
        voxel=voxel,
        affinity=affinity,
        threshold=threshold,
        lift=LiftConfig(fusion=fusion),
        purify=PurifyConfig(rounds=rounds),
    )
    load_embedding(affinity)  # a wrong name shall fail before the work starts
    scene = open_capture(
        capture, format=reader, up=up, intrinsics=_intrinsics(intrinsics), every=every, limit=limit
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
        progress=_progress,
    )
    for stage in reused:
        click.echo(f"{stage}: already done in {folder}, not repeated", err=True)
    return run


def _intrinsics(text: str | None) -> tuple[float, float, float, float] | None:
    if text is None:
        return None
    try:
        fx, fy, cx, cy = (float(value) for value in text.split(","))
    except ValueError as error:
        raise click.BadParameter(
            f"found {text!r}; expected four numbers fx,fy,cx,cy", param_hint="--intrinsics"
        ) from error
    return fx, fy, cx, cy


def _name(capture: str) -> str:
    """A folder name for the results of a capture."""
    path = Path(capture)
    if path.suffix == ".json":
        path = path.parent
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in path.resolve().name)


def _progress(items: Iterable[T], *, name: str, total: int) -> Iterable[T]:
    """One bar a stage on a terminal; elsewhere one plain line when it is over."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, desc=name, total=total, dynamic_ncols=True)
        return
    start = time.perf_counter()
    yield from items
    seconds = time.perf_counter() - start
    click.echo(f"{name}: {total} steps in {seconds:.1f} s ({total / max(seconds, 1e-9):.1f}/s)", err=True)


def _report(run: Run, files: Sequence[Path], as_json: bool) -> None:
    """What a finished segmentation says of itself."""
    metrics, legend = run.read_json("metrics.json"), run.read_json("labels.json")
    if as_json:
        click.echo(json.dumps({"metrics": metrics, "labels": legend, "files": [str(f) for f in files]}))
        return
    if "purified" in metrics:
        _scores_table(metrics)
    else:
        _table(
            ["label", "points", "share"],
            [[e["name"], f"{e['points']}", f"{e['points'] / metrics['points']:.1%}"] for e in legend],
        )
    click.echo()
    _table(
        ["stage", "seconds", "peak GB"],
        [[name, f"{v['seconds']:.1f}", f"{v['peak_gb']:.2f}"] for name, v in metrics["stages"].items()],
    )
    for file in files:
        click.echo(f"wrote {file}")


def _scores_table(metrics: dict[str, Any]) -> None:
    raw, purified = metrics["raw"], metrics["purified"]
    rows = [
        [name, _percent(raw["iou"][i]), _percent(purified["iou"][i])]
        for i, name in enumerate(purified["names"])
        if purified["iou"][i] is not None
    ]
    rows += [
        [name, _percent(raw[key]), _percent(purified[key])]
        for name, key in (("mIoU", "miou"), ("mAcc", "macc"), ("f-mIoU", "fmiou"), ("f-mAcc", "fmacc"))
    ]
    _table(["IoU, %", "raw", "purified"], rows)
    absent = [n for n, v in zip(purified["names"], purified["iou"], strict=True) if v is None]
    if absent:
        click.echo(f"not in the scene, so in no mean: {', '.join(absent)}")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns aligned: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True)),
        ]
        click.echo("  ".join(cells).rstrip())


if __name__ == "__main__":
    main()

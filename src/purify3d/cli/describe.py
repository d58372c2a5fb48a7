"""What a path or a name stands for, in a few facts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from purify3d.affinities.student import SHIPPED, Student
from purify3d.backbones import families, load_backbone
from purify3d.base.axes import describe_axis
from purify3d.captures import CaptureConfig
from purify3d.runs.folder import RECORD, Folder
from purify3d.training import facts_of


def describe(name: str, *, device: str = "cpu", capture: CaptureConfig | None = None) -> dict[str, Any]:
    """Facts about a backbone such as `segmenter:lite`, a run folder, a student, or a capture.

    Args:
        capture: how to read it if it is a capture.

    Raises:
        PurifyError: it is none of these, or cannot be opened.
    """
    if name.partition(":")[0] in families():
        return _backbone(name, device)
    if (Path(name) / RECORD).is_file():
        return _run(Folder.finished(Path(name)))
    if name == "student" and not Path(name).exists():
        return _student(SHIPPED)
    if (Path(name) / "model.safetensors").is_file():
        return _student(Path(name))
    return _capture(capture or CaptureConfig(name))


def _backbone(name: str, device: str) -> dict[str, Any]:
    backbone = load_backbone(name, device=device)
    facts = backbone.facts
    return {
        "backbone": name,
        "space": backbone.space.id,
        "kind": facts.kind,
        "channels": backbone.space.dim,
        "licence": facts.licence,
        "size on disk": f"{facts.disk_bytes / 1e6:.1f} MB",
        "input size": facts.input_size,
        "loaded from": facts.source,
    }


def _student(folder: Path) -> dict[str, Any]:
    config, known = Student.from_pretrained(folder).config, facts_of(folder)
    reads = f"{len(config.words)} words" if config.words else f"{config.feature_dim} channels"
    shown = (
        "teacher",
        "backbone",
        "captures",
        "held_out",
        "steps",
        "seconds",
        "pair_accuracy",
        "held_out_stays",
    )
    return {
        "student": str(folder),
        "reads": reads if config.words or config.feature_dim else "geometry only",
        "network": f"{config.width} wide, {config.blocks} blocks, {config.out_channels} channels out",
        "sharpness": f"{config.sharpness:g}, normals and colours {config.geometric:g}",
        "size on disk": f"{(folder / 'model.safetensors').stat().st_size / 1e6:.1f} MB",
        **{name.replace("_", " "): known[name] for name in shown if name in known},
    }


def _run(folder: Folder) -> dict[str, Any]:
    job = folder.job
    return {
        "run": str(folder.path),
        "capture": job.capture.path,
        "backbone": job.backbone,
        "finished": [stage for stage in folder.stages if folder.whole(stage)],
        "labels": ["|".join(words) for words in job.vocabulary.synonyms],
        "files": sorted(path.name for path in folder.path.iterdir() if not path.name.startswith(".")),
    }


def _capture(config: CaptureConfig) -> dict[str, Any]:
    scene = config.open()
    camera, depth = scene.frames[0].camera, scene.frames[0].depth_camera
    facts: dict[str, Any] = {
        "capture": scene.name,
        "frames": len(scene.frames),
        "skipped": scene.skipped,
        "colour": f"{camera.width}x{camera.height}, focal length {camera.fx:.1f} px",
        "depth": f"{depth.width}x{depth.height}",
        "up": describe_axis(scene.up),
        **({"origin": [f"{value:.0f}" for value in scene.origin]} if scene.origin.any() else {}),
        "cloud": "none, frames will be fused" if scene.points is None else f"{len(scene.points)} points",
    }
    if scene.truth:
        facts["truth"] = list(scene.truth.values())
    return facts

"""What a trained student says of itself: model card, facts, plot."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from purify3d.affinities.config import StudentConfig
from purify3d.base.errors import require
from purify3d.base.files import write_text, write_whole

FACTS, CARD, PLOT = "training.json", "README.md", "training.png"


def write_report(folder: Path, student: StudentConfig, facts: dict[str, Any], log: Path) -> list[Path]:
    """training.json, README.md (the model card) and, where matplotlib is installed, training.png.

    Args:
        facts: what `train` gave, with captures, teacher, backbone and settings added.
        log: JSON lines of the training.
    """
    written = [folder / FACTS, folder / CARD]
    write_text(written[0], json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    write_text(written[1], card(student, facts))
    if find_spec("matplotlib") is not None:
        written.append(write_whole(folder / PLOT, lambda place: plot(log, place)))
    return written


def card(student: StudentConfig, facts: dict[str, Any]) -> str:
    """The model card, in the form that hubs read."""
    reads = f"lifted features of {student.feature_dim} channels" if student.feature_dim else ""
    reads = f"the evidence for {len(student.words)} words" if student.words else reads
    figures = {
        "pair accuracy on held-out scenes": facts.get("pair_accuracy"),
        "weight that stays on its own group, held out": facts.get("held_out_stays"),
        "last loss": facts.get("loss"),
    }
    captures = facts["captures"]
    shown = ", ".join(captures[:6]) + (f", ... ({len(captures)} in all)" if len(captures) > 6 else "")
    rows = [
        ("reads", f"{reads or 'geometry only'}{', and ' if reads else ': '}colour and normal per voxel"),
        ("network", f"{student.width} wide, {student.blocks} blocks, {student.out_channels} channels out"),
        ("voxels", f"{student.voxel_size:g} m"),
        (
            "compared at",
            f"sharpness {student.sharpness:g}, with normals and colours at {student.geometric:g}",
        ),
        ("teacher", facts["teacher"]),
        ("2D model in training", facts["backbone"] or "none"),
        ("trained on", shown),
        ("held out", ", ".join(facts["held_out"]) or "nothing"),
        ("steps", f"{facts['steps']} in {facts['seconds'] / 60:.1f} minutes on {facts['device']}"),
        ("seed", str(facts["settings"]["seed"])),
        ("licence of the teacher's weights", facts["licence"]),
        *((name, f"{value:.4f}") for name, value in figures.items() if value is not None),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return (
        "---\nlibrary_name: purify3d\ntags: [3d, point-cloud, segmentation, distillation]\n---\n\n"
        "# A student of purify3d\n\n"
        "Says which neighbouring voxels of a scan belong together (GeoPurify, arXiv 2510.02186). Use it\n"
        "with `purify3d segment SCAN --labels ... --affinity THIS_FOLDER`.\n\n"
        f"| | |\n|---|---|\n{table}\n\n"
        f"Made by: `{' '.join(facts['command'])}`\n"
    )


def plot(log: Path, path: Path) -> None:
    """Loss of each step, and the figures of held-out scenes, over the steps.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    figures: Any = require("matplotlib.figure", "train")
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    figure = figures.Figure(figsize=(8, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([e["step"] for e in entries], [e["loss"] for e in entries], linewidth=0.6)
    left.set(xlabel="step", ylabel="loss")
    for name in ("pair_accuracy", "held_out_stays"):
        points = [(e["step"], e[name]) for e in entries if name in e]
        if points:
            right.plot(*zip(*points, strict=True), marker=".", label=name.replace("_", " "))
    right.set(xlabel="step", title="held-out scenes")
    if right.lines:
        right.legend()
    figure.savefig(path, dpi=110)


def facts_of(folder: Path) -> dict[str, Any]:
    """What is known of a student's training; empty where nothing was written."""
    file = folder / FACTS
    try:
        known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}

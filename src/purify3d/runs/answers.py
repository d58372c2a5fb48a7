"""Answers as files of a run."""

from __future__ import annotations

from pathlib import Path

from purify3d.clouds.ply import write_ply
from purify3d.labels.questions import Answer
from purify3d.pictures.palettes import heat_colors
from purify3d.runs.artefacts import name_with_words
from purify3d.runs.figures import heat_figure
from purify3d.runs.folder import StageWriter, fingerprint
from purify3d.runs.run import Run


def write_answer(run: Run, text: str, answer: Answer, *, output: Path | None = None) -> tuple[Path, Path]:
    """What `run.query(text)` gave: a PLY with the heat as colour and the cosine as score, and a picture.

    Args:
        output: a folder; None: the run's.

    Raises:
        RunError: the run lives in memory, or the folder cannot be written.
    """
    scene, name = run.scene, name_with_words("query", text)
    (figure,) = (heat_figure(scene, answer) for _ in run.progress([0], name="picture", total=1))
    rgb, score = heat_colors(answer.heat.numpy()), answer.score.numpy()

    def write(making: StageWriter) -> tuple[Path, Path]:
        cloud = making.write(
            f"{name}.ply",
            lambda path: write_ply(path, scene.cloud(), rgb=rgb, score=score, origin=scene.origin),
        )
        return cloud, making.write(f"{name}.png", figure.save)

    return run.keep(name, fingerprint(run.fingerprint("purify"), text), ("purify",), write, output=output)

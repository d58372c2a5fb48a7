"""Questions to a finished run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from purify3d.affinities.embeddings import Embedding, load_embedding
from purify3d.affinities.purifying import PurifyConfig, purify
from purify3d.backbones import Backbone, embed_vocabulary
from purify3d.base.errors import RunError
from purify3d.base.progress import Progress, silent
from purify3d.clouds.ply import write_ply
from purify3d.labels.questions import Answer, query
from purify3d.pictures.palettes import heat_colors
from purify3d.runs import artefacts
from purify3d.runs.folder import Run, fingerprint
from purify3d.runs.pictures import heat_picture
from purify3d.types import PointCloud, PointFeatures, TextBank

_PATIENCE = 30.0  # seconds to wait for another question


def ask(
    run: Run,
    text: str,
    backbone: Backbone,
    *,
    limit: int = 5,
    threshold: float | None = None,
    progress: Progress = silent,
) -> tuple[Answer, tuple[Path, Path]]:
    """Heat of free text over a finished run, without lifting again.

    The pooled features of the run are compared; they are made by the first question where `segment` has not
    made them.

    Args:
        text, limit, threshold: see `query`.
        backbone: the one the run was lifted with.

    Returns:
        The answer; a PLY with the heat as colour and the cosine as score, and a picture.

    Raises:
        LabelError: no words.
        SpaceMismatchError: another backbone.
        RunError: a file of the run is missing or cannot be read or written.
    """
    need_features(run)
    bank = embed_vocabulary(backbone, [text])
    scene = artefacts.read_scene(run)
    points = scene.cloud()
    with run.writing(patience=_PATIENCE):
        features = purified_features(run, points, bank, backbone, progress)
        answer = query(points, features, text, backbone, limit=limit, threshold=threshold)
        answer = replace(answer, regions=[region.moved(scene.origin) for region in answer.regions])
        (image,) = (heat_picture(scene, answer) for _ in progress([0], name="picture", total=1))
        name, rgb = file_name(text), heat_colors(answer.heat.numpy())
        with run.making(name, fingerprint(run.print_of("purify"), text)) as stage:
            cloud = stage.write(
                f"{name}.ply",
                lambda path: write_ply(
                    path, points, rgb=rgb, score=answer.score.numpy(), origin=scene.origin
                ),
            )
            shown = artefacts.write_picture(stage, image, f"{name}.png")
    return answer, (cloud, shown)


def file_name(text: str) -> str:
    """`query-WORDS`; with a few digits of a hash where other texts could have the same words in a name."""
    words = "-".join(re.findall(r"\w+", text.lower()))[:40]
    if words.isascii() and words.replace("-", " ") == text:
        return f"query-{words}"
    return f"query-{words}-{hashlib.sha256(text.encode()).hexdigest()[:8]}".replace("--", "-")


def purified_features(
    run: Run, points: PointCloud, bank: TextBank, backbone: Backbone, progress: Progress
) -> PointFeatures:
    """Pooled features of a run that these words can be compared with, made when they are first needed.

    Args:
        run: held by this process, see `Run.writing`.

    Raises:
        SpaceMismatchError: words of another backbone.
        RunError: a file is missing or cannot be read or written.
    """
    config, lifted = run.job.method.purify, run.print_of("lift")
    if lifted is None:
        raise RunError(f"the run in {run.folder} has no features; repeat its 'segment' command")
    need_features(run)
    device = getattr(backbone, "device", "cpu")  # where the 2D model was told to compute
    embedding = load_embedding(config.affinity, backbone, device=device)
    print_ = fingerprint(lifted, run.job.settings_of("purify"), embedding.fingerprint)
    if run.done("purify", print_):
        return artefacts.read_features(run, artefacts.PURIFIED, points)
    features = artefacts.read_features(run, artefacts.FEATURES, points)
    bank.check_space(features.space)  # before anything is written
    return pooled(run, points, features, config, embedding, print_, device=device, progress=progress)


def pooled(
    run: Run,
    points: PointCloud,
    features: PointFeatures,
    config: PurifyConfig,
    embedding: Embedding,
    print_: str,
    *,
    drops: Sequence[str] = (),
    device: str | torch.device = "cpu",
    progress: Progress = silent,
) -> PointFeatures:
    """Pool lifted features and keep them in the run, as the stage with this fingerprint.

    Args:
        drops: stages that were made from other pooled features.
        device: where to pool.

    Returns:
        The pooled features as they will be read back.

    Raises:
        RunError: the file cannot be written.
    """
    points, features = points.to(device), features.to(device)
    result = purify(points, features, config, embedding=embedding, progress=progress).to("cpu")
    with run.making("purify", print_, drops=drops) as stage:
        kept = artefacts.write_features(stage, artefacts.PURIFIED, result)
    del result
    return kept.features()


def need_features(run: Run) -> None:
    """
    Raises:
        RunError: the run keeps no features that other words than its labels can be compared with.
    """
    if run.job.no_query:
        raise RunError(
            f"the run in {run.folder} was made with --no-query and keeps only scores of its labels; to ask "
            "it other words, or to view it, repeat its 'segment' command with --query and --overwrite"
        )

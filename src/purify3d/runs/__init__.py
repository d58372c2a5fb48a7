"""The method into and out of a run folder: stages that are finished with the same inputs are not repeated."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from purify3d.backbones import Backbone, StoredBackbone, embed_vocabulary
from purify3d.clouds import read_cloud
from purify3d.errors import RunError
from purify3d.metrics import Confusion, Scores
from purify3d.view.palettes import colors_of_labels, heat_colors, label_colors
from purify3d.view.pictures import picture
from purify3d.lifting import lift
from purify3d.pipeline import SegmentConfig, label_points
from purify3d.clouds.ply import write_ply
from purify3d.progress import Progress, silent
from purify3d.affinities import PurifyConfig, affinity
from purify3d.asking import classify, scores
from purify3d.purifying import purify
from purify3d.regions import Region, find_regions, heat
from purify3d.stopwatch import Stopwatch
from purify3d.runs.folder import Run, fingerprint, stored_precision
from purify3d.surface import with_points
from purify3d.truth import fuse_labels, in_vocabulary
from purify3d.types import PointCloud, PointFeatures, Scene, Segmentation, TextBank, Vocabulary

POINTS, FEATURES, PURIFIED = "points.ply", "features.safetensors", "purified.safetensors"
LABELS, LEGEND, METRICS, PICTURE = "labels.ply", "labels.json", "metrics.json", "picture.png"


def segment_into(
    run: Run,
    scene: Scene,
    vocabulary: Vocabulary,
    backbone: Backbone,
    config: SegmentConfig,
    *,
    source: str,
    about: Mapping[str, Any],
    progress: Progress = silent,
) -> list[str]:
    """Segment a scene into a run folder.

    Args:
        source: fingerprint of what the scene was read from.
        about: recorded in config.json and metrics.json: command, versions, seed, capture, backbone.

    Returns:
        Names of the stages that were finished before and have been skipped.

    Raises:
        RunError: the folder holds a run of something else.
    """
    watch = Stopwatch()
    bank = embed_vocabulary(backbone, vocabulary)
    # Only what looks at the words while lifting makes features depend on them: consensus, and mask-type
    # models, which score their masks with them.
    heeds_words = config.lift.fusion == "consensus" or getattr(backbone, "reads_words", False)
    seen_with = vocabulary.synonyms if heeds_words else None
    stored = backbone.fingerprint if isinstance(backbone, StoredBackbone) else None
    lift_print = fingerprint(source, backbone.space, stored, config.purify.voxel, config.lift, seen_with)
    label_print = fingerprint(lift_print, vocabulary.synonyms, config)
    run.guard("lift", lift_print)
    if run.done("lift", lift_print) and run.done("label", label_print):
        return ["lift", "label"]

    lifted = run.done("lift", lift_print)
    if lifted:
        points, features = read_points(run), run.read_features(FEATURES)
        scene = replace(scene, points=points)
    else:
        scene, features = _lift(scene, backbone, bank, config, watch, progress)
        points = scene.cloud()
        run.begin("lift", "label", "purify")
        run.write(POINTS, lambda path: write_ply(path, points))
        run.write_features(FEATURES, features)
        truth = {str(number): name for number, name in scene.truth.items()}
        run.finish(
            "lift",
            lift_print,
            **about,
            space=asdict(features.space),
            up=scene.up.tolist(),
            truth=truth,
            settings=asdict(config),
        )

    with watch("purify"):
        purified = label_points(points, features, bank, config, progress=progress)
    raw = label_points(points, features, bank, replace(config, purify=replace(config.purify, rounds=0)))
    with watch("picture"):
        image = _picture(scene, raw, purified)
    run.begin("label")
    run.write(LABELS, lambda path: _write_labels(path, points, purified))
    run.write_json(LEGEND, legend(purified))
    run.write(PICTURE, image.save)
    run.write_json(METRICS, {**about, "stages": watch.stages, **_measured(scene, raw, purified)})
    words = [list(words) for words in vocabulary.synonyms]
    run.finish("label", label_print, **about, labels=words, settings=asdict(config))
    return ["lift"] if lifted else []


def _lift(
    scene: Scene,
    backbone: Backbone,
    bank: TextBank,
    config: SegmentConfig,
    watch: Stopwatch,
    progress: Progress,
) -> tuple[Scene, PointFeatures]:
    """The scene with points and truth, and one feature per point."""
    with watch("fuse"):
        scene = with_points(scene, voxel=config.purify.voxel, progress=progress)
    points = scene.cloud()
    with watch("lift"):
        features = lift(scene, backbone, bank, config.lift, progress=progress)
    if any(frame.label is not None for frame in scene.frames):
        with watch("truth"):
            label = fuse_labels(scene.frames, points, progress=progress)
        scene = replace(scene, points=replace(points, label=label))
    return scene, stored_precision(features)


def read_points(run: Run) -> PointCloud:
    """The cloud of a run, as it was lifted."""
    return read_cloud(run.folder / POINTS)


def read_labels_of(run: Run) -> np.ndarray:
    """(N,) int label of each point of a run, in the order of its points."""
    return read_cloud(run.folder / LABELS).label.numpy()


def _write_labels(path: Path, points: PointCloud, result: Segmentation) -> None:
    label = result.label.numpy()
    names = result.vocabulary.names
    write_ply(
        path,
        points,
        rgb=colors_of_labels(label, len(names)),
        label=label,
        score=result.score.numpy(),
        names=names,
    )


def legend(result: Segmentation) -> list[dict[str, Any]]:
    """What labels.json holds: per label index, name, synonyms, colour and how many points have it."""
    count = torch.bincount(result.label[result.label >= 0].long(), minlength=len(result.vocabulary))
    colors = label_colors(len(result.vocabulary))
    return [
        {"index": i, "name": words[0], "synonyms": list(words[1:]), "color": color, "points": points}
        for i, (words, color, points) in enumerate(
            zip(result.vocabulary.synonyms, colors.tolist(), count.tolist(), strict=True)
        )
    ]


def _measured(scene: Scene, raw: Segmentation, purified: Segmentation) -> dict[str, Any]:
    """Scores before and after pooling where the scene has truth; how many points there are."""
    points = scene.cloud()
    result: dict[str, Any] = {"points": len(points)}
    if scene.truth:
        result["raw"] = asdict(evaluate(raw, points.label, scene.truth))
        result["purified"] = asdict(evaluate(purified, points.label, scene.truth))
    return result


def evaluate(result: Segmentation, truth: Tensor, names: Mapping[int, str]) -> Scores:
    """Scores of labels against (N,) truth ids called `names`; truth outside the vocabulary does not count."""
    confusion = Confusion(result.vocabulary.names)
    confusion.add(in_vocabulary(truth, names, result.vocabulary), result.label)
    return confusion.scores()


def _picture(scene: Scene, raw: Segmentation, purified: Segmentation) -> Any:
    points, vocabulary = scene.cloud(), purified.vocabulary
    panels = [
        ("photo", points.rgb.numpy()),
        ("raw", colors_of_labels(raw.label.numpy(), len(vocabulary))),
        ("purified", colors_of_labels(purified.label.numpy(), len(vocabulary))),
    ]
    if scene.truth:
        truth = in_vocabulary(points.label, scene.truth, vocabulary)
        panels.append(("truth", colors_of_labels(truth.numpy(), len(vocabulary))))
    return picture(scene, panels, vocabulary.names)


def evaluate_run(run: Run) -> dict[str, Any]:
    """What metrics.json says of a finished run with truth.

    Raises:
        RunError: not labelled yet, or the capture has no truth.
    """
    if "label" not in run.config["stages"]:
        raise RunError(f"the run in {run.folder} has no labels yet; repeat its 'segment' command")
    metrics = run.read_json(METRICS)
    if "purified" not in metrics:
        raise RunError(
            f"the capture of the run in {run.folder} has no truth to compare with; expected label images "
            "beside its frames"
        )
    return metrics


@dataclass(frozen=True)
class Answer:
    """What a scene answers to a few words.

    Attributes:
        score: (N,) float32 cosine of each point.
        regions: what stands out, most heat first.
        files: a PLY with the heat as colour and the cosine as score, and a picture.
    """

    score: Tensor
    regions: list[Region]
    files: tuple[Path, Path]


def ask(run: Run, text: str, backbone: Backbone, *, limit: int = 5) -> Answer:
    """Heat of free text over a finished run, without lifting again.

    The first question pools the features and keeps them in the run folder; further ones only compare.

    Args:
        text: any words; a bar joins synonyms.
        backbone: the one the run was lifted with.
        limit: regions wanted.

    Raises:
        LabelError: no words.
        SpaceMismatchError: another backbone.
    """
    vocabulary = Vocabulary.parse([text])
    bank = embed_vocabulary(backbone, vocabulary)
    points = read_points(run)
    purified = _purified(run, points, bank)
    score = bank.best(scores(purified, bank))[:, 0]
    rgb = heat_colors(heat(score).numpy())
    name = "query-" + "-".join(re.findall(r"[a-z0-9]+", text.lower()))[:60]
    cloud = run.write(f"{name}.ply", lambda path: write_ply(path, points, rgb=rgb, score=score.numpy()))
    scene = Scene(run.folder.name, (), np.array(run.config["up"]), points)
    image = picture(scene, [("photo", points.rgb.numpy()), (vocabulary.names[0], rgb)])
    return Answer(
        score, find_regions(points.xyz, score, limit=limit), (cloud, run.write(f"{name}.png", image.save))
    )


def _purified(run: Run, points: PointCloud, bank: TextBank) -> PointFeatures:
    """Pooled features of a run that these words can be compared with, made when they are first needed."""
    settings = run.config["settings"]
    config = PurifyConfig(**settings["purify"])
    stage = fingerprint(run.config["stages"]["lift"], config)
    if run.done("purify", stage):
        return run.read_features(PURIFIED)
    features = run.read_features(FEATURES)
    bank.check_space(features.space)  # before anything is written
    features = features.within(config.fill)
    voxels, neighbors = affinity(points, features, config)
    purified = stored_precision(purify(features, voxels, neighbors, config.rounds))
    run.begin("purify")
    run.write_features(PURIFIED, purified)
    run.finish("purify", stage)
    return purified

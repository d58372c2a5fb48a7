"""The table of stages: what each is made from, how it is made, written and read.

Fingerprints, skipping what is finished, dropping what was made from what is replaced, and recording follow
from the table (`run.Run`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from purify3d.affinities.purifying import purify
from purify3d.backbones import StoredBackbone, no_words
from purify3d.base.checkpoints import file_digest
from purify3d.base.errors import PurifyWarning
from purify3d.base.settings import to_plain
from purify3d.base.stopwatch import Stopwatch
from purify3d.features.codec import BUDGET
from purify3d.features.labels_from_frames import fuse_labels
from purify3d.features.lifting import lift
from purify3d.features.surface import with_points
from purify3d.labels.labelling import label_points
from purify3d.labels.metrics import evaluate
from purify3d.labels.objects import Found
from purify3d.labels.questions import classify, scores
from purify3d.labels.segmentation import Segmentation
from purify3d.runs import artefacts, objects
from purify3d.runs.figures import labels_figure
from purify3d.runs.folder import StageWriter
from purify3d.types import PointFeatures, Scene

if TYPE_CHECKING:
    from purify3d.runs.run import Run

_SAME = 0.99  # of the labels of single points, what is stored must keep
_SAMPLED = 20_000  # points that are looked at for it


@dataclass(frozen=True)
class Stage:
    """One row.

    Attributes:
        made_from: names of the stages before.
        make: its value in memory; what takes time inside is measured by the stopwatch.
        write: into files; what it returns is the value as it would be read, None: read it when it is needed.
        read: the value from files; None: it is made again when it is asked for, which takes little.
        inputs: what changes it beside its settings and the stages before, as plain values.
        long: it takes long, and is not replaced by that of another job unless that is asked for.
        held: small enough to stay in memory beside a folder.
    """

    made_from: tuple[str, ...]
    make: Callable[[Run, Stopwatch], Any]
    write: Callable[[StageWriter, Run, Any], Any]
    read: Callable[[Run], Any] | None
    inputs: Callable[[Run], Any]
    long: bool = False
    held: bool = False


@dataclass(frozen=True, eq=False)
class Labelled:
    """Labels of N points.

    Attributes:
        labels: of pooled features.
        views: (N,) int32, frames that saw each point.
        before: labels of features as they were lifted, and a figure of both; for a folder alone.
    """

    labels: Segmentation
    views: Tensor
    before: tuple[Segmentation, Image.Image] | None = None


# --- points ----------------------------------------------------------------------------------------------


def _files_of_capture(run: Run) -> Any:
    scene, onto = run.capture, run.job.capture.onto
    files = (*scene.files, *(file for frame in scene.frames for file in frame.files))
    stats = [(str(file), *_size_and_time(file)) for file in files]
    digest = None if onto is None else file_digest(Path(onto))
    return stats, [frame.name for frame in scene.frames], digest, run.content


def _size_and_time(file: Path) -> tuple[int, int]:
    try:
        stat = file.stat()
    except OSError:
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def _make_points(run: Run, watch: Stopwatch) -> Scene:
    """The scene with the points that are labelled, and their ground truth."""
    scene = run.guarded_capture
    with watch("fuse"):
        scene = with_points(scene, voxel=run.job.method.purify.voxel, progress=run.progress)
    if any(frame.label is not None for frame in scene.frames):
        with watch("truth"):
            label = fuse_labels(scene.frames, scene.cloud(), progress=run.progress)
        scene = replace(scene, points=replace(scene.cloud(), label=label))
    return scene


def _write_points(making: StageWriter, run: Run, scene: Scene) -> Scene | None:
    artefacts.write_points(making, scene)
    # Adding the offset costs last digits: go on with what a resumed run will read.
    return None if np.any(scene.origin) else scene


def _read_points(run: Run) -> Scene:
    """Of a run that is being made, with the frames of its capture."""
    known = artefacts.read_scene(run.files)
    return known if run.complete else replace(run.guarded_capture, points=known.points)


# --- features --------------------------------------------------------------------------------------------


def _words_and_model(run: Run) -> Any:
    """Only what looks at the words while lifting makes features depend on them."""
    job, backbone = run.job, run.backbone
    heeds_words = job.method.lift.fusion == "consensus" or getattr(backbone, "reads_words", False)
    words = job.vocabulary.synonyms if heeds_words or job.no_query else None
    stored = backbone.fingerprint if isinstance(backbone, StoredBackbone) else None
    # Scores of the student's own words are kept too.
    return asdict(backbone.space), stored, words, run.embedding.fingerprint if job.no_query else None


def _make_features(run: Run, watch: Stopwatch) -> PointFeatures:
    job = run.job
    with watch("lift"), torch.random.fork_rng():  # what the caller draws afterwards does not depend on this
        torch.manual_seed(job.seed)
        scene = run.scene
        there = replace(scene, points=scene.cloud().to(run.device))
        return lift(
            there, run.backbone, run.text, job.method.lift, keep=run.kept_words, progress=run.progress
        ).to("cpu")


def _write_features(making: StageWriter, run: Run, features: PointFeatures) -> None:
    """
    Warns:
        PurifyWarning: features are too diverse for what is stored of them, so that labels differ.
    """
    kept = artefacts.write_features(making, artefacts.FEATURES, features)
    some = slice(None, None, max(1, len(features) // _SAMPLED))
    before, after = (
        classify(scores(each, run.text), run.text).label for each in (features.at(some), kept.features(some))
    )
    same = float((before == after).float().mean())
    if same < _SAME:
        warnings.warn(
            f"features of {run.job.backbone} are kept in {BUDGET} bytes a point and lose {kept.lost:.1%} of "
            f"their energy by it: before pooling {1 - same:.1%} of the points change their label. Questions "
            "are as coarse; --no-query keeps the scores of the labels alone, which loses less",
            PurifyWarning,
            stacklevel=2,
        )


def _read_features(run: Run) -> PointFeatures:
    return artefacts.read_features(run.files, artefacts.FEATURES, run.points)


# --- purified --------------------------------------------------------------------------------------------


def _embedding(run: Run) -> str:
    return run.embedding.fingerprint


def _make_purified(run: Run, watch: Stopwatch) -> PointFeatures:
    features = run.features
    no_words(run.backbone).check_space(features.space)  # before anything is written
    return purify(
        run.points.to(run.device),
        features.to(run.device),
        run.job.method.purify,
        embedding=run.embedding,
        progress=run.progress,
    ).to("cpu")


def _write_purified(making: StageWriter, run: Run, features: PointFeatures) -> PointFeatures:
    return artefacts.write_features(making, artefacts.PURIFIED, features).features()


def _read_purified(run: Run) -> PointFeatures:
    return artefacts.read_features(run.files, artefacts.PURIFIED, run.points)


# --- labels ----------------------------------------------------------------------------------------------


def _words(run: Run) -> Any:
    return run.job.vocabulary.synonyms


def _make_labels(run: Run, watch: Stopwatch) -> Labelled:
    raw, views = _raw(run) if run.folder is not None else (None, None)
    method, text = run.job.method, run.text
    with watch("purify"):
        # What can be asked later is pooled once, and labelled from; in memory scores are pooled for it.
        if run.folder is not None and not run.job.no_query and method.purify.rounds > 0:
            labels = classify(scores(run.purified, text), text, threshold=method.threshold)
        else:
            features = run.features
            views = features.views if views is None else views
            labels = label_points(
                run.points.to(run.device),
                features.to(run.device),
                text,
                method,
                embedding=run.embedding,
                progress=run.progress,
            ).to("cpu")
    assert views is not None
    if raw is None:
        return Labelled(labels, views)
    with watch("picture"):
        (figure,) = (
            labels_figure(run.scene, raw, labels) for _ in run.progress([0], name="picture", total=1)
        )
    return Labelled(labels, views, (raw, figure))


def _raw(run: Run) -> tuple[Segmentation, Tensor]:
    """Labels of the features as they were lifted, and (N,) int32 frames that saw each point.

    Warns:
        PurifyWarning: most points were seen by none.
    """
    features, method = run.features, run.job.method
    unpooled = replace(method, purify=replace(method.purify, rounds=0))
    seen = _share_seen(features.views)
    if seen < 0.5:
        warnings.warn(
            f"only {seen:.0%} of the points were seen by a camera; the others get no label unless --fill "
            "says how far labels may be copied. Does the cloud belong to these frames (same world, metres)?",
            PurifyWarning,
            stacklevel=3,
        )
    return label_points(run.points, features, run.text, unpooled), features.views


def _share_seen(views: Tensor) -> float:
    return float((views > 0).float().mean())


def _write_labels(making: StageWriter, run: Run, made: Labelled) -> Labelled:
    assert made.before is not None
    raw, figure = made.before
    scene = run.scene
    artefacts.write_labels(making, scene, made.labels, made.views, run.job.capture.onto)
    making.write(artefacts.PICTURE, figure.save)
    facts = run.facts | {
        "stages": run.measured("label") | making.notes["watch"],
        "points": len(made.labels),
        "seen": _share_seen(made.views),
    }
    if scene.truth:  # scores before and after pooling
        truth = scene.cloud().label
        facts["raw"] = asdict(evaluate(raw, truth, scene.truth))
        facts["purified"] = asdict(evaluate(made.labels, truth, scene.truth))
    making.write_json(artefacts.METRICS, facts)
    return replace(made, before=None)


def _read_labels(run: Run) -> Labelled:
    return Labelled(*artefacts.read_labels(run.files, run.scene, run.job.vocabulary))


# --- objects ---------------------------------------------------------------------------------------------


def _object_settings(run: Run) -> Any:
    return to_plain(run.object_config)


def _make_objects(run: Run, watch: Stopwatch) -> list[Found]:
    with watch("objects"):
        return objects.find(run)


def _write_objects(making: StageWriter, run: Run, found: list[Found]) -> list[Found]:
    objects.write(making, run, found)
    return found


#: Every stage by its name in the record, in the order in which they are made.
STAGES: dict[str, Stage] = {
    "points": Stage((), _make_points, _write_points, _read_points, _files_of_capture, long=True, held=True),
    "lift": Stage(("points",), _make_features, _write_features, _read_features, _words_and_model, long=True),
    "purify": Stage(("lift",), _make_purified, _write_purified, _read_purified, _embedding),
    "label": Stage(("purify",), _make_labels, _write_labels, _read_labels, _words, held=True),
    "objects": Stage(("label",), _make_objects, _write_objects, None, _object_settings),
}

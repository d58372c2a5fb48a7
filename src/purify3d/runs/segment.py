"""A job into a run folder: stages that are finished with the same inputs are not repeated."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from purify3d import __version__
from purify3d.affinities.embeddings import Embedding, Learned, load_embedding
from purify3d.backbones import Backbone, StoredBackbone, embed_vocabulary, load_backbone
from purify3d.base.checkpoints import file_digest
from purify3d.base.devices import find_device
from purify3d.base.errors import PurifyWarning, RunError
from purify3d.base.progress import Progress, silent
from purify3d.base.settings import leaves
from purify3d.base.stopwatch import Stopwatch
from purify3d.captures import guarded
from purify3d.features.codec import BUDGET, Compact
from purify3d.features.labels_from_frames import fuse_labels
from purify3d.features.lifting import lift
from purify3d.features.surface import with_points
from purify3d.labels.labelling import label_points
from purify3d.labels.metrics import evaluate
from purify3d.labels.questions import classify, scores
from purify3d.labels.segmentation import Segmentation
from purify3d.runs import artefacts
from purify3d.runs.ask import pooled
from purify3d.runs.check import look_before
from purify3d.runs.folder import Making, Run, fingerprint
from purify3d.runs.forecast import forecast_line
from purify3d.runs.job import Job
from purify3d.runs.pictures import labels_picture
from purify3d.types import PointCloud, PointFeatures, Scene, TextBank

_SAME = 0.99  # of the labels of single points, what is stored must keep
_ASKED = 20_000  # points that are looked at for it
_MADE_BEFORE = ("points", "lift")  # labels are made


@dataclass(frozen=True)
class Prints:
    """What each stage of a job is made from, as fingerprints."""

    points: str
    lift: str
    purify: str
    label: str

    @classmethod
    def of(cls, job: Job, scene: Scene, backbone: Backbone, embedding: Embedding) -> Prints:
        """
        Args:
            job: with paths resolved; scene, backbone, embedding: what it names, opened.
        """
        files = [file for frame in scene.frames for file in frame.files]
        stats = [(str(file), *_size_and_time(file)) for file in (*scene.files, *files)]
        onto = None if job.capture.onto is None else file_digest(Path(job.capture.onto))
        names = [frame.name for frame in scene.frames]
        points = fingerprint(job.settings_of("points"), stats, names, onto)
        # Only what looks at the words while lifting makes features depend on them.
        heeds_words = job.method.lift.fusion == "consensus" or getattr(backbone, "reads_words", False)
        heeds_words = heeds_words or job.no_query
        heard = embedding.fingerprint if job.no_query else None  # scores of its words are kept too
        words = job.vocabulary().synonyms
        stored = backbone.fingerprint if isinstance(backbone, StoredBackbone) else None
        space = asdict(backbone.space)
        lifted = fingerprint(
            points, job.settings_of("lift"), space, stored, words if heeds_words else None, heard
        )
        pooled = fingerprint(lifted, job.settings_of("purify"), embedding.fingerprint)
        return cls(points, lifted, pooled, fingerprint(pooled, job.settings_of("label"), words))


def segment_into(
    folder: str | Path,
    job: Job,
    *,
    scene: Scene | None = None,
    backbone: Backbone | None = None,
    overwrite: bool = False,
    check: bool = True,
    command: Sequence[str] = (),
    tell: Callable[[str], None] | None = None,
    progress: Progress = silent,
) -> tuple[Run, list[str]]:
    """Do a job and keep its results in a run folder.

    Args:
        scene, backbone: what the job names, if it has been opened already.
        overwrite: do every stage again, and replace a run of something else.
        check: look whether the frames agree with each other before the work (see `checking`).
        command: recorded in metrics.json.
        tell: is given a line that says what the work will take, before it starts, and once more where points
            have been fused and can be counted.

    Returns:
        The run, and the names of the stages that were finished before and have been skipped.

    Raises:
        RunError: the folder holds a run of something else, cannot be written, or another process writes it.
        PurifyError: see the stages.
    """
    job = job.resolved()
    scene = job.capture.open() if scene is None else scene
    scene = replace(scene, frames=guarded(scene.frames, job.capture.path))
    backbone = load_backbone(job.backbone, device=job.device) if backbone is None else backbone
    device = find_device(job.device)
    # A wrong name fails before the work.
    embedding = load_embedding(job.method.purify.affinity, backbone, device=device)
    if job.no_query and isinstance(embedding, Learned) and embedding.reads_features:
        raise RunError(
            f"found --no-query and the affinity {job.method.purify.affinity}, which hears more of features "
            "than scores of labels; expected one that goes by shape and colour. Leave --no-query away, or "
            "give --affinity geometric"
        )
    prints = Prints.of(job, scene, backbone, embedding)
    run = Run(folder)
    with run.writing():
        run = Run(folder)  # as the last writer left it
        if overwrite:
            run.stages = {name: entry | {"fingerprint": ""} for name, entry in run.stages.items()}
        _refuse_another(run, job, prints, overwrite)
        stages = ("points", "lift", "label")  # each is made from the one before
        reused = list(takewhile(lambda stage: run.done(stage, getattr(prints, stage)), stages))
        if check and not reused:
            look_before(scene, job.capture)
        run.configure(job)
        if tell is not None and not reused:
            tell(forecast_line(scene, job.method, backbone, embedding))
        guessed = scene.points is None
        scene = _points(run, scene, job, prints, progress)
        if tell is not None and guessed and "label" not in reused:
            tell(forecast_line(scene, job.method, backbone, embedding, lifted="lift" in reused))
        with torch.random.fork_rng():  # what the caller draws afterwards does not depend on this run
            torch.manual_seed(job.seed)
            _lift(run, scene, backbone, embedding, job, prints, progress)
        if "label" not in reused:
            _labels(run, scene, backbone, embedding, job, prints, command, progress)
        run.flush()
    return run, reused


def _refuse_another(run: Run, job: Job, prints: Prints, overwrite: bool) -> None:
    """Do not replace what took long to lift without being told."""
    changed = any(run.print_of(stage) not in (None, getattr(prints, stage)) for stage in ("points", "lift"))
    if overwrite or not changed or "lift" not in run.stages:
        return
    before = {leaf.path: leaf.value for leaf in leaves(run.job)}
    differences = [
        f"{leaf.name} was {before[leaf.path]!r} and is {leaf.value!r}"
        for leaf in leaves(job)
        if leaf.stage in ("points", "lift", "label") and before[leaf.path] != leaf.value
    ]
    why = "; ".join(differences) or (
        "files of the capture or of the 2D model have changed, or another version of purify3d made it"
    )
    raise RunError(
        f"{run.folder} holds a run of another capture, backbone or lifting ({why}); expected the same, or a "
        "new folder. Name another --output, or give --overwrite to replace it"
    )


def _points(run: Run, scene: Scene, job: Job, prints: Prints, progress: Progress) -> Scene:
    """The scene with the points that are labelled, and their truth."""
    if run.done("points", prints.points):
        return replace(scene, points=artefacts.read_scene(run).points)
    watch = Stopwatch()
    with watch("fuse"):
        scene = with_points(scene, voxel=job.method.purify.voxel, progress=progress)
    points = scene.cloud()
    if any(frame.label is not None for frame in scene.frames):
        with watch("truth"):
            points = replace(points, label=fuse_labels(scene.frames, points, progress=progress))
        scene = replace(scene, points=points)
    with run.making(
        "points", prints.points, drops=[name for name in run.stages if name != "points"]
    ) as stage:
        artefacts.write_points(stage, scene)
        stage.notes["watch"] = watch.stages
    if np.any(scene.origin):  # adding the offset costs last digits: go on with what a resumed run will read
        scene = replace(scene, points=artefacts.read_scene(run).points)
    return scene


def _lift(
    run: Run,
    scene: Scene,
    backbone: Backbone,
    embedding: Embedding,
    job: Job,
    prints: Prints,
    progress: Progress,
) -> None:
    """Features into the run's folder; what comes next reads them there, and nobody holds them meanwhile."""
    if run.done("lift", prints.lift):
        return
    watch = Stopwatch()
    with watch("lift"):
        there = replace(scene, points=scene.cloud().to(find_device(job.device)))
        keep = []
        if job.no_query:
            keep.append(embed_vocabulary(backbone, job.vocabulary()))
            if isinstance(embedding, Learned) and embedding.bank is not None:
                keep.append(embedding.bank)
        lifted = lift(there, backbone, job.vocabulary(), job.method.lift, keep=keep, progress=progress).to(
            "cpu"
        )
    drops = [name for name in run.stages if name not in ("points", "lift")]
    with run.making("lift", prints.lift, drops=drops) as stage:
        kept = artefacts.write_features(stage, artefacts.FEATURES, lifted)
        stage.notes["watch"] = watch.stages
        _say_what_is_lost(lifted, kept, backbone, job)


def _say_what_is_lost(lifted: PointFeatures, kept: Compact, backbone: Backbone, job: Job) -> None:
    """
    Warns:
        PurifyWarning: features are too diverse for what is stored of them, so that labels differ.
    """
    bank = embed_vocabulary(backbone, job.vocabulary())
    some = slice(None, None, max(1, len(lifted) // _ASKED))
    before, after = (
        classify(scores(features, bank), bank).label for features in (lifted.at(some), kept.features(some))
    )
    same = float((before == after).float().mean())
    if same < _SAME:
        warnings.warn(
            f"features of {job.backbone} are kept in {BUDGET} bytes a point and lose {kept.lost:.1%} of "
            f"their energy by it: before pooling {1 - same:.1%} of the points change their label. Questions "
            "are as coarse; --no-query keeps the scores of the labels alone, which loses less",
            PurifyWarning,
            stacklevel=3,
        )


def _pooled(
    run: Run,
    points: PointCloud,
    embedding: Embedding,
    job: Job,
    prints: Prints,
    progress: Progress,
) -> PointFeatures:
    """Pooled features, kept so that the first question need not wait for them."""
    if run.done("purify", prints.purify):
        return artefacts.read_features(run, artefacts.PURIFIED, points)
    method, drops = job.method.purify, _made_of_pooled(run)
    print_, device = prints.purify, find_device(job.device)
    return pooled(
        run,
        points,
        artefacts.read_features(run, artefacts.FEATURES, points),
        method,
        embedding,
        print_,
        drops=drops,
        device=device,
        progress=progress,
    )


def _raw(run: Run, points: PointCloud, bank: TextBank, job: Job) -> tuple[Tensor, Segmentation]:
    """(N,) int32 how many frames saw each point, and the labels of features as they were lifted."""
    features = artefacts.read_features(run, artefacts.FEATURES, points)
    as_lifted = replace(job.method, purify=replace(job.method.purify, rounds=0))
    return features.views, label_points(points, features, bank, as_lifted)


def _made_of_pooled(run: Run) -> list[str]:
    """Stages that no longer hold when features are pooled anew: questions, objects, the pooled features."""
    return [name for name in run.stages if name not in (*_MADE_BEFORE, "label")]


def _labels(
    run: Run,
    scene: Scene,
    backbone: Backbone,
    embedding: Embedding,
    job: Job,
    prints: Prints,
    command: Sequence[str],
    progress: Progress,
) -> None:
    points, method, bank = scene.cloud(), job.method, embed_vocabulary(backbone, job.vocabulary())
    views, raw = _raw(run, points, bank, job)
    seen = float((views > 0).float().mean())
    if seen < 0.5:
        warnings.warn(
            f"only {seen:.0%} of the points were seen by a camera; the others get no label unless --fill "
            "says how far labels may be copied. Does the cloud belong to these frames (same world, metres)?",
            PurifyWarning,
            stacklevel=3,
        )
    watch = Stopwatch()
    with watch("purify"):
        if job.no_query or method.purify.rounds == 0:
            device = find_device(job.device)
            features = artefacts.read_features(run, artefacts.FEATURES, points).to(device)
            purified = label_points(
                points.to(device), features, bank, method, embedding=embedding, progress=progress
            ).to("cpu")
        else:
            heard = _pooled(run, points, embedding, job, prints, progress)
            purified = classify(scores(heard, bank), bank, threshold=method.threshold)
            del heard
    with watch("picture"):
        (image,) = (labels_picture(scene, raw, purified) for _ in progress([0], name="picture", total=1))
    old = [name for name in run.stages if name.startswith("objects")]  # those of the labels
    if run.print_of("purify") != prints.purify:
        old = _made_of_pooled(run)
    with run.making("label", prints.label, drops=old) as stage:
        artefacts.write_labels(stage, scene, purified, views, job.capture.onto)
        if job.format == "scannet":
            artefacts.write_benchmark_ids(stage, points, purified, job.dataset_ids())
        artefacts.write_picture(stage, image)
        seconds = [run.stages[name].get("watch", {}) for name in _MADE_BEFORE if name in run.stages]
        stages: dict[str, Any] = {}
        for measured in (*seconds, watch.stages):
            stages |= measured
        about = {
            "command": list(command),
            "capture": job.capture.path,
            "backbone": job.backbone,
            "seed": job.seed,
            "device": str(find_device(job.device)),
            "threads": torch.get_num_threads(),
            "versions": {
                "purify3d": __version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
            "stages": stages,
            "points": len(points),
            "seen": seen,
        }
        _write_metrics(stage, about, scene, points, raw, purified)


def _write_metrics(
    stage: Making,
    about: dict[str, Any],
    scene: Scene,
    points: PointCloud,
    raw: Segmentation,
    purified: Segmentation,
) -> None:
    """metrics.json; scores before and after pooling where the scene has truth."""
    if scene.truth:
        about["raw"] = asdict(evaluate(raw, points.label, scene.truth))
        about["purified"] = asdict(evaluate(purified, points.label, scene.truth))
    stage.write_json(artefacts.METRICS, about)


def _size_and_time(file: Path) -> tuple[int, int]:
    try:
        stat = file.stat()
    except OSError:
        return -1, -1
    return stat.st_size, stat.st_mtime_ns

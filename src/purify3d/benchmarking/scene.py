"""One scene of a benchmark: lifted once, labelled by every method, held against its truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from purify3d.affinities.embeddings import Embedding, load_embedding
from purify3d.backbones import Backbone, load_backbone
from purify3d.base.devices import find_device
from purify3d.base.errors import CaptureError
from purify3d.base.stopwatch import Stopwatch
from purify3d.base.workers import Outcome, Task, Workers, serial
from purify3d.benchmarking.datasets import writing
from purify3d.benchmarking.votes import VOTE, label_by_regions, vote_fingerprint
from purify3d.captures import is_procedural
from purify3d.features.labels_from_frames import in_vocabulary
from purify3d.labels.labelling import label_points
from purify3d.labels.metrics import Confusion, parts
from purify3d.pipeline import run_job
from purify3d.runs import Run
from purify3d.runs.folder import fingerprint
from purify3d.runs.job import Job, changed
from purify3d.runs.look import look_before
from purify3d.types import Frame, Scene
from purify3d.types.labelsets import set_name

#: The method that does not pool.
RAW = "raw"

#: Label sets whose classes have the same names, so that the truth of one serves the other.
_ALIKE = {"scannet20", "matterport21"}


@dataclass(frozen=True)
class SceneTask(Task):
    """A scene to measure.

    Attributes:
        job: what is done; its affinity is the method that the run folder and its picture show.
        methods: `raw`, `region-vote`, or values of `affinity`.
        folder: run folder of the scene; made, or gone on with.
        before: what was measured of the scene earlier; methods whose inputs are the same are not repeated.
        exact: features stay in memory as they were computed; no run folder is made.
        check: look whether the frames agree with each other.
        overwrite: do everything again.
    """

    job: Job
    methods: tuple[str, ...]
    folder: Path
    before: dict[str, Any] | None = None
    exact: bool = False
    check: bool = True
    overwrite: bool = False
    command: tuple[str, ...] = ()

    @property
    def device(self) -> str:
        return self.job.device


class Facts(NamedTuple):
    """What was found out about a scene.

    Attributes:
        values: see `run_scene` and `segment_scene`.
        reused: all of them were found out before.
    """

    values: dict[str, Any]
    reused: bool


def attempt_scenes(
    tasks: Sequence[SceneTask], do: Callable[[SceneTask], Facts], workers: Workers = serial
) -> Iterator[Outcome[Facts]]:
    """Outcomes of scenes in any order, `warnings` among their values unless they are reused.

    Models that this process loaded for them are let go of.
    """
    try:
        for outcome in workers(tasks, do):
            if outcome.result is not None and not outcome.result.reused:
                values = outcome.result.values
                values["warnings"] = list(dict.fromkeys([*values["warnings"], *outcome.warnings]))
            yield outcome
    finally:
        _embedding.cache_clear()
        _backbone.cache_clear()


def job_of(job: Job, method: str) -> Job:
    """The job that labels by a method; for `region-vote`, which no run folder can hold, that of `raw`.

    Raises:
        ValueError: no affinity can have that name.
    """
    unpooled = method in (RAW, VOTE)
    return changed(job, {"affinity": "uniform", "rounds": 0} if unpooled else {"affinity": method})


def shown_of(methods: Sequence[str]) -> str:
    """The method that pictures and the confusion matrix show: the last that pools along neighbours."""
    return next((method for method in reversed(methods) if method not in (RAW, VOTE)), RAW)


def run_scene(task: SceneTask) -> Facts:
    """Measure a scene.

    Returns:
        `capture`, `frames`, `points`, `labelled` (points whose truth counts), `seen` (share of points seen by
        a camera), `stages` (seconds and peak_gb), `warnings`, and `methods`: of each the `counts` of its
        confusion matrix as (truth, predicted, points) rows, predicted C = no label, with `seconds`, `peak_gb`
        and what it was `made_from`.

    Raises:
        PurifyError: the scene cannot be used, or has no truth.
    """
    job = task.job.resolved()
    _check_truth_fits(job)
    scene = job.capture.open()
    if not scene.truth:
        raise CaptureError(
            f"{scene.name} has no truth; expected points or images with true labels, as 'purify3d prepare' "
            "makes them"
        )
    backbone = _backbone(job.backbone, job.device)
    jobs = {method: job_of(job, method).resolved() for method in task.methods}
    embeddings = {m: _embedding(j.method.purify.affinity, job.backbone, job.device) for m, j in jobs.items()}
    made_from = {
        m: Run(jobs[m], scene=scene, backbone=backbone, embedding=embeddings[m]).fingerprint("label")
        for m in task.methods
    }
    if VOTE in made_from:
        made_from[VOTE] = fingerprint(made_from[VOTE], vote_fingerprint())
    if task.exact:
        made_from = {m: fingerprint(each, "exact") for m, each in made_from.items()}
    before = {} if task.before is None or task.overwrite else task.before
    known = {m: old for m, old in before.get("methods", {}).items() if old["made_from"] == made_from.get(m)}
    if len(known) == len(task.methods):
        return Facts({**before, "methods": {m: known[m] for m in task.methods}}, True)
    procedural = is_procedural(job.capture.path)
    check = task.check and not procedural
    scene = _in_memory(scene) if procedural else scene
    if task.exact:
        run, metrics = _lifted(job, scene, backbone, check)
    else:
        run = run_job(
            job,
            task.folder,
            scene=scene,
            backbone=backbone,
            overwrite=task.overwrite,
            check=check,
            command=task.command,
        )
        metrics = run.metrics
    points, vocabulary = run.points, job.vocabulary
    truth = in_vocabulary(points.label, run.scene.truth, vocabulary)
    if not (truth >= 0).any():
        raise CaptureError(
            f"{scene.name}: found no point whose truth is among the {len(vocabulary)} labels; its truth is "
            f"{', '.join(sorted(set(run.scene.truth.values()))[:8])}, .... Expected labels with these names"
        )
    features, text_embeddings = run.features, run.text
    device = find_device(job.device)
    there, features_there = points.to(device), features.to(device)
    methods: dict[str, dict[str, Any]] = {}
    for method in task.methods:
        if method in known:
            methods[method] = known[method]
            continue
        watch = Stopwatch()
        if method == job.method.purify.affinity and job.method.purify.rounds > 0 and not task.exact:
            label = run.labels.label
            spent = metrics["stages"]["purify"]
        else:
            given, config = (there, features_there, text_embeddings), jobs[method].method
            with watch(method):
                if method == VOTE:
                    found = label_by_regions(*given, config.purify, config.threshold)
                else:
                    found = label_points(*given, config, embedding=embeddings[method])
                label = found.label.cpu()
            spent = watch.stages[method]
        confusion = Confusion(vocabulary.names)
        confusion.add(truth, label)
        methods[method] = {
            "made_from": made_from[method],
            **spent,
            "counts": sparse(confusion.counts.numpy()),
        }
    values = {
        "capture": task.job.capture.path,
        "frames": len(scene.frames),
        "points": len(points),
        "labelled": int((truth >= 0).sum()),
        "seen": metrics["seen"],
        "stages": metrics["stages"],
        "methods": methods,
        "warnings": before.get("warnings", []),
    }
    return Facts(values, reused=False)


def _lifted(job: Job, scene: Scene, backbone: Backbone, check: bool) -> tuple[Run, dict[str, Any]]:
    """A run in memory that has features, and of what metrics.json would say `seen` and `stages`."""
    if check:
        look_before(scene, job.capture)
    run, watch = Run(job, scene=scene, backbone=backbone), Stopwatch()
    with watch("lift"):
        views = run.features.views
    return run, {"seen": float((views > 0).float().mean()), "stages": watch.stages}


def segment_scene(task: SceneTask) -> Facts:
    """Label a capture, truth or not.

    Returns:
        `points`, `given` and `seen` (shares of points that have a label and that a camera saw), `seconds` and
        `warnings`.

    Raises:
        PurifyError: the capture cannot be used.
    """
    job = task.job.resolved()
    run = run_job(
        job,
        task.folder,
        backbone=_backbone(job.backbone, job.device),
        overwrite=task.overwrite,
        check=task.check,
        command=task.command,
    )
    metrics = run.metrics
    none = int((run.labels.label < 0).sum()) + len(run.points.missing)
    seconds = sum(stage["seconds"] for stage in metrics["stages"].values())
    count = metrics["points"]
    given = 1 - none / max(count, 1)
    facts = {"points": count, "given": given, "seen": metrics["seen"], "seconds": seconds}
    return Facts(facts, True) if "label" in run.reused else Facts({**facts, "warnings": []}, False)


def sparse(counts: np.ndarray) -> list[list[int]]:
    """(C, C + 1) counts -> rows of truth, predicted and points, where there are any."""
    row, column = np.nonzero(counts)
    return [[int(r), int(c), int(counts[r, c])] for r, c in zip(row, column, strict=True)]


def parts_of(scenes: Iterable[Mapping[str, Any]], method: str, classes: int) -> np.ndarray:
    """(S, 3, C), see `table`, of what `run_scene` says of S scenes."""
    return np.stack([parts(dense(scene["methods"][method]["counts"], classes)) for scene in scenes])


def dense(rows: Sequence[Sequence[int]], classes: int) -> np.ndarray:
    """(C, C + 1) int64 counts of `sparse`.

    Raises:
        ValueError: a label is not below C.
    """
    counts = np.zeros((classes, classes + 1), dtype=np.int64)
    for row, column, points in rows:
        if not (0 <= row < classes and 0 <= column <= classes and points >= 0):
            raise ValueError(f"found counts of labels {row} and {column} among {classes}")
        counts[row, column] += points
    return counts


def _check_truth_fits(job: Job) -> None:
    """Names of another benchmark would match here and there, and the numbers would look like numbers."""
    wanted = set_name(job.labels)
    facts = None if is_procedural(job.capture.path) else writing.facts_of(Path(job.capture.path))
    made_for = None if facts is None else facts["made_with"].get("labels")
    if wanted is None or made_for in (None, wanted) or {wanted, made_for} == _ALIKE:
        return
    raise CaptureError(
        f"{job.capture.path} was prepared with the truth of {made_for}; found --labels {wanted}. Prepare it "
        f"with --labels {wanted} into another folder"
    )


@lru_cache(maxsize=1)
def _backbone(name: str, device: str) -> Backbone:
    return load_backbone(name, device=device)


@lru_cache(maxsize=8)
def _embedding(affinity: str, backbone: str, device: str) -> Embedding:
    return load_embedding(affinity, _backbone(backbone, device), device=find_device(device))


def _in_memory(scene: Scene) -> Scene:
    """The scene with its images rendered once: fusing, lifting and truth each read them."""

    def kept(frame: Frame) -> Frame:
        names = [name for name in ("color", "depth", "label", "instance") if getattr(frame, name)]
        images = {name: getattr(frame, name)() for name in names}
        held: dict[str, Any] = {name: partial(images.get, name) for name in names}
        return replace(frame, **held)

    return replace(scene, frames=tuple(kept(frame) for frame in scene.frames))

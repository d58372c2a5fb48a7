"""The method end to end: the one entry, in memory or into a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from purify3d.affinities.embeddings import Learned
from purify3d.backbones import Backbone
from purify3d.base.errors import RunError
from purify3d.base.memory import free_memory
from purify3d.base.progress import Progress, silent
from purify3d.base.settings import leaves
from purify3d.captures import CaptureConfig
from purify3d.labels.config import SegmentConfig
from purify3d.runs.forecast import forecast
from purify3d.runs.job import Job, changed, job_of
from purify3d.runs.look import look_before
from purify3d.runs.run import Run
from purify3d.runs.stages import STAGES
from purify3d.types import Labels, Scene

#: What `segment` makes, in this order; pooled features on the way where they are kept.
_MADE = (*(name for name, stage in STAGES.items() if stage.long), "label")


def segment(
    capture: str | Path | Scene,
    labels: Labels,
    *,
    backbone: str | Backbone | None = None,
    config: SegmentConfig | None = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    check: bool | None = None,
    progress: Progress = silent,
    **settings: Any,
) -> Run:
    """Label every point of a capture: the whole method.

        run = purify3d.segment("my_scan", "chair, table, sofa|couch", rounds=6, output="runs/office")

    Args:
        capture: a path in one of the known formats, `synthetic:SEED`, or a scene of your own.
        labels: names such as "chair, table, sofa|couch", a list of them, a text file with one a line
            ("labels.txt", "@FILE"), or a set such as "scannet20".
        backbone: name of the 2D model, as family:argument, or a loaded one.
        config: settings of lifting, pooling and labelling.
        output: folder of the run, where finished stages with the same inputs are not repeated; None: the run
            lives in memory, and nothing of it is rounded.
        overwrite: do every stage again, and replace a run of something else.
        check: look whether the frames agree with each other before the work; None: if `capture` is a path.
        settings: of the capture and the method by name, such as `limit=20, up="+y", rounds=6, device="cuda"`;
            all of them are fields of `Job`.

    Raises:
        ValueError: no setting of that name, one that cannot be, or settings of a capture with a scene.
        LabelError: the labels cannot be used.
        RunError: the folder holds a run of something else, cannot be written, or another process writes it.
        CaptureError, BackboneError, CheckpointError: see `open_capture`, `load_backbone`, `load_embedding`.
    """
    scene, path = (capture, capture.name or "scene") if isinstance(capture, Scene) else (None, capture)
    refused = sorted(settings.keys() & {leaf.name for leaf in leaves(CaptureConfig)})
    if scene is not None and refused:
        raise ValueError(
            f"found {', '.join(refused)} and a scene that is open already; expected settings of a capture "
            "with the path of one. Give them to open_capture"
        )
    if backbone is not None:
        settings |= {"backbone": backbone if isinstance(backbone, str) else backbone.space.id}
    return run_job(
        changed(job_of(path, labels, config), settings),
        output,
        scene=scene,
        backbone=None if isinstance(backbone, str) else backbone,
        content=None if scene is None or output is None else content_of(scene),
        overwrite=overwrite,
        check=scene is None if check is None else check,
        progress=progress,
    )


def run_job(
    job: Job,
    output: str | Path | None = None,
    *,
    scene: Scene | None = None,
    backbone: Backbone | None = None,
    content: str | None = None,
    overwrite: bool = False,
    check: bool = True,
    command: Sequence[str] = (),
    report: Callable[[str], None] | None = None,
    progress: Progress = silent,
) -> Run:
    """Do a job; see `segment`.

    Args:
        scene, backbone: what the job names, if it has been opened already.
        content: see `Run`.
        command: is recorded in metrics.json.
        report: is given a line that says what memory the work will take, before it starts, and once more
            where points have been fused and can be counted.

    Raises:
        RunError, CaptureError, ...: see `segment`.
    """
    run = Run(
        job.resolved(),
        output,
        scene=scene,
        backbone=backbone,
        content=content,
        command=command,
        progress=progress,
    )
    _check_what_is_kept(run)  # also loads what has a wrong name, before the work
    if output is None:
        if check:
            look_before(run.capture, run.job.capture)
        run.value("label")
    else:
        with run.files.writing():
            _into_folder(run, overwrite, check, report)
    run.complete = True
    return run


def _into_folder(run: Run, overwrite: bool, check: bool, report: Callable[[str], None] | None) -> None:
    if overwrite:
        run.files.forget()
    else:
        _refuse_another(run)
    run.reused = tuple(takewhile(run.finished, _MADE))
    if check and not run.reused:
        look_before(run.capture, run.job.capture)
    run.files.configure(run.job)

    def estimate(scene: Scene) -> None:
        if report is not None:
            lifted = "lift" in run.reused
            made = forecast(scene, run.job.method, run.backbone, run.embedding, lifted=lifted)
            report(f"estimate: {made.line(free_memory())}")  # where points lie, whatever the device

    if not run.reused:
        estimate(run.capture)
    run.ensure("points")
    if run.capture.points is None and "label" not in run.reused:
        estimate(run.scene)
    for name in _MADE:
        run.ensure(name)
    run.files.flush()


def _check_what_is_kept(run: Run) -> None:
    """
    Raises:
        RunError: the affinity needs features that the run does not keep.
    """
    embedding = run.embedding
    if run.job.no_query and isinstance(embedding, Learned) and embedding.student.config.feature_dim:
        raise RunError(
            f"found --no-query and the affinity {run.job.method.purify.affinity}, which reads more of "
            "features than scores of labels; expected one that goes by shape and colour. Leave --no-query "
            "away, or give --affinity geometric"
        )


def _refuse_another(run: Run) -> None:
    """Do not replace what took long to make without being asked to.

    Raises:
        RunError: the folder holds it.
    """
    long = [name for name, stage in STAGES.items() if stage.long]
    changed = any(run.files.fingerprint_of(name) not in (None, run.fingerprint(name)) for name in long)
    if not changed or long[-1] not in run.files.stages:
        return
    before = {leaf.path: leaf.value for leaf in leaves(run.files.job)}
    differences = [
        f"{leaf.name} was {before[leaf.path]!r} and is {leaf.value!r}"
        for leaf in leaves(run.job)
        if leaf.stage in (*long, "label") and before[leaf.path] != leaf.value
    ]
    why = "; ".join(differences) or (
        "files of the capture or of the 2D model have changed, or another version of purify3d made it"
    )
    raise RunError(
        f"{run.folder} holds a run of another capture, backbone or lifting ({why}); expected the same, or a "
        "new folder. Name another --output, or give --overwrite to replace it"
    )


def content_of(scene: Scene) -> str:
    """A digest of a scene without files: its points, and what its frames see."""
    digest = hashlib.sha256()
    if scene.points is not None:
        for each in (scene.points.xyz, scene.points.rgb, scene.points.normal):
            digest.update(each.cpu().numpy().tobytes())
    for frame in scene.frames:
        digest.update(f"{frame.name} {frame.camera} {frame.depth_camera}".encode())
        digest.update(frame.world_from_camera.tobytes())
        if not frame.files:
            digest.update(frame.color().tobytes())
            digest.update(frame.depth().tobytes())
    return digest.hexdigest()

"""Many captures made ready for training, in this process, several, or on a cluster; each once, then kept.

A capture is a task, see `workers`: what was finished before is not repeated, and one that fails is named and
stops no other. What is kept does not depend on the workers.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from purify3d.affinities.config import StudentConfig
from purify3d.backbones import Backbone, load_backbone
from purify3d.base.errors import PurifyWarning
from purify3d.base.progress import Progress, silent
from purify3d.base.workers import Outcome, Task, Workers, serial
from purify3d.captures import guarded, is_procedural, open_capture
from purify3d.training.scenes import Cache, Recipe
from purify3d.training.teachers import Teacher, load_teacher


@dataclass(frozen=True)
class Making:
    """What makes captures ready, by names: it can be pickled, and loaded anywhere that sees the same files.

    Attributes:
        student: the network they are for.
        teacher: see `load_teacher`.
        backbone: see `load_backbone`; None: a student of geometry.
        folder, limit: of the cache, see `Cache`.
        device: of the 2D model.
    """

    student: StudentConfig
    teacher: str
    backbone: str | None
    folder: Path
    limit: float = 20e9
    device: str = "cpu"

    def recipe(self) -> Recipe:
        """The same with models in place of names, which this process loads once.

        Raises:
            BackboneError, CheckpointError: a model cannot be loaded.
        """
        backbone = None if self.backbone is None else loaded(self.backbone, self.device)
        return Recipe(self.student, _teacher(self.teacher), backbone)

    def cache(self) -> Cache:
        return Cache(self.folder, self.limit)


@dataclass(frozen=True)
class CaptureTask(Task):
    """A capture to make ready; its name is its path."""

    making: Making

    @property
    def device(self) -> str:
        """What a cluster has to give; the teacher computes on the CPU."""
        return "cpu" if self.making.backbone is None else self.making.device


def prepare_all(
    captures: Sequence[str],
    making: Making,
    *,
    workers: Workers = serial,
    progress: Progress = silent,
) -> dict[str, Outcome[Path]]:
    """Make captures ready that are not.

    Args:
        captures: paths, or procedural rooms; one that is there twice is made once.
        workers: that make them.

    Returns:
        The outcome of each capture with the file of its targets (see `Cache.get`), in their order, those that
        failed too.

    Raises:
        RunError: there is no such cluster.

    Warns:
        PurifyWarning: what readers and stages say, with the name of the capture.
    """
    tasks = [CaptureTask(name, making) for name in dict.fromkeys(captures)]
    made: dict[str, Outcome[Path]] = {}
    for outcome in progress(workers(tasks, make), name="prepare", total=len(tasks)):
        made[outcome.name] = outcome
        for said in outcome.warnings:
            warnings.warn(f"{outcome.name}: {said}", PurifyWarning, stacklevel=2)
    return {task.name: made[task.name] for task in tasks}


def make(task: CaptureTask) -> Path:
    """Make one capture ready; the file of its targets, see `Cache.get`.

    Raises:
        PurifyError: the capture or a model cannot be used.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PurifyWarning)  # said when the models were loaded
        recipe = task.making.recipe()
    scene = open_capture(task.name)
    if not is_procedural(task.name):  # whose images are rendered anew each time, and never damaged
        scene = replace(scene, frames=guarded(scene.frames, task.name))
    return task.making.cache().get(scene, recipe)


@lru_cache(maxsize=1)
def loaded(backbone: str, device: str) -> Backbone:
    """The 2D model that this process made captures ready with last, or another."""
    return load_backbone(backbone, device=device)


@lru_cache(maxsize=1)
def _teacher(name: str) -> Teacher:
    return load_teacher(name)

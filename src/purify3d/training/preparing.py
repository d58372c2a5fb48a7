"""Many captures made ready for training, in this process, several, or on a cluster; each once, then kept.

A capture is a task, see `spreading`: what was finished before is not repeated, and one that fails is named
and stops no other. What is kept does not depend on who made it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from purify3d.affinities.student import StudentConfig
from purify3d.backbones import Backbone, load_backbone
from purify3d.base.errors import PurifyError, PurifyWarning
from purify3d.base.progress import Progress, silent
from purify3d.base.workers import Spread, serial
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
class Task:
    """A capture to make ready; its name is its path."""

    name: str
    making: Making

    @property
    def device(self) -> str:
        """What a cluster has to give; the teacher computes on the CPU."""
        return "cpu" if self.making.backbone is None else self.making.device


@dataclass(frozen=True)
class Made:
    """What became of a capture.

    Attributes:
        name: of the task.
        file: its lesson, see `Cache.get`; None: it failed.
        why: it failed.
        warnings: what was said of it.
    """

    name: str
    file: Path | None
    why: str = ""
    warnings: tuple[str, ...] = ()


def prepare_all(
    captures: Sequence[str],
    making: Making,
    *,
    spread: Spread = serial,
    progress: Progress = silent,
) -> dict[str, Made]:
    """Make captures ready that are not.

    Args:
        captures: paths, or procedural rooms; one that is there twice is made once.
        spread: who does it.

    Returns:
        The outcome of each capture, in their order, those that failed too.

    Raises:
        RunError: there is no such cluster.

    Warns:
        PurifyWarning: what readers and stages say, with the name of the capture.
    """
    tasks = [Task(name, making) for name in dict.fromkeys(captures)]
    made: dict[str, Made] = {}
    outcomes: Iterator[Made] = spread(tasks, make, _lost)
    for outcome in progress(outcomes, name="prepare", total=len(tasks)):
        made[outcome.name] = outcome
        for said in outcome.warnings:
            warnings.warn(f"{outcome.name}: {said}", PurifyWarning, stacklevel=2)
    return {task.name: made[task.name] for task in tasks}


def make(task: Task) -> Made:
    """Make one capture ready. Whatever is wrong with it is said in the outcome."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PurifyWarning)  # who asked has loaded the models, and heard it
            recipe = task.making.recipe()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", PurifyWarning)
            scene = open_capture(task.name)
            if not is_procedural(task.name):  # whose images are rendered anew each time, and never damaged
                scene = replace(scene, frames=guarded(scene.frames, task.name))
            file = task.making.cache().get(scene, recipe)
    except PurifyError as error:
        return Made(task.name, None, " ".join(str(error).split()))
    except Exception as error:  # of any library on any file: the other captures go on, the reason is kept
        return Made(task.name, None, f"{type(error).__name__}: {' '.join(str(error).split())}")
    said = [str(w.message) for w in caught if issubclass(w.category, PurifyWarning)]
    return Made(task.name, file, warnings=tuple(dict.fromkeys(said)))


def capture_anywhere(name: str) -> str:
    """A capture as it is found from any working directory."""
    return name if is_procedural(name) else str(Path(name).expanduser().absolute())


def model_anywhere(name: str) -> str:
    """`family:argument`, absolute where the argument is something that exists here."""
    family, colon, argument = name.partition(":")
    there = bool(colon and argument) and Path(argument).expanduser().exists()
    return f"{family}:{Path(argument).expanduser().absolute()}" if there else name


@lru_cache(maxsize=1)
def loaded(backbone: str, device: str) -> Backbone:
    """The 2D model that this process made captures ready with last, or another."""
    return load_backbone(backbone, device=device)


@lru_cache(maxsize=1)
def _teacher(name: str) -> Teacher:
    return load_teacher(name)


def _lost(name: str, why: str) -> Made:
    return Made(name, None, why)

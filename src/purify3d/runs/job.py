"""Everything that shapes a run, in one value."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from purify3d.affinities.config import NAMES, PurifyConfig
from purify3d.base.errors import CaptureError, LabelError, RunError
from purify3d.base.files import read_text
from purify3d.base.settings import check, from_plain, leaves, setting, to_plain
from purify3d.captures import CaptureConfig, is_procedural
from purify3d.features.config import LiftConfig
from purify3d.labels.config import SegmentConfig

if TYPE_CHECKING:  # so that help of flags, which are made from a job, is shown without torch
    from purify3d.types import Labels, Vocabulary

#: The paper's configuration: consensus of views, confidence weighs nothing, unseen points copy from anywhere.
#: With its own student it is `affinity="released:FILE"`.
PAPER = SegmentConfig(
    lift=LiftConfig(fusion="consensus", top_views=3),
    purify=PurifyConfig(voxel=0.02, neighbors=96, rounds=19, confidence=0.0, fill=math.inf),
)
#: Methods by name, for whoever does not want to set each of their settings.
PRESETS = {"paper": PAPER}

_BUILT_IN = {"lite", *NAMES}  # names that are no paths, whatever lies here


@dataclass(frozen=True)
class Job:
    """A run before it runs. `config.json` of a run folder is this value.

    Attributes:
        labels: what points are labelled with: "chair, table, sofa|couch" (a bar joins synonyms), a text file
            with one label a line (labels.txt, @FILE), or a set: scannet20, scannet200, matterport21,
            matterport40, matterport80, matterport160.
        backbone: 2D model that looks at the images, as family:argument.
        seed: seed of a 2D model that draws random numbers; nothing of this package does.
        device: where all is computed: auto (cuda, else mps, else cpu), cpu, cuda, cuda:1, mps.
        no_query: keep only what the labels need: smaller, with the same labels, but the run can be asked
            and viewed no more.
    """

    capture: CaptureConfig
    labels: str | tuple[str, ...] = setting(stage="label", group="Input", common=True)
    backbone: str = setting("segmenter:lite", stage="lift", group="2D model", common=True)
    method: SegmentConfig = field(default_factory=SegmentConfig)
    seed: int = setting(0, stage="lift", low=0, high=2**63 - 1, group="Computing")
    device: str = setting("auto", group="Computing", common=True)
    no_query: bool = setting(False, stage="lift", group="Output")

    def __post_init__(self) -> None:
        check(self)
        for name, given in (("backbone", self.backbone), ("affinity", self.method.purify.affinity)):
            if not given.rpartition(":")[2].strip():
                raise ValueError(f"found {name} = {given!r}; expected a name, or a path behind the colon")
        from purify3d.types.labelfiles import spelled_out

        object.__setattr__(self, "labels", spelled_out(self.labels))  # a run is repeated without the file
        self.vocabulary  # labels that cannot be used are an error here  # noqa: B018

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """
        Raises:
            LabelError: the labels cannot be used.
        """
        from purify3d.types.labelsets import read_labels

        return read_labels(self.labels)

    def dataset_ids(self) -> tuple[int, ...] | None:
        """(C,) the data set's id of each label; None: the labels are no set that has ids."""
        from purify3d.types.labelsets import load_label_set, set_name

        name = set_name(self.labels)
        return None if name is None else load_label_set(name).dataset_ids

    def resolved(self) -> Job:
        """The job with paths that hold from any working directory."""
        capture = self.capture
        return replace(
            self,
            capture=replace(
                capture,
                path=capture_anywhere(capture.path),
                onto=None if capture.onto is None else _absolute(capture.onto),
            ),
            backbone=model_anywhere(self.backbone),
            method=replace(
                self.method,
                purify=replace(self.method.purify, affinity=model_anywhere(self.method.purify.affinity)),
            ),
        )

    def settings_of(self, stage: str) -> dict[str, Any]:
        """What this stage is the first to depend on: dotted name -> plain value."""
        found = {".".join(leaf.path): leaf.value for leaf in leaves(self) if leaf.stage == stage}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in found.items()}

    def to_json(self) -> str:
        return json.dumps(to_plain(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, file: Path, **given: Any) -> Job:
        """From `config.json` of a run, or a file with some of its keys: what is not there takes its default.

        Args:
            given: settings by name that win over those of the file.

        Raises:
            RunError: no such file, or not such settings; the message says which.
            ValueError: a setting that was given cannot be.
        """
        try:
            plain = json.loads(read_text(file))
            if isinstance(plain, dict) and isinstance(plain.setdefault("capture", {}), dict):
                plain["capture"] |= {"path": given["path"]} if "path" in given else {}
                plain |= {"labels": given["labels"]} if "labels" in given else _own_labels(plain)
            base = from_plain(cls, plain)
        except CaptureError as error:
            raise RunError(f"cannot read {error}; expected config.json of a run") from error
        except (ValueError, RecursionError, LabelError) as error:
            raise RunError(f"{file} cannot be used: {error}") from error
        return changed(base, given)


def _own_labels(plain: dict[str, Any]) -> dict[str, Any]:
    """Nothing: what a file of settings says of labels stays as it is.

    Raises:
        ValueError: it names another file, which would show what is private to whoever gets the results.
    """
    from purify3d.types.labelfiles import named_file

    labels = plain.get("labels")
    if isinstance(labels, str) and (file := named_file(labels)) is not None:
        raise ValueError(f"found the file {file} as labels; expected labels themselves. Give it as --labels")
    return {}


def job(capture: str | Path, labels: Labels, **settings: Any) -> Job:
    """A job from the names of its settings, wherever they are nested.

        job("my_scan", "chair, table", rounds=6, affinity="uniform", limit=20)

    Raises:
        ValueError: no setting of that name, or a value it cannot have.
        LabelError: the labels cannot be used.
    """
    return changed(job_of(capture, labels), settings)


def job_of(capture: str | Path, labels: Labels, method: SegmentConfig | None = None) -> Job:
    """A job with the usual settings.

    Raises:
        LabelError: the labels cannot be used.
    """
    words = labels if isinstance(labels, str) else _words(labels)
    return Job(CaptureConfig(str(capture)), words, method=method or SegmentConfig())


def changed(base: Job, settings: dict[str, Any]) -> Job:
    """The job with some settings replaced by name.

    Raises:
        ValueError: no setting of that name, or a value it cannot have.
        LabelError: the labels cannot be used.
    """
    plain = to_plain(base)
    places = {leaf.name: leaf.path for leaf in leaves(base)}
    for name, value in settings.items():
        if name not in places:
            raise ValueError(f"found setting {name!r}; expected one of {', '.join(places)}")
        inner = plain
        for key in places[name][:-1]:
            inner = inner[key]
        inner[name] = value
    return from_plain(Job, plain)


def _words(labels: Labels) -> tuple[str, ...]:
    from purify3d.types import Vocabulary
    from purify3d.types.labelfiles import spelled_out

    parsed = Vocabulary.parse(labels)
    if not isinstance(labels, Vocabulary):
        spelled_out(tuple(labels))  # before line breaks become spaces
    return tuple("|".join(words) for words in parsed.synonyms)


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def capture_anywhere(path: str) -> str:
    """A capture as it is found from any working directory."""
    return path if is_procedural(path) else _absolute(path)


def model_anywhere(name: str) -> str:
    """`family:argument` or a bare argument, absolute where it is something that exists here."""
    family, colon, argument = name.rpartition(":")
    if not argument or argument in _BUILT_IN:  # an empty path would be the working directory
        return name
    return f"{family}{colon}{_absolute(argument)}" if os.path.exists(os.path.expanduser(argument)) else name

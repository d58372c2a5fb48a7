"""A run: a job, what it needs, and what it makes, in memory or in a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar

from PIL import Image
from torch import Tensor

from purify3d.backbones import Backbone
from purify3d.base.errors import RunError
from purify3d.base.files import clear_partial, make_folders, name_of
from purify3d.base.progress import Progress, silent
from purify3d.base.stopwatch import Stopwatch
from purify3d.exporting import FORMATS, Content, Wishes, export
from purify3d.labels.config import ObjectConfig
from purify3d.labels.objects import Found
from purify3d.labels.questions import Answer, answer
from purify3d.labels.segmentation import Segmentation
from purify3d.runs import artefacts, html, objects
from purify3d.runs.folder import Folder, StageWriter, check_writable, fingerprint
from purify3d.runs.inputs import RunInputs
from purify3d.runs.job import Job
from purify3d.runs.stages import STAGES
from purify3d.types import PointCloud, PointFeatures, Scene

T = TypeVar("T")
_KILLED = 3600.0  # seconds after which an export in the making is one that was killed
_PATIENCE = 30.0  # seconds to wait for another process that writes
_COMPLETE = ("points", "lift", "label")  # stages of a complete run


class Run(RunInputs):
    """What a job has made. Everything is made when it is first asked for, and never twice.

    In memory, values are as they were computed; in a folder each is written when it is made, and read from
    there: features as they are stored, in at most 64 bytes a point.

    Any number of threads may ask. In a notebook a run shows its picture.

    Attributes:
        reused: stages that were finished before and have not been repeated.
        object_config: of `objects`.
        job, folder, complete, progress: see `RunInputs`.
    """

    def __init__(self, job: Job, folder: str | Path | None = None, **given: Any) -> None:
        """
        Args:
            given: see `RunInputs`.

        Raises:
            RunError: see `RunInputs`.
        """
        super().__init__(job, folder, **given)
        self.reused, self.object_config = tuple[str, ...](), ObjectConfig()
        self._values: dict[str, Any] = {}
        self._fingerprints: dict[str, str] = {}

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        backbone: Backbone | None = None,
        device: str | None = None,
        progress: Progress = silent,
    ) -> Self:
        """A finished run.

        Args:
            backbone: the 2D model that it was made with; None: it is loaded by its name when words are asked.
            device: where that is; None: where the job computes.

        Raises:
            RunError: there is no run, its features are not whole, or an older version made it.
        """
        files = Folder.finished(folder)
        job = files.job if device is None else replace(files.job, device=device)
        run = cls(job, folder, backbone=backbone, progress=progress)
        run.complete = True
        return run

    @property
    def scene(self) -> Scene:
        """Name, up, origin, the points and the names of ground truth; its frames are those of `capture` where
        this run made it, and none where it was opened.

        Raises:
            CaptureError: see `with_points`. RunError: a file is missing or damaged.
        """
        scene: Scene = self.value("points")
        return scene

    @property
    def points(self) -> PointCloud:
        """N points; see `scene`."""
        return self.scene.cloud()

    @property
    def features(self) -> PointFeatures:
        """Of the N points, as lifted.

        Raises:
            LabelError, CaptureError, BackboneError: see `lift`. RunError: a file is missing or damaged.
        """
        features: PointFeatures = self.value("lift")
        return features

    @property
    def purified(self) -> PointFeatures:
        """Of the N points, pooled; see `purify`.

        Raises:
            SpaceMismatchError: another 2D model. RunError: a file is missing or damaged.
        """
        self.need_features()
        features: PointFeatures = self.value("purify")
        return features

    @property
    def labels(self) -> Segmentation:
        """Label and score of each of the N points.

        Raises:
            RunError: a file is missing or damaged.
        """
        labels: Segmentation = self.value("label").labels
        return labels

    @property
    def views(self) -> Tensor:
        """(N,) int32, how many frames saw each point."""
        views: Tensor = self.value("label").views
        return views

    def query(self, text: str, *, limit: int = 5, threshold: float | None = None) -> Answer:
        """Heat of free text, without lifting again; see `purify3d.answer`.

        Returns:
            The answer, its regions in the coordinates of the capture.

        Raises:
            LabelError: no words.
            SpaceMismatchError: another 2D model.
            RunError: a file is missing or damaged, or the run keeps no features.
        """
        found = answer(self.points, self.purified, text, self.backbone, limit=limit, threshold=threshold)
        return replace(found, regions=[region.moved(self.scene.origin) for region in found.regions])

    def objects(self, text: str | None = None, config: ObjectConfig | None = None) -> list[Found]:
        """The single objects, by label and then the best score first.

        Args:
            text: only the objects that fit these words, the best first, with their mean cosine as score.

        Raises:
            RunError: no point has a label, or a file is missing or cannot be written.
            LabelError, SpaceMismatchError: see `query`.
        """
        with self._lock:
            if config is not None and config != self.object_config:
                self.object_config = config
                self._values.pop("objects", None)
                self._fingerprints.pop("objects", None)
            found: list[Found] = self.value("objects")
            return found if text is None else objects.fitting(found, self.query(text))

    def value(self, name: str) -> Any:
        """What a stage of the table makes, made if it is not there."""
        with self._lock:
            if name in self._values:
                return self._values[name]
            stage = STAGES[name]
            value = self.ensure(name)
            if value is None:
                value = stage.make(self, Stopwatch()) if stage.read is None else stage.read(self)
            if stage.held or self.complete or self.folder is None:
                self._values[name] = value
            return value

    def ensure(self, name: str) -> Any:
        """Make a stage if it is not there; its value, or None where it can be read from the folder."""
        with self._lock:
            if self.finished(name):
                return None
            stage, watch = STAGES[name], Stopwatch()
            if self.folder is None:
                return stage.make(self, watch)
            if self.complete and not self.files.writable:
                self._values[name] = stage.make(self, watch)
                return self._values[name]
            with self.files.writing(patience=_PATIENCE):
                if self.finished(name):  # another process was faster
                    return None
                value = stage.make(self, watch)

                def write(making: StageWriter) -> Any:
                    making.notes["watch"] = watch.stages
                    return stage.write(making, self, value)

                return self.keep(name, self.fingerprint(name), stage.made_from, write)

    def finished(self, name: str) -> bool:
        """Whether a stage need not be made."""
        if self.folder is None or name in self._values:
            return name in self._values
        if self.complete and name in _COMPLETE:
            return True  # reading says what is wrong
        return self.files.done(name, self.fingerprint(name))

    def fingerprint(self, name: str) -> str:
        """What a stage is made from: its settings, the stages before, and what else changes it."""
        if self.complete and self.folder is not None and name in {*_COMPLETE, *self.files.behind("label")}:
            # A complete run goes on with what its labels were made from, even if a student has changed since.
            return self.files.fingerprint_of(name) or ""
        if name not in self._fingerprints:
            before = [self.fingerprint(each) for each in STAGES[name].made_from]
            inputs = STAGES[name].inputs(self)
            self._fingerprints[name] = fingerprint(before, self.job.settings_of(name), inputs)
        return self._fingerprints[name]

    def keep(
        self,
        key: str,
        digest: str,
        made_from: Iterable[str],
        write: Callable[[StageWriter], T],
        *,
        output: Path | None = None,
    ) -> T:
        """Write something that the run has made into its folder, and record it; or into another one.

        Args:
            key: of the record.
            digest: its fingerprint.
            made_from: names of stages.
            output: the other folder, in which nothing is recorded.

        Raises:
            RunError: it cannot be written.
        """
        if output is not None:
            check_writable(output)
            return write(StageWriter(make_folders(output)))
        before = {name: self.fingerprint(name) for name in made_from}
        spared = _COMPLETE if self.complete else ()  # a question never costs a run its labels
        with (
            self.files.writing(patience=_PATIENCE),
            self.files.making(key, digest, before, spared=spared) as making,
        ):
            return write(making)

    def measured(self, name: str) -> dict[str, Any]:
        """Seconds and peak memory of all that a stage is made from, by what was measured."""
        found: dict[str, Any] = {}
        for before in STAGES[name].made_from:
            found |= self.measured(before) | self.files.stages.get(before, {}).get("watch", {})
        return found

    @property
    def metrics(self) -> dict[str, Any]:
        """What metrics.json says: how it was made, seconds and memory, scores where there is ground truth.

        Raises:
            RunError: the run lives in memory, has no labels, or a file is missing or damaged.
        """
        self.ensure("label")
        return artefacts.read_metrics(self.files)

    @property
    def scores(self) -> dict[str, Any]:
        """`metrics` of a run whose capture has ground truth.

        Raises:
            RunError: see `metrics`, or there is no ground truth.
        """
        metrics = self.metrics
        if "purified" not in metrics:
            raise RunError(
                f"the capture of the run in {self.folder} has no truth to compare with; expected label "
                "images beside its frames"
            )
        return metrics

    def export(
        self,
        to: str,
        path: str | Path | None = None,
        wishes: Wishes | None = None,
        *,
        overwrite: bool = False,
    ) -> Path:
        """Write the run as a file of another program; see `exporting.export`.

        Args:
            to: ply, las, laz, glb, rrd, npz, scannet or coco.
            path: None: one in the folder `export` of the run.

        Raises:
            RunError, CaptureError, MissingPackageError: see `exporting.export`.
        """
        place = self._exported(to) if path is None else Path(path)
        return export(Content(self, wishes or Wishes()), to, place, overwrite=overwrite)

    def _exported(self, to: str) -> Path:
        suffix = FORMATS[to].suffix if to in FORMATS else ""
        try:
            folder = make_folders(self.files.path, "export")
            clear_partial(folder, older=_KILLED)
        except OSError as error:
            raise RunError(f"cannot write to {self.folder} ({error}); name another --output") from error
        return folder / (f"{name_of(self.scene.name)}{suffix}" if suffix else to)

    def show(self) -> Image.Image:
        """picture.png: photo, raw, purified, and ground truth if any.

        Raises:
            RunError: the run lives in memory, or the file is missing or damaged.
        """
        return artefacts.read_picture(self.files)

    def __repr__(self) -> str:
        where = "in memory" if self.folder is None else f"in {self.folder}"
        return f"Run({self.job.capture.path!r}, {len(self.job.vocabulary)} labels, {where})"

    def _repr_html_(self) -> str:
        return html.of_run(self)


def open_run(folder: str | Path, *, backbone: Backbone | None = None) -> Run:
    """A finished run; see `Run.open`.

    Raises:
        RunError: no such folder, or its run is not finished.
    """
    return Run.open(folder, backbone=backbone)


def query(run: Run | str | Path, text: str, *, limit: int = 5, threshold: float | None = None) -> Answer:
    """Heat of free text over a run, or the run in a folder; see `Run.query`."""
    opened = run if isinstance(run, Run) else open_run(run)
    return opened.query(text, limit=limit, threshold=threshold)

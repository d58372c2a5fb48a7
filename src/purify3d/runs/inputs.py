"""What a job needs: capture, 2D model, embedding of voxels, words; each opened when it is first needed."""

from __future__ import annotations

import platform
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from purify3d import __version__
from purify3d.affinities.embeddings import Embedding, Learned, load_embedding
from purify3d.backbones import Backbone, embed_vocabulary, load_backbone
from purify3d.base.devices import find_device
from purify3d.base.errors import CaptureError, RunError
from purify3d.base.progress import Progress, silent
from purify3d.captures import guarded
from purify3d.runs import artefacts
from purify3d.runs.folder import Folder
from purify3d.runs.job import Job
from purify3d.types import Scene, TextEmbeddings


class RunInputs:
    """What a job needs.

    Attributes:
        job: everything that shapes the run.
        folder: where it lies; None: in memory.
        complete: its points, features and labels are there, are read where they are asked for and never made
            again, and what was read stays in memory.
        progress: see `purify3d.progress_bars`.
    """

    def __init__(
        self,
        job: Job,
        folder: str | Path | None = None,
        *,
        scene: Scene | None = None,
        backbone: Backbone | None = None,
        embedding: Embedding | None = None,
        content: str | None = None,
        command: Sequence[str] = (),
        progress: Progress = silent,
    ) -> None:
        """
        Args:
            job: with paths resolved, see `Job.resolved`.
            scene, backbone, embedding: what the job names, if it has been opened already.
            content: a digest of a scene that no file describes.
            command: is recorded in metrics.json.

        Raises:
            RunError: the folder holds something that is not a run, or a record that cannot be read.
        """
        self.job, self.progress, self.content, self.command = job, progress, content, tuple(command)
        self.folder = None if folder is None else Path(folder)
        self.complete = False
        self._files = None if folder is None else Folder(folder)
        self._scene, self._backbone, self._embedding = scene, backbone, embedding
        self._lock = threading.RLock()

    @property
    def files(self) -> Folder:
        """
        Raises:
            RunError: the run lives in memory.
        """
        if self._files is None:
            raise RunError("found a run in memory; expected one in a folder. Give segment() an output")
        return self._files

    @cached_property
    def capture(self) -> Scene:
        """The capture with its frames.

        Raises:
            CaptureError: it cannot be opened, or has moved since the run was made.
        """
        config = self.job.capture
        if self._scene is not None:
            return self._scene
        try:
            scene = config.open()
        except CaptureError as error:
            if not self.complete:
                raise
            raise CaptureError(
                f"{error}. The frames of the capture {config.path} are needed: put it back there, or correct "
                f"its path in {self.files.path / 'config.json'}"
            ) from error
        origin = artefacts.read_scene(self.files).origin if self.complete else scene.origin
        if np.abs(scene.origin - origin).max() > 0:
            raise CaptureError(
                f"{config.path}: found frames about {scene.origin.tolist()} and points about "
                f"{origin.tolist()}; expected the capture of the run. Repeat the run"
            )
        return scene

    @cached_property
    def guarded_capture(self) -> Scene:
        """`capture` with frames that see nothing where an image is damaged, and say so once."""
        return replace(self.capture, frames=guarded(self.capture.frames, self.job.capture.path))

    @property
    def backbone(self) -> Backbone:
        """The 2D model; loaded when it is first needed.

        Raises:
            BackboneError, CheckpointError, MissingPackageError: see `load_backbone`.
        """
        with self._lock:
            if self._backbone is None:
                self._backbone = load_backbone(self.job.backbone, device=self.job.device)
            return self._backbone

    @property
    def embedding(self) -> Embedding:
        """What voxels are compared by.

        Raises:
            CheckpointError: see `load_embedding`.
        """
        with self._lock:
            if self._embedding is None:
                name = self.job.method.purify.affinity
                self._embedding = load_embedding(name, self.backbone, device=self.device)
            return self._embedding

    @cached_property
    def text(self) -> TextEmbeddings:
        """The labels in the words of the 2D model.

        Raises:
            LabelError, BackboneError: see `embed_vocabulary`.
        """
        return embed_vocabulary(self.backbone, self.job.vocabulary)

    @property
    def device(self) -> torch.device:
        """Where everything but the 2D model computes."""
        return find_device(self.job.device)

    def need_features(self) -> None:
        """
        Raises:
            RunError: the run keeps no features that other words than its labels can be compared with.
        """
        if self.job.no_query:
            raise RunError(
                f"the run in {self.folder} was made with --no-query and keeps only scores of its labels; to "
                "ask it other words, or to view it, repeat its 'segment' command with --query and --overwrite"
            )

    @property
    def kept_words(self) -> list[TextEmbeddings]:
        """Of features nothing is kept but what these see of them; empty: all is kept."""
        if not self.job.no_query:
            return []
        own = self.embedding.text_embeddings if isinstance(self.embedding, Learned) else None
        return [self.text] if own is None else [self.text, own]

    @property
    def facts(self) -> dict[str, Any]:
        """What metrics.json says of how the run was made."""
        versions = {
            "purify3d": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        }
        return {
            "command": list(self.command),
            "capture": self.job.capture.path,
            "backbone": self.job.backbone,
            "seed": self.job.seed,
            "device": str(self.device),
            "threads": torch.get_num_threads(),
            "versions": versions,
        }

"""Scenes made ready for training: fused, lifted, voxelised and taught once, then read from disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from purify3d.affinities.config import WORDS, StudentConfig
from purify3d.affinities.embeddings import words_of
from purify3d.affinities.student import student_input
from purify3d.backbones import Backbone, StoredBackbone
from purify3d.base.checkpoints import digest_of
from purify3d.base.errors import CaptureError
from purify3d.base.files import clear_partial, write_whole
from purify3d.features.config import LiftConfig
from purify3d.features.labels_from_frames import fuse_instances
from purify3d.features.lifting import lift
from purify3d.features.surface import with_points
from purify3d.grid.voxels import first_points, voxelize
from purify3d.training.teachers import Targets, Teacher
from purify3d.types import PointCloud, Scene, Voxels

_REVISION = 1
_CLOUD = ("xyz", "rgb", "normal", "label", "instance")
#: Seconds after which a file that was begun is of a process that died.
_WRITING = 3600.0


@dataclass(frozen=True, eq=False, repr=False)
class Prepared:
    """One scene as training sees it. V voxels, C input channels, S scales of the teacher's groups.

    Attributes:
        index: (V, 3) int32 cells.
        inputs: (V, C) float16, see `student_input`.
        targets: what the teacher says of the voxels.
    """

    index: Tensor
    inputs: Tensor
    targets: Targets

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True, eq=False)
class Recipe:
    """How captures become training scenes.

    Attributes:
        student: the network they are for.
        teacher: what it learns from.
        backbone: the 2D model whose features or words it reads; None: a student of geometry, or of silence.
    """

    student: StudentConfig
    teacher: Teacher
    backbone: Backbone | None = None

    def fingerprint(self, scene: Scene) -> str:
        """Changes when the points of this scene, or the input of the student, would."""
        files = [*scene.files, *(file for frame in scene.frames for file in frame.files)]
        # Absolute, so that a scene is the same one on another machine of a cluster.
        stats = [(str(f.absolute()), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.exists()]
        model = None if self.backbone is None else repr(self.backbone.space)
        stored = self.backbone.fingerprint if isinstance(self.backbone, StoredBackbone) else None
        shape = (self.student.feature_dim, self.student.words, self.student.voxel_size)
        views = [(f.name, astuple(f.camera), f.world_from_camera.tolist()) for f in scene.frames]
        return digest_of(_REVISION, scene.name, views, scene.up.tolist(), stats, model, stored, shape)


def prepare(scene: Scene, recipe: Recipe) -> tuple[PointCloud, Voxels, Tensor]:
    """Fuse, lift and voxelise one scene.

    Returns:
        N points with truth where the capture has it, V voxels, and (V, C) float32 the input of the student.

    Raises:
        CaptureError, BackboneError, CheckpointError: see the stages.
    """
    config, backbone = recipe.student, recipe.backbone
    scene = with_points(scene, voxel=config.voxel_size)
    points = scene.cloud()
    if any(frame.instance is not None for frame in scene.frames):
        points = replace(points, instance=fuse_instances(scene.frames, points))
    scene = replace(scene, points=points)
    features, text_embeddings = None, None
    if backbone is not None and (config.feature_dim or config.words):
        text_embeddings = words_of(config, backbone)
        # A model that looks for words has to be given some, also by a student that reads features alone.
        told = text_embeddings is not None or not getattr(backbone, "reads_words", False)
        asked = text_embeddings if told else WORDS
        features = lift(scene, backbone, asked, LiftConfig())
        features = features.within(0) if config.words else features
    voxels = voxelize(points.xyz, config.voxel_size)
    inputs = student_input(points, voxels, features, config=config, text_embeddings=text_embeddings)
    return points, voxels, inputs


class Cache:
    """Prepared scenes on disk, whole or absent; those used longest ago go beyond a size.

    A scene is two files: the input of the student, made once for every teacher, and what a teacher says.
    Several processes may fill one cache.

    Args:
        folder: made when needed.
        limit: bytes.
    """

    def __init__(self, folder: Path, limit: float = 20e9) -> None:
        self.folder, self._limit = folder, limit

    def path_of(self, scene: Scene, recipe: Recipe) -> Path:
        """Where the targets of a scene lies once it is made."""
        targets = digest_of(recipe.teacher.name, recipe.teacher.fingerprint)
        return self.folder / f"{recipe.fingerprint(scene)}-{targets}.safetensors"

    def get(self, scene: Scene, recipe: Recipe) -> Path:
        """The file of a scene's targets, made if it is not there, as is the scene's.

        Raises:
            CaptureError: it cannot be written, another process dropped it, or see `prepare`.
        """
        path = self.path_of(scene, recipe)
        scene_file = _scene_of(path)
        if not scene_file.is_file():
            points, voxels, inputs = prepare(scene, recipe)
            fields = {name: getattr(points, name) for name in _CLOUD}
            grid = {"index": voxels.index, "of_point": voxels.of_point.int(), "inputs": inputs.half()}
            self._keep(scene_file, fields | grid, scene.name)
        if not path.is_file():
            with self._in_use(scene.name), safe_open(scene_file, framework="pt") as file:
                points = PointCloud(**{name: file.get_tensor(name) for name in _CLOUD})
                of_point = file.get_tensor("of_point").long()
            targets = recipe.teacher.teach(points, up=scene.up)
            # A voxel is taught what its first point is.
            first = first_points(of_point, int(of_point.max()) + 1)
            tensors = {"group": targets.group[first].int()}
            if targets.feature is not None:
                tensors["feature"] = targets.feature.half()
            self._keep(path, tensors, scene.name)
        with self._in_use(scene.name):
            for file in (path, scene_file):
                os.utime(file)  # used now
        self._shrink({path, scene_file})
        return path

    def _keep(self, path: Path, tensors: dict[str, Tensor], name: str) -> None:
        whole = {key: tensor.contiguous() for key, tensor in tensors.items()}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, lambda temporary: save_file(whole, temporary))
        except (OSError, SafetensorError) as error:
            raise CaptureError(
                f"cannot keep {name} in {self.folder} ({error}); free some space or name another --cache"
            ) from error

    @contextmanager
    def _in_use(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise CaptureError(
                f"{name} was dropped from {self.folder} by another process, for want of room, while it was "
                "in use; give the cache more with --cache-limit"
            ) from error

    def _shrink(self, but: set[Path]) -> None:
        clear_partial(self.folder, older=_WRITING)
        known = []
        for file in self.folder.glob("*.safetensors"):
            with suppress(FileNotFoundError):  # another process dropped it
                facts = file.stat()
                known.append((facts.st_mtime, facts.st_size, file))
        total = sum(size for _, size, _ in known)
        for _, size, file in sorted(known):
            if total <= self._limit or file in but:
                break
            total -= size
            file.unlink(missing_ok=True)


def _scene_of(targets: Path) -> Path:
    return targets.with_name(f"{targets.stem.partition('-')[0]}.safetensors")


def read(path: Path) -> Prepared:
    """A scene that `Cache.get` kept.

    Raises:
        CaptureError: it is gone or damaged.
    """
    try:
        with safe_open(_scene_of(path), framework="pt") as file:
            index, inputs = file.get_tensor("index"), file.get_tensor("inputs")
        said = load_file(path)
        feature = said.get("feature")
        targets = Targets(said["group"].long(), None if feature is None else feature.float())
        return Prepared(index, inputs, targets)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CaptureError(
            f"cannot read the prepared scene {path} ({error}); remove it, and give the cache more room with "
            "--cache-limit if it was dropped"
        ) from error

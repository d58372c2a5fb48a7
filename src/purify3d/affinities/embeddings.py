"""Who listens to whom: how much each voxel hears of its neighbours (GeoPurify, section 3.3)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from purify3d.affinities.budget import free_memory, tile_size
from purify3d.affinities.softmax import SHARPNESS, exponent_key, softmax_weights
from purify3d.affinities.student import SHIPPED, Student, StudentConfig, load_released
from purify3d.affinities.tiles import TiledAffinity, part_of, tiled_affinity
from purify3d.backbones import TextEncoder, embed_vocabulary
from purify3d.base.checkpoints import file_digest
from purify3d.base.colors import rgb_to_lab
from purify3d.base.errors import BackboneError, CheckpointError, LabelError, PurifyWarning
from purify3d.base.progress import Progress, silent
from purify3d.base.settings import check, setting
from purify3d.grid.neighbors import grid_neighbors
from purify3d.grid.voxels import voxelize
from purify3d.types import Affinity, PointCloud, PointFeatures, TextBank, Voxels


@dataclass(frozen=True)
class PurifyConfig:
    """How far and how sharply features are pooled.

    Attributes:
        affinity: what neighbours are compared by: geometric, uniform, student (the one that ships), the
            folder or hub id of a student, or released:FILE.
        voxel: edge in metres of the voxels that frames are fused at and that talk to each other.
        neighbors: nearest voxels each of them listens to (the paper's K).
        sharpness: of the softmax over neighbours, for unit embeddings the factor of the cosine; None: what
            the affinity was made for.
        rounds: pooling products (the paper's T = 18 is 19 products); 0 leaves features as lifted.
        confidence: how much more is heard from neighbours whose views agree, see `agreement`; 0 is
            the paper's configuration.
        fill: metres; a point that no camera saw is labelled, and heard, by a copy of the nearest seen point
            within this distance. 0: such points get no label; inf: the paper's rule.
        memory: GB that neighbours and their weights may take; beyond that they are kept in tiles in a file,
            with the same result. None: what is free.
    """

    affinity: str = setting("student", stage="purify")
    voxel: float = setting(0.02, stage="points", low=0.001, high=10)
    neighbors: int = setting(96, stage="purify", low=1, high=1000)
    sharpness: float | None = setting(None, stage="purify", low=0, high=1e4)
    rounds: int = setting(19, stage="purify", low=0, high=1000)
    confidence: float = setting(4.0, stage="purify", low=0, high=100)
    fill: float = setting(0.0, stage="purify", low=0, infinite=True)
    memory: float | None = setting(None, low=0.001, infinite=True)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class GeometricConfig:
    """Scales of the weights-free embedding: neighbours one scale apart are e times less heard.

    Attributes:
        normal: difference of unit normals; 0.2 is about 11 degrees.
        color: difference of CIE L*a*b* colours, lightness halved because shade and light change it most.
    """

    normal: float = 0.2
    color: float = 3.0


class Embedding(Protocol):
    """What voxels are compared by.

    Attributes:
        fingerprint: changes when the vectors do, so that finished stages are not reused.
        sharpness: of the softmax that it was made for.
        reach: cells along each axis that a vector looks at beside its own; 0 where it is not said.
    """

    @property
    def fingerprint(self) -> str: ...

    @property
    def sharpness(self) -> float: ...

    def __call__(self, points: PointCloud, voxels: Voxels, features: PointFeatures) -> Tensor:
        """(V, E) float32: one vector per voxel, compared by distance."""
        ...


@dataclass(frozen=True)
class Uniform:
    """All neighbours are heard alike."""

    fingerprint: str = "uniform"
    sharpness: float = SHARPNESS

    def __call__(self, points: PointCloud, voxels: Voxels, features: PointFeatures) -> Tensor:
        return torch.zeros(len(voxels), 1, device=voxels.index.device)


@dataclass(frozen=True)
class Geometric:
    """Normals and colours alone, see `geometric_embedding`."""

    config: GeometricConfig = field(default_factory=GeometricConfig)
    sharpness: float = SHARPNESS

    @property
    def fingerprint(self) -> str:
        return repr(self.config)

    def __call__(self, points: PointCloud, voxels: Voxels, features: PointFeatures) -> Tensor:
        return geometric_embedding(points, voxels, self.config)


@dataclass(frozen=True)
class Learned:
    """A student's unit embeddings, joined with normals and colours where its configuration says so.

    Attributes:
        bank: the student's words in the words of the features' model; None: it does not hear them.
        fingerprint: of weights and configuration.
        otherwise: what stands in where voxels are not those it was trained for; None: that is an error.
    """

    student: Student
    fingerprint: str
    bank: TextBank | None = None
    otherwise: Geometric | None = None

    @property
    def sharpness(self) -> float:
        return self.student.config.sharpness

    @property
    def reach(self) -> int:
        """Cells along each axis that a vector looks at: one for each convolution."""
        return 2 * self.student.config.blocks + 1

    @property
    def reads_features(self) -> bool:
        """Whether it looks at more of what the 2D model saw than how `bank` fits it."""
        return self.student.config.feature_dim > 0

    def at(self, voxel: float) -> Learned | Geometric:
        """What to compare voxels of this edge by, metres.

        Warns:
            PurifyWarning: the student knows voxels of another size, and `otherwise` stands in.
        """
        own = self.student.config.voxel_size
        if self.otherwise is None or abs(voxel / own - 1) < 1e-6:
            return self
        warnings.warn(
            f"the student was trained on voxels of {own:g} m; those of {voxel:g} m are compared by normals "
            "and colours alone. --affinity geometric does the same and is silent",
            PurifyWarning,
            stacklevel=3,
        )
        return self.otherwise

    def __call__(self, points: PointCloud, voxels: Voxels, features: PointFeatures) -> Tensor:
        own = self.student.embed(points, voxels, features, bank=self.bank)
        return joined(own, points, voxels, self.student.config)


def joined(own: Tensor, points: PointCloud, voxels: Voxels, config: StudentConfig) -> Tensor:
    """A student's (V, E) unit embeddings beside normals and colours, so that squared distances add up: the
    former at `config.sharpness`, the latter at `config.geometric`."""
    if config.geometric == 0:
        return own
    share = (config.geometric / config.sharpness) ** 0.5
    return torch.cat([own, share * geometric_embedding(points, voxels).to(own)], dim=1)


def load_embedding(
    name: str, backbone: TextEncoder | None = None, *, device: torch.device | str = "cpu"
) -> Embedding:
    """What voxels are compared by.

    Args:
        name: `geometric`, `uniform`, `student` (the one that ships), the folder or hub id of a student, or
            `released:FILE`.
        backbone: the 2D model of the features, whose text side puts a student's words into their space; None,
            or a model that knows only the words of a table: the student does not hear words.
        device: where a student computes.

    Raises:
        CheckpointError: nothing of that name fits.
    """
    if name == "uniform":
        return Uniform()
    if name == "geometric":
        return Geometric()
    if name.startswith("released:"):
        file = Path(name.removeprefix("released:"))
        return Learned(load_released(file).to(device), file_digest(file))
    shipped = name == "student"
    if shipped:
        name = str(SHIPPED)
    if not Path(name).exists() and name.count("/") != 1:
        raise CheckpointError(
            f"found affinity {name!r}; expected geometric, uniform, student, a folder or hub id "
            "of a student, or released:FILE"
        )
    student = Student.from_pretrained(name)
    bank = None if backbone is None else words_of(student.config, backbone)
    print_ = f"{student.digest()} {'hears words' if bank else ''}"
    return Learned(student.to(device), print_, bank, Geometric() if shipped else None)


def words_of(config: StudentConfig, backbone: TextEncoder) -> TextBank | None:
    """A student's words in the words of a 2D model; None where it has none or the model does not know them.

    Warns:
        PurifyWarning: the model failed at them.
    """
    if not config.words:
        return None
    try:
        return embed_vocabulary(backbone, config.words)
    except LabelError:  # stored features with a closed table of words
        return None
    except BackboneError as error:
        warnings.warn(
            f"the student hears nothing of what the 2D model saw and goes by shape and colour, since {error}",
            PurifyWarning,
            stacklevel=3,
        )
        return None


def affinity(
    points: PointCloud,
    features: PointFeatures,
    config: PurifyConfig | None = None,
    *,
    embedding: Embedding | None = None,
    backbone: TextEncoder | None = None,
    neighbor: Tensor | None = None,
    progress: Progress = silent,
) -> tuple[Voxels, Affinity | TiledAffinity]:
    """The voxels of a cloud and how much each listens to its neighbours; without rounds, to none.

    Where neighbours and weights of all voxels do not fit into `config.memory`, they are made and kept in
    tiles.

    Args:
        features: of the N points; a student may read them, and agreement of views weighs neighbours where
            the features' length tells it.
        embedding: what voxels are compared by; None: the one that `config.affinity` names.
        backbone: the features' 2D model, for students that read words; see `load_embedding`.
        neighbor: (V, K) of `grid_neighbors`, if they have been searched already; its K counts.

    Raises:
        CheckpointError: no such affinity, or a student that was trained for other voxels or features.
    """
    config = config or PurifyConfig()
    voxels = voxelize(points.xyz, config.voxel)
    if config.rounds == 0:
        nobody = torch.empty(len(voxels), 0, device=voxels.index.device)
        return voxels, Affinity(nobody.long(), nobody)
    embedding = embedding or load_embedding(config.affinity, backbone, device=points.xyz.device)
    if isinstance(embedding, Learned):
        embedding = embedding.at(config.voxel)
    sharpness = embedding.sharpness if config.sharpness is None else config.sharpness

    def keyed(points: PointCloud, voxels: Voxels, features: PointFeatures) -> Tensor:
        bias = None
        if config.confidence > 0 and features.space.length_is_confidence:
            bias = agreement(features, voxels, config.confidence)
        vectors = embedding(points, voxels, features).to(voxels.index.device)  # a student may lie elsewhere
        return exponent_key(vectors, sharpness, bias)

    reach, limit = getattr(embedding, "reach", 0), None
    if neighbor is None and len(voxels) > 1:  # a single one hears nobody
        free = free_memory(voxels.index.device) if config.memory is None else config.memory * 1e9
        limit = tile_size(len(voxels), config.neighbors, free, student=reach > 0)
    if limit is None:
        key = keyed(points, voxels, features)  # first: a student's layers need not lie beside neighbours
        if neighbor is None:
            neighbor = grid_neighbors(voxels.index, config.neighbors, progress=progress)
        return voxels, Affinity(neighbor, softmax_weights(key, neighbor, progress=progress))

    def weigh_tile(seen: np.ndarray, own: Tensor, near: Tensor) -> Tensor:
        key = keyed(*part_of(points, voxels, features, seen))
        return softmax_weights(key, near.to(key.device), own.to(key.device))

    cells = voxels.index.cpu().numpy()
    k = config.neighbors
    return voxels, tiled_affinity(cells, k, weigh_tile, limit=limit, reach=reach, progress=progress)


def agreement(features: PointFeatures, voxels: Voxels, exponent: float) -> Tensor:
    """(V,) how much more each voxel is heard for being sure: a bias for `softmax_affinity`, which multiplies
    weights with confidence to the power of `exponent`.

    Confidence is the length of a voxel's fused values: an average of views (for a segmenter: of posteriors)
    is long where views are sure and agree, and short where they contradict each other. Small objects in front
    of a dominant surface, a poster on its wall, keep their own when the wall's points around them waver.
    """
    return exponent * voxels.mean(features.sure()).clamp_min(1e-6).log()


def geometric_embedding(points: PointCloud, voxels: Voxels, config: GeometricConfig | None = None) -> Tensor:
    """(V, 6) embedding from normals and colours alone, for the sharpness SHARPNESS."""
    config = config or GeometricConfig()
    normal = normalize(voxels.mean(points.normal), dim=1)
    lab = rgb_to_lab(voxels.mean(points.rgb) / 255)
    lab = lab * lab.new_tensor([0.5, 1.0, 1.0])
    unit = (2 / SHARPNESS) ** 0.5
    return torch.cat([normal / config.normal, lab / config.color], dim=1) * unit

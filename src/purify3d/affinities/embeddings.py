"""Embeddings of voxels: what neighbours are compared by (GeoPurify, section 3.3)."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize

from purify3d.affinities.config import NAMES, StudentConfig
from purify3d.affinities.softmax import SHARPNESS
from purify3d.affinities.student import SHIPPED, Student, load_released
from purify3d.backbones import TextEncoder, embed_vocabulary
from purify3d.base.checkpoints import file_digest
from purify3d.base.colors import rgb_to_lab
from purify3d.base.errors import BackboneError, CheckpointError, LabelError, PurifyWarning
from purify3d.types import PointCloud, PointFeatures, TextEmbeddings, Voxels

#: Scales of the weights-free embedding; neighbours one scale away weigh e times less: difference of unit
#: normals (0.2 is about 11 degrees), and of CIE L*a*b* colours.
_NORMAL, _COLOR = 0.2, 3.0


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


@dataclass(frozen=True)
class Uniform:
    """All neighbours weigh alike."""

    fingerprint: str = "uniform"
    sharpness: float = SHARPNESS

    def __call__(self, points: PointCloud, voxels: Voxels, features: PointFeatures) -> Tensor:
        return torch.zeros(len(voxels), 1, device=voxels.index.device)


@dataclass(frozen=True)
class Geometric:
    """Normals and colours alone, see `geometric_embedding`."""

    fingerprint: str = f"geometric {_NORMAL} {_COLOR}"
    sharpness: float = SHARPNESS

    def __call__(self, points: PointCloud, voxels: Voxels, features: PointFeatures) -> Tensor:
        return geometric_embedding(points, voxels)


@dataclass(frozen=True)
class Learned:
    """A student's unit embeddings, joined with normals and colours where its configuration says so.

    Attributes:
        text_embeddings: of the student's words, by the features' model; None: it goes without them.
        fingerprint: of weights and configuration.
        otherwise: what stands in where voxels are not those it was trained for; None: that is an error.
    """

    student: Student
    fingerprint: str
    text_embeddings: TextEmbeddings | None = None
    otherwise: Geometric | None = None

    @property
    def sharpness(self) -> float:
        return self.student.config.sharpness

    @property
    def reach(self) -> int:
        """Cells along each axis that a vector looks at: one for each convolution."""
        return 2 * self.student.config.blocks + 1

    def knows(self, voxel: float) -> bool:
        """Whether the student embeds voxels of this edge, metres, and nothing stands in for it."""
        return self.otherwise is None or abs(voxel / self.student.config.voxel_size - 1) < 1e-6

    def at(self, voxel: float) -> Learned | Geometric:
        """What to compare voxels of this edge by, metres.

        Warns:
            PurifyWarning: the student knows voxels of another size, and `otherwise` stands in.
        """
        if self.otherwise is None or self.knows(voxel):
            return self
        own = self.student.config.voxel_size
        warnings.warn(
            f"the student was trained on voxels of {own:g} m; those of {voxel:g} m are compared by normals "
            "and colours alone. --affinity geometric does the same and is silent",
            PurifyWarning,
            stacklevel=3,
        )
        return self.otherwise

    def __call__(self, points: PointCloud, voxels: Voxels, features: PointFeatures) -> Tensor:
        own = self.student.embed(points, voxels, features, text_embeddings=self.text_embeddings)
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
            or a model that knows only the words of a table: the student goes without words.
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
    if not os.path.exists(name) and name.count("/") != 1:
        raise CheckpointError(
            f"found affinity {name!r}; expected {', '.join(NAMES)}, a folder or hub id of "
            "a student, or released:FILE"
        )
    student = Student.from_pretrained(name)
    text_embeddings = None if backbone is None else words_of(student.config, backbone)
    digest = f"{student.digest()} {'with words' if text_embeddings else ''}"
    return Learned(student.to(device), digest, text_embeddings, Geometric() if shipped else None)


def words_of(config: StudentConfig, backbone: TextEncoder) -> TextEmbeddings | None:
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
            f"the student reads nothing of what the 2D model saw and goes by shape and colour, since {error}",
            PurifyWarning,
            stacklevel=3,
        )
        return None


def geometric_embedding(points: PointCloud, voxels: Voxels) -> Tensor:
    """(V, 6) embedding from normals and colours alone, for the sharpness SHARPNESS."""
    normal = normalize(voxels.mean(points.normal), dim=1)
    lab = rgb_to_lab(voxels.mean(points.rgb) / 255)
    lab = lab * lab.new_tensor([0.5, 1.0, 1.0])  # lightness halved: shade and light change it most
    unit = (2 / SHARPNESS) ** 0.5
    return torch.cat([normal / _NORMAL, lab / _COLOR], dim=1) * unit

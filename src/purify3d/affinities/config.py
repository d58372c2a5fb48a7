"""Settings of affinities, of pooling along them, and of students."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import ClassVar

from purify3d.base.settings import Group, check, setting

#: Names that `load_embedding` knows beside those of students.
NAMES = ("student", "geometric", "uniform")

GEOMETRY_CHANNELS = 6  # rgb and normal
SURENESS_CHANNELS = 2  # length of the feature, number of views


@dataclass(frozen=True)
class AffinityConfig:
    """Which voxels are neighbours, and what their weights are.

    Attributes:
        affinity: what neighbours are compared by: student (the one that ships), geometric (normals and
            colours), uniform (all weigh the same), the folder or hub id of a student, or released:FILE.
        voxel: metres; edge of the voxels that frames are fused at and features are pooled on.
        neighbors: nearest voxels that each is pooled with (the paper's K).
        sharpness: how strongly weights differ between neighbours: factor in the softmax, for unit embeddings
            of the cosine; none: what the affinity was made for.
        confidence: how much more weight neighbours get whose views agree: their confidence to this power, for
            2D models whose features tell it; 0 is the paper's configuration.
        memory: GB that neighbours and their weights may take; beyond that they are kept in tiles in a file,
            with the same result; none: what is free.
    """

    GROUP: ClassVar[Group] = "Pooling"

    affinity: str = setting("student", stage="purify", common=True)
    voxel: float = setting(0.02, stage="points", low=0.001, high=10, common=True)
    neighbors: int = setting(96, stage="purify", low=1, high=1000)
    sharpness: float | None = setting(None, stage="purify", low=0, high=1e4)
    confidence: float = setting(4.0, stage="purify", low=0, high=100)
    memory: float | None = setting(None, low=0.001, infinite=True, group="Computing")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class PurifyConfig(AffinityConfig):
    """How features are pooled. The settings of the affinity, and:

    Attributes:
        rounds: how often features are pooled with those of their neighbours (the paper's T = 18 is 19); 0
            leaves features as lifted.
        fill: metres; a point that no camera saw is labelled, and counts as a neighbour, by a copy of the
            nearest seen point within this distance; farther ones get no label. inf: the paper's rule.
    """

    rounds: int = setting(19, stage="purify", low=0, high=1000)
    fill: float = setting(0.05, stage="purify", low=0, infinite=True, common=True)


@dataclass(frozen=True)
class StudentConfig:
    """Shape of a student and what it expects to see.

    Attributes:
        feature_dim: D, channels of the lifted features it reads beside the geometry; 0 = geometry only, which
            works with every 2D model.
        width: channels of the hidden layers.
        blocks: residual blocks; each widens the view by two voxels on every side.
        out_channels: E, length of an embedding.
        voxel_size: edge of the voxels it was trained on, metres.
        words: it reads the evidence that the 2D model saw these words, how sure that is, and from how many
            views. Every 2D model here has a text side, so that a student is tied to none of them.
        sharpness: how strongly weights differ between neighbours: factor in the softmax that the embeddings
            are made for.
        geometric: sharpness of the normals and colours that are joined to its embeddings; 0: the student
            alone decides.
    """

    GROUP: ClassVar[Group] = "Student"

    feature_dim: int = setting(0, low=0, high=65_536)
    width: int = setting(48, low=1, high=8192)
    blocks: int = setting(4, low=1, high=64)
    out_channels: int = setting(32, low=1, high=8192)
    voxel_size: float = setting(0.02, above=0, high=10)
    words: tuple[str, ...] = setting(())
    sharpness: float = setting(20.0, low=0, high=1e5)
    geometric: float = setting(0.0, low=0, high=1e5)

    def __post_init__(self) -> None:
        check(self)

    @property
    def in_channels(self) -> int:
        spoken = len(self.words) + SURENESS_CHANNELS if self.words else 0
        return self.feature_dim + spoken + GEOMETRY_CHANNELS


#: The network of the paper for X-Decoder's 512 channels: 63.8 M parameters.
PAPER = StudentConfig(feature_dim=512, width=512, out_channels=128)
#: Common things and surfaces, that indoor scenes are described with.
WORDS = tuple((files("purify3d.data") / "student_words.txt").read_text().splitlines())
#: Geometry and words, 0.3 M parameters: for every 2D model, fast on a CPU.
COMPACT = StudentConfig(width=32, words=WORDS, sharpness=160.0, geometric=10.0)

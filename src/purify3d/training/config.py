"""Settings of a training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from purify3d.base.settings import Group, check, setting


@dataclass(frozen=True)
class TrainConfig:
    """How a student is trained. The schedule follows steps, never the clock.

    Attributes:
        loss: what is trained: mass (the share of a voxel's weights on its own group; for teachers that give
            groups) or pairs (the paper's: InfoNCE on a positive and mined negatives); none: what suits the
            teacher.
        scenes: how many scenes a step looks at, shared among processes.
        crop: voxels of a scene that a step looks at; 0: all.
        anchors: voxels of a scene that the loss is taken at.
        neighbors: nearest voxels of an anchor (the paper's K).
        lr: peak learning rate of AdamW.
        weight_decay: weight decay of AdamW.
        warmup: share of the steps in which the rate rises; then it falls along a cosine.
        evenness: how much uneven weights within an anchor's own group cost, for the loss of mass.
        macro: negatives from the whole scene, for the loss of pairs.
        micro: negatives among the neighbours, for the loss of pairs.
        temperature: temperature of the softmax over pairs.
        turns: turn and mirror scenes by the 48 symmetries of the grid.
        jitter: deviation of colour and light between steps, 0..1.
        drop_normals: share of the steps without normals.
        drop_words: share of the steps without words, so that the student also serves where there are none.
        seed: seed of the first weights and of everything drawn.
    """

    GROUP: ClassVar[Group] = "Training"

    loss: Literal["mass", "pairs"] | None = setting(None)
    scenes: int = setting(1, low=1, high=1024)
    crop: int = setting(20_000, low=0, high=10**8)
    anchors: int = setting(2048, low=1, high=10**6)
    neighbors: int = setting(96, low=2, high=1000)
    lr: float = setting(3e-3, above=0, high=1)
    weight_decay: float = setting(1e-4, low=0, high=1)
    warmup: float = setting(0.05, low=0, high=1)
    evenness: float = setting(0.05, low=0, high=10)
    macro: int = setting(48, low=0, high=4096)
    micro: int = setting(16, low=0, high=4096)
    temperature: float = setting(0.07, above=0, high=10)
    turns: bool = setting(True)
    jitter: float = setting(0.1, low=0, high=1)
    drop_normals: float = setting(0.1, low=0, high=1)
    drop_words: float = setting(0.2, low=0, high=1)
    seed: int = setting(0, low=0, high=2**31)

    def __post_init__(self) -> None:
        check(self)
        if self.macro + self.micro == 0:
            raise ValueError("found macro = 0 and micro = 0; expected negatives from at least one of them")
        if self.crop == 1:
            raise ValueError(
                "found crop = 1; expected 0, for all voxels, or at least 2, which are neighbours"
            )


#: The paper's: whole scenes, its pairs and its rates.
PAPER_TRAINING = TrainConfig(
    loss="pairs",
    crop=0,
    anchors=4096,
    lr=1e-3,
    weight_decay=1e-5,
    jitter=0.0,
    drop_normals=0.0,
    drop_words=0.0,
)

"""Settings of lifting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from purify3d.base.settings import Group, check, setting

Fusion = Literal["mean", "consensus"]


@dataclass(frozen=True)
class LiftConfig:
    """How images become point features.

    Attributes:
        fusion: how the views of a point become one feature: mean of all of them, or consensus (the paper's):
            mean of the few that agree best with the point's mean label.
        tolerance: a point is visible if its depth is within this share of the measured depth.
        margin: pixels at the border of the colour image that are not used; of the depth image the same share
            of its width.
        top_views: views that consensus keeps.
        batch: frames that the 2D model looks at at once.
    """

    GROUP: ClassVar[Group] = "2D model"

    fusion: Fusion = setting("mean", stage="lift")
    tolerance: float = setting(0.05, stage="lift", above=0, high=1)
    margin: int = setting(10, stage="lift", low=0, high=1000)
    top_views: int = setting(3, stage="lift", low=1, high=100)
    batch: int = setting(4, low=1, high=256, group="Computing")

    def __post_init__(self) -> None:
        check(self)

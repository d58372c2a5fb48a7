"""Settings of labelling, and of single objects."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from purify3d.affinities.config import PurifyConfig
from purify3d.base.settings import Group, check, setting
from purify3d.features.config import LiftConfig


@dataclass(frozen=True)
class SegmentConfig:
    """Everything that shapes a segmentation, beside the capture, the labels and the 2D model.

    Attributes:
        lift, purify: settings of these stages.
        threshold: lowest cosine, -1 to 1, with which a point gets a label; none: every point gets one.
    """

    lift: LiftConfig = field(default_factory=LiftConfig)
    purify: PurifyConfig = field(default_factory=PurifyConfig)
    threshold: float | None = setting(None, stage="label", low=-1, high=1, group="Output", common=True)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class ObjectConfig:
    """What counts as one object.

    Attributes:
        reach: metres; points of one label belong together across smaller gaps.
        gap: metres; what stands over or under a part of its label, or is a mere crumb, belongs to it across
            gaps as wide as this: the sensor missed what is between.
        stacked: share of the smaller footprint that lies over the other from which two parts are one thing.
        least: points that an object has at least.
    """

    GROUP: ClassVar[Group] = "Objects"

    reach: float = setting(0.05, stage="objects", above=0, high=10, common=True)
    gap: float = setting(0.12, stage="objects", low=0, high=10)
    stacked: float = setting(0.5, stage="objects", low=0, high=1)
    least: int = setting(60, stage="objects", low=1, high=10**9, common=True)

    def __post_init__(self) -> None:
        check(self)

"""What a teacher says of a scene, and what every teacher can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from purify3d.types import PointCloud


@dataclass(frozen=True, eq=False, repr=False)
class Targets:
    """Which of N points are alike: by features that groups of points share, or by groups alone.

    Attributes:
        group: (N, S) int64, the group of each point at each of S scales, -1 = nothing is known. Two points
            are together at a scale where their groups are equal and known; numbers of two scales have nothing
            to do with each other. With features S = 1, and each point has a group: a row of `feature`.
        feature: (G, C) float32 of any length, whose cosine says how alike two groups are; None: two points
            are as alike as the share of scales at which they are together.

    Raises:
        ValueError: other shapes or types, groups below -1, rows that `feature` does not have, or values that
            are not finite.
    """

    group: Tensor
    feature: Tensor | None = None

    def __post_init__(self) -> None:
        group, feature = self.group, self.feature
        if group.dim() != 2 or group.shape[1] < 1 or group.dtype != torch.int64:
            raise ValueError(
                f"group must be (N, S) torch.int64 with a scale or more, found {tuple(group.shape)} "
                f"{group.dtype}"
            )
        if len(group) and int(group.min()) < -1:
            raise ValueError(f"found group {int(group.min())}; expected 0 and up, or -1 = nothing is known")
        if feature is None:
            return
        if feature.dim() != 2 or feature.dtype != torch.float32:
            raise ValueError(
                f"feature must be (G, C) torch.float32, found {tuple(feature.shape)} {feature.dtype}"
            )
        if group.shape[1] != 1:
            raise ValueError(f"found features and {group.shape[1]} scales; expected one scale with features")
        if len(group) and not 0 <= int(group.min()) <= int(group.max()) < len(feature):
            found = f"{int(group.min())} to {int(group.max())}"
            raise ValueError(f"found groups {found}; expected of each point a row of {len(feature)} features")
        if not feature.isfinite().all():
            raise ValueError("feature holds values that are not finite; check the teacher's weights")

    def __len__(self) -> int:
        return len(self.group)

    def __repr__(self) -> str:
        known = f"{float(self.known.float().mean()):.0%}" if len(self) else "0%"
        if self.feature is None:
            counts = "/".join(str(len(column[column >= 0].unique())) for column in self.group.T)
            return f"Targets({len(self):,} points, {counts} groups, {known} known)"
        rows, channels = self.feature.shape
        return f"Targets({len(self):,} points, {rows:,} features of {channels} channels, {known} known)"

    @property
    def known(self) -> Tensor:
        """(N,) bool: the points that the teacher says something of."""
        return (self.group >= 0).any(1)


class Teacher(Protocol):
    """Says which points of a scene are alike, without knowing any word for them."""

    @property
    def name(self) -> str:
        """What it is called by `load_teacher`, without weights."""

    @property
    def fingerprint(self) -> str:
        """Changes when what it says of a scene does."""

    @property
    def licence(self) -> str:
        """Under which what it says may be used, as an SPDX name where there is one."""

    def teach(self, points: PointCloud, *, up: np.ndarray) -> Targets:
        """What it says of one scene; the same on every call.

        Args:
            points: N points of one scene, with normals.
            up: (3,) unit vector in the world, against gravity (`Scene.up`).

        Returns:
            A targets of N points, on the CPU.
        """

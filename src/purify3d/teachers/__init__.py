"""Teachers: frozen models of geometry that a student is distilled from."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from torch import Tensor

from purify3d.types import PointCloud


class Teacher(Protocol):
    """Says which points of a scene are alike, without knowing any word for them."""

    def describe(self, points: PointCloud, *, up: np.ndarray) -> Tensor:
        """Features whose cosine says how alike two points are.

        Args:
            points: N points of one scene, with normals.
            up: (3,) unit vector in the world, against gravity (`Scene.up`).

        Returns:
            (N, C) float32 on the CPU, any length. Points may share a feature, so cosines may tie.
        """
        ...

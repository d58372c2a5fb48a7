"""What was clicked at."""

from __future__ import annotations

import numpy as np

_ANGLE = 0.006  # radians off the ray that still count: some pixels
_DEPTH = 2.0  # hits this many radii behind the first are another surface


def pick(xyz: np.ndarray, origin: np.ndarray, direction: np.ndarray, *, radius: float) -> int | None:
    """Row of the point that a ray hits first, of (n, 3) positions in metres; None where it hits none.

    A point is hit within `radius` metres of the ray, or within a few pixels of it. Of the points of the first
    surface that is hit, it is the one nearest to the ray.

    Args:
        origin, direction: (3,), the direction of any length but 0.
    """
    if not len(xyz):
        return None
    along = np.asarray(direction, dtype=np.float32) / np.float32(np.linalg.norm(direction))
    offset = xyz - np.asarray(origin, dtype=np.float32)
    depth = offset @ along
    off = np.sqrt(np.maximum((offset**2).sum(axis=1) - depth**2, 0))
    reach = np.maximum(radius, _ANGLE * depth)
    hit = np.nonzero((depth > 0) & (off <= reach))[0]
    if not len(hit):
        return None
    first = hit[depth[hit].argmin()]
    surface = hit[depth[hit] <= depth[first] + _DEPTH * reach[first]]
    return int(surface[off[surface].argmin()])

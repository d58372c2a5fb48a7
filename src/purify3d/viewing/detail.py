"""Which points of a cloud are sent, where there are more than a browser can turn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Points that a view has at most.
BUDGET = 500_000
_NEAR = 0.5  # of the budget, at most: what is before a camera that rests


@dataclass(frozen=True)
class Eye:
    """Where a camera stands and looks, in the coordinates of the points.

    Attributes:
        position: (3,) metres; forward: (3,) unit vector.
        half_angle: radians between `forward` and a corner of the picture, below a right angle.
    """

    position: np.ndarray
    forward: np.ndarray
    half_angle: float


def fair_order(count: int) -> np.ndarray:
    """(N,) int32: all points in an order of which every prefix is a fair sample."""
    return np.random.default_rng(0).permutation(count).astype(np.int32)


def chosen(
    order: np.ndarray,
    keep: np.ndarray,
    *,
    budget: int = BUDGET,
    xyz: np.ndarray | None = None,
    eye: Eye | None = None,
) -> np.ndarray:
    """(n,) int32 indices of the points to send, n = min(budget, kept): all that are kept where they fit.

    Args:
        order: (N,) of `fair_order`.
        keep: (N,) bool, points that are to be seen at all.
        xyz, eye: (N, 3) and a camera that rests: half of the budget at most goes to the nearest points before
            it, and the rest is the fair sample.
    """
    kept = order[keep[order]]
    if len(kept) <= budget:
        return kept
    if xyz is None or eye is None:
        return kept[:budget]
    offset = xyz[kept] - eye.position.astype(np.float32)
    distance = np.sqrt((offset**2).sum(axis=1))
    before = np.nonzero(offset @ eye.forward.astype(np.float32) >= distance * np.cos(eye.half_angle))[0]
    wanted = int(budget * _NEAR)
    if len(before) > wanted:
        before = before[np.argpartition(distance[before], wanted)[:wanted]]
    near = np.zeros(len(kept), dtype=bool)
    near[before] = True
    return np.concatenate([kept[near], kept[~near][: budget - len(before)]])


def left_out(sent: int, kept: int, total: int) -> str:
    """What of the cloud is not in the view, in words; at most two short sentences."""
    said = f"{sent:,} of {total:,} points are shown."
    parts = []
    if total > kept:
        parts.append(f"{total - kept:,} are hidden")
    if kept > sent:
        parts.append(
            f"{kept - sent:,} are left out (a fair sample is sent, more of it where the camera rests)"
        )
    return " ".join([said, f"{' and '.join(parts)}." if parts else ""]).strip()

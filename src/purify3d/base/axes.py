"""Directions of the world: which way is up, and what axes are called."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation


def parse_direction(text: str | Sequence[float]) -> np.ndarray:
    """(3,) unit vector from `+y`, `-z`, `y`, `0,0,1` or three numbers.

    Raises:
        ValueError: none of these, not finite, or too short or long to have a direction.
    """
    try:
        if isinstance(text, str) and (axis := re.fullmatch(r"\s*([+-]?)([xyz])\s*", text.lower())):
            return (-1.0 if axis[1] == "-" else 1.0) * np.eye(3)["xyz".index(axis[2])]
        values = text.split(",") if isinstance(text, str) else text
        direction = np.array([float(value) for value in values])
    except (TypeError, ValueError):
        direction = np.zeros(0)
    length = float(np.abs(direction).max()) if direction.shape == (3,) else 0.0
    if not 1e-6 <= length <= 1e6:  # also where it is not a number
        raise ValueError(f"found {text!r}; expected +x, -x, +y, -y, +z, -z or three numbers such as 0,0,1")
    return direction / np.linalg.norm(direction)


def guess_up(poses: np.ndarray) -> np.ndarray:
    """World up direction (3,) from camera poses (F, 4, 4): the mean of the cameras' -y axes.

    Snapped to the nearest world axis when within 30 degrees of it; people hold cameras upright on average.
    """
    up = -np.asarray(poses)[:, :3, 1].mean(axis=0)
    length = np.linalg.norm(up)
    if length < 1e-6:
        return np.array([0.0, 0.0, 1.0])
    up /= length
    axis = int(np.abs(up).argmax())
    if abs(up[axis]) >= np.cos(np.radians(30)):
        snapped = np.zeros(3)
        snapped[axis] = np.sign(up[axis])
        return snapped
    return up


def z_up_from_world(up: np.ndarray) -> np.ndarray:
    """(3, 3) float64: the smallest rotation that turns the unit vector `up` (3,) to +z."""
    rotation, _ = Rotation.align_vectors([[0.0, 0.0, 1.0]], [up])
    return np.asarray(rotation.as_matrix())


def describe_axis(direction: np.ndarray) -> str:
    """`+z` for (0, 0, 1), the numbers for anything that is not an axis."""
    axis = int(np.abs(direction).argmax())
    if np.isclose(abs(direction[axis]), 1.0):
        return f"{'+' if direction[axis] > 0 else '-'}{'xyz'[axis]}"
    return "(" + ", ".join(f"{value:.2f}" for value in direction) + ")"

"""What every noun checks itself with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

#: numpy array, tensor, or nested lists of numbers.
Array = np.ndarray | Tensor | Sequence[Any]


def array(values: Array, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float64 of this shape (-1: any length), finite."""
    plain = values.detach().cpu() if isinstance(values, Tensor) else values
    found = np.asarray(plain, dtype=np.float64)
    fits = found.ndim == len(shape) and all(s in (-1, n) for s, n in zip(shape, found.shape, strict=True))
    wanted = str(shape).replace("-1", "any")
    check(fits, f"{name} must be {wanted}, found {found.shape}")
    check(bool(np.isfinite(found).all()), f"{name} holds values that are not finite")
    return found


def check(condition: bool, message: str) -> None:
    """
    Raises:
        ValueError: with this message, unless the condition holds.
    """
    if not condition:
        raise ValueError(message)


def measured(metres: np.ndarray) -> np.ndarray:
    """Depth of any shape as float32, in which what is not finite or negative becomes 0 = none."""
    values = np.asarray(metres, dtype=np.float32)
    return np.where(np.isfinite(values) & (values > 0), values, np.float32(0))

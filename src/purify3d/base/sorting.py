"""Orders of whole numbers."""

from __future__ import annotations

import numpy as np


def stable_order(numbers: np.ndarray) -> np.ndarray:
    """(M,) places of int64 numbers from 0 on, ascending, equal ones in their order: a stable `argsort`.

    Numbers that leave room for their places are sorted together with these, which is several times faster.
    """
    count = len(numbers)
    if count == 0 or (int(numbers.max()) + 1) * count >= 1 << 63:
        return numbers.argsort(kind="stable")
    joined = numbers * count + np.arange(count)
    joined.sort()
    return np.remainder(joined, count, out=joined)

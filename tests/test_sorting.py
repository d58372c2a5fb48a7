"""Orders of whole numbers."""

import numpy as np
import pytest

from purify3d.base.sorting import stable_order


@pytest.mark.parametrize("most", [1, 50, 1 << 40, (1 << 63) - 1])
@pytest.mark.parametrize("count", [0, 1, 2, 5000])
def test_equal_numbers_keep_their_order(most: int, count: int) -> None:
    """Also where numbers leave no room for their places, and where a number times the count would wrap."""
    drawn = np.random.default_rng(count).integers(0, min(most, 40), count, endpoint=True)
    numbers = drawn * max(1, most // 40)
    kept = numbers.copy()
    np.testing.assert_array_equal(stable_order(numbers), numbers.argsort(kind="stable"))
    np.testing.assert_array_equal(numbers, kept)  # what is given stays as it was

"""Values that the official implementations gave, thinned by `tools/thin_golden.py`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

DATA = Path(__file__).resolve().parent / "data"


@dataclass(frozen=True)
class Kept:
    """Every `step`-th number of an array of that shape, flattened."""

    values: np.ndarray
    step: int
    shape: tuple[int, ...]

    def of(self, actual: np.ndarray) -> np.ndarray:
        """The numbers of an array of the same shape that stand where the kept ones stood."""
        assert actual.shape == self.shape
        return np.ascontiguousarray(actual).ravel()[:: self.step]


class Recorded(Mapping[str, Any]):
    """A file of tests/data: whole arrays, and `Kept` where only some numbers of an array are stored."""

    def __init__(self, name: str) -> None:
        with np.load(DATA / f"{name}.npz") as file:
            self._stored = dict(file)
        self._drawn: dict[str, np.ndarray] = {}

    def __getitem__(self, key: str) -> Any:
        if f"{key}@drawn" in self._stored:
            if key not in self._drawn:
                self._drawn[key] = self._draw(key)
            return self._drawn[key]
        if f"{key}@thin" in self._stored:
            step, *shape = self._stored[f"{key}@thin"].tolist()
            return Kept(self._stored[key], step, tuple(shape))
        return self._stored[key]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(key.split("@")[0] for key in self._stored))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def drawn(self, key: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A table of random numbers drawn again, which of its rows are stored, and these rows."""
        seed, skipped, factor, *shape = self._stored[f"{key}@drawn"].tolist()
        generator = torch.Generator().manual_seed(int(seed))
        torch.rand(int(skipped), generator=generator)
        table = torch.randn(*map(int, shape), generator=generator).numpy() * np.float32(factor)
        return table, self._stored[f"{key}@rows"], self._stored[f"{key}@values"]

    def _draw(self, key: str) -> np.ndarray:
        table, rows, values = self.drawn(key)
        table[rows] = values  # exact for all that was recorded, wherever the generator may round otherwise
        return table


def pair(actual: Tensor, expected: np.ndarray | Kept) -> tuple[np.ndarray, np.ndarray]:
    """An array and what was recorded of it, at the same places."""
    found = actual.detach().numpy()
    return (found, expected) if isinstance(expected, np.ndarray) else (expected.of(found), expected.values)


def manifest(model: str) -> Any:
    """Keys and shapes of a model at its full size."""
    return json.loads((DATA / f"{model}_full.json").read_text())

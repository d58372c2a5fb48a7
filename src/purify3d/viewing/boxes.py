"""The single objects of a run as boxes, where `purify3d objects` has left them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.spatial.transform import Rotation

from purify3d.base.errors import RunError
from purify3d.runs import Run

FILE = "objects.json"
_FARTHEST = 1e6  # metres
_EDGES = [(a, b) for a in range(8) for b in range(a) if (a ^ b) in (1, 2, 4)]


@dataclass(frozen=True, eq=False)
class Box:
    """An object: id, label, score; `segments` (12, 2, 3) float32, its edges in the view; center (3,)."""

    id: str
    label: str
    score: float
    segments: np.ndarray
    center: np.ndarray


def boxes(run: Run, offset: np.ndarray) -> list[Box]:
    """The objects of a run; none where nobody has asked for them.

    Args:
        offset: (3,) metres, what users' coordinates have more than those of the view.

    Raises:
        RunError: the file is not what `purify3d objects` writes.
    """
    if not (run.files.path / FILE).exists():
        return []
    written = run.files.read_json(FILE)
    try:
        found = []
        for one in written["detections"]:
            place, size = one["bbox"]["center"], one["bbox"]["size"]
            center = np.array([place["position"][a] for a in "xyz"], dtype=np.float64) - offset
            turn = Rotation.from_quat([place["orientation"][a] for a in "xyzw"])
            half = np.array([size[a] for a in "xyz"], dtype=np.float64) / 2
            corners = center + turn.apply(np.array(list(product((-1, 1), repeat=3))) * half)
            if not (np.abs(corners) < _FARTHEST).all():
                raise ValueError("a box out of reach")
            guess = one["results"][0]["hypothesis"]
            edges = corners[np.array(_EDGES)].astype(np.float32)
            found.append(Box(str(one["id"]), str(guess["class_id"]), float(guess["score"]), edges, center))
        return found
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise RunError(
            f"{run.files.path / FILE} cannot be used ({error!r}); repeat 'purify3d objects'"
        ) from error

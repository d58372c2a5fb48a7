"""Are the sizes of depth, room and camera path those of a scan? What unit would make them so?

Frames whose poses and depth are in the same wrong unit agree with each other: only their sizes tell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

#: Metres per unit that captures come in, and what it is called; those above 1 were divided once too often.
UNITS = {
    0.001: "millimetres",
    0.01: "centimetres",
    0.0254: "inches",
    0.3048: "feet",
    10.0: "10 m",
    100.0: "100 m (metres read as centimetres)",
    1000.0: "kilometres (metres read as millimetres)",
}

#: Metres between which half of the depth ends in a scan, the longest side of what is seen, and that of the
#: cameras' path. Feet taken for metres lie within.
DEPTH, ROOM, PATH = (0.08, 25.0), (0.08, 150.0), (0.0, 500.0)
_FEWEST, _FEW, _COARSE = (
    3,
    60,
    0.1,
)  # values of depth, and their distance in shares of it, that are too coarse
_LOOKED_AT = 200_000
_USUAL = (0.25, 8.0)  # metres that half of the depth ends between, once the unit is right
_TYPICAL = 2.3


@dataclass(frozen=True)
class Sizes:
    """Metres.

    Attributes:
        depth: half of what is measured is nearer.
        room: longest side of what is seen, without the outermost 2 %.
        path: longest side of where cameras are.
    """

    depth: float
    room: float
    path: float

    def unlike(self) -> list[str]:
        """Which of them are not those of a scan, in words."""
        named = (
            ("half of the depth is beyond {:.4g} m", self.depth, DEPTH),
            ("what is seen is {:.4g} m long", self.room, ROOM),
            ("the cameras are {:.4g} m apart", self.path, PATH),
        )
        return [words.format(value) for words, value, (low, high) in named if not low <= value <= high]


def sizes(points: np.ndarray, centers: np.ndarray, measured: np.ndarray) -> Sizes:
    """
    Args:
        points: (N, 3) what is seen; centers: (F, 3) cameras; measured: (M,) depths; all in metres.
    """
    room = float(np.ptp(np.percentile(points, [1, 99], axis=0), axis=0).max()) if len(points) else math.nan
    return Sizes(
        float(np.median(measured)) if len(measured) else math.nan, room, float(np.ptp(centers, axis=0).max())
    )


def usual_depth(middle: float) -> bool:
    """Whether half of the depth of a scan may well end there, in metres; nan: True."""
    return math.isnan(middle) or _USUAL[0] <= middle <= _USUAL[1]


def likely_units(middle: float) -> list[tuple[float, str]]:
    """Units in which half of the depth would end where it usually does, likely ones first.

    Args:
        middle: half of the depth is nearer, in metres as it was read.
    """
    fit = [(metres, name) for metres, name in UNITS.items() if usual_depth(middle * metres)]
    return sorted(fit, key=lambda unit: abs(math.log(middle * unit[0] / _TYPICAL)))


def rounded(measured: np.ndarray) -> str | None:
    """A sentence on depth that was rounded so much that nothing can be told from it.

    Args:
        measured: (M,) depths, metres.
    """
    values = np.unique(measured[:: max(1, len(measured) // _LOOKED_AT)])
    if not _FEWEST <= len(values) <= _FEW or np.median(np.diff(values)) < _COARSE * np.median(measured):
        return None
    return (
        f"depth has {len(values)} different values only, {values[0]:.4g} to {values[-1]:.4g} m: it was "
        "rounded, to whole metres as it seems. Export it in millimetres (16 bits), or as floats in metres"
    )

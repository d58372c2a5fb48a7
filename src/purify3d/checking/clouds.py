"""Does a cloud that is to be labelled belong to these frames?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from purify3d.checking.agreement import TOLERANCE, Views
from purify3d.checking.fixes import turns

_POINTS = 3000  # of the cloud that are looked up in frames
_TREE = 20_000  # of the cloud that are looked for around what frames measure
_CLOSE = 0.1  # metres from a measured place to the cloud, at least; or so many spacings of the points kept
_SPACINGS = 3.0
#: What a number of the cloud may be, in metres.
_UNITS = {1.0: "", 0.001: "in millimetres", 0.01: "in centimetres", 0.0254: "in inches", 0.3048: "in feet"}
_SEEN, _COVERED = 0.85, 0.25  # from which a cloud fits
_BETTER = 1.3  # times as good must another reading be to be named
_MOST = 0.5  # of what frames measure must another reading cover, where nothing speaks against this one
_ALIGNED, _ROUNDS = 500, 25  # places and rounds of aligning a shift


@dataclass(frozen=True)
class CloudFit:
    """How a cloud lies among what the frames measure.

    Attributes:
        seen: of its points, among those that frames look at and that nothing hides, the share that frames
            measure where they are.
        covered: of the places that frames measure, the share that has points of the cloud.
        advice: what would fit better, if something does.
    """

    seen: float
    covered: float
    advice: str | None = None

    @property
    def good(self) -> bool:
        """Whether the cloud belongs to these frames; it may be a small part of what they see."""
        return self.seen >= _SEEN and self.advice is None

    def sentence(self) -> str:
        """For people."""
        found = (
            f"of the cloud points that frames look at {self.seen:.0%} lie where frames measure them, and "
            f"{self.covered:.0%} of what frames measure has points of the cloud"
        )
        if self.good:
            return found
        hint = "" if self.advice is None else f"; it would fit {self.advice}"
        return f"{found}: it does not lie where the frames see it{hint}. Bring it into the world of the poses"


def cloud_fit(xyz: np.ndarray, views: Views) -> CloudFit:
    """
    Args:
        xyz: (N, 3) metres, in the world of the views.
    """
    order = np.random.default_rng(0).permutation(len(xyz))
    some = xyz[order[:_TREE]].astype(np.float64)
    seen = np.concatenate([views.points(i) for i in range(len(views))] or [np.zeros((0, 3))])
    here = CloudFit(_seen(some, views), _covered(some, seen))
    if (here.good and here.covered >= _COVERED) or not len(seen):
        return here
    best, how = here.seen * here.covered * _BETTER, None
    for name, placed in _readings(some):
        # Where it lies is known only up to a shift.
        for shift in (np.zeros(3), _shift(placed, seen)):
            if shift is None:
                continue
            sees = _seen(placed + shift, views)
            if sees < _SEEN:
                continue
            covered = _covered(placed + shift, seen)
            # A shift must explain more than none: it always fits a little better.
            quality = sees * covered - (0.02 if shift.any() else 0.0)
            enough = _MOST if here.seen >= _SEEN else _COVERED
            if covered >= enough and quality > best + 0.02:
                moved = f"moved by ({', '.join(f'{v:.2f}' for v in shift)}) m" if shift.any() else ""
                best, how = quality, " and ".join(filter(None, [name, moved]))
    return replace(here, advice=how)


def _seen(xyz: np.ndarray, views: Views) -> float:
    """See `CloudFit.seen`."""
    few = xyz[:_POINTS]
    sees, through = np.zeros(len(few), bool), np.zeros(len(few), bool)
    for j in range(len(views)):
        number, ahead = views.compare(few, j)
        sees[number[np.abs(ahead) <= TOLERANCE]] = True
        through[number[ahead > TOLERANCE]] = True
    compared = int((sees | through).sum())
    return float(sees.sum() / compared) if compared else 0.0


def _covered(xyz: np.ndarray, seen: np.ndarray) -> float:
    """See `CloudFit.covered`."""
    tree = cKDTree(xyz)
    apart, _ = tree.query(xyz[:200], k=2)
    close = max(_CLOSE, _SPACINGS * float(np.median(apart[:, 1])) if len(xyz) > 1 else 0.0)
    # Not wider than where a shift of a few metres would go unseen.
    reached, _ = tree.query(seen[:: max(1, len(seen) // _POINTS)], distance_upper_bound=min(close, 0.5))
    return float(np.isfinite(reached).mean()) if len(seen) else 0.0


def _readings(xyz: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The cloud in other units and with other axes, likely ones first."""
    likely = sorted(turns(), key=lambda turn: (-np.trace(np.abs(turn)), np.linalg.det(turn) < 0))
    for turn in likely:
        for unit, name in _UNITS.items():
            reading = [f"x y z as {_axes(turn)}"] if not np.allclose(turn, np.eye(3)) else []
            yield " and ".join([*reading, *([f"taken {name}"] if name else [])]), xyz @ turn.T * unit


def _axes(turn: np.ndarray) -> str:
    rows = [(int(np.abs(row).argmax()), row[np.abs(row).argmax()]) for row in turn]
    return " ".join(f"{'-' if sign < 0 else ''}{'xyz'[axis]}" for axis, sign in rows)


def _shift(xyz: np.ndarray, seen: np.ndarray) -> np.ndarray | None:
    """(3,) that moves the cloud onto what frames see; None where it has another size."""
    corners = [np.percentile(part, [2, 98], axis=0) for part in (xyz, seen)]
    size, wanted = (np.ptp(corner, axis=0) for corner in corners)
    if not ((size > wanted / 3) & (size < wanted * 3)).all():
        return None
    tree = cKDTree(xyz)
    few = seen[:: max(1, len(seen) // _ALIGNED)]
    best, found = np.inf, np.zeros(3)
    # What frames see is a part of the cloud or all of it: both may begin, end, or have their middle together.
    for start in (*(corners[1] - corners[0]), np.median(seen, axis=0) - np.median(xyz, axis=0)):
        move = start
        for _ in range(_ROUNDS):
            apart, nearest = tree.query(few - move)
            near = apart <= np.quantile(apart, 0.8)
            move = move + (few - move - xyz[nearest])[near].mean(axis=0)
        rest = float(np.median(apart))
        if rest < best:
            best, found = rest, move
    return found

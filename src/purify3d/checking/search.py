"""Which of the usual mistakes explains that frames do not agree?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from purify3d.captures.conventions import Stored
from purify3d.checking.agreement import TOLERANCE, Views, agreement
from purify3d.checking.fixes import UNITS, Fix, axes_and_direction, lenses, quaternions, scale, shifts

#: Shares of agreement: what right captures have, and from which a capture is surely wrong.
GOOD, WRONG = 0.93, 0.5

_KEPT = 0.25  # of the agreeing pixels of the best candidate, which any other must have
_COARSE = np.geomspace(0.02, 50, 57)
_FINE = np.linspace(0.85, 1.15, 31)
_STRICT = 0.02  # tolerance that a scale is measured with
_RATHER = 0.4  # of the disagreement may be left by a mistake that is named
_SIMPLER = 0.01  # in share of agreement, by which a less likely mistake must explain more


@dataclass(frozen=True)
class Found:
    """A mistake, and the agreement of the frames without it."""

    fix: Fix
    share: float


def search(views: Views, poses: np.ndarray, unit: float | None, stored: Stored) -> Found | None:
    """The mistake that explains best why frames do not agree; None where none of them does.

    Args:
        poses: (T, 4, 4) of all frames of the capture.
        unit: metres per unit of the stored depth, as it was read.
        stored: how the poses were taken to be stored.
    """
    before = agreement(views).share  # nan where frames do not look at the same places
    tried = [*_tried(_single(stored), views, poses), *_scales(views, unit)]
    best = _best(tried)
    if best is None or best.share < GOOD:
        # Two mistakes at once: what helps most, and then the scale.
        ranked = sorted((t for t in tried if np.isfinite(t[1])), key=lambda t: -t[1])[:6]
        for fix, _, _ in ranked:
            for second, share, agree in _scales(fix.of_views(views, poses), unit):
                tried.append((fix.then(second), share, agree))
        best = _best(tried)
    if best is None or not (best.share >= GOOD or 1 - best.share < _RATHER * (1 - before)):
        return None
    return best


def _single(stored: Stored) -> Iterable[Fix]:
    """Likely ones first: among equals the first is named."""
    yield from axes_and_direction(stored)
    yield from shifts()
    yield from quaternions()
    yield from lenses()


def _tried(fixes: Iterable[Fix], views: Views, poses: np.ndarray) -> Iterable[tuple[Fix, float, int]]:
    for fix in fixes:
        agreed = agreement(fix.of_views(views, poses))
        yield fix, agreed.share, agreed.agree


def _scales(views: Views, unit: float | None) -> list[tuple[Fix, float, int]]:
    """The scale of depth that fits best, if there is one; known units are tried as they are."""

    def scaled(factor: float) -> Views:
        return replace(views, depth_scale=views.depth_scale * factor)

    def shares(factors: Iterable[float], tolerance: float) -> list[tuple[float, float, int]]:
        found = []
        for factor in factors:
            agreed = agreement(scaled(factor), tolerance=tolerance)
            share = agreed.share if np.isfinite(agreed.share) else 0.0
            found.append((factor, share, agreed.agree))
        return found

    known = [u / unit for u in UNITS] if unit else []
    coarse = shares([*_COARSE, *known], TOLERANCE)
    most = max(agree for _, _, agree in coarse)
    top = max((c for c in coarse if c[2] >= _KEPT * most), key=lambda c: c[1])
    fine = shares(top[0] * _FINE, _STRICT)
    best = max(fine, key=lambda c: c[1])
    # The middle of all that are as good: depth is measured to a few percent only.
    level = [factor for factor, share, _ in fine if share >= best[1] - 0.01]
    factor = float(np.exp(np.mean(np.log(level))))
    if abs(factor - 1) < 0.03:
        return []
    agreed = agreement(scaled(factor))
    return [(scale(factor, unit), agreed.share, agreed.agree)]


def _best(tried: Iterable[tuple[Fix, float, int]]) -> Found | None:
    known = [t for t in tried if np.isfinite(t[1])]
    if not known:
        return None
    most = max(agree for _, _, agree in known)
    known = [t for t in known if t[2] >= _KEPT * most]
    top = max(share for _, share, _ in known)
    fix, share, _ = next(t for t in known if t[1] >= top - _SIMPLER)
    return Found(fix, share)

"""Which of the usual mistakes explains that frames do not agree?"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from purify3d.captures.conventions import Stored
from purify3d.checking import sizes
from purify3d.checking.agreement import TOLERANCE, Views, agreement
from purify3d.checking.fixes import UNITS, Fix, axes_and_direction, lenses, quaternions, rays, scale, shifts

#: Shares of agreement: what right captures have, and from which a capture is surely wrong.
GOOD, WRONG = 0.93, 0.5

_KEPT = 0.25  # of the agreeing pixels of the best candidate, which any other must have
_COARSE = np.geomspace(0.02, 50, 57)
_FINE = np.linspace(0.85, 1.15, 31)
_STRICT = 0.02  # tolerance that a scale is measured with
_ANY = 0.8  # of the finely tried scales are as good, where none of them can be told
_RATHER = 0.4  # of the disagreement may be left by a mistake that is named
_CLEARLY = 0.03  # in share of close agreement, that depth along rays must explain
_SUPPORT = 0.1  # agreeing pixels for each that is looked up, where frames agreed in nothing before
_SIMPLER = 0.01  # in share of agreement, by which a less likely mistake must explain more


@dataclass(frozen=True)
class Found:
    """A mistake, and the agreement of the frames without it.

    Attributes:
        agree: pixels that agree.
    """

    fix: Fix
    share: float
    agree: int


def search(views: Views, poses: np.ndarray, unit: float | None, stored: Stored) -> Found | None:
    """The mistake that explains best why frames do not agree; None where none of them does.

    Args:
        poses: (T, 4, 4) of all frames of the capture.
        unit: metres per unit of the stored depth, as it was read.
        stored: how the poses were taken to be stored.
    """
    before = agreement(views).share  # nan where frames do not look at the same places
    known = np.concatenate([np.zeros(0, np.float32), *(image[image > 0] for image in views.depth)])
    middle = float(np.median(known)) * views.depth_scale if len(known) else math.nan
    tried = [*_tried(_single(stored, math.isfinite(before)), views, poses), *_scales(views, unit, middle)]
    best = _best(tried)
    if best is None or best.share < GOOD:
        # Two mistakes at once: what helps most, and then the scale.
        ranked = sorted((t for t in tried if np.isfinite(t[1])), key=lambda t: -t[1])[:6]
        for fix, _, _ in ranked:
            for second, share, agree in _scales(fix.of_views(views, poses), unit, middle):
                tried.append((fix.then(second), share, agree))
        best = _best(tried)
    if best is None or not (best.share >= GOOD or 1 - best.share < _RATHER * (1 - before)):
        return None
    if math.isnan(before) and best.agree < _SUPPORT * sum(map(len, views.pixel)):
        return None  # frames that are thrown together by chance
    return best


def along(views: Views, poses: np.ndarray, stored: Stored) -> Found | None:
    """Whether depth along the rays of pixels was taken to be that along the axis, or the reverse.

    Frames agree within a few percent all the same, where they look the same way: so it is looked for closely,
    in captures that are right else.
    """
    fix = rays(stored)
    mended = fix.of_views(views, poses)
    before, after = (agreement(v, tolerance=_STRICT).share for v in (views, mended))
    if not 1 - after < _RATHER * (1 - before) or after < before + _CLEARLY:
        return None
    agreed = agreement(mended)
    return Found(fix, agreed.share, agreed.agree)


def _single(stored: Stored, compared: bool) -> Iterable[Fix]:
    """Likely ones first: among equals the first is named.

    Args:
        compared: whether frames look at the same places. If not, a shift throws the last two together.
    """
    yield from axes_and_direction(stored)
    if compared:
        yield from shifts()
    yield from quaternions()
    yield from lenses()
    yield rays(stored)


def _tried(fixes: Iterable[Fix], views: Views, poses: np.ndarray) -> Iterable[tuple[Fix, float, int]]:
    for fix in fixes:
        agreed = agreement(fix.of_views(views, poses))
        yield fix, agreed.share, agreed.agree


def _scales(views: Views, unit: float | None, middle: float) -> list[tuple[Fix, float, int]]:
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
    known += [factor for u in sizes.UNITS for factor in (u, 1 / u)]
    coarse = shares([*_COARSE, *known], TOLERANCE)
    most = max(agree for _, _, agree in coarse)
    top = max((c for c in coarse if c[2] >= _KEPT * most), key=lambda c: c[1])
    fine = shares(top[0] * _FINE, _STRICT)
    best = max(fine, key=lambda c: c[1])
    # The middle of all that are as good: depth is measured to a few percent only.
    level = [factor for factor, share, _ in fine if share >= best[1] - 0.01]
    factor = float(np.exp(np.mean(np.log(level))))
    if abs(factor - 1) < 0.03 or len(level) > _ANY * len(fine):
        return []  # it is right, or cameras at one place agree at any scale
    agreed = agreement(scaled(factor))
    return [(scale(factor, unit, middle), agreed.share, agreed.agree)]


def _best(tried: Iterable[tuple[Fix, float, int]]) -> Found | None:
    known = [t for t in tried if np.isfinite(t[1])]
    if not known:
        return None
    most = max(agree for _, _, agree in known)
    known = [t for t in known if t[2] >= _KEPT * most]
    top = max(share for _, share, _ in known)
    return Found(*next(t for t in known if t[1] >= top - _SIMPLER))

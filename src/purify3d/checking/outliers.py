"""Which frames have a pose that the others contradict?

Each frame is held against all others: how many pixels agree, in both directions. A frame that the others
contradict is taken away, the worst first, so that it speaks against no right one. A pose that two frames
share although they show different things belongs to one of them at most.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
from PIL import Image

from purify3d.checking.agreement import FEWEST, TOLERANCE, Views
from purify3d.types import Frame

#: Of so many frames each is judged by what the others see; of more so many, evenly spread.
JUDGED = 300
#: Of more of them no rest can be told that is right, unless the camera leaps once and all is right beside.
MOST = 1 / 3

_FEWEST = 40  # pixels that must be compared to judge a frame
_BELOW, _LOW = 0.12, 0.85  # a wrong frame agrees so much less than the others, and in less than this
_SPLIT, _WHOLE = 0.8, 0.9  # two parts agree less with each other, and each so much with itself
_SAME = 1e-9  # in numbers of a pose
_LEAP = 8.0  # times the usual step, to a camera that nothing is compared with
_ASIDE = 4.0  # times the way past it; at the identity times the usual step
_THUMB = (40, 30)  # pixels that photos are compared at
_GREY, _CHANGED = 0.25, 0.15  # in spreads of grey, from which a pixel is another; share of them
_FLAT = 8.0  # levels of grey that a photo spreads over at least, so that noise is none of it
_PHOTOS = 200  # pairs of photos that are compared
_NAMED = 4  # frames that a sentence names
_HEAP = 5  # frames for each pose there is, from which poses do not follow the camera


@dataclass(frozen=True)
class Wrong:
    """A frame whose pose is wrong.

    Attributes:
        number: of the frame in the capture; name: what it is called there.
        why: for people, in brackets behind its name.
    """

    number: int
    name: str
    why: str


def compared(views: Views) -> tuple[np.ndarray, np.ndarray]:
    """(F, F) pixels of two frames that agree, and that one sees through; symmetric."""
    count = len(views)
    world = [views.points(i) for i in range(count)]
    owner = np.repeat(np.arange(count), [len(points) for points in world])
    points = np.concatenate([np.zeros((0, 3)), *world])
    agree, through = np.zeros((2, count, count))
    if not len(points):
        return agree, through
    for j in range(count):
        number, ahead = views.compare(points, j)
        for counts, these in ((agree, np.abs(ahead) <= TOLERANCE), (through, ahead > TOLERANCE)):
            counts[j] = np.bincount(owner[number[these]], minlength=count)
    for counts in (agree, through):
        np.fill_diagonal(counts, 0)
    return agree + agree.T, through + through.T


def shares(agree: np.ndarray, through: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(F,) how much each frame agrees with `others`, (F,) bool; nan where hardly anything is compared."""
    agreed, all_ = agree @ others, (agree + through) @ others
    return np.where(all_ >= _FEWEST, agreed / np.maximum(all_, 1), np.nan)


def contradicted(agree: np.ndarray, through: np.ndarray) -> np.ndarray:
    """(F,) bool: frames that the others contradict; none where they would be more than a third, unless they
    are one of two parts."""
    kept = np.ones(len(agree), dtype=bool)
    for _ in range(2 * len(agree)):
        share = shares(agree, through, kept)
        if np.isnan(share[kept]).all():
            break
        limit = min(_LOW, float(np.nanmedian(share[kept])) - _BELOW)
        worst = int(np.nanargmin(np.where(kept, share, np.nan)))
        if share[worst] >= limit:
            break
        kept[worst] = False
    share = shares(agree, through, kept)
    if kept.any() and not np.isnan(share[kept]).all():  # taken away beside a wrong one that is gone now
        kept |= share >= min(_LOW, float(np.nanmedian(share[kept])) - _BELOW)
    if (~kept).sum() <= MOST * len(kept) and _within(agree, through, kept, kept) >= _WHOLE:
        return ~kept
    return _parted(agree, through)


def _within(agree: np.ndarray, through: np.ndarray, some: np.ndarray, others: np.ndarray) -> float:
    """How much some frames agree with others, both (F,) bool; 0 where hardly anything is compared."""
    agreed, seen = (float(counts[np.ix_(some, others)].sum()) for counts in (agree, through))
    return agreed / max(agreed + seen, _FEWEST)


def _parted(agree: np.ndarray, through: np.ndarray) -> np.ndarray:
    """(F,) bool: the smaller part of a capture in which the camera leaps once and stays away; else none."""
    count = len(agree)
    best, found = _SPLIT, np.zeros(count, dtype=bool)
    for cut in range(2, count - 1):
        before = np.arange(count) < cut
        across = _within(agree, through, before, ~before)
        own = _within(agree, through, before, before), _within(agree, through, ~before, ~before)
        if min(own) >= _WHOLE and across < best and through[np.ix_(before, ~before)].sum() >= _FEWEST:
            best, found = across, before if 2 * cut <= count else ~before
    return found


def misplaced(frames: Sequence[Frame], views: Views) -> tuple[tuple[Wrong, ...], float, list[str]]:
    """Frames whose pose is wrong, how much the others agree, and names of those that nothing is known of.

    Args:
        frames: of the capture, T; views: of those of them that are judged by what they see.
    """
    agree, through = compared(views)
    bad = contradicted(agree, through)
    share = shares(agree, through, ~bad)
    known = {int(number): float(value) for number, value in zip(views.number, share, strict=True)}
    why = {
        int(number): "agrees with no other" if math.isnan(value) else f"agrees with the others in {value:.0%}"
        for number, value in zip(views.number[bad], share[bad], strict=True)
    }
    poses = np.stack([frame.world_from_camera for frame in frames])
    lonely = [number for number in range(len(frames)) if math.isnan(known.get(number, 0.0))]
    why |= {number: "the camera leaps there and back" for number in lonely if _leaps(poses, number)}
    why |= dict(_repeats(frames, poses, known, set(why)))
    for number in why:
        if _at_identity(poses[number]):
            why[number] = f"the identity, {why[number]}"
    wrong = tuple(Wrong(number, frames[number].name, why[number]) for number in sorted(why))
    kept = ~np.isin(views.number, list(why))
    agreed, all_ = (counts[np.ix_(kept, kept)].sum() / 2 for counts in (agree, agree + through))
    unknown = [frames[number].name for number in lonely if number not in why]
    return wrong, float(agreed / all_) if all_ >= FEWEST else math.nan, unknown


def described(wrong: Sequence[Wrong], total: int) -> str:
    """For people: how many, and the first of them by name."""
    have, each = "has" if len(wrong) == 1 else "have", [f"{one.name} ({one.why})" for one in wrong]
    return f"{len(wrong)} of {total} frames {have} a wrong pose: {named(each)}"


def named(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def stuck(frames: Sequence[Frame]) -> bool:
    """Whether hardly any frame has a pose of its own although photos differ."""
    places = _places(np.stack([frame.world_from_camera for frame in frames]))
    if len(frames) < 3 or len(places) * _HEAP > len(frames):
        return False
    first, *rest = max(places, key=len)
    some = [rest[i] for i in np.unique(np.linspace(0, len(rest) - 1, 5).round().astype(int))]
    return sum(_differ(frames[first], frames[number]) for number in some) * 2 > len(some)


def _leaps(poses: np.ndarray, number: int) -> bool:
    """Whether the camera is away for this frame alone, or at the identity, where only the first may be."""
    centers = poses[:, :3, 3]
    steps = np.linalg.norm(np.diff(centers, axis=0), axis=1)
    around = [i for i in (number - 1, number + 1) if 0 <= i < len(poses)]
    away = min((float(np.linalg.norm(centers[number] - centers[i])) for i in around), default=0.0)
    others = np.delete(steps, [i for i in (number - 1, number) if 0 <= i < len(steps)])
    usual = float(np.median(others)) if len(others) else math.inf
    if _at_identity(poses[number]):
        return number > 0 or away > _ASIDE * usual
    past = float(np.linalg.norm(centers[around[0]] - centers[around[-1]])) if len(around) == 2 else math.inf
    return away > max(_LEAP * usual, _ASIDE * past)


def _at_identity(pose: np.ndarray) -> bool:
    """Whether the stored pose is the identity, whatever axes the camera has there."""
    return bool(np.abs(np.abs(pose[:3]) - (np.abs(pose[:3]) > 0.5)).max() < _SAME and not pose[:3, 3].any())


def _places(poses: np.ndarray) -> list[list[int]]:
    """Numbers of the frames that have the very same pose, for each pose there is."""
    _, place = np.unique(np.round(poses[:, :3].reshape(len(poses), -1) / _SAME), axis=0, return_inverse=True)
    order = np.argsort(place, kind="stable")
    return [part.tolist() for part in np.split(order, np.flatnonzero(np.diff(place[order])) + 1)]


def _repeats(
    frames: Sequence[Frame], poses: np.ndarray, known: Mapping[int, float], bad: Set[int]
) -> Iterator[tuple[int, str]]:
    """Frames with the very pose of another one whose photo differs: a camera that stands sees the same."""
    photos = 0
    for place in (place for place in _places(poses) if len(place) > 1):
        # A tracker that lost its way holds the last pose: the first is right unless another one fits better.
        agreed = {number: round(np.nan_to_num(known.get(number, 0.0)) / 0.03) for number in place}
        best = max(place, key=lambda number: (number not in bad, agreed[number], -number))
        for number in place:
            photos += 1
            if number != best and photos <= _PHOTOS and _differ(frames[best], frames[number]):
                yield number, f"the very pose of {frames[best].name}, whose photo differs"


def _differ(one: Frame, other: Frame) -> bool:
    """Whether two photos show different things; brightness, noise and what is small do not count."""
    grey = []
    for frame in (one, other):
        small = np.asarray(
            Image.fromarray(frame.color()).convert("L").resize(_THUMB, Image.Resampling.BOX), float
        )
        grey.append((small - small.mean()) / max(float(small.std()), _FLAT))
    return float((np.abs(grey[0] - grey[1]) > _GREY).mean()) > _CHANGED

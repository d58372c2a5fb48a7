"""What a visitor looks at, as a value; and what it makes of the points: which are shown, in which colours."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from purify3d.clouds.ply import write_ply
from purify3d.labels.questions import MOST_BETTER, hottest_points, share_better
from purify3d.pictures.palettes import NO_LABEL_COLOR, heat_colors, label_colors
from purify3d.types import PointCloud, TextBank, Vocabulary
from purify3d.viewing.scene import Subject
from purify3d.viewing.words import Words

#: What points can be coloured by; the last two where there is truth.
COLORINGS = ("photo", "label", "heat", "score", "views", "features", "truth", "errors")
RIGHT, WRONG = (0, 158, 115), (213, 94, 0)  # apart to the eye with and without red-green blindness
_COLD = 0.5  # brightness of what is colder than asked for


@dataclass(frozen=True)
class Look:
    """How one visitor looks at a subject.

    Attributes:
        coloring: one of COLORINGS.
        purified: pooled features, else those that were lifted.
        hidden: label indices whose points are not shown, -1 = those without a label; true labels in
            "truth".
        question: whose heat is shown; None: nothing has been asked.
        least_heat: 0..1; what is colder is grey in "heat".
        least_score: a cosine; points below have no label, as with `--threshold`.
    """

    coloring: str = "label"
    purified: bool = True
    hidden: frozenset[int] = frozenset()
    question: TextBank | None = None
    least_heat: float = 0.0
    least_score: float = -1.0


@dataclass(frozen=True)
class Row:
    """A line of the legend: label index, -1 = none; its name, colour, and how many points have it."""

    index: int
    name: str
    color: tuple[int, int, int]
    points: int


def assigned(subject: Subject, look: Look) -> np.ndarray:
    """(N,) int32 label of each point as the legend counts it: true ones in "truth", else those found."""
    if look.coloring == "truth" and subject.truth is not None:
        return subject.truth
    said = subject.version(look.purified).labels
    if look.least_score <= -1:
        return said.numpy()
    return np.where(said.score.numpy() >= look.least_score, said.numpy(), np.int32(-1))


def kept(subject: Subject, look: Look) -> np.ndarray:
    """(N,) bool: the points whose label is not hidden."""
    if not look.hidden:
        return np.ones(len(subject), dtype=bool)
    seen = np.ones(len(subject.vocabulary) + 1, dtype=bool)
    seen[list(look.hidden)] = False  # -1 is the last
    return seen[assigned(subject, look)]


def legend(subject: Subject, look: Look) -> list[Row]:
    """Labels that have points, those with most first, then the points without one; all points are counted."""
    names = subject.vocabulary.names
    count = np.bincount(assigned(subject, look) + 1, minlength=len(names) + 1)
    table = label_colors(names).tolist()
    rows = [Row(i, names[i], tuple(table[i]), int(n)) for i, n in enumerate(count[1:]) if n]
    rows.sort(key=lambda row: -row.points)
    return [*rows, Row(-1, "(no label)", NO_LABEL_COLOR, int(count[0]))] if count[0] else rows


def toggled(look: Look, index: int, shown: bool) -> Look:
    """With a label hidden, or shown again."""
    return replace(look, hidden=look.hidden - {index} if shown else look.hidden | {index})


def isolated(subject: Subject, look: Look, index: int) -> Look:
    """With every other label hidden."""
    return replace(look, hidden=frozenset(range(-1, len(subject.vocabulary))) - {index})


def colors(subject: Subject, look: Look, index: np.ndarray) -> np.ndarray:
    """(n, 3) uint8 colours of the points `index`, (n,) int."""
    version = subject.version(look.purified)
    photo = subject.scene.cloud().rgb.numpy()
    if look.coloring == "label" or (look.coloring == "truth" and subject.truth is not None):
        table = np.vstack([label_colors(subject.vocabulary.names), _color(NO_LABEL_COLOR)])
        return table[assigned(subject, look)[index]]
    if look.coloring == "heat":
        return _heat(subject, look, index, photo)
    if look.coloring == "score":
        score = version.labels.score.numpy()
        return heat_colors(_spread(score, score[index]))
    if look.coloring == "views":
        views = np.sqrt(subject.views.astype(np.float32))
        return heat_colors(views[index] / max(float(views.max(initial=0)), 1.0))
    if look.coloring == "features":
        return version.principal[index]
    if look.coloring == "errors" and subject.truth is not None:
        truth, said = subject.truth[index], assigned(subject, look)[index]
        right = np.where((truth == said)[:, None], _color(RIGHT), _color(WRONG))
        return np.where((truth >= 0)[:, None], right, _color(NO_LABEL_COLOR))
    return photo[index]


def _color(rgb: tuple[int, int, int]) -> np.ndarray:
    return np.array([rgb], dtype=np.uint8)


def _heat(subject: Subject, look: Look, index: np.ndarray, photo: np.ndarray) -> np.ndarray:
    if look.question is None:
        return heat_colors(np.zeros(len(index)))
    warmth = subject.warmth(look.question, look.purified)[1].numpy()[index]
    hot = heat_colors(warmth)
    if look.least_heat <= 0:
        return hot
    gray = photo[index].mean(axis=1, keepdims=True) * _COLD
    return np.where((warmth >= look.least_heat)[:, None], hot, gray.astype(np.uint8))


def _spread(values: np.ndarray, some: np.ndarray) -> np.ndarray:
    """Some of the values, their 1st percentile at 0 and their 99th at 1; 0 are points without a score."""
    known = values[values != 0]
    low, high = np.quantile(known, [0.01, 0.99]) if len(known) else (0.0, 1.0)
    return np.where(some == 0, 0, (some - low) / max(float(high - low), 1e-6))


def meaning(subject: Subject, look: Look) -> str:
    """What the colours stand for, for people; the words of a question are not in it."""
    ends = "dark blue to yellow"
    version = subject.version(look.purified)
    if look.coloring == "score":
        known = version.labels.score[version.labels.score != 0].numpy()
        low, high = np.quantile(known, [0.01, 0.99]) if len(known) else (0.0, 1.0)
        return f"cosine to the label, {low:.3f} to {high:.3f} from {ends}"
    if look.coloring == "views":
        return f"frames that saw the point, 0 to {int(subject.views.max(initial=0))} from {ends}"
    if look.coloring == "heat":
        return f"heat 0 to 1 from {ends}"
    if look.coloring == "features":
        return "the three directions in which features differ most, as red, green and blue"
    if look.coloring == "errors" and subject.truth is not None:
        there = subject.truth >= 0
        right = int((assigned(subject, look)[there] == subject.truth[there]).sum())
        wrong = int(there.sum()) - right
        return (
            f"green: right ({right:,}), orange: wrong ({wrong:,}), grey: no truth ({int((~there).sum()):,})"
        )
    return {"photo": "colours of the photos", "truth": "true labels"}.get(look.coloring, "labels found")


def verdict(subject: Subject, look: Look, words: Words) -> str:
    """Whether there is something like the question here, decided as `query` does, for people."""
    if look.question is None:
        return ""
    features = subject.version(look.purified).features
    score = subject.warmth(look.question, look.purified)[0]
    hottest = hottest_points(score)
    peak = float(score[hottest].mean()) if len(hottest) else 0.0
    better = share_better(features, hottest, peak, words)
    said = "found" if better <= MOST_BETTER else "nothing like this here"
    return f"{said}: peak {peak:.3f}, {better:.0%} of common words fit its hottest place better"


def like(subject: Subject, look: Look, point: int) -> TextBank | None:
    """The question "what is like this point?"; None where nothing is known of it."""
    version = subject.version(look.purified)
    feature = version.feature(point)
    if not bool(feature.any()):
        return None
    name = f"like point {point}"
    owner = version.labels.label.new_zeros(1).long()
    return TextBank(Vocabulary((name,), ((name,),)), feature, owner, version.features.space)


def facts(subject: Subject, look: Look, point: int) -> dict[str, str]:
    """What is known of a point, for people: label, score, views, place in users' coordinates, and truth."""
    said = subject.version(look.purified).labels
    names = (*subject.vocabulary.names, "(no label)")
    x, y, z = subject.users(subject.xyz[point])
    known = {
        "label": names[int(assigned(subject, replace(look, coloring="label"))[point])],
        "score": f"{float(said.score[point]):.3f}",
        "views": str(int(subject.views[point])),
        "place": f"{x:.3f} {y:.3f} {z:.3f} m",
    }
    if look.question is not None:
        score, warmth = subject.warmth(look.question, look.purified)
        known["heat"] = f"{float(warmth[point]):.2f} (cosine {float(score[point]):.3f})"
    if subject.truth is not None:
        known["truth"] = names[int(subject.truth[point])]
    return known


def distance(subject: Subject, a: int, b: int) -> float:
    """Metres between two points."""
    return float(np.linalg.norm(subject.xyz[a].astype(np.float64) - subject.xyz[b]))


def as_ply(subject: Subject, look: Look) -> bytes:
    """What is shown as a PLY file: every point that is not hidden, also those left out of the view.

    Colours are those of the view, labels those of the legend, the score that of the question in "heat", else
    that of the label; positions are in users' coordinates.
    """
    index = np.sort(subject.order[kept(subject, look)[subject.order]])
    points = subject.scene.cloud()
    some = PointCloud(points.xyz[index], points.rgb[index], points.normal[index], points.label[index])
    score = subject.version(look.purified).labels.score
    if look.coloring == "heat" and look.question is not None:
        score = subject.warmth(look.question, look.purified)[0]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "shown.ply"
        write_ply(
            file,
            some,
            rgb=colors(subject, look, index),
            label=assigned(subject, look)[index],
            score=score[index].numpy(),
            views=subject.views[index],
            names=subject.vocabulary.names,
            origin=subject.scene.origin,
        )
        return file.read_bytes()

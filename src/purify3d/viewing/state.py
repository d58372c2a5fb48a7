"""What a client looks at, as a value; and what it makes of the points: which are shown, in which colours."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from purify3d.clouds.ply import write_ply
from purify3d.labels.questions import is_here
from purify3d.pictures.palettes import (
    NO_LABEL_COLOR,
    colors_of_labels,
    error_colors,
    heat_colors,
    label_colors,
)
from purify3d.types import PointCloud, TextEmbeddings, Vocabulary
from purify3d.viewing.scene import Version, ViewedScene
from purify3d.viewing.words import Words

#: What points can be coloured by; the last two where there is truth.
COLORINGS = ("photo", "label", "heat", "score", "views", "features", "truth", "errors")
_COLD = 0.5  # brightness of what is colder than asked for


@dataclass(frozen=True)
class Look:
    """How one client looks at a viewed.

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
    question: TextEmbeddings | None = None
    least_heat: float = 0.0
    least_score: float = -1.0


@dataclass(frozen=True)
class Row:
    """A line of the legend: label index, -1 = none; its name, colour, and how many points have it."""

    index: int
    name: str
    color: tuple[int, int, int]
    points: int


def assigned(viewed: ViewedScene, look: Look) -> np.ndarray:
    """(N,) int32 label of each point as the legend counts it: true ones in "truth", else those found."""
    if look.coloring == "truth" and viewed.truth is not None:
        return viewed.truth
    said = viewed.version(look.purified).labels
    if look.least_score <= -1:
        return said.numpy()
    return np.where(said.score.numpy() >= look.least_score, said.numpy(), np.int32(-1))


def kept(viewed: ViewedScene, look: Look) -> np.ndarray:
    """(N,) bool: the points whose label is not hidden."""
    if not look.hidden:
        return np.ones(len(viewed), dtype=bool)
    seen = np.ones(len(viewed.vocabulary) + 1, dtype=bool)
    seen[list(look.hidden)] = False  # -1 is the last
    return seen[assigned(viewed, look)]


def legend(viewed: ViewedScene, look: Look) -> list[Row]:
    """Labels that have points, those with most first, then the points without one; all points are counted."""
    names = viewed.vocabulary.names
    count = np.bincount(assigned(viewed, look) + 1, minlength=len(names) + 1)
    table = label_colors(names).tolist()
    rows = [Row(i, names[i], tuple(table[i]), int(n)) for i, n in enumerate(count[1:]) if n]
    rows.sort(key=lambda row: -row.points)
    return [*rows, Row(-1, "(no label)", NO_LABEL_COLOR, int(count[0]))] if count[0] else rows


def colors(viewed: ViewedScene, look: Look, index: np.ndarray) -> np.ndarray:
    """(n, 3) uint8 colours of the points `index`, (n,) int."""
    version = viewed.version(look.purified)
    photo = viewed.scene.cloud().rgb.numpy()
    if look.coloring == "label" or (look.coloring == "truth" and viewed.truth is not None):
        return colors_of_labels(assigned(viewed, look)[index], viewed.vocabulary.names)
    if look.coloring == "heat":
        return _heat(viewed, look, index, photo)
    if look.coloring == "score":
        return heat_colors(score_shares(version)[index])
    if look.coloring == "views":
        views = np.sqrt(viewed.views.astype(np.float32))
        return heat_colors(views[index] / max(float(views.max(initial=0)), 1.0))
    if look.coloring == "features":
        return version.principal[index]
    if look.coloring == "errors" and viewed.truth is not None:
        return error_colors(assigned(viewed, look)[index], viewed.truth[index])
    return photo[index]


def _heat(viewed: ViewedScene, look: Look, index: np.ndarray, photo: np.ndarray) -> np.ndarray:
    if look.question is None:
        return heat_colors(np.zeros(len(index)))
    warmth = viewed.warmth(look.question, look.purified)[1].numpy()[index]
    hot = heat_colors(warmth)
    if look.least_heat <= 0:
        return hot
    gray = photo[index].mean(axis=1, keepdims=True) * _COLD
    return np.where((warmth >= look.least_heat)[:, None], hot, gray.astype(np.uint8))


def _score_range(version: Version) -> tuple[float, float]:
    """The 1st and the 99th percentile of the scores; 0 are points without one."""
    score = version.labels.score.numpy()
    known = score[score != 0]
    return tuple(np.quantile(known, [0.01, 0.99])) if len(known) else (0.0, 1.0)


def score_shares(version: Version) -> np.ndarray:
    """(N,) scores as shares of what lies between their 1st percentile, 0, and their 99th, 1."""
    score, (low, high) = version.labels.score.numpy(), _score_range(version)
    return np.where(score == 0, 0, (score - low) / max(float(high - low), 1e-6))


def meaning(viewed: ViewedScene, look: Look) -> str:
    """What the colours stand for, for people; the words of a question are not in it."""
    ends = "dark blue to yellow"
    if look.coloring == "score":
        low, high = _score_range(viewed.version(look.purified))
        return f"cosine to the label, {low:.3f} to {high:.3f} from {ends}"
    if look.coloring == "views":
        return f"frames that saw the point, 0 to {int(viewed.views.max(initial=0))} from {ends}"
    if look.coloring == "heat":
        return f"heat 0 to 1 from {ends}"
    if look.coloring == "features":
        return "the three directions in which features differ most, as red, green and blue"
    if look.coloring == "errors" and viewed.truth is not None:
        there = viewed.truth >= 0
        label, truth = assigned(viewed, look)[there], viewed.truth[there]
        right, none = int((label == truth).sum()), int((label < 0).sum())
        return (
            f"pale: right ({right:,}), orange: wrong ({len(truth) - right - none:,}), "
            f"blue: no label ({none:,}), dark grey: no ground truth ({int((~there).sum()):,})"
        )
    return {"photo": "colours of the photos", "truth": "true labels"}.get(look.coloring, "labels found")


def verdict(viewed: ViewedScene, look: Look, words: Words) -> str:
    """Whether there is something like the question here, decided as `query` does, for people."""
    if look.question is None:
        return ""
    features = viewed.version(look.purified).features
    score = viewed.warmth(look.question, look.purified)[0]
    found, peak, better = is_here(features, score, words)
    said = "found" if found else "nothing like this here"
    return f"{said}: peak {peak:.3f}, {better:.0%} of common words fit its hottest place better"


def like(viewed: ViewedScene, look: Look, point: int) -> TextEmbeddings | None:
    """The question "what is like this point?"; None where nothing is known of it."""
    version = viewed.version(look.purified)
    feature = version.feature(point)
    if not bool(feature.any()):
        return None
    name = f"like point {point}"
    owner = version.labels.label.new_zeros(1).long()
    return TextEmbeddings(Vocabulary((name,), ((name,),)), feature, owner, version.features.space)


def facts(viewed: ViewedScene, look: Look, point: int) -> dict[str, str]:
    """What is known of a point, for people: label, score, views, place in users' coordinates, and truth."""
    said = viewed.version(look.purified).labels
    names = (*viewed.vocabulary.names, "(no label)")
    x, y, z = viewed.users(viewed.xyz[point])
    known = {
        "label": names[int(assigned(viewed, replace(look, coloring="label"))[point])],
        "score": f"{float(said.score[point]):.3f}",
        "views": str(int(viewed.views[point])),
        "place": f"{x:.3f} {y:.3f} {z:.3f} m",
    }
    if look.question is not None:
        score, warmth = viewed.warmth(look.question, look.purified)
        known["heat"] = f"{float(warmth[point]):.2f} (cosine {float(score[point]):.3f})"
    if viewed.truth is not None:
        known["truth"] = names[int(viewed.truth[point])]
    return known


def distance(viewed: ViewedScene, a: int, b: int) -> float:
    """Metres between two points."""
    return float(np.linalg.norm(viewed.xyz[a].astype(np.float64) - viewed.xyz[b]))


def as_ply(viewed: ViewedScene, look: Look) -> bytes:
    """What is shown as a PLY file: every point that is not hidden, also those left out of the view.

    Colours are those of the view, labels those of the legend, the score that of the question in "heat", else
    that of the label; positions are in users' coordinates.
    """
    index = np.sort(viewed.order[kept(viewed, look)[viewed.order]])
    points = viewed.scene.cloud()
    some = PointCloud(points.xyz[index], points.rgb[index], points.normal[index], points.label[index])
    score = viewed.version(look.purified).labels.score
    if look.coloring == "heat" and look.question is not None:
        score = viewed.warmth(look.question, look.purified)[0]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "shown.ply"
        write_ply(
            file,
            some,
            rgb=colors(viewed, look, index),
            label=assigned(viewed, look)[index],
            score=score[index].numpy(),
            views=viewed.views[index],
            names=viewed.vocabulary.names,
            origin=viewed.scene.origin,
        )
        return file.read_bytes()

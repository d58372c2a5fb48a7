"""From words to labels and heat."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from purify3d.backbones import Backbone, TextEncoder, embed_vocabulary
from purify3d.base.errors import LabelError
from purify3d.labels.regions import Grid, Region, find_regions, heat
from purify3d.labels.segmentation import Segmentation
from purify3d.types import NO_LABEL, PointCloud, PointFeatures, TextEmbeddings

#: What a question is held against, so that it can be answered with "nothing like this here": things of all
#: kinds, most of which no scene has.
COMMON_WORDS = tuple((files("purify3d.data") / "common_words.txt").read_text().splitlines())
#: A question counts as answered while no larger share of these fits its hottest place better than it does.
MOST_BETTER = 0.1
_HOTTEST = 0.001  # share of the points that make up a question's hottest place
_grids: WeakKeyDictionary[PointCloud, Grid] = WeakKeyDictionary()
_common: WeakKeyDictionary[TextEncoder, TextEmbeddings] = WeakKeyDictionary()


def scores(features: PointFeatures, text_embeddings: TextEmbeddings) -> Tensor:
    """(N, T) cosine between each point and each wording; of pooled features the mean over what was pooled.

    Raises:
        SpaceMismatchError: features and text come from different models.
    """
    text_embeddings.check_space(features.space)
    text_embeddings = text_embeddings.to(features.values.device)
    return features.dot(text_embeddings.embedding) / features.norm().clamp_min(1e-12)[:, None]


def classify(
    scores: Tensor, text_embeddings: TextEmbeddings, *, threshold: float | None = None
) -> Segmentation:
    """Each point takes its best label, or none where no label reaches `threshold`.

    A point whose scores are all exactly 0 has nothing to go by, and gets none either.

    Args:
        scores: (N, T) as from `scores` or `pooled_scores`.
        threshold: a cosine in -1..1; None labels every point.

    Raises:
        ValueError: a threshold out of range, or features of other points.
    """
    _check_threshold(threshold)
    score, label = text_embeddings.best(scores).max(1)
    label = label.to(torch.int32)
    label = torch.where(scores.any(1), label, NO_LABEL)
    if threshold is not None:
        label = torch.where(score >= threshold, label, NO_LABEL)
    score = score.clamp(-1, 1)  # stored features are rounded, their cosines too
    return Segmentation(label, score, text_embeddings.vocabulary)


@dataclass(frozen=True, eq=False, repr=False)
class Answer:
    """What a scene answers to a few words.

    Attributes:
        text: the first wording.
        score: (N,) float32 cosine of each point, 0 where nothing is known.
        heat: (N,) 0..1, what stands out here.
        regions: the hottest, most heat first; empty where nothing like this is here.
        found: whether something like this is here.
        peak: mean cosine of its hottest place.
        better: share of COMMON_WORDS that fit this place better than the question does.
    """

    text: str
    score: Tensor
    heat: Tensor
    regions: list[Region]
    found: bool
    peak: float
    better: float

    def __repr__(self) -> str:
        said = f"{len(self.regions)} regions" if self.found else "nothing like this here"
        return f"Answer({self.text!r}: {said}, peak {self.peak:.3f}, {self.better:.0%} of words fit better)"


def answer(
    points: PointCloud,
    features: PointFeatures,
    text: str,
    backbone: Backbone,
    *,
    limit: int = 5,
    threshold: float | None = None,
) -> Answer:
    """Heat of free text over a scene.

    Cosines of models and wordings have different ranges, and something is always hottest. So the question is
    held against common words: where many of them fit its hottest place better, nothing like it is here.

    Args:
        features: of the N points, purified ones give calmer answers.
        text: any words; a bar joins synonyms.
        backbone: the one the features were lifted with.
        limit: regions wanted.
        threshold: a cosine in -1..1; something is here if the hottest place reaches it, whatever other words
            do. None: common words decide.

    Raises:
        LabelError: no words.
        SpaceMismatchError: another backbone.
        ValueError: a threshold out of range.
    """
    _check_threshold(threshold)
    if len(points) != len(features):
        raise ValueError(f"found {len(points)} points and {len(features)} features; expected as many")
    text_embeddings = embed_vocabulary(backbone, [text])
    score = text_embeddings.best(scores(features, text_embeddings))[:, 0]
    found, peak, better = is_here(features, score, backbone, threshold=threshold)
    warmth = heat(score)
    grid = grid_of(points) if found else None
    regions = find_regions(points.xyz, score, limit=limit, grid=grid, warmth=warmth) if found else []
    name, score, peak = text_embeddings.vocabulary.names[0], score.clamp(-1, 1), max(-1.0, min(peak, 1.0))
    return Answer(name, score, warmth, regions, found, peak, better)


def _check_threshold(threshold: float | None) -> None:
    if threshold is not None and not -1 <= threshold <= 1:
        raise ValueError(f"found threshold = {threshold}; expected a cosine from -1 to 1")


def grid_of(points: PointCloud) -> Grid:
    """`Grid` of a cloud, made once: clouds do not change."""
    if points not in _grids:
        _grids[points] = Grid.of(points.xyz)
    return _grids[points]


def is_here(
    features: PointFeatures, score: Tensor, encoder: TextEncoder, *, threshold: float | None = None
) -> tuple[bool, float, float]:
    """Whether there is something like a question in a scene.

    Args:
        features: of the N points; score: (N,) their cosines with the question.
        encoder: the text side of the features' model.
        threshold: see `answer`.

    Returns:
        The verdict; mean cosine of the hottest place; share of COMMON_WORDS that fit this place better.
    """
    hottest = hottest_points(score)
    peak = float(score[hottest].mean()) if len(hottest) else 0.0
    better = share_better(features, hottest, peak, encoder)
    return (better <= MOST_BETTER if threshold is None else peak >= threshold), peak, better


def hottest_points(score: Tensor) -> Tensor:
    """Indices of the highest scores among points of which something is known."""
    cosine = score.cpu().numpy()
    if cosine.all():  # the usual case, without the detour
        return score.topk(max(1, round(_HOTTEST * len(score))) if len(score) else 0).indices
    known = torch.from_numpy(np.flatnonzero(cosine)).to(score.device)
    return known[score[known].topk(min(len(known), max(1, round(_HOTTEST * len(known))))).indices]


def _common_words(backbone: TextEncoder) -> TextEmbeddings:
    """COMMON_WORDS in the words of a model, encoded once."""
    try:
        if backbone not in _common:
            _common[backbone] = embed_vocabulary(backbone, COMMON_WORDS)
        return _common[backbone]
    except TypeError:  # a model that cannot be a key is asked each time
        return embed_vocabulary(backbone, COMMON_WORDS)


def share_better(features: PointFeatures, place: Tensor, peak: float, backbone: TextEncoder) -> float:
    """Share of the common words whose mean cosine at these points is above `peak`; 1 where there are none.

    Stored features whose words are a closed table have no common words to ask: then 0.
    """
    if not len(place):
        return 1.0
    try:
        text_embeddings = _common_words(backbone)
    except LabelError:
        return 0.0
    return float((scores(features.at(place), text_embeddings).mean(0) > peak).float().mean())

"""Which scans of many are worth training on: few that show much, and that differ.

GeoPurify trains on about 1.5 % of a data set (arXiv 2510.02186): scenes below the median number of classes or
the median label entropy are dropped, the others are clustered by their label histograms, and of each cluster
the scene of highest entropy + 0.5 * richness is taken, each brought to 0..1 over the scenes by its lowest and
highest. That reads ground truth. Here the histogram may also
come from what a 2D model sees, or from geometry alone, so that no label is needed.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from scipy.cluster.vq import kmeans2

from purify3d.affinities.config import COMPACT
from purify3d.affinities.embeddings import words_of
from purify3d.affinities.student import word_evidence
from purify3d.backbones import Backbone
from purify3d.base.axes import z_up_from_world
from purify3d.base.errors import CaptureError
from purify3d.features.labels_from_frames import fuse_labels
from purify3d.features.lifting import lift
from purify3d.features.surface import with_points
from purify3d.types import Scene

Source = Literal["words", "geometry", "labels"]

_PRESENT = 0.005  # share of a scene from which a class counts as there
_VOXEL = 0.05  # metres: a histogram needs no detail


def histogram(scene: Scene, source: Source, backbone: Backbone | None = None) -> np.ndarray:
    """(B,) float64 shares, summing to 1: what a scene is made of.

    Args:
        scene: its frames are fused at 5 cm.
        source: `words`: mean evidence for COMPACT's words; `geometry`: directions of normals against up, by
            height; `labels`: true classes, by the capture's ids.
        backbone: for `words`.

    Raises:
        CaptureError: the scene has no truth, for `labels`; or see the stages.
    """
    scene = with_points(scene, voxel=_VOXEL)
    points = scene.cloud()
    if source == "labels":
        label = fuse_labels(scene.frames, points)
        if not scene.truth or not (label >= 0).any():
            raise CaptureError(
                f"{scene.name} has no true labels; expected label images beside its frames. Select by "
                "words or geometry instead"
            )
        counts = torch.bincount(label[label >= 0].long()).double().numpy()
    elif source == "words":
        assert backbone is not None
        text_embeddings = words_of(COMPACT, backbone)
        if text_embeddings is None:
            raise CaptureError("this 2D model knows only words of a table; select by geometry instead")
        features = lift(scene, backbone, text_embeddings).within(0)
        counts = word_evidence(features, text_embeddings)[:, : len(COMPACT.words)].double().mean(0).numpy()
    else:
        turned = torch.from_numpy(z_up_from_world(scene.up)).float()
        height = points.xyz @ turned[2]
        slope = (points.normal @ turned[2]).clamp(-1, 1)
        level = ((height - height.quantile(0.01)) / 0.3).clamp(0, 9).long()
        cell = level * 6 + ((slope + 1) * 3).clamp(0, 5).long()
        counts = torch.bincount(cell, minlength=60).double().numpy()
    return counts / max(float(counts.sum()), 1e-12)


def entropy(histograms: np.ndarray) -> np.ndarray:
    """(n, B) shares -> (n,) in nats."""
    return -(histograms * np.log(np.maximum(histograms, 1e-300))).sum(axis=1)


def richness(histograms: np.ndarray) -> np.ndarray:
    """(n, B) shares -> (n,) how many classes have a share worth speaking of."""
    return (histograms >= _PRESENT).sum(axis=1)


def _unit(values: np.ndarray) -> np.ndarray:
    """(n,) -> 0 for the lowest to 1 for the highest; 0 where all are the same."""
    return (values - values.min()) / max(float(np.ptp(values)), 1e-12)


def choose(histograms: np.ndarray, count: int, *, seed: int = 0) -> list[int]:
    """The paper's rule: indices of `count` scenes, ascending; the same for the same input and seed.

    Scenes below a median are only taken where the others are too few.

    Raises:
        ValueError: more are wanted than there are.
    """
    n = len(histograms)
    if not 1 <= count <= n:
        raise ValueError(f"found {n} scenes and count = {count}; expected 1 to {n}")
    disorder, classes = entropy(histograms), richness(histograms)
    score = _unit(disorder) + 0.5 * _unit(classes)
    good = np.flatnonzero((disorder >= np.median(disorder)) & (classes >= np.median(classes)))
    if len(good) < count:
        rest = np.setdiff1d(np.argsort(-score, kind="stable"), good, assume_unique=True)
        return sorted([*good.tolist(), *rest[: count - len(good)].tolist()])
    _, cluster = kmeans2(
        histograms[good], count, minit="++", seed=np.random.default_rng(seed), missing="warn"
    )
    chosen = [max(good[cluster == c], key=lambda i: score[i]) for c in range(count) if (cluster == c).any()]
    # Clusters may come out empty: what is still wanted are the best of the others.
    others = [i for i in good[np.argsort(-score[good], kind="stable")] if i not in chosen]
    return sorted(int(i) for i in [*chosen, *others[: count - len(chosen)]])

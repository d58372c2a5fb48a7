"""Measure how a 2D model errs on procedural rooms, and write it down for `--backbone simulated:mosaic`.

    python tools/calibrate_errors.py --model FOLDER/mosaic_ade31.tflite

looks at rooms that no result is reported on and writes src/purify3d/data/errors.json. A model's answer at a
pixel is the class of the rooms that fits its feature best, as when labelling: its own class where it has one
of this name, else the nearest by words. A mask's answer is that of most of its pixels. About five minutes.

How alike the errors of two views are is fitted by simulating: `lasting` and `reach` are those of a grid with
which simulated answers are as alike as the model's. Rates of errors are the model's times one number,
`strength`, chosen so that unpooled labels of these rooms reach --target mIoU. All else is as measured.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch.nn.functional import interpolate

from purify3d.backbones import Backbone, PointBackbone, embed_vocabulary, load_backbone
from purify3d.benchmarking.simulated import ERRORS, ErrorModel, Masks, Simulated, masks_of, view_point
from purify3d.features.labels_from_frames import fuse_labels
from purify3d.features.lifting import lift
from purify3d.features.surface import with_points
from purify3d.labels.metrics import Confusion, in_vocabulary
from purify3d.labels.questions import classify, scores
from purify3d.rooms import CLASSES, synthetic_scene
from purify3d.types import DenseFeatures, Frame, Scene

#: Rooms of the benchmark's seeds that are in none of its named sets.
ROOMS = range(400, 408)
SMALLEST = 25  # pixels: of less, a vote means nothing
AREAS = (0.0003, 0.002, 0.006, 0.02, 0.06, 0.2, 1.0)  # shares of the image: edges of the bins
DISTANCES = (0.0, 1.0, 1.6, 2.2, 2.8, 3.4, 4.0, 4.7, 9.0)  # of views, see `view_point`: edges of the bins
TRIED = (0.4, 0.6)  # strengths between which the right one is looked for
SEEDS = (0, 1)
PRIOR = 4.0  # masks' worth of the mean over all classes, added to each class


@dataclass(frozen=True)
class Seen:
    """One mask and what the model made of it."""

    room: int
    label: int
    instance: int
    around: int  # class of its neighbour
    answer: int
    area: float
    view: np.ndarray

    @property
    def missed(self) -> bool:
        return self.answer == self.around != self.label


def in_memory(scene: Scene) -> Scene:
    """The scene with its images rendered once."""

    def kept(frame: Frame) -> Frame:
        assert frame.label is not None
        assert frame.instance is not None
        color, depth, label, instance = frame.color(), frame.depth(), frame.label(), frame.instance()
        return replace(
            frame, color=lambda: color, depth=lambda: depth, label=lambda: label, instance=lambda: instance
        )

    return replace(scene, frames=tuple(map(kept, scene.frames)))


def look(scenes: dict[int, Scene], backbone: Backbone) -> tuple[list[Seen], list[float]]:
    """All masks of all frames, and shifts in shares of the width: of pixels on the border of masks whose
    answer is right, how far the border of what the model shows there is."""
    text_embeddings = embed_vocabulary(backbone, list(CLASSES))
    assert not isinstance(backbone, PointBackbone)
    seen: list[Seen] = []
    shifts: list[float] = []
    for room, scene in scenes.items():
        for frame in scene.frames:
            masks = masks_of(frame)
            features = backbone.observe([frame], text_embeddings)[0]
            assert isinstance(features, DenseFeatures)
            basis = torch.eye(len(features.values)) if features.basis is None else features.basis
            fit = torch.einsum("rhw,cr->chw", features.values, text_embeddings.embedding @ basis.T)
            size = masks.of.shape
            answers = interpolate(fit[None], size=size, mode="bilinear")[0].argmax(0).numpy()
            found = masks_seen(room, frame, masks, answers)
            seen += found
            for mask in found:
                if mask.answer == mask.label:
                    shifts += border_shifts(masks, mask, answers)
    return seen, shifts


def masks_seen(room: int, frame: Frame, masks: Masks, answers: np.ndarray) -> list[Seen]:
    size = masks.of.size
    return [
        Seen(
            room,
            int(masks.label[i]),
            int(masks.instance[i]),
            int(masks.label[masks.neighbor[i]]),
            int(np.bincount(answers[masks.of == i]).argmax()),
            float(masks.area[i]),
            view_point(frame),
        )
        for i in range(len(masks.label))
        if masks.area[i] * size >= SMALLEST
    ]


def edges(region: np.ndarray) -> np.ndarray:
    """Pixels whose right or lower neighbour is on the other side."""
    edge = np.zeros(region.shape, bool)
    edge[:-1] |= region[:-1] != region[1:]
    edge[:, :-1] |= region[:, :-1] != region[:, 1:]
    return edge


def border_shifts(masks: Masks, mask: Seen, answers: np.ndarray) -> list[float]:
    """Distances between true and shown borders; farther than a twentieth of the width it is another error."""
    true, shown = edges(masks.of == np.flatnonzero(masks.instance == mask.instance)[0]), answers == mask.label
    if not edges(shown).any():
        return []
    away = distance_transform_edt(~edges(shown))[true] / masks.of.shape[1]
    return list(away[away < 0.05][::7])


def rates(seen: list[Seen]) -> dict[str, list[float] | list[list[float]]]:
    """Confusion, wrong and missed of `ErrorModel`."""
    count = len(CLASSES)
    tally = np.zeros((count, count))
    for mask in seen:
        if not mask.missed:
            tally[mask.label, mask.answer] += 1
    right = tally.diagonal()
    total = tally.sum(1)
    mean_wrong = 1 - right.sum() / total.sum()
    wrong = (total - right + PRIOR * mean_wrong) / (total + PRIOR)
    off = tally - np.diag(right)
    confusion = off + PRIOR * (off.sum(0) + 0.5) / (off.sum() + 0.5 * count)
    np.fill_diagonal(confusion, 0)
    confusion /= confusion.sum(1, keepdims=True)
    can_be = [mask for mask in seen if mask.around != mask.label]
    areas, missed = [], []
    for low, high in pairwise(AREAS):
        these = [mask.missed for mask in can_be if low <= mask.area < high]
        areas.append(float(np.sqrt(low * high)))
        missed.append(float(np.mean(these)))
    return {
        "confusion": confusion.round(4).tolist(),
        "wrong": wrong.round(4).tolist(),
        "area": np.round(areas, 6).tolist(),
        "missed": np.round(missed, 4).tolist(),
    }


def alike(seen: list[Seen]) -> tuple[np.ndarray, np.ndarray]:
    """How alike an object's answers in two views are, (B,) by the distance of the views, and (B,) pairs.

    Alike is the product of both views' errors beyond the rate of the class, in deviations: 1 where an object
    errs always or never, 0 where views know nothing of each other. Classes that are nearly always right or
    wrong tell nothing and are left out.
    """
    label = np.array([mask.label for mask in seen])
    wrong = np.array([mask.answer != mask.label for mask in seen], float)
    rate = np.bincount(label, wrong, len(CLASSES)) / np.bincount(label, minlength=len(CLASSES)).clip(1)
    usable = (rate[label] > 0.1) & (rate[label] < 0.9)
    deviation = np.sqrt(rate * (1 - rate))[label]
    excess = np.where(usable, (wrong - rate[label]) / np.where(usable, deviation, 1), 0)
    view = np.stack([mask.view for mask in seen])
    objects: dict[tuple[int, int], list[int]] = {}
    for i in np.flatnonzero(usable).tolist():
        objects.setdefault((seen[i].room, seen[i].instance), []).append(i)
    total, pairs = np.zeros(len(DISTANCES) - 1), np.zeros(len(DISTANCES) - 1, int)
    for group in map(np.array, objects.values()):
        a, b = (group[k] for k in np.triu_indices(len(group), 1))
        which = np.digitize(np.linalg.norm(view[a] - view[b], axis=1), DISTANCES[1:-1])
        total += np.bincount(which, excess[a] * excess[b], len(total))
        pairs += np.bincount(which, minlength=len(total))
    return total / pairs.clip(1), pairs


def simulated(views: list[tuple[int, Frame, Masks]], model: Simulated) -> list[Seen]:
    """What the simulation says of all masks; their answers, without an image."""
    seen = []
    for room, frame, masks in views:
        answer, _ = model.answers(frame, masks)
        seen += masks_seen(room, frame, masks, answer[masks.of])
    return seen


def fit_correlation(scenes: dict[int, Scene], seen: list[Seen], facts: dict[str, Any]) -> tuple[float, float]:
    """Lasting share and reach with which simulated answers are alike as the model's are."""
    views = [(room, frame, masks_of(frame)) for room, scene in scenes.items() for frame in scene.frames]
    wanted, pairs = alike(seen)
    best, found = np.inf, (0.0, 1.0)
    for lasting in (0.2, 0.35, 0.5, 0.65):
        for reach in (0.7, 1.0, 1.4, 1.9):
            model = ErrorModel.of(facts | {"lasting": lasting, "reach": reach})
            told, _ = alike(simulated(views, Simulated(model, "fitting")))
            off = float(np.average((told - wanted) ** 2, weights=pairs))
            print(f"lasting {lasting}, reach {reach}: off by {off**0.5:.3f}", flush=True)
            if off < best:
                best, found = off, (lasting, reach)
    return found


def raw_miou(scenes: dict[int, Scene], backbone: Simulated) -> float:
    """mIoU of lifted, unpooled labels over the points of all rooms."""
    text_embeddings = embed_vocabulary(backbone, list(CLASSES))
    confusion = Confusion(text_embeddings.vocabulary.names)
    for scene in scenes.values():
        features = lift(scene, backbone, text_embeddings)
        found = classify(scores(features, text_embeddings), text_embeddings)
        truth = in_vocabulary(scene.cloud().label, scene.truth, text_embeddings.vocabulary)
        confusion.add(torch.where(features.views > 0, truth, -1), found.label)
    return 100 * (confusion.scores().miou or 0)


def with_truth(scene: Scene) -> Scene:
    scene = with_points(scene)
    points = scene.cloud()
    return replace(scene, points=replace(points, label=fuse_labels(scene.frames, points)))


def simulated_miou(scenes: dict[int, Scene], facts: dict[str, Any], strength: float) -> float:
    """Mean over a few seeds: a single object more or less is two points of mIoU."""
    model = ErrorModel.of(facts | {"strength": strength})
    found = [raw_miou(scenes, Simulated(model, "calibrating", seed=seed)) for seed in SEEDS]
    print(f"strength {strength}: raw mIoU", *(f"{miou:.1f}" for miou in found), flush=True)
    return float(np.mean(found))


def told(seen: list[Seen]) -> dict[str, Any]:
    """What is measured of a model and of its simulation alike."""
    return {
        "masks": len(seen),
        "right": round(float(np.mean([mask.answer == mask.label for mask in seen])), 3),
        "missed": round(float(np.mean([mask.missed for mask in seen])), 3),
        "alike": alike(seen)[0].round(3).tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="mosaic_ade31.tflite, its names beside it")
    parser.add_argument("--frames", type=int, default=48, help="of each room")
    parser.add_argument("--target", type=float, default=50.0, help="raw mIoU of these rooms, percent")
    parser.add_argument("-o", "--output", type=Path, default=ERRORS)
    wanted = parser.parse_args()

    scenes = {room: in_memory(synthetic_scene(room, frames=wanted.frames)) for room in ROOMS}
    seen, shifts = look(scenes, load_backbone(f"segmenter:{wanted.model}"))
    facts: dict[str, Any] = {
        "measured": f"{wanted.model.name} on synthetic:{ROOMS[0]}..{ROOMS[-1]}?frames={wanted.frames}",
        "command": f"python tools/calibrate_errors.py --model {wanted.model.name}",
        "classes": list(CLASSES),
        **rates(seen),
        # Half of the distances of a normal shift are within 0.674 deviations.
        "border": round(float(np.median(shifts)) / 0.674, 5),
        "strength": 1.0,
        "distances": list(DISTANCES),
        "model": told(seen),
    }
    print("found", {name: facts[name] for name in ("border", "model")}, flush=True)
    facts["lasting"], facts["reach"] = fit_correlation(scenes, seen, facts)
    echo, echoed_shifts = look(scenes, Simulated(ErrorModel.of(facts), "as measured"))
    facts["simulation"] = told(echo)
    print("border", facts["border"], "simulated", np.median(echoed_shifts) / 0.674)
    print({name: facts[name] for name in ("lasting", "reach", "model", "simulation")}, flush=True)

    half = {room: replace(scene, frames=scene.frames[::2]) for room, scene in scenes.items()}
    scenes = {room: with_truth(scene) for room, scene in half.items()}
    slope, offset = np.polyfit([simulated_miou(scenes, facts, s) for s in TRIED], TRIED, 1)
    facts["strength"] = round(float(slope * wanted.target + offset), 3)
    facts["raw_miou"] = round(simulated_miou(scenes, facts, facts["strength"]), 1)
    text = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in facts.items())
    wanted.output.write_text("{\n" + text.replace("], [", "],\n    [") + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()

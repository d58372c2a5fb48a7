"""How well single objects are found, beside plain connected components, on rooms whose objects are known.

    python benchmarks/objects.py --cache DIR [--captures synthetic:val] [--truth] [--set least=100 ...]

Rooms are lifted, labelled (`--affinity NAME`, all else the default settings) and given their true objects
once and cached. Both methods get the same labels and points. The measure is that of the ScanNet benchmark,
see instances.py; the score of a prediction is its mean cosine. Walls, floors and ceilings are not counted.
`--truth` groups the true labels: what is lost is then lost by grouping.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from instances import Found, Guess, Truth, measured
from students import Ready, expanded, ready
from torch import Tensor

from purify3d.affinities.config import PurifyConfig
from purify3d.affinities.embeddings import Embedding, load_embedding
from purify3d.backbones import Backbone, embed_vocabulary, load_backbone
from purify3d.base.checkpoints import digest_of
from purify3d.captures import open_capture
from purify3d.features.labels_from_frames import fuse_instances
from purify3d.grid.cells import touching
from purify3d.grid.voxels import voxelize
from purify3d.labels.config import ObjectConfig
from purify3d.labels.labelling import label_points
from purify3d.labels.metrics import BACKGROUND
from purify3d.labels.objects import components, find_objects
from purify3d.labels.segmentation import Segmentation
from purify3d.rooms import CLASSES
from purify3d.types import PointCloud, PointFeatures, TextEmbeddings, Vocabulary


@dataclass(frozen=True)
class Room:
    """A labelled room: N points, what was said of each, and what it is: (N,) label and object, -1 = none."""

    name: str
    points: PointCloud
    features: PointFeatures
    said: Segmentation
    label: Tensor
    instance: Tensor


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--captures", nargs="+", default=["synthetic:val"])
    parser.add_argument("--cache", type=Path, required=True, help="folder of labelled rooms")
    parser.add_argument("--lifted", type=Path, help="folder of rooms lifted by students.py")
    parser.add_argument("--truth", action="store_true", help="group the true labels")
    parser.add_argument("--set", nargs="*", default=[], help="NAME=VALUE, settings of ObjectConfig")
    parser.add_argument("--affinity", default=PurifyConfig.affinity, help="that labels and groups")
    parser.add_argument("--labels", nargs="*", default=["chair"], help="that have a row of their own")
    args = parser.parse_args()
    backbone = load_backbone("segmenter:lite")
    embedding = load_embedding(args.affinity, backbone)
    text_embeddings = embed_vocabulary(backbone, Vocabulary.parse(", ".join(CLASSES)))
    config = configured(args.set)
    rows: dict[str, list[Found]] = {"components": [], "objects": []}
    for name in expanded(args.captures):
        made = room(name, backbone, text_embeddings, embedding, args.cache, args.lifted or args.cache)
        for method, guesses in guessed(made, config, args.truth).items():
            rows[method].append((guesses, Truth(made.label.numpy(), made.instance.numpy())))
        print(f"{name}: {len(made.points)} points", file=sys.stderr, flush=True)
    print(config)
    head = ["precision 25", "recall 25", "precision 50", "recall 50", "AP25", "AP50", "AP"]
    print("  ".join([f"{'%':24s}", *(f"{key:>4s}" for key in head)]))
    counted = [i for i, name in enumerate(CLASSES) if name not in BACKGROUND]
    for title, classes in [("", counted), *((f" {name}", [CLASSES.index(name)]) for name in args.labels)]:
        for method, scenes in rows.items():
            values = measured(scenes, classes, counted)
            cells = (f"{100 * values[key]:{max(len(key), 4)}.1f}" for key in head)
            print("  ".join([f"{method + title:24s}", *cells]))


def configured(given: Sequence[str]) -> ObjectConfig:
    """Settings as NAME=VALUE, the others at their defaults."""
    kinds = {field.name: int if field.name == "least" else float for field in fields(ObjectConfig)}
    pairs = (text.partition("=")[::2] for text in given)
    return ObjectConfig(**{name: kinds[name](value) for name, value in pairs})  # type: ignore[arg-type]


def room(
    name: str,
    backbone: Backbone,
    text_embeddings: TextEmbeddings,
    embedding: Embedding,
    cache: Path,
    lifted: Path,
) -> Room:
    """A labelled room, from the cache where it was made before."""
    scene: Ready = ready(name, "segmenter:lite", backbone, text_embeddings, lifted)
    file = cache / f"{name.replace(':', '-')}-{digest_of(embedding.fingerprint)}.pt"
    if not file.is_file():
        said = label_points(scene.points, scene.features, text_embeddings, embedding=embedding)
        instance = fuse_instances(open_capture(name).frames, scene.points)
        cache.mkdir(parents=True, exist_ok=True)
        torch.save((said.label, said.score, instance), file.with_suffix(".part"))
        file.with_suffix(".part").rename(file)
    label, score, instance = torch.load(file, weights_only=True)
    said = Segmentation(label, score, text_embeddings.vocabulary)
    return Room(name, scene.points, scene.features, said, scene.truth, instance)


def plain_components(points: PointCloud, result: Segmentation, *, cell: float, least: int) -> np.ndarray:
    """(N,) int64 part of each point, -1 = none: touching cells of one label, the baseline."""
    part = np.full(len(points), -1)
    label, total = result.numpy(), 0
    for number in range(len(result.names)):
        chosen = np.nonzero(label == number)[0]
        if not len(chosen):
            continue
        cells = voxelize(points.xyz[chosen], cell)
        member = components(len(cells), *touching(cells.index.numpy()).T)[cells.of_point.numpy()]
        big = np.bincount(member)[member] >= least
        part[chosen[big]] = total + member[big]
        total += int(member.max()) + 1
    return part


def guessed(room: Room, config: ObjectConfig, truth: bool) -> dict[str, list[Guess]]:
    """The objects of a room by each method."""
    result = room.said
    if truth:
        result = replace(result, label=room.label, score=torch.ones_like(result.score))
    part = plain_components(room.points, result, cell=0.05, least=config.least)
    label, score = result.numpy(), result.score.numpy()
    order = np.argsort(part, kind="stable")
    order = order[part[order] >= 0]
    pieces = np.split(order, np.nonzero(np.diff(part[order]))[0] + 1)
    found = find_objects(room.points, result, up=np.array([0.0, 0.0, 1.0]), config=config)
    return {
        "components": [Guess(int(label[c[0]]), float(score[c].mean()), c) for c in pieces if len(c)],
        "objects": [Guess(result.names.index(o.label), o.score, o.members) for o in found],
    }


if __name__ == "__main__":
    main()

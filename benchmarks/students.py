"""What students are worth beside hand-made affinities, on scenes with truth.

    python benchmarks/students.py --cache DIR --captures synthetic:val --student NAME=FOLDER ...
        [--backbone NAME] [--labels A,B] [--scales 160/10 ...] [--sharpness 10 20 40] [--teacher 20]
        [--rounds 19]

Scenes are fused, lifted and given their truth once and cached. Reported is the mean over scenes of the
scene's mIoU over the classes present, the mean over scenes of the gain over raw, ± its standard error, on how
many scenes a row beats raw, the largest mean loss of a class that has 2,000 points over all scenes, and the
same differences of all other rows to those of normals and colours. `NAME A/B` is the
student at sharpness A joined with normals and colours at sharpness B (0: alone); every point is labelled
(`--fill inf`). `geometric teacher A` weighs neighbours by the share of the teacher's scales at which they
lie in one region, at sharpness A.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from purify3d.affinities.building import agreement
from purify3d.affinities.config import PurifyConfig
from purify3d.affinities.embeddings import Geometric, Uniform, joined, words_of
from purify3d.affinities.pooling import pool_scores
from purify3d.affinities.student import Student
from purify3d.backbones import Backbone, embed_vocabulary, load_backbone
from purify3d.base.checkpoints import digest_of
from purify3d.benchmarking.datasets.listing import expanded
from purify3d.benchmarking.report import plus_minus
from purify3d.benchmarking.table import paired
from purify3d.benchmarking.votes import label_by_regions, voxel_regions
from purify3d.captures import open_capture
from purify3d.features.labels_from_frames import fuse_labels, in_vocabulary
from purify3d.features.lifting import lift
from purify3d.features.surface import with_points
from purify3d.grid.neighbors import grid_neighbors
from purify3d.grid.voxels import voxelize
from purify3d.labels.config import SegmentConfig
from purify3d.labels.labelling import label_points
from purify3d.labels.metrics import Confusion
from purify3d.labels.questions import classify
from purify3d.labels.segmentation import Segmentation
from purify3d.rooms import CLASSES
from purify3d.types import (
    Affinity,
    Frame,
    PointCloud,
    PointFeatures,
    Scene,
    TextEmbeddings,
    Vocabulary,
    Voxels,
)

FEWEST = 2000  # points over all scenes from which a class is watched


@dataclass(frozen=True)
class Ready:
    """A scene as pooling meets it: N points, one feature each, and the true label index, -1 = none."""

    name: str
    points: PointCloud
    features: PointFeatures
    truth: Tensor


@dataclass(frozen=True)
class Vectors:
    """An embedding that was computed before."""

    vectors: Tensor
    sharpness: float
    fingerprint: str = "given"

    def __call__(self, points: PointCloud, voxels: Voxels, features: PointFeatures) -> Tensor:
        return self.vectors


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--captures", nargs="+", default=["synthetic:val"])
    parser.add_argument("--backbone", default="segmenter:lite")
    parser.add_argument("--labels", default=", ".join(CLASSES))
    parser.add_argument("--over", help="mean over these labels only, of all that are asked for")
    parser.add_argument("--student", nargs="*", default=[], help="NAME=FOLDER")
    parser.add_argument("--scales", nargs="*", default=["160/10"], help="student/geometric sharpness")
    parser.add_argument("--sharpness", nargs="*", type=float, default=[20.0], help="of normals and colours")
    parser.add_argument(
        "--teacher", nargs="*", type=float, default=[], help="sharpness of the teacher itself"
    )
    parser.add_argument("--rounds", nargs="*", type=int, default=[19])
    parser.add_argument("--confidence", type=float, default=PurifyConfig.confidence)
    parser.add_argument("--fewer", action="store_true", help="without uniform pooling and region vote")
    parser.add_argument("--silent", action="store_true", help="also with the students' words set to zero")
    parser.add_argument("--prepare", action="store_true", help="only make the scenes ready")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    backbone = load_backbone(args.backbone)
    text_embeddings = embed_vocabulary(backbone, Vocabulary.parse(args.labels))
    students = {
        name: Student.from_pretrained(folder) for name, _, folder in (s.partition("=") for s in args.student)
    }
    table: dict[str, list[Confusion]] = {}
    names = expanded(args.captures)
    for number, name in enumerate(names):
        scene = ready(name, args.backbone, backbone, text_embeddings, args.cache)
        if args.prepare:
            continue
        for row, confusion in measured(scene, backbone, text_embeddings, students, args):
            table.setdefault(row, []).append(confusion)
        raw = table["raw"][-1].scores().miou
        print(f"{number + 1}/{len(names)} {name}: raw {raw or 0:.3f}", file=sys.stderr, flush=True)
    if args.prepare:
        return
    names_of = text_embeddings.vocabulary.names
    over = names_of if args.over is None else Vocabulary.parse(args.over).names
    report(table, names_of, over)
    if args.json:
        rows = {row: [mean_iou(c, over) for c in confusions] for row, confusions in table.items()}
        args.json.write_text(
            json.dumps({"captures": names, "backbone": args.backbone, "miou": rows}, indent=1)
        )


def ready(name: str, model: str, backbone: Backbone, text_embeddings: TextEmbeddings, cache: Path) -> Ready:
    """A scene with features and truth, from the cache where it was made before."""
    file = cache / f"{digest_of(name, repr(backbone.space), text_embeddings.vocabulary.synonyms)}.pt"
    if file.is_file():
        made: Ready = torch.load(file, weights_only=False)  # of this very script
        return made
    scene = with_points(rendered_once(open_capture(name)))
    points = scene.cloud()
    truth = in_vocabulary(fuse_labels(scene.frames, points), scene.truth, text_embeddings.vocabulary)
    made = Ready(name, points, lift(scene, backbone, text_embeddings), truth)
    cache.mkdir(parents=True, exist_ok=True)
    torch.save(made, file.with_suffix(".part"))
    file.with_suffix(".part").rename(file)
    return made


def rendered_once(scene: Scene) -> Scene:
    """The scene with its images in memory: fusing, lifting and truth each read them."""

    def kept(frame: Frame) -> Frame:
        color, depth, label = frame.color(), frame.depth(), frame.label() if frame.label else None
        truth = None if label is None else (lambda: label)
        return replace(frame, color=lambda: color, depth=lambda: depth, label=truth, instance=None)

    return replace(scene, frames=tuple(kept(frame) for frame in scene.frames))


def measured(
    scene: Ready,
    backbone: Backbone,
    text_embeddings: TextEmbeddings,
    students: dict[str, Student],
    args: argparse.Namespace,
) -> Iterator[tuple[str, Confusion]]:
    """Every row of the table for one scene."""
    points, features = scene.points, scene.features
    voxels = voxelize(points.xyz, PurifyConfig.voxel)
    neighbor = grid_neighbors(voxels.index, PurifyConfig.neighbors)
    base = PurifyConfig(fill=math.inf, confidence=args.confidence)
    seen = features.within(0)  # students are told what cameras saw

    def counted(result: Segmentation) -> Confusion:
        confusion = Confusion(text_embeddings.vocabulary.names)
        confusion.add(scene.truth, result.label)
        return confusion

    def row(embedding: object, config: PurifyConfig) -> Confusion:
        result = label_points(
            points,
            features,
            text_embeddings,
            SegmentConfig(purify=config),
            embedding=embedding,  # type: ignore[arg-type]
            neighbor=neighbor,
        )
        return counted(result)

    yield "raw", row(Uniform(), replace(base, rounds=0))
    if not args.fewer:
        yield "uniform", row(Uniform(), base)
        yield "region vote", counted(label_by_regions(points, features, text_embeddings, base))
    for rounds in args.rounds:
        config = replace(base, rounds=rounds)
        said = "" if len(args.rounds) == 1 else f", {rounds} rounds"
        for sharpness in args.sharpness:
            yield (
                f"normals + colour {sharpness:g}{said}",
                row(Geometric(), replace(config, sharpness=sharpness)),
            )
        for sharpness in args.teacher:
            heeded = co_members(points, features, voxels, neighbor, sharpness, config)
            scores = pool_scores(features, text_embeddings, voxels, heeded, rounds)
            yield f"geometric teacher {sharpness:g}{said}", counted(classify(scores, text_embeddings))
        for name, student in students.items():
            words = words_of(student.config, backbone)
            for told, bank_of in (("", words), (" silent", None)) if args.silent else (("", words),):
                own = student.embed(points, voxels, seen, text_embeddings=bank_of)
                for scale in args.scales:
                    own_sharp, geometric = (float(value) for value in scale.split("/"))
                    both = replace(student.config, sharpness=own_sharp, geometric=geometric)
                    vectors = Vectors(joined(own, points, voxels, both), own_sharp)
                    yield f"{name}{told} {scale}{said}", row(vectors, config)


def co_members(
    points: PointCloud,
    features: PointFeatures,
    voxels: Voxels,
    neighbor: Tensor,
    sharpness: float,
    config: PurifyConfig,
) -> Affinity:
    """Softmax over neighbours of the share of the teacher's scales at which both are in one region."""
    group = voxel_regions(points, voxels)
    bias = torch.zeros(len(voxels))
    if config.confidence > 0 and features.space.length_is_confidence:
        bias = agreement(features, voxels, config.confidence)
    weight = [
        (
            sharpness * ((group[near] == own[:, None]) & (own[:, None] >= 0)).float().mean(2) + bias[near]
        ).softmax(1)
        for near, own in zip(neighbor.split(8192), group.split(8192), strict=True)
    ]
    return Affinity(neighbor, torch.cat(weight))


def mean_iou(confusion: Confusion, over: tuple[str, ...]) -> float:
    """Of those of these classes that are there, 0..1."""
    scores = confusion.scores()
    found = [
        iou for name, iou in zip(scores.names, scores.iou, strict=True) if name in over and iou is not None
    ]
    return statistics.mean(found) if found else 0.0


def report(table: dict[str, list[Confusion]], names: tuple[str, ...], over: tuple[str, ...]) -> None:
    """A line for each row, and one for each difference."""
    scores = {name: np.array([mean_iou(c, over) for c in confusions]) for name, confusions in table.items()}

    def gained(name: str, against: str) -> str:
        gain = paired(scores[against], scores[name])
        return f"{plus_minus(gain['mean'], gain['error']):>14s}  {gain['better']:2d} of {gain['scenes']:2d}"

    print(f"{'mIoU, %':36s} {'mean':>5s} {'gain ± error':>14s}  {'better on':12s} worst class")
    for name, confusions in table.items():
        worst = _worst(table["raw"], confusions, names)
        print(f"{name:36s} {100 * scores[name].mean():5.1f} {gained(name, 'raw')}     {worst}")
    for against in (name for name in table if name.startswith("normals")):
        for name in (name for name in table if name not in ("raw", against)):
            print(f"{f'{name} - {against}':42s} {gained(name, against)}")


def _worst(raw: list[Confusion], confusions: list[Confusion], names: tuple[str, ...]) -> str:
    """The watched class that loses most against raw, mean over the scenes that have it."""
    losses = {}
    for index, name in enumerate(names):
        if sum(int(confusion.counts[index].sum()) for confusion in raw) < FEWEST:
            continue
        pairs = [
            (before.scores().iou[index], after.scores().iou[index])
            for before, after in zip(raw, confusions, strict=True)
        ]
        known = [
            100 * (after - before) for before, after in pairs if before is not None and after is not None
        ]
        if known:
            losses[name] = statistics.mean(known)
    worst = min(losses, key=lambda name: losses[name], default="")
    return f"{worst} {losses[worst]:+.1f}" if worst else ""


if __name__ == "__main__":
    main()

"""What purification is worth on procedural rooms, for several affinities, with a 2D model's real errors.

    python benchmarks/affinity.py [--backbone NAME] [--rooms 100 101 ...] [--labels A,B] [--json FILE]

Every room is rendered (48 frames), fused, lifted once, and pooled with each variant; points that no camera
saw take a copy (`--fill inf`). Reported is the mean over rooms of the room's mIoU over the classes present,
mean and spread over rooms of the gain over raw, and on how many rooms a variant beats raw.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from purify3d.affinities.embeddings import (
    Embedding,
    Geometric,
    GeometricConfig,
    PurifyConfig,
    Uniform,
)
from purify3d.backbones import Backbone, embed_vocabulary, load_backbone
from purify3d.features.labels_from_frames import fuse_labels, in_vocabulary
from purify3d.features.lifting import lift
from purify3d.features.surface import with_points
from purify3d.labels.labelling import SegmentConfig, label_points
from purify3d.labels.metrics import Confusion
from purify3d.rooms import BENCHMARK_SEEDS, CLASSES, synthetic_scene
from purify3d.types import Frame, TextBank, Vocabulary


@dataclass(frozen=True)
class Variant:
    """One way to pool."""

    purify: PurifyConfig
    embedding: Embedding = field(default_factory=Geometric)


# Every point is labelled, as the paper does, so that rows differ by pooling alone.
DEFAULT = PurifyConfig(fill=math.inf)
PLAIN = replace(DEFAULT, confidence=0)
RAW = Variant(replace(PLAIN, rounds=0))
VARIANTS = {
    "raw": RAW,
    "uniform": Variant(PLAIN, Uniform()),
    "normal 0.3, colour 10, 48 neighbours": Variant(
        replace(PLAIN, neighbors=48), Geometric(GeometricConfig(0.3, 10))
    ),
    "normal 0.3, colour 10": Variant(PLAIN, Geometric(GeometricConfig(0.3, 10))),
    "normal 0.3, colour 5": Variant(PLAIN, Geometric(GeometricConfig(0.3, 5))),
    "normal 0.2, colour 3": Variant(PLAIN),
    "normal 0.2, colour 3, 6 rounds": Variant(replace(PLAIN, rounds=6)),
    "normal 0.2, colour 3, 60 rounds": Variant(replace(PLAIN, rounds=60)),
    "confidence 2": Variant(replace(PLAIN, confidence=2)),
    "confidence 4 (default)": Variant(DEFAULT),
    "confidence 8": Variant(replace(PLAIN, confidence=8)),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="segmenter:lite")
    parser.add_argument("--rooms", type=int, nargs="+", default=list(BENCHMARK_SEEDS[:5]))
    parser.add_argument("--labels", default=", ".join(CLASSES))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    backbone = load_backbone(args.backbone)
    bank = embed_vocabulary(backbone, Vocabulary.parse(args.labels))
    table: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for seed in args.rooms:
        for name, miou in measure(seed, backbone, bank).items():
            table[name].append(miou)
        print(f"room {seed}: raw {table['raw'][-1]:.3f}", file=sys.stderr)
    print(f"{'mIoU, %':40s} {'mean':>5s} {'gain':>6s} {'+-':>5s}  better on")
    for name, values in table.items():
        gains = [100 * (v - r) for v, r in zip(values, table["raw"], strict=True)]
        spread = statistics.stdev(gains) if len(gains) > 1 else 0.0
        wins = sum(gain > 0 for gain in gains)
        print(
            f"{name:40s} {100 * statistics.mean(values):5.1f} {statistics.mean(gains):+6.2f} {spread:5.2f}  "
            f"{wins} of {len(gains)}"
        )
    if args.json:
        args.json.write_text(
            json.dumps({"backbone": args.backbone, "rooms": args.rooms, "miou": table}, indent=1)
        )


def measure(seed: int, backbone: Backbone, bank: TextBank) -> dict[str, float]:
    """mIoU of one room for each variant."""
    room = synthetic_scene(seed)
    room = with_points(replace(room, frames=tuple(_kept(frame) for frame in room.frames)))
    points = room.cloud()
    truth = in_vocabulary(fuse_labels(room.frames, points), room.truth, bank.vocabulary)
    features = lift(room, backbone, bank)
    result = {}
    for name, variant in VARIANTS.items():
        config = SegmentConfig(purify=variant.purify)
        labelled = label_points(points, features, bank, config, embedding=variant.embedding)
        confusion = Confusion(bank.vocabulary.names)
        confusion.add(truth, labelled.label)
        miou = confusion.scores().miou
        assert miou is not None
        result[name] = miou
    return result


def _kept(frame: Frame) -> Frame:
    """The frame rendered once: fusing, lifting and truth each read it."""
    color, depth, label = frame.color(), frame.depth(), frame.label() if frame.label else None
    kept = None if label is None else (lambda: label)
    return replace(frame, color=lambda: color, depth=lambda: depth, label=kept)


if __name__ == "__main__":
    main()

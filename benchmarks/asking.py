"""How often a question is answered rightly with "something is here" or "nothing like this here".

    python benchmarks/asking.py [--backbone NAME] [--rooms 100 101 ...] [--json FILE]

Every room is rendered (48 frames), fused, lifted and pooled with the default settings, as `purify3d query`
does. It is asked for each class with at least 500 truth points in it (something is here), for each class
without a single one, and for things that are in no room (nothing like this is here); not for a class between.
Of a class that is there it is looked, too, whether the hottest place lies on it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from purify3d.affinities.purifying import purify
from purify3d.backbones import Backbone, load_backbone
from purify3d.features.labels_from_frames import fuse_labels
from purify3d.features.lifting import lift
from purify3d.features.surface import with_points
from purify3d.labels.questions import COMMON_WORDS, answer, hottest_points
from purify3d.rooms import BENCHMARK_SEEDS, CLASSES, synthetic_scene
from purify3d.types import PointCloud, PointFeatures

FEWEST = 500  # truth points that make a class present
#: Things that are in no room, and not among the words that questions are held against.
NOWHERE = (
    "helicopter", "submarine", "traffic light", "elephant", "waterfall", "volcano", "tractor", "surfboard",
    "parachute", "lighthouse", "shopping cart", "fire hydrant", "wheelchair", "treadmill", "aquarium",
    "chandelier", "fireplace", "drum kit", "sewing machine", "violin", "skateboard", "motorcycle", "penguin",
    "snowman", "windmill", "anchor", "cactus", "hamburger", "candle", "vacuum cleaner",
)  # fmt: skip
KINDS = PRESENT, ABSENT, ELSEWHERE = "present classes", "absent classes", "things in no room"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="segmenter:lite")
    parser.add_argument("--rooms", type=int, nargs="+", default=list(BENCHMARK_SEEDS[:5]))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    assert not {*NOWHERE} & {*COMMON_WORDS, *CLASSES}

    backbone = load_backbone(args.backbone)
    # kind -> word -> for each room where it was asked for, whether the answer was right
    right: dict[str, dict[str, list[bool]]] = {kind: defaultdict(list) for kind in KINDS}
    on: dict[str, list[bool]] = defaultdict(list)
    for seed in args.rooms:
        points, features = purified(seed, backbone)
        asked = questions(points)
        for kind, words in asked.items():
            for word in words:
                found = answer(points, features, word, backbone)
                right[kind][word].append(found.found == (kind == PRESENT))
                if kind == PRESENT:
                    hot = points.label[hottest_points(found.score)]
                    on[word].append(float((hot == CLASSES.index(word)).float().mean()) > 0.5)
        print(f"room {seed}: {', '.join(f'{len(asked[kind])} {kind}' for kind in KINDS)}", file=sys.stderr)
    report("something is here, of present classes", right[PRESENT])
    report("the hottest place is mostly of the class", on)
    report("nothing like this here, of absent classes", right[ABSENT])
    report("nothing like this here, of things in no room", right[ELSEWHERE])
    if args.json:
        table = {"backbone": args.backbone, "rooms": args.rooms, "right": right, "on": on}
        args.json.write_text(json.dumps(table, indent=1))


def report(name: str, right: dict[str, list[bool]]) -> None:
    """How many answers were right, and the words that were answered wrongly, most often first."""
    answers = [good for each in right.values() for good in each]
    print(f"{name:46s} {sum(answers):4d} of {len(answers):3d}  {sum(answers) / max(1, len(answers)):.1%}")
    for word, each in sorted(right.items(), key=lambda item: (sum(item[1]) - len(item[1]), item[0])):
        if not all(each):
            print(f"    {word}: wrong {len(each) - sum(each)} of {len(each)}")


def purified(seed: int, backbone: Backbone) -> tuple[PointCloud, PointFeatures]:
    """The points of a room, with truth ids, and their pooled features."""
    room = with_points(synthetic_scene(seed))
    points = replace(room.cloud(), label=fuse_labels(room.frames, room.cloud()))
    return points, purify(points, lift(room, backbone), backbone=backbone)


def questions(points: PointCloud) -> dict[str, list[str]]:
    """What a room is asked for, by kind."""
    count = [int((points.label == label).sum()) for label in range(len(CLASSES))]
    present = [name for name, n in zip(CLASSES, count, strict=True) if n >= FEWEST]
    absent = [name for name, n in zip(CLASSES, count, strict=True) if n == 0]
    return dict(zip(KINDS, (present, absent, list(NOWHERE)), strict=True))


if __name__ == "__main__":
    main()

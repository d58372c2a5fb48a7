"""The whole method in one call: a procedural room is filmed, lifted, purified, labelled and scored.

Needs `pip install "purify3d[text,synthetic]"`, and no download.
"""

import purify3d
from purify3d.rooms import CLASSES

run = purify3d.segment(
    "synthetic:7?frames=24",  # a path to your scan goes here
    CLASSES,  # or "wall, floor, chair, sofa|couch"
    output="runs/examples/demo",
    progress=purify3d.progress_bars,
)
print(run, run.points, run.labels, sep="\n")

raw, purified = run.metrics["raw"], run.metrics["purified"]  # this capture has ground truth
print(f"\n{'IoU':<14}{'raw':>8}{'purified':>10}")
for name, before, after in zip(purified["names"], raw["iou"], purified["iou"], strict=True):
    if after is not None:
        print(f"{name:<14}{before:>8.1%}{after:>10.1%}")
print(f"{'mean':<14}{raw['miou']:>8.1%}{purified['miou']:>10.1%}")

print("\nphoto, raw, purified and ground truth beside each other:", run.folder / "picture.png")
print("in the browser: purify3d view", run.folder)

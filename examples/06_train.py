"""Train a student, the network that says which neighbouring voxels belong together, and use it.

Twenty scans and some thousand steps make a good one: `purify3d train --help`, docs/training.md.
"""

from dataclasses import replace
from pathlib import Path

import purify3d
from purify3d.affinities.config import COMPACT
from purify3d.training import Cache, Recipe, TrainConfig, train
from purify3d.training.teachers import load_teacher

STEPS = 30
folder = Path("runs/examples/student")

backbone = purify3d.load_backbone("segmenter:lite")
student = replace(COMPACT, width=16)  # small and quick
recipe = Recipe(student, load_teacher("geometric"), backbone)  # the teacher needs no labels
cache = Cache(folder / "scenes", 20e9)
scenes = [cache.get(purify3d.open_capture(f"synthetic:{seed}?frames=12"), recipe) for seed in (2000, 2001)]

config = TrainConfig(crop=5000, anchors=512)
network, facts = train(folder, student, scenes[:1], scenes[1:], config, steps=STEPS, checks=2)
network.save_pretrained(folder)
print(f"{facts['steps']} steps in {facts['seconds']} s, loss {facts['loss']:.2f}; in a room it never saw,")
print(f"{facts['held_out_stays']:.0%} of a voxel's weight stay on its own group")

labels = "wall, floor, ceiling, table, chair, cabinet, picture"
run = purify3d.segment("synthetic:7?frames=12", labels, affinity=str(folder))
print(run.labels)

"""What one step of training costs: seconds and memory of forward, loss, backward and update.

    python benchmarks/training.py [--student compact|paper] [--voxels 20000] [--room 2000]

The geometry is a procedural room's, what the student is told is random: the cost does not depend on it.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import torch

from purify3d.affinities.config import COMPACT, PAPER
from purify3d.affinities.student import Student
from purify3d.base.stopwatch import Stopwatch, peak_memory
from purify3d.features.surface import with_points
from purify3d.grid.voxels import voxelize
from purify3d.rooms import synthetic_scene
from purify3d.training import PAPER_TRAINING, TrainConfig
from purify3d.training.augment import crop
from purify3d.training.loop import scene_loss
from purify3d.training.scenes import Prepared
from purify3d.training.teachers import Targets


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--student", choices=["compact", "paper"], default="compact")
    parser.add_argument("--voxels", type=int, default=20_000)
    parser.add_argument("--room", type=int, default=2000)
    args = parser.parse_args()
    shape = COMPACT if args.student == "compact" else PAPER
    config = replace(TrainConfig() if args.student == "compact" else PAPER_TRAINING, crop=0)
    points = with_points(synthetic_scene(args.room, frames=24)).cloud()
    index = voxelize(points.xyz, shape.voxel_size).index
    generator = torch.Generator().manual_seed(0)
    index = index[crop(index, args.voxels, generator)]
    inputs = torch.rand(len(index), shape.in_channels, generator=generator).half()
    group = (index // 12).sum(1, keepdim=True).long()  # anything with borders
    feature = (
        None if args.student == "compact" else torch.randn(int(group.max()) + 1, 1088, generator=generator)
    )
    scene = Prepared(index, inputs, Targets(group, feature))
    network = Student(shape)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    watch = Stopwatch()
    before = peak_memory()
    for name in ("first step", "second step"):
        start = time.perf_counter()
        with watch(name):
            network.train()
            loss, _ = scene_loss(network, scene, config, generator)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        print(
            f"{args.student}, {len(index):,} voxels, {name}: {time.perf_counter() - start:.2f} s, peak "
            f"{watch.stages[name]['peak_gb']:.2f} GB resident ({before / 1e9:.2f} before the first), "
            f"{torch.get_num_threads()} threads"
        )


if __name__ == "__main__":
    main()

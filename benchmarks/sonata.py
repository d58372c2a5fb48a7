"""What a scene costs with Sonata at its full size: seconds and memory, with random weights.

python benchmarks/sonata.py [--room 2000] [--frames 24]
"""

from __future__ import annotations

import argparse
import time

import torch

from purify3d.base.stopwatch import Stopwatch, peak_memory
from purify3d.features.surface import with_points
from purify3d.grid.voxels import voxelize
from purify3d.rooms import synthetic_scene
from purify3d.training.teachers.sonata import Sonata
from purify3d.training.teachers.sonata.network import SonataConfig, SonataNetwork


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--room", type=int, default=2000)
    parser.add_argument("--frames", type=int, default=24)
    args = parser.parse_args()
    points = with_points(synthetic_scene(args.room, frames=args.frames)).cloud()
    before = peak_memory()
    torch.manual_seed(0)
    teacher = Sonata(SonataNetwork(SonataConfig()).eval())
    parameters = sum(p.numel() for p in teacher._network.parameters())
    watch, start = Stopwatch(), time.perf_counter()
    with watch("teach"):
        lesson = teacher.teach(points, up=[0.0, 0.0, 1.0])  # type: ignore[arg-type]
    print(
        f"{parameters / 1e6:.1f} M parameters, {len(voxelize(points.xyz, 0.02)):,} voxels: "
        f"{time.perf_counter() - start:.1f} s, peak {watch.stages['teach']['peak_gb']:.2f} GB resident "
        f"({before / 1e9:.2f} GB before), {torch.get_num_threads()} threads; {lesson!r}"
    )


if __name__ == "__main__":
    main()

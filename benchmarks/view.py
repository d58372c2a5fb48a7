"""How long a page takes from an embedded question to colours, and how much memory its server has.

    python benchmarks/view.py                      # 500,000 points, 2 threads
    python benchmarks/view.py --points 5000000     # how a view is thinned

Features are random: times depend on their shape alone. Encoding the words is not in them.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import torch

from purify3d.labels.segmentation import Segmentation
from purify3d.types import FeatureSpace, PointCloud, PointFeatures, Scene, TextEmbeddings, Vocabulary
from purify3d.viewing import state
from purify3d.viewing.detail import Eye, chosen
from purify3d.viewing.scene import Version, ViewedScene
from purify3d.viewing.state import Look


def subject_of(points: int, channels: int, dim: int) -> ViewedScene:
    """A cloud with random features: `channels` stored ones of `dim`, as many = without a basis."""
    torch.manual_seed(0)
    space = FeatureSpace("random", dim, 1.0)
    basis = torch.randn(channels, dim) if channels != dim else None
    values = torch.randn(points, channels)
    views = torch.ones(points, dtype=torch.int32)
    features = PointFeatures(values, views, space, basis=basis, length=torch.ones(points))
    vocabulary = Vocabulary.parse("chair, table, sofa, bed")
    label = torch.randint(-1, 4, (points,), dtype=torch.int32)
    cloud = PointCloud.from_arrays(torch.rand(points, 3) * 10, rgb=torch.randint(0, 256, (points, 3)))
    version = Version(features, Segmentation(label, torch.rand(points), vocabulary))
    scene = Scene("random", (), np.array([0.0, 0.0, 1.0]), cloud)
    return ViewedScene(scene, vocabulary, views.numpy(), lambda _: version)


def questions(dim: int, count: int) -> list[TextEmbeddings]:
    """Questions that have not been asked before."""
    space, owner = FeatureSpace("random", dim, 1.0), torch.zeros(1, dtype=torch.int64)
    rows = torch.nn.functional.normalize(torch.randn(count, dim), dim=1)
    names = [f"question {i}" for i in range(count)]
    return [
        TextEmbeddings(Vocabulary((name,), ((name,),)), row[None], owner, space)
        for name, row in zip(names, rows, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=500_000)
    parser.add_argument("--channels", type=int, default=32, help="stored channels")
    parser.add_argument("--dim", type=int, default=384, help="channels of the space")
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    viewed = subject_of(given.points, given.channels, given.dim)
    began = time.perf_counter()
    keep = state.kept(viewed, Look())
    index = chosen(viewed.order, keep)
    print(f"choosing {len(index):,} of {given.points:,} points: {1e3 * (time.perf_counter() - began):.0f} ms")
    began = time.perf_counter()
    eye = Eye(np.zeros(3), np.array([1.0, 0, 0]), 0.8)
    index = chosen(viewed.order, keep, xyz=viewed.xyz, eye=eye)
    print(
        f"choosing them before a camera: {1e3 * (time.perf_counter() - began):.0f} ms, {len(index):,} points"
    )
    viewed.version(True)
    times = []
    for text_embeddings in questions(given.dim, given.repeat):
        began = time.perf_counter()
        state.colors(viewed, Look("heat", question=text_embeddings), index)
        times.append(1e3 * (time.perf_counter() - began))
    print(
        f"question to colours, {given.points:,} points, {given.channels} of {given.dim} channels, "
        f"{given.threads} threads: median {np.median(times):.0f} ms, slowest {max(times):.0f} ms"
    )
    for coloring in ("label", "score", "views", "features"):
        began = time.perf_counter()
        state.colors(viewed, Look(coloring), index)
        print(f"colours by {coloring}, first time: {1e3 * (time.perf_counter() - began):.0f} ms")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB")


if __name__ == "__main__":
    main()

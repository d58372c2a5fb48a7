"""What comes after the 2D model, beside the steps of the authors' released code: seconds, memory, labels.

    python benchmarks/purify_vs_released.py [--voxels 131072] [--channels 512] [--width 6] [--json FILE]
    python benchmarks/purify_vs_released.py --student paper     # the paper's student on both sides
    python benchmarks/purify_vs_released.py --student shipped   # ours with the one that ships
    python benchmarks/purify_vs_released.py --scaling 50000 500000 5000000 [--plot docs/images/growth.png]

The released steps are in `released_steps.py`: a flat search for neighbours, an affinity for which both sides
of every pair are gathered, products of a COO matrix with all channels in float32 (the features, and the 6 of
geometry that ride along), labels by the text embeddings. They are held against values that the released code
gave before anything is timed. Both sides get the same points, one a voxel, and features (N, channels), and
use as many threads. Ties among neighbours are broken by the library: the baseline's are checked to lie as far
away as ours, then both sides go on with ours. Labels are compared before ratios are printed.

`--student paper`: voxels are compared by the paper's student (512 wide, 63.8 M parameters, random weights) on
518 channels, into 128. The baseline computes it in float32; ours as `Student.embed` does, in bfloat16 where
the processor multiplies it natively (`computed_in` says which). Labels must be the same on 99.9 % of the
points, on 99.99 % where both are float32. `--student shipped`: ours is what `--affinity student` does, with
text embeddings drawn at random, for time; the baseline is that of `paper`. Two different students give
different labels, so nothing is compared but time and memory.

`--width 128` without a student compares voxels by vectors as wide as the paper's: the geometric ones, turned
into that many channels, so that distances stay.

`--scaling` measures our side alone, each size in a process of its own, with features as a segmenter gives
them (32 values a point and a basis).

The clouds are procedural rooms side by side, cut off at that many voxels. `occupied` in the output is the
mean number of occupied cells among the 27 around a voxel, itself included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import growth
import numpy as np
import torch
from measuring import facts, measured, resident, write_json
from released_steps import (
    check_baseline,
    coo_products,
    farness,
    flat_neighbors,
    pair_affinity,
    unit_embedding,
)
from torch import Tensor

from purify3d.affinities.config import PAPER, PurifyConfig, StudentConfig
from purify3d.affinities.embeddings import SHARPNESS, Learned, geometric_embedding, load_embedding
from purify3d.affinities.pooling import pool_scores
from purify3d.affinities.softmax import exponent_key, softmax_weights
from purify3d.affinities.student import Student
from purify3d.base.devices import multiplies_bfloat16
from purify3d.base.stopwatch import Stopwatch
from purify3d.grid.convolution import KernelMap
from purify3d.grid.neighbors import grid_neighbors
from purify3d.grid.voxels import first_points, voxelize
from purify3d.labels.questions import classify
from purify3d.rooms.room import furnish
from purify3d.types import (
    Affinity,
    FeatureSpace,
    PointCloud,
    PointFeatures,
    TextEmbeddings,
    Vocabulary,
    Voxels,
)

LABELS, VOXEL, ROUNDS, K = 20, PurifyConfig.voxel, PurifyConfig.rounds, PurifyConfig.neighbors
_SAMPLES = 12_000  # points on a square metre of a room, 5 for each voxel
STUDENTS = ("paper", "shipped")
Vectors = Callable[[PointCloud, Voxels, PointFeatures], Tensor]


def rooms(voxels: int) -> PointCloud:
    """Points on the surfaces of furnished rooms, one a voxel, 3 mm of noise; `label` is the item's."""
    clouds: list[tuple[np.ndarray, ...]] = []
    while sum(len(labels) for *_, labels in clouds) < voxels:
        clouds.append(surfaces(len(clouds)))
    xyz, normal, rgb, labels = (np.concatenate(each)[:voxels] for each in zip(*clouds, strict=True))
    return PointCloud(
        torch.from_numpy(xyz).float(),
        torch.from_numpy(rgb).byte(),
        torch.nn.functional.normalize(torch.from_numpy(normal).float(), dim=1),
        torch.from_numpy(labels).int(),
    )


@lru_cache(maxsize=1)
def surfaces(seed: int) -> tuple[np.ndarray, ...]:
    """Positions, normals, colours and labels of one room, at its place among the others."""
    rng = np.random.default_rng(seed)
    found: list[tuple[np.ndarray, ...]] = []
    for item in furnish(seed).items:
        label = rng.integers(LABELS)
        for part in item.parts:
            corner = part.mesh.vertices[part.mesh.faces]
            across = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
            area = np.linalg.norm(across, axis=1) / 2
            samples = int(area.sum() * _SAMPLES)
            if not samples:
                continue
            face = rng.choice(len(area), samples, p=area / area.sum())
            one, two = rng.random((2, samples, 1))
            fold = one + two > 1
            one, two = np.where(fold, 1 - one, one), np.where(fold, 1 - two, two)
            origin = corner[face, 0]
            xyz = origin + one * (corner[face, 1] - origin) + two * (corner[face, 2] - origin)
            normal = across[face] / (2 * area[face, None]) + rng.normal(0, 0.05, (samples, 3))
            rgb = np.clip(rng.integers(30, 226, 3) + rng.normal(0, 6, (samples, 3)), 0, 255)
            found.append((xyz, normal, rgb, np.full(samples, label)))
    xyz, normal, rgb, labels = (np.concatenate(each) for each in zip(*found, strict=True))
    xyz = xyz + rng.normal(0, 0.003, xyz.shape) + np.array([seed % 8, seed // 8, 0]) * 8
    grid = voxelize(torch.from_numpy(xyz), VOXEL)
    first = first_points(grid.of_point, len(grid)).numpy()
    return xyz[first], normal[first], rgb[first], labels[first]


def lifted(points: PointCloud, channels: int, *, factored: bool) -> tuple[PointFeatures, TextEmbeddings]:
    """Features that are right on average: the words of the labels under noise eight times as long."""
    generator = torch.Generator().manual_seed(0)
    text = torch.nn.functional.normalize(torch.randn(LABELS, channels, generator=generator), dim=1)
    basis = torch.linalg.qr(torch.randn(channels, 32, generator=generator))[0].T if factored else None
    values = torch.empty(len(points.label), channels if basis is None else len(basis))
    words = text if basis is None else text @ basis.T
    for start in range(0, len(values), 65536):
        part = words[points.label[start : start + 65536]]
        noise = torch.randn(part.shape, generator=generator) * 8 / part.shape[1] ** 0.5
        values[start : start + 65536] = part + noise
    space = FeatureSpace("benchmark", channels, 1.0)
    seen = torch.ones(len(values), dtype=torch.int32)
    names = ", ".join(f"word {i}" for i in range(LABELS))
    text_embeddings = TextEmbeddings(Vocabulary.parse(names), text, torch.arange(LABELS), space)
    return PointFeatures(values, seen, space, basis), text_embeddings


def widened(embedding: Tensor, width: int) -> Tensor:
    """The same vectors in `width` channels, distances kept."""
    if width <= embedding.shape[1]:
        return embedding
    turn = torch.randn(width, embedding.shape[1], generator=torch.Generator().manual_seed(1))
    return embedding @ torch.linalg.qr(turn)[0].T


def paper_student(channels: int) -> Student:
    """The paper's network with random weights, for that many channels of features."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Student(StudentConfig(channels, PAPER.width, PAPER.blocks, PAPER.out_channels)).eval()


def shipped_student(space: FeatureSpace) -> Learned:
    """What `--affinity student` compares by. Text embeddings are drawn: they cost as much as real ones."""
    found = load_embedding("student")
    assert isinstance(found, Learned)
    names = found.student.config.words
    drawn = torch.randn(len(names), space.dim, generator=torch.Generator().manual_seed(2))
    text = torch.nn.functional.normalize(drawn, dim=1)
    text_embeddings = TextEmbeddings(
        Vocabulary.parse(", ".join(names)), text, torch.arange(len(names)), space
    )
    return Learned(found.student, found.fingerprint, text_embeddings)


def ours(
    points: PointCloud,
    features: PointFeatures,
    text_embeddings: TextEmbeddings,
    width: int,
    watch: Stopwatch,
    student: tuple[Vectors, float] | None = None,
) -> tuple[Tensor, Voxels, Tensor, Tensor]:
    """Label, voxels, their neighbours and embedding; a student comes with its sharpness."""
    with watch("voxels"):
        voxels = voxelize(points.xyz, VOXEL)
    with watch("neighbours"):
        near = grid_neighbors(voxels.index, K)
    sharpness = SHARPNESS
    if student is not None:
        vectors, sharpness = student
        with watch("student"):
            embedding = vectors(points, voxels, features)
    with watch("affinity"):
        if student is None:
            embedding = widened(geometric_embedding(points, voxels), width)
        weights = Affinity(near, softmax_weights(exponent_key(embedding, sharpness, None), near))
    with watch("pooling"):
        pooled = pool_scores(features, text_embeddings, voxels, weights, ROUNDS)
    with watch("labels"):
        label = classify(pooled, text_embeddings).label
    return label, voxels, near, embedding


def released(
    points: PointCloud,
    features: PointFeatures,
    text_embeddings: TextEmbeddings,
    near: Tensor,
    width: int,
    watch: Stopwatch,
    student: Student | None = None,
) -> Tensor:
    """Labels by the released steps; stops where its neighbours lie elsewhere than `near`."""
    with watch("voxels"):
        voxels = voxelize(points.xyz, VOXEL)
        shape = torch.cat([features.values, points.rgb / 255, points.normal], dim=1)
        values = voxels.mean(shape)
    with watch("neighbours"):
        found = flat_neighbors(voxels.index, K)
    if not torch.equal(farness(voxels.index, found), farness(voxels.index, near)):
        sys.exit("the two searches found neighbours at different distances")
    shared = near.long()
    if student is not None:
        with watch("student"):
            embedding = unit_embedding(student, values, voxels.index)
    with watch("affinity"):
        if student is None:
            embedding = widened(geometric_embedding(points, voxels), width)
        weight = pair_affinity(embedding, shared, SHARPNESS, unit=student is not None)
    with watch("pooling"):
        pooled = coo_products(shared, weight, values, ROUNDS)
    with watch("labels"):
        pooled = voxels.to_points(pooled)[:, : features.values.shape[1]]
        unit = torch.nn.functional.normalize(pooled, dim=1)
        return (unit @ text_embeddings.embedding.T).argmax(1).int()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--voxels", type=int, nargs="+", default=[131_072])
    parser.add_argument("--channels", type=int, default=512)
    parser.add_argument("--width", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3, help="of our side; the median counts")
    parser.add_argument("--student", choices=STUDENTS, help="without: voxels are compared geometrically")
    parser.add_argument("--scaling", type=int, nargs="+", metavar="VOXELS")
    parser.add_argument("--plot", type=Path, help="with --scaling: where to draw seconds and memory")
    parser.add_argument("--alone", type=int, metavar="VOXELS", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    imports = resident()
    if args.alone:
        print(json.dumps(alone(args.alone, imports)))
        return
    if args.plot and not args.scaling:
        parser.error("found --plot without --scaling; expected both, or use growth.py on a JSON file")
    about = facts("faiss-cpu")
    result: dict[str, Any] = {
        "settings": {"voxel": VOXEL, "neighbors": K, "rounds": ROUNDS, "labels": LABELS},
    }
    if args.scaling:
        result["scaling"] = []
        for voxels in args.scaling:
            command = [sys.executable, __file__, "--alone", str(voxels)]
            row = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            result["scaling"].append(row)
            print(json.dumps(row), flush=True)
        if args.plot:
            growth.plot(result["scaling"], args.plot)
    else:
        check_baseline()
        alone(3000, imports)  # libraries set themselves up on first use
        result["compared"] = []
        for voxels in args.voxels:
            row = compare(voxels, args.channels, args.width, args.repeats, imports, args.student)
            result["compared"].append(row)
            print(json.dumps(row, indent=1), flush=True)
    write_json(args.json, about, result)


def compare(
    voxels: int, channels: int, width: int, repeats: int, imports: float, student: str | None = None
) -> dict[str, Any]:
    """Both sides on one cloud: stages, memory, how many labels are the same, and ratios.

    Ours runs first, so that it does not hold the baseline's student where it has its own.
    """
    points = rooms(voxels)
    features, text_embeddings = lifted(points, channels, factored=False)
    network = paper_student(channels) if student == "paper" else None
    mine: tuple[Vectors, float] | None = None
    dtype, alike = torch.float32, 0.9999
    if student is not None and multiplies_bfloat16(torch.device("cpu")):
        dtype, alike = torch.bfloat16, 0.999
    if network is not None:
        mine = network.embed, network.config.sharpness
    elif student == "shipped":
        shipped = shipped_student(features.space)
        mine = shipped, shipped.sharpness
    runs = []
    for _ in range(repeats):
        row, (label, grid, near, embedding) = measured(
            lambda watch: ours(points, features, text_embeddings, width, watch, mine), imports
        )
        runs.append(row)
    if student == "shipped":
        network = paper_student(channels)
    base, theirs = measured(
        lambda watch: released(points, features, text_embeddings, near, width, watch, network), imports
    )
    same = float((label == theirs).float().mean())
    raw = (features.values @ text_embeddings.embedding.T).argmax(1)
    if student != "shipped" and same < alike:
        sys.exit(f"labels agree on {same:.4%} of the points; expected {100 * alike:g} % or more")
    for row in runs:  # what a process takes for itself on the first run stays with it
        row["peak_gb_less_imports"] = max(run["peak_gb_less_imports"] for run in runs)
        row["peak_gb_less_inputs"] = max(run["peak_gb_less_inputs"] for run in runs)
    median = sorted(runs, key=lambda run: run["total"])[len(runs) // 2]
    stages = {
        name: round(base["seconds"][name] / max(median["seconds"][name], 1e-3), 1) for name in base["seconds"]
    }
    return {
        "voxels": len(grid),
        "points": len(label),
        "occupied": occupied_of(grid),
        "channels": channels,
        "width": embedding.shape[1],
        "student": student,
        "computed_in": str(dtype).removeprefix("torch."),
        "labels_alike": same if student != "shipped" else None,
        "right": {
            "as lifted": round(float((raw == points.label).float().mean()), 4),
            "ours": round(float((label == points.label).float().mean()), 4),
            "released": round(float((theirs == points.label).float().mean()), 4),
        },
        "ours": median,
        "ours_totals": [run["total"] for run in runs],
        "released": base,
        "ratio": {
            **stages,
            "total": round(base["total"] / median["total"], 1),
            "core_seconds": round(base["core_seconds"] / median["core_seconds"], 1),
        },
    }


def occupied_of(grid: Voxels) -> float:
    """Mean number of occupied cells under the kernel, 1 (isolated voxels) to 27."""
    return round(float((KernelMap.of(grid.index).source < len(grid)).sum(1).float().mean()), 2)


def alone(voxels: int, imports: float) -> dict[str, Any]:
    points = rooms(voxels)
    features, text_embeddings = lifted(points, 512, factored=True)
    row, (_, grid, _, _) = measured(lambda watch: ours(points, features, text_embeddings, 6, watch), imports)
    per_voxel = 1e9 * row["peak_gb_less_inputs"] / len(grid)
    occupied = occupied_of(grid)
    return {"voxels": len(grid), "occupied": occupied, **row, "bytes_per_voxel": round(per_voxel)}


if __name__ == "__main__":
    main()

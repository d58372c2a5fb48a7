"""What is stored of features, what labels lose by it, and how long questions take.

    python benchmarks/stored_features.py spectra                      # maps of 512 channels
    python benchmarks/stored_features.py room [--backbone NAME] [--rooms 100 101]
    python benchmarks/stored_features.py questions [--points 1000000] [--json FILE]

`spectra`: 200,000 features of 512 channels whose singular values fall as 1 / k^a along random directions, and
20 words of the same spectrum: the share of labels that stay, point by point. `room`: procedural rooms, 48
frames, before and after pooling. `questions`: a run folder of a floor with boxes on it, its features those
of 100 things plus noise, singular values of everything as 1 / k; the first answer reads the run, further ones
do not. Words are drawn and kept, so that encoding them takes no time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from measuring import facts, write_json
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import normalize

from purify3d.affinities.embeddings import load_embedding
from purify3d.backbones import embed_vocabulary, load_backbone
from purify3d.backbones.facts import Facts
from purify3d.base.stopwatch import Stopwatch
from purify3d.features.codec import EncodedFeatures, encode
from purify3d.features.lifting import lift
from purify3d.features.surface import with_points
from purify3d.labels.config import SegmentConfig
from purify3d.labels.labelling import label_points
from purify3d.labels.regions import heat
from purify3d.rooms import synthetic_scene
from purify3d.runs import Run, artefacts
from purify3d.runs.folder import Folder
from purify3d.runs.job import job
from purify3d.types import (
    DenseFeatures,
    FeatureSpace,
    Frame,
    PointCloud,
    PointFeatures,
    Scene,
    TextEmbeddings,
)
from purify3d.types.labelsets import read_labels

SPACE = FeatureSpace("drawn", 512, 1.0, True)


@cache
def axes() -> Tensor:
    """(512, 512) a rotation."""
    return torch.linalg.qr(torch.randn(512, 512, generator=torch.Generator().manual_seed(9)))[0]


def spectrum(count: int, power: float, seed: int) -> Tensor:
    """(count, 512) unit rows, singular values as 1 / k^power along directions that are always the same."""
    drawn = torch.randn(count, 512, generator=torch.Generator().manual_seed(seed))
    return normalize(drawn * torch.arange(1, 513) ** -power @ axes(), dim=1)


def bytes_a_point(kept: EncodedFeatures) -> float:
    tensors = kept.tensors().values()
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / len(kept.scale)


def spectra(count: int = 200_000) -> list[dict[str, Any]]:
    rows = []
    print("| a | bytes a point | directions | energy lost | labels unchanged |\n|---|---|---|---|---|")
    for power in (0.5, 0.75, 1.0, 1.25, 1.5, 2.0):
        values = spectrum(count, power, 0)
        features = PointFeatures(values, torch.ones(count, dtype=torch.int32), SPACE, gap=torch.zeros(count))
        kept, words = encode(features), spectrum(20, power, 1)
        same = (features.dot(words).argmax(1) == kept.features().dot(words).argmax(1)).float().mean()
        rows.append({"a": power, **stored(kept), "unchanged": round(float(same), 5)})
        print(f"| {power} | {bytes_a_point(kept):.1f} | {len(kept.basis)} | {kept.lost:.2%} | {same:.2%} |")
    return rows


def stored(kept: EncodedFeatures) -> dict[str, float]:
    """What is said of a stored form."""
    size = round(bytes_a_point(kept), 2)
    return {"bytes_a_point": size, "directions": len(kept.basis), "lost": round(float(kept.lost), 5)}


def room(name: str, seeds: Sequence[int]) -> list[dict[str, Any]]:
    backbone, rows = load_backbone(name), []
    print("| room | labels | bytes a point | directions | energy lost | unchanged, raw | unchanged, pooled |")
    print("|---|---|---|---|---|---|---|")
    for seed in seeds:
        scene = with_points(synthetic_scene(seed))
        embedding, config = load_embedding("geometric", backbone), SegmentConfig()
        for labels in ("scannet20", "matterport160"):
            text_embeddings = embed_vocabulary(backbone, read_labels(labels))
            features = lift(scene, backbone, text_embeddings)
            kept = encode(features)
            same = []
            for rounds in (0, config.purify.rounds):
                way = replace(config, purify=replace(config.purify, rounds=rounds))
                before, after = (
                    label_points(scene.cloud(), each, text_embeddings, way, embedding=embedding).label
                    for each in (features, kept.features())
                )
                same.append(float((before == after).float().mean()))
            told = f"{bytes_a_point(kept):.1f} | {len(kept.basis)} | {kept.lost:.2%}"
            rows.append({"room": seed, "labels": labels, **stored(kept), "unchanged": same})
            print(f"| {seed} | {labels} | {told} | {same[0]:.3%} | {same[1]:.3%} |", flush=True)
    return rows


class Drawn:
    """A model whose words are drawn from the spectrum of the features: encoding takes no time."""

    space = SPACE
    facts = Facts("dense", "none", 0, "none", "made up")
    reads_words, device, dtype = False, torch.device("cpu"), torch.float32

    def encode(self, texts: Sequence[str]) -> Tensor:
        return torch.stack([drawn_words()[sum(text.encode()) % 1000] for text in texts])

    def observe(self, frames: Sequence[Frame], text_embeddings: TextEmbeddings) -> list[DenseFeatures]:
        raise AssertionError("features are there already; nothing is lifted")


@cache
def drawn_words() -> Tensor:
    return spectrum(1000, 1.0, 0)


def furnished(count: int) -> tuple[PointCloud, Tensor]:
    """A floor with 100 things of a square metre, 1 cm apart: points, and the thing that each is of."""
    side = int(np.ceil(np.sqrt(count)))
    x, y = (axis.reshape(-1)[:count] * 0.01 for axis in np.meshgrid(np.arange(side), np.arange(side)))
    column, row = (x / (side * 0.01) * 10).astype(int), (y / (side * 0.01) * 10).astype(int)
    thing = column * 10 + row
    height = np.where((column + row) % 2, 0.5, 0.0)
    up = np.tile([0.0, 0.0, 1.0], (count, 1))
    xyz = np.stack([x, y, height], axis=1)
    return PointCloud.from_arrays(xyz, normal=up), torch.from_numpy(thing)


def questions(count: int) -> dict[str, Any]:
    points, thing = furnished(count)
    named = drawn_words()
    values = named[thing] + 0.5 * spectrum(count, 1.0, 1)
    features = PointFeatures(
        values, torch.full((count,), 9, dtype=torch.int32), SPACE, gap=torch.zeros(count)
    )
    features = replace(features, length=features.norm())
    del values
    wanted = job("synthetic:1", "chair, table", backbone="drawn:x", voxel=0.01, affinity="geometric")
    with tempfile.TemporaryDirectory() as folder:
        files = Folder(folder)
        scene = Scene("floor", (), np.array([0.0, 0, 1]), points)
        with files.writing():
            files.configure(wanted)
            with files.making("points", "p", {}) as stage:
                artefacts.write_points(stage, scene)
            with files.making("lift", "l", {"points": "p"}) as stage:
                start = time.perf_counter()
                artefacts.write_features(stage, artefacts.FEATURES, features)
                into = time.perf_counter() - start
                print(f"brought from 512 channels into the stored form: {into:.1f} s")
        opened = Run.open(folder, backbone=Drawn())
        digest = opened.fingerprint("purify")
        with opened.files.writing(), opened.files.making("purify", digest, {"lift": "l"}) as stage:
            artefacts.write_features(stage, artefacts.PURIFIED, features)
        del features  # what a question takes is measured without them
        size = (Path(folder) / artefacts.PURIFIED).stat().st_size
        print(
            f"{count:,} points, {len(load_file(Path(folder) / artefacts.PURIFIED)['step'])} directions, "
            f"{size / count:.1f} bytes a point on disk"
        )
        watch = Stopwatch()
        with watch("first"):
            answer = opened.query("thing 1")
        first = watch.stages["first"]
        print(f"first answer {first['seconds']:.2f} s, peak {first['peak_gb']:.2f} GB: {answer}")
        further = []
        for word in range(2, 12):
            start = time.perf_counter()
            answer = opened.query(f"thing {word}")
            further.append(time.perf_counter() - start)
        print(f"further answers with regions, ms: {[round(1000 * t) for t in further]}, last {answer}")
        kept, model = opened.purified, opened.backbone
        alone = []
        for word in range(2, 12):
            text_embeddings = embed_vocabulary(model, [f"thing {word}"])
            start = time.perf_counter()
            heat(kept.dot(text_embeddings.embedding)[:, 0] / kept.norm())
            alone.append(time.perf_counter() - start)
        print(f"further heat alone, ms: {[round(1000 * t) for t in alone]}")
    return {
        "points": count,
        "bytes_a_point": round(size / count, 2),
        "seconds": {
            "into the stored form": round(into, 3),
            "first answer": first["seconds"],
            "further answers": round(median(further), 4),
            "heat alone": round(median(alone), 4),
        },
        "peak_gb": first["peak_gb"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["spectra", "room", "questions"])
    parser.add_argument("--backbone", default="segmenter:lite")
    parser.add_argument("--rooms", type=int, nargs="+", default=[100])
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    about = facts()
    if args.what == "questions":
        result = questions(args.points)
    else:
        result = {"rows": spectra() if args.what == "spectra" else room(args.backbone, args.rooms)}
    write_json(args.json, about, result)


if __name__ == "__main__":
    main()

"""Lifting and fusion of mask-type features beside the steps of the authors' released code.

    python benchmarks/lift_vs_released.py [--frames 100] [--points 130000] [--masks 100] [--json FILE]

All sides get the same points, depth images, masks and words; the 2D model is left out. Three of them:

* `ours`: `purify3d.lift`, consensus and mean.
* `vectorised`: straightforward and without loops over points: masks are resized to the whole image, read at
  the visible pixels, and added up with `index_add`.
* `released`: the steps of the released code, see `released_lift.py`.

The two are held against values that the released code gave (`tests/data`) before anything is timed, and the
features of all sides are compared before ratios are printed. Ratios come from one run.

The scene is a procedural room, its points one a voxel of 2 cm. A frame has 100 masks at a quarter of the
resolution: its objects but every sixth, whose points are on no mask, then weaker copies of them, as queries
of such models double each other. Logits are +-6 under noise of 2.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import facts, measured, resident, write_json
from released_lift import TOP, copied, projected, released
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from purify3d.backbones.facts import Facts
from purify3d.base.stopwatch import Stopwatch
from purify3d.features.config import LiftConfig
from purify3d.features.lifting import lift
from purify3d.grid.projection import backproject, inverse
from purify3d.grid.voxels import first_points, voxelize
from purify3d.rooms import synthetic_scene
from purify3d.types import (
    Camera,
    FeatureSpace,
    Frame,
    MaskFeatures,
    PointCloud,
    Scene,
    TextEmbeddings,
    Vocabulary,
)

DATA = Path(__file__).resolve().parents[1] / "tests" / "data"
WIDTH, HEIGHT, CHANNELS, LABELS, ROOM = 640, 480, 512, 20, 100


# Straightforward, without loops over points


def vectorised_view(
    xyz: Tensor, frame: Frame, said: MaskFeatures, config: LiftConfig
) -> tuple[Tensor, Tensor]:
    """Visible points (n,) of a frame and the mask (n,) of each."""
    camera, limit = frame.depth_camera, config.margin
    pose = torch.from_numpy(inverse(frame.world_from_camera)).float()
    local = xyz @ pose[:3, :3].T + pose[:3, 3]
    z = local[:, 2]
    u = (local[:, 0] / z * camera.fx + camera.cx).round()
    v = (local[:, 1] / z * camera.fy + camera.cy).round()
    inside = (z > 0) & (u >= limit) & (v >= limit) & (u < camera.width - limit) & (v < camera.height - limit)
    point = inside.nonzero()[:, 0]
    u, v = u[point].long(), v[point].long()
    depth = torch.from_numpy(frame.depth())[v, u]
    seen = (depth - z[point]).abs() <= config.tolerance * depth
    point, u, v = point[seen], u[seen], v[seen]
    full = interpolate(said.logits[None], (camera.height, camera.width), mode="bicubic", antialias=True)[0]
    mask = full[:, v, u].sigmoid()
    row = (mask * said.score[:, None]).argmax(0)
    on = mask.gather(0, row[None])[0] >= 0.5
    return point, copied(row.clone(), on, xyz[point])


def vectorised(
    scene: Scene,
    said: Sequence[MaskFeatures],
    text_embeddings: TextEmbeddings,
    config: LiftConfig,
    watch: Stopwatch,
) -> Tensor:
    """(N, D) mean or consensus features by `index_add`."""
    xyz = scene.cloud().xyz
    consensus = config.fusion == "consensus"
    views, count = [], torch.zeros(len(xyz))
    total = torch.zeros(len(xyz), len(text_embeddings.embedding) if consensus else said[0].embedding.shape[1])
    with watch("lift"):
        for frame, masks in zip(scene.frames, said, strict=True):
            point, row = vectorised_view(xyz, frame, masks, config)
            unit = normalize(masks.embedding, dim=1)
            logits = text_embeddings.space.logit_scale * unit @ text_embeddings.embedding.T
            total.index_add_(0, point, (logits if consensus else masks.embedding)[row])
            count.index_add_(0, point, torch.ones(len(point)))
            if consensus:
                views.append((point, row, unit, logits))
        if not consensus:
            return copied(total / count.clamp_min(1)[:, None], count > 0, xyz)
        label = total.argmax(1)
        best = torch.full((len(xyz), TOP), -torch.inf)
        kept = torch.zeros(len(xyz), TOP, said[0].embedding.shape[1])
        for point, row, unit, logits in views:
            value = logits[row, label[point]]
            weakest = best[point].min(1)
            better = value > weakest.values
            point, slot = point[better], weakest.indices[better]
            best[point, slot], kept[point, slot] = value[better], unit[row[better]]
        weight = torch.softmax(best, 1).nan_to_num()
        return copied((weight[..., None] * kept).sum(1), count > 0, xyz)


# Both sides


class Given:
    """A 2D model that was asked before: it says what is in the list."""

    reads_words, device, dtype = True, torch.device("cpu"), torch.float32
    facts = Facts("mask-type", "none", 0, f"{WIDTH}x{HEIGHT}", "made up")

    def __init__(self, said: Sequence[MaskFeatures], text_embeddings: TextEmbeddings) -> None:
        self._said, self._bank, self.space = said, text_embeddings, text_embeddings.space

    def encode(self, texts: Sequence[str]) -> Tensor:
        return self._bank.embedding

    def observe(self, frames: Sequence[Frame], text_embeddings: TextEmbeddings) -> list[MaskFeatures]:
        return [self._said[int(frame.name)] for frame in frames]


def ours(
    scene: Scene,
    said: Sequence[MaskFeatures],
    text_embeddings: TextEmbeddings,
    config: LiftConfig,
    watch: Stopwatch,
) -> Tensor:
    with watch("lift"):
        return lift(scene, Given(said, text_embeddings), text_embeddings, config).values


def words(embedding: Tensor, scale: float) -> TextEmbeddings:
    names = ", ".join(f"word {i}" for i in range(len(embedding)))
    space = FeatureSpace("benchmark", embedding.shape[1], scale)
    return TextEmbeddings(
        Vocabulary.parse(names), normalize(embedding, dim=1), torch.arange(len(embedding)), space
    )


def check_baselines() -> None:
    """Both give what the released code gave.

    Raises:
        AssertionError: they do not.
    """
    with np.load(DATA / "projection.npz") as file:
        views = dict(file)
    with np.load(DATA / "lift_fusion.npz") as file:
        data = {key: torch.from_numpy(file[key]) for key in file.files}
    width, height = map(int, views["image_size"])
    k = views["intrinsics"]
    camera = Camera(k[0, 0], k[1, 1], k[0, 2], k[1, 2], width, height)
    poses = [np.linalg.inv(pose) for pose in views["world_to_camera"]]
    scene = recorded(list(views["depth"]), poses, camera, torch.from_numpy(views["points"]).float())
    margin, tolerance = int(views["cut_boundary"]), float(views["visibility_threshold"])
    config = LiftConfig("consensus", tolerance, margin)
    score = data["class_logits"].softmax(-1)[..., :-1].amax(-1)
    said = [
        MaskFeatures(*each) for each in zip(data["mask_logits"], score, data["mask_embeddings"], strict=True)
    ]
    text_embeddings = words(data["text_embeddings"].float(), float(data["logit_scale"]))
    for i, frame in enumerate(scene.frames):
        seen, column, row = projected(views["points"], frame, config)
        assert (seen == views["visible"][i]).all()
        assert (column[seen] == views["col"][i][seen]).all()
        assert (row[seen] == views["row"][i][seen]).all()
    step = int(data["fused_features@thin"][0])
    for side in (released, vectorised):
        found = side(scene, said, text_embeddings, config, Stopwatch())
        torch.testing.assert_close(
            found.flatten()[::step], data["fused_features"], rtol=1e-4, atol=1e-5, msg=side.__name__
        )


def recorded(depth: Sequence[np.ndarray], poses: Sequence[np.ndarray], camera: Camera, xyz: Tensor) -> Scene:
    """A capture whose depth images lie in memory."""
    black = np.zeros((camera.height, camera.width, 3), np.uint8)
    frames = tuple(
        Frame(str(i), camera, camera, pose, color=lambda: black, depth=lambda image=image: image)  # type: ignore[misc]
        for i, (image, pose) in enumerate(zip(depth, poses, strict=True))
    )
    points = PointCloud(
        xyz, torch.zeros(len(xyz), 3).byte(), torch.zeros(len(xyz), 3), -torch.ones(len(xyz)).int()
    )
    return Scene("benchmark", frames, np.array([0.0, 0, 1]), points)


def filmed(frames: int, kept: Path | None) -> tuple[Camera, np.ndarray, np.ndarray, np.ndarray]:
    """Camera, poses (F, 4, 4), depth (F, h, w) and object numbers of a room; from a file, if it is there."""
    film = synthetic_scene(ROOM, frames=frames, width=WIDTH, height=HEIGHT, noise=False)
    if kept is None or not kept.exists():
        pairs = [(f.depth(), f.instance()) for f in film.frames if f.instance is not None]
        depth, instance = (np.stack(each) for each in zip(*pairs, strict=True))
        if kept is None:
            return film.frames[0].camera, poses(film), depth, instance
        np.savez(kept, depth=depth, instance=instance)
    with np.load(kept) as file:
        return film.frames[0].camera, poses(film), file["depth"], file["instance"]


def poses(scene: Scene) -> np.ndarray:
    return np.stack([frame.world_from_camera for frame in scene.frames])


def room(
    frames: int, points: int, masks: int, kept: Path | None
) -> tuple[Scene, list[MaskFeatures], TextEmbeddings]:
    """A room, what a mask-type model might say of its frames, and words."""
    camera, places, depth, instance = filmed(frames, kept)
    generator = torch.Generator().manual_seed(0)
    text_embeddings = words(torch.randn(LABELS, CHANNELS, generator=generator), 100.0)
    said = [spoken(torch.from_numpy(image), masks, text_embeddings, generator) for image in instance]
    cloud = []
    for image, pose in zip(depth, places, strict=True):
        local = backproject(image, camera)[::3, ::3][image[::3, ::3] > 0]
        cloud.append(local @ pose[:3, :3].T + pose[:3, 3])
    xyz = torch.from_numpy(np.concatenate(cloud)).float()
    grid = voxelize(xyz, 0.02)
    xyz = xyz[first_points(grid.of_point, len(grid))]
    if len(xyz) < points:
        sys.exit(f"the frames show {len(xyz)} points; name fewer (--points), or more frames")
    chosen = torch.randperm(len(xyz), generator=generator)[:points].sort().values
    return recorded(list(depth), list(places), camera, xyz[chosen]), said, text_embeddings


def spoken(
    instance: Tensor, masks: int, text_embeddings: TextEmbeddings, generator: torch.Generator
) -> MaskFeatures:
    """Masks of the objects of an (h, w) image of their numbers, at a quarter of its size."""
    small = instance[2::4, 2::4]
    ids = small.unique()
    ids = ids[torch.randperm(len(ids), generator=generator)][len(ids) // 6 :]
    owner = ids[torch.arange(masks) % len(ids)]
    again = torch.arange(masks) // len(ids)
    logits = torch.where(small == owner[:, None, None], 6.0, -6.0)
    logits += 2 * torch.randn(logits.shape, generator=generator)
    score = 0.9 * 0.8**again + 0.1 * torch.rand(masks, generator=generator)
    noise = torch.randn(masks, CHANNELS, generator=generator) / CHANNELS**0.5
    return MaskFeatures(logits, score, text_embeddings.embedding[owner % LABELS] + noise)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--points", type=int, default=130_000)
    parser.add_argument("--masks", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3, help="of ours; the median counts")
    parser.add_argument("--no-released", action="store_true", help="only ours and vectorised")
    parser.add_argument("--film", type=Path, help="where the rendered room is kept (.npz) and read again")
    parser.add_argument("--fusion", nargs="+", choices=("consensus", "mean"), default=("consensus", "mean"))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    about = facts()
    check_baselines()
    imports = resident()
    scene, said, text_embeddings = room(args.frames, args.points, args.masks, args.film)
    size = {"frames": args.frames, "points": args.points, "masks": args.masks}
    result: dict[str, Any] = {"settings": size}
    for fusion in args.fusion:
        config = LiftConfig(fusion)
        sides: dict[str, tuple[Callable[..., Tensor], int]] = {
            "ours": (ours, args.repeats), "vectorised": (vectorised, 1)
        }  # fmt: skip
        if fusion == "consensus" and not args.no_released:
            sides["released"] = (released, 1)
        result[fusion] = compare(sides, scene, said, text_embeddings, config, imports)
        print(json.dumps(result[fusion], indent=1), flush=True)
    write_json(args.json, about, result)


def compare(
    sides: dict[str, tuple[Callable[..., Tensor], int]],
    scene: Scene,
    said: Sequence[MaskFeatures],
    text_embeddings: TextEmbeddings,
    config: LiftConfig,
    imports: float,
) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    found: dict[str, Tensor] = {}
    for name, (side, repeats) in sides.items():
        runs = []
        for _ in range(repeats):
            row, found[name] = measured(
                lambda watch, side=side: side(scene, said, text_embeddings, config, watch),  # type: ignore[misc]
                imports,
            )
            runs.append(row)
        rows[name] = sorted(runs, key=lambda run: run["core_seconds"])[len(runs) // 2]
        rows[name]["ms_per_frame"] = round(1000 * rows[name]["total"] / len(scene.frames), 2)
        rows[name]["core_ms_per_frame"] = round(1000 * rows[name]["core_seconds"] / len(scene.frames), 2)
        if name != "ours":
            apart = (found[name] - found["ours"]).abs().amax(1)
            alike = float((apart < 1e-3).float().mean())
            if alike < 0.999:
                sys.exit(f"{name} and ours agree on {alike:.3%} of the points; expected 99.9 % or more")
            rows[name] |= {
                "alike": alike,
                "ratio": round(rows[name]["total"] / rows["ours"]["total"], 2),
                "ratio_of_core_seconds": round(rows[name]["core_seconds"] / rows["ours"]["core_seconds"], 2),
            }
            del found[name]
    return rows


if __name__ == "__main__":
    main()

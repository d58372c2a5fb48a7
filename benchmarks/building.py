"""Lifting where there are many frames and many points: a building, with and without looking only ahead.

    python benchmarks/building.py [--points 130000 1000000 5000000] [--frames 2000] [--json FILE]
    python benchmarks/building.py --segment 32 512 --points 5000000 --frames 200      # all of it, into a run

A building is rooms of 5 x 4 x 2.7 m side by side on one floor: points on floors, ceilings and walls, one a
cell of a grid that is 2 cm wide (about 56,000 points in a room), 3 mm of noise. A frame (640x480, 66 degrees)
looks about in the room that it stands in; its depth is the wall, floor or ceiling that each pixel meets, made
when asked for (some ms, which are measured and subtracted). The 2D model is left out: it gives the same map
of 32 channels, or the same 100 masks, to all frames.

With every size of building: milliseconds of cores and of the clock a frame for all of `purify3d.lift`, and of
`visible_points` alone, with `FrustumIndex` and without, on the same frames. Without it a frame projects all
points; some frames are enough to time that (`--without`).

With `--segment` all of `purify3d segment` is done into a folder for every number of channels, each in a
process of its own: seconds and peak memory of its stages, and of all (looked at every 10 ms). Maps of so
many channels are mixed of 40.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import facts, resident, write_json
from torch import Tensor

from purify3d.affinities.tiles import scratch
from purify3d.backbones.facts import Facts
from purify3d.base.stopwatch import Stopwatch
from purify3d.features.config import LiftConfig
from purify3d.features.frustum import FrustumIndex
from purify3d.features.lifting import lift, visible_points
from purify3d.pipeline import run_job
from purify3d.runs.job import job
from purify3d.types import (
    Camera,
    DenseFeatures,
    FeatureSpace,
    Frame,
    MaskFeatures,
    PointCloud,
    Scene,
    TextEmbeddings,
    Vocabulary,
)

SIZE = np.array([5.0, 4.0, 2.7])  # of a room, metres
VOXEL, CHANNELS, MASKS, LABELS = 0.02, 32, 100, 20
_FOCAL = 320 / math.tan(math.radians(33))
CAMERA = Camera(_FOCAL, _FOCAL, 319.5, 239.5, 640, 480)


def room_points(rng: np.random.Generator) -> np.ndarray:
    """(M, 3) points on the six sides of a room whose corner is the origin."""
    sides = []
    for axis in range(3):
        across = [np.arange(VOXEL / 2, SIZE[other], VOXEL) for other in range(3) if other != axis]
        one, two = (each.ravel() for each in np.meshgrid(*across, indexing="ij"))
        flat = np.stack([one, two], axis=1)
        sides += [np.insert(flat, axis, at, axis=1) for at in (0.0, SIZE[axis])]
    xyz = np.concatenate(sides)
    return xyz + rng.normal(0, 0.003, xyz.shape)


def corner(number: int, rooms: int) -> np.ndarray:
    """Where a room of the building begins: they lie in rows, 20 cm of wall between."""
    across = math.ceil(math.sqrt(rooms))
    return np.array([number % across * (SIZE[0] + 0.2), number // across * (SIZE[1] + 0.2), 0.0])


def building(points: int, frames: int) -> Scene:
    """As many rooms as `points` take (the last is cut off), and frames in all of them in turn."""
    rng = np.random.default_rng(0)
    rooms = math.ceil(points / len(room_points(rng)))
    clouds = [(room_points(rng) + corner(i, rooms)).astype(np.float32) for i in range(rooms)]
    xyz = torch.from_numpy(np.concatenate(clouds)[:points])
    views = []
    for i in range(frames):
        number = i * rooms // frames  # a walk: one room after the other
        pose = look(rng)
        depth = partial(depth_in_room, pose)
        pose = pose.copy()
        pose[:3, 3] += corner(number, rooms)
        views.append(Frame(str(i), CAMERA, CAMERA, pose, color=_black, depth=depth))
    none = torch.full((len(xyz),), -1, dtype=torch.int32)
    cloud = PointCloud(xyz, torch.zeros(len(xyz), 3).byte(), torch.zeros(len(xyz), 3), none)
    return Scene("building", tuple(views), np.array([0.0, 0, 1]), cloud)


def look(rng: np.random.Generator) -> np.ndarray:
    """(4, 4) pose of a camera at 1.5 m that looks about, up to 30 degrees down or up."""
    turn, tilt = rng.uniform(0, 2 * np.pi), rng.uniform(-0.5, 0.5)
    ahead = np.array([np.cos(turn) * np.cos(tilt), np.sin(turn) * np.cos(tilt), np.sin(tilt)])
    right = np.array([np.sin(turn), -np.cos(turn), 0.0])
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(ahead, right), ahead], axis=1)
    pose[:3, 3] = SIZE * rng.uniform(0.2, 0.8, 3)
    return pose


_RAY = np.stack(
    [
        *np.meshgrid(
            (np.arange(640, dtype=np.float32) - np.float32(CAMERA.cx)) / np.float32(_FOCAL),
            (np.arange(480, dtype=np.float32) - np.float32(CAMERA.cy)) / np.float32(_FOCAL),
        ),
        np.ones((480, 640), np.float32),
    ],
    axis=-1,
)


def depth_in_room(pose: np.ndarray) -> np.ndarray:
    """(480, 640) float32 metres along z to the side of the room that each pixel meets."""
    way = _RAY.reshape(-1, 3) @ pose[:3, :3].T.astype(np.float32)
    place = pose[:3, 3].astype(np.float32)
    with np.errstate(divide="ignore"):
        reach = np.where(way > 0, SIZE.astype(np.float32) - place, -place) / way
    return reach.min(axis=1).reshape(480, 640)


def _black() -> np.ndarray:
    return np.zeros((480, 640, 3), np.uint8)


class Constant:
    """A 2D model that says the same of all images."""

    reads_words, device, dtype = False, torch.device("cpu"), torch.float32
    facts = Facts("dense", "none", 0, "640x480", "made up")

    def __init__(self, masks: bool, channels: int = CHANNELS) -> None:
        generator = torch.Generator().manual_seed(0)
        self.space = FeatureSpace("constant", channels, 10.0)
        self._words = torch.nn.functional.normalize(torch.randn(1000, channels, generator=generator), dim=1)
        mixed = torch.randn(channels, min(channels, 40), generator=generator)
        dense = torch.einsum("cm,mhw->chw", mixed, torch.randn(mixed.shape[1], 120, 160, generator=generator))
        logits = 4 * torch.randn(MASKS, 120, 160, generator=generator)
        embedding = torch.randn(MASKS, channels, generator=generator)
        self._seen = (
            MaskFeatures(logits, torch.rand(MASKS, generator=generator), embedding)
            if masks
            else DenseFeatures(dense)
        )

    def encode(self, texts: Sequence[str]) -> Tensor:
        return self._words[[sum(text.encode()) % len(self._words) for text in texts]]

    def observe(
        self, frames: Sequence[Frame], text_embeddings: TextEmbeddings
    ) -> list[DenseFeatures | MaskFeatures]:
        return [self._seen] * len(frames)


def seconds(work: Any) -> tuple[float, float, Any]:
    """Of cores and of the clock, and what came out."""
    clock, cores = time.perf_counter(), time.process_time()
    result = work()
    return time.process_time() - cores, time.perf_counter() - clock, result


def timed(points: int, frames: int, without: int) -> dict[str, Any]:
    scene = building(points, frames)
    xyz, config = scene.cloud().xyz, LiftConfig()
    some = scene.frames[:: max(1, frames // without)][:without]
    of_depth = seconds(lambda: [frame.depth() for frame in some])
    sort_cores, sort_clock, blocks = seconds(lambda: FrustumIndex.of(xyz))
    row: dict[str, Any] = {
        "points": points,
        "frames": frames,
        "blocks": len(blocks.low),
        "seconds_to_sort": [round(sort_cores, 2), round(sort_clock, 2)],
        "ms": {},
    }

    def note(name: str, spent: tuple[float, float, Any], times: float, count: int) -> None:
        less = [times * each / len(some) for each in of_depth[:2]]
        row["ms"][name] = [
            round(1000 * (each / count - own), 2) for each, own in zip(spent[:2], less, strict=True)
        ]

    note("all points", plain := seconds(lambda: [visible_points(xyz, f, config) for f in some]), 1, len(some))
    note("blocks", culled := seconds(lambda: [visible_points(blocks, f, config) for f in some]), 1, len(some))
    assert all(
        torch.equal(a, b)
        for one, two in zip(plain[2], culled[2], strict=True)
        for a, b in zip(one, two, strict=True)
    )
    row["visible"] = round(float(np.mean([len(point) for point, _ in culled[2]])))
    camera = [f.world_from_camera for f in some]
    row["looked_at"] = round(float(np.mean([len(blocks.before(CAMERA, pose, 6.0)[0]) for pose in camera])))
    del plain, culled
    text_embeddings = Vocabulary.parse(", ".join(f"word {i}" for i in range(LABELS)))
    runs = (("dense, mean", False, LiftConfig("mean")), ("masks, consensus", True, LiftConfig("consensus")))
    for name, masks, fusing in runs:
        watch = Stopwatch()
        with watch("lift"):
            spent = seconds(lambda: lift(scene, Constant(masks), text_embeddings, fusing).views)  # noqa: B023
        row["seen"] = round(float((spent[2] > 0).float().mean()), 3)
        note(f"lift, {name}", spent, 1, frames)
        row[f"peak_gb {name}"] = watch.stages["lift"]["peak_gb"]
    return row


def segmented(points: int, frames: int, channels: int) -> dict[str, Any]:
    """Seconds and GB of a whole run: what was there before, at the peak, and of its stages."""
    scene, labels = building(points, frames), [f"word {i}" for i in range(LABELS)]
    before, done, seen = resident(), threading.Event(), [0.0]

    def look() -> None:
        while not done.wait(0.01):
            seen.append(resident())

    looking = threading.Thread(target=look, daemon=True)  # an error ends the process, not the looking
    looking.start()
    with tempfile.TemporaryDirectory(dir=scratch()) as folder:
        wanted = job(folder, labels, backbone="constant:x", memory=float("inf"))  # no tiles
        backbone = Constant(masks=False, channels=channels)
        _, clock, run = seconds(lambda: run_job(wanted, folder, scene=scene, backbone=backbone, check=False))
        stages = run.metrics["stages"]
    done.set()
    looking.join()
    about = {"points": points, "frames": frames, "channels": channels, "seconds": round(clock, 1)}
    return about | {"before_gb": round(before, 3), "peak_gb": round(max(seen), 3), "stages": stages}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, nargs="+", default=[130_000, 1_000_000, 5_000_000])
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--without", type=int, default=20, help="frames that are timed without blocks")
    parser.add_argument("--segment", type=int, nargs="+", metavar="CHANNELS", help="all of segment")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    about = facts()
    if args.segment:
        each = [(points, args.frames, channels) for points in args.points for channels in args.segment]
        rows = []
        for one in each:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                rows.append(process.submit(segmented, *one).result())
            print(json.dumps(rows[-1]), flush=True)
        return write_json(args.json, about, {"segmented": rows})
    result: dict[str, Any] = {"imports_gb": round(resident(), 3), "sizes": []}
    for points in args.points:
        result["sizes"].append(timed(points, args.frames, args.without))
        print(json.dumps(result["sizes"][-1]), flush=True)
    write_json(args.json, about, result)


if __name__ == "__main__":
    main()

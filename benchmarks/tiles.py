"""Memory and seconds of neighbours, affinity and pooling in tiles of one size, by the number of tiles.

    python benchmarks/tiles.py [--each 60000] [--scenes 1 4 16 64] [--affinity NAME] [--whole] [--json FILE]

Each row is a process of its own: that many times `--each` voxels of procedural rooms (see
purify_vs_released.py), one point each, features of 32 values a point, 20 labels, 96 neighbours, 19 rounds.
Tiles have `--each` voxels at most. `--whole` adds rows without tiles, and how far their scores lie apart.
Memory is the highest resident memory less what was resident before, which holds points and features.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from measuring import facts, resident, write_json
from purify_vs_released import LABELS, ROUNDS, VOXEL, K, lifted, rooms

from purify3d.affinities import embeddings
from purify3d.affinities.embeddings import PurifyConfig, affinity, load_embedding
from purify3d.affinities.pooling import pooled_scores
from purify3d.affinities.tiles import TiledAffinity
from purify3d.base.stopwatch import Stopwatch, hand_back


def measure(voxels: int, limit: int | None, name: str) -> tuple[dict[str, Any], torch.Tensor]:
    """One row, and the (N, 20) scores."""
    points = rooms(voxels)
    features, bank = lifted(points, 512, factored=True)
    config = PurifyConfig(affinity=name)
    embedding = load_embedding(name)
    embeddings.tile_size = lambda *_, **__: limit
    hand_back()
    before, watch, cores = resident(), Stopwatch(), time.process_time()
    with watch("all"):
        grid, heard = affinity(points, features, config, embedding=embedding)
        score = pooled_scores(features, bank, grid, heard, ROUNDS)
    tiles = len(heard.tiles) if isinstance(heard, TiledAffinity) else 0
    taken = watch.stages["all"]["peak_gb"] - before
    row = {"affinity": name, "voxels": len(grid), "tiles": tiles, "gb": round(taken, 3)}
    row |= {"bytes_per_voxel": round(taken * 1e9 / len(grid)), "seconds": watch.stages["all"]["seconds"]}
    return row | {"seconds_of_cores": round(time.process_time() - cores, 2)}, score


def alone(voxels: int, limit: int | None, name: str) -> dict[str, Any]:
    """`measure` in a process of its own."""
    one = [sys.executable, __file__, "--one", str(voxels), str(limit or 0), "--affinity", name]
    found = subprocess.run(one, check=True, capture_output=True, text=True)
    row: dict[str, Any] = json.loads(found.stdout)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--each", type=int, default=60_000)
    parser.add_argument("--scenes", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--affinity", default="geometric")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", type=int, nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one[0], given.one[1] or None, given.affinity)[0]))
        return
    about = facts()
    result: dict[str, Any] = {
        "settings": {"voxel": VOXEL, "neighbors": K, "rounds": ROUNDS, "labels": LABELS}
    }
    print(json.dumps(about | result), flush=True)
    rows = []
    for scenes in given.scenes:
        for limit in (given.each, None) if given.whole else (given.each,):
            rows.append(alone(scenes * given.each, limit, given.affinity))
            print(json.dumps(rows[-1]), flush=True)
    if given.whole:
        tiled, whole = (measure(4 * given.each, limit, given.affinity)[1] for limit in (given.each, None))
        same = float((tiled.argmax(1) == whole.argmax(1)).float().mean())
        result |= {"apart": float((tiled - whole).abs().max()), "labels_alike": same}
        print(json.dumps(result), flush=True)
    write_json(given.json, about, {**result, "rows": rows})


if __name__ == "__main__":
    main()

"""All methods on all procedural rooms, with two sources of error, in one table.

    python benchmarks/synthetic.py -o DIR [--jobs 2] [--methods raw,...] [--only val,test] [--json FILE]

Runs `purify3d benchmark` on `synthetic:val`, `test` and `stress` with `segmenter:lite` and with
`simulated:mosaic`, all classes asked for, and prints for each the mean over scenes of the scene's mIoU, and
the mean and spread over scenes of what each method gains over raw. What lies in DIR already is not done
again: scenes are fused and lifted once, for all methods.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from purify3d.benchmarking.scene import dense
from purify3d.labels.metrics import Confusion
from purify3d.rooms import CLASSES

SETS = ("val", "test", "stress")
SOURCES = ("segmenter:lite", "simulated:mosaic")
METHODS = "raw,uniform,region-vote,geometric,student"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--only", default=",".join(SETS), help="of val, test, stress")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    table: dict[str, dict[str, dict[str, float]]] = {}
    for source in SOURCES:
        for name in args.only.split(","):
            folder = args.output / f"{name}-{source.replace(':', '-')}"
            begun = time.perf_counter()
            subprocess.run(
                [
                    *(sys.executable, "-m", "purify3d.cli", "benchmark", f"synthetic:{name}"),
                    *("--backbone", source, "--labels", ", ".join(CLASSES), "--methods", args.methods),
                    *("--jobs", str(args.jobs), "--pictures", "0", "-o", str(folder)),
                ],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            result = json.loads((folder / "results.json").read_text(encoding="utf-8"))
            table[f"synthetic:{name}, {source}"] = gains(result)
            minutes = (time.perf_counter() - begun) / 60
            print(f"{name} {source}: {minutes:.1f} minutes", file=sys.stderr, flush=True)
    for title, rows in table.items():
        print(f"\n{title}")
        print(f"{'mIoU, %':14s} {'mean':>5s} {'gain':>6s} {'+-':>5s}  better on")
        for method, row in rows.items():
            print(
                f"{method:14s} {row['mean']:5.1f} {row['gain']:+6.2f} {row['spread']:5.2f}  "
                f"{row['better']:2.0f} of {row['scenes']:.0f}"
            )
    if args.json:
        args.json.write_text(json.dumps(table, indent=1), encoding="utf-8")


def gains(result: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Per method: mean mIoU of the scenes, mean and spread of the gain over raw, on how many it beats raw."""
    labels, methods, scenes = tuple(result["labels"]), result["methods"], result["scenes"].values()
    scores = {
        method: np.array([miou(scene["methods"][method]["counts"], labels) for scene in scenes])
        for method in methods
    }
    rows = {}
    for method, each in scores.items():
        gain = 100 * (each - scores["raw"])
        rows[method] = {
            "mean": 100 * float(each.mean()),
            "gain": float(gain.mean()),
            "spread": statistics.stdev(gain.tolist()) if len(gain) > 1 else 0.0,
            "better": float((gain > 0).sum()),
            "scenes": float(len(gain)),
        }
    return rows


def miou(counts: list[list[int]], labels: tuple[str, ...]) -> float:
    confusion = Confusion(labels)
    confusion.counts += torch.from_numpy(dense(counts, len(labels)))
    return confusion.scores().miou or 0.0


if __name__ == "__main__":
    main()

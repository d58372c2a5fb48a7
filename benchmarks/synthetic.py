"""All methods on all procedural rooms, with two sources of error, in one table.

    python benchmarks/synthetic.py -o DIR [--jobs 2] [--methods raw,...] [--only val,test] [--json FILE]

Runs `purify3d benchmark` on `synthetic:val`, `test` and `stress` with `segmenter:lite` and with
`simulated:mosaic`, all classes asked for, and prints of each the mean over scenes of the scene's mIoU, and
of each two methods the mean over scenes of the difference, ± its standard error. What lies in DIR already is
not done again: scenes are fused and lifted once, for all methods.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from purify3d.benchmarking import read_results
from purify3d.benchmarking.report import difference_rows, percent
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
    found: dict[str, dict[str, Any]] = {}
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
            result = read_results(folder)
            found[f"synthetic:{name}, {source}"] = result
            minutes = (time.perf_counter() - begun) / 60
            print(f"{name} {source}: {minutes:.1f} minutes", file=sys.stderr, flush=True)
    for title, result in found.items():
        print(f"\n{title}\n{'mIoU, %':26s} mean")
        for method in result["methods"]:
            print(f"{method:26s} {percent(result['overall'][method]['scene_mean']['miou']['mean'])}")
        print("differences, ± standard error; better on")
        for which, gain, better in difference_rows(result):
            print(f"{which:26s} {gain:>14s}  {better}")
    if args.json:
        table = {
            title: {key: result[key] for key in ("overall", "differences")} for title, result in found.items()
        }
        args.json.write_text(json.dumps(table, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

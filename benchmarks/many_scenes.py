"""What many scenes need: disk, time, memory and what travels on a cluster, from a few that are measured.

    python benchmarks/many_scenes.py [--rooms synthetic:200..203] [--scenes 10000] [--cores 1,16,64]

`benchmark` does the rooms with its defaults, and then they are made ready for training, one after the other
on one core. Seconds are those in which the core computed, so that other programs do not count and neither do
waits for a disk. Everything for more scenes and cores is multiplied, not measured.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from ray import cloudpickle

from purify3d.affinities.student import COMPACT
from purify3d.base.stopwatch import Stopwatch
from purify3d.benchmarking import Outcome, Task, benchmark, run_scene
from purify3d.benchmarking.datasets.listing import captures_of
from purify3d.rooms import CLASSES
from purify3d.runs.job import job
from purify3d.training.preparing import Making, make
from purify3d.training.preparing import Task as Capture

METHODS = ("raw", "geometric")


class Meter:
    """Does tasks one after the other and weighs what a cluster would send: the task and its outcome."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.sent: list[int] = []
        self.returned: list[int] = []

    def did(self, task: Any, do: Callable[[Any], Any]) -> Any:
        begun = time.process_time()
        outcome = do(task)
        self.seconds.append(time.process_time() - begun)
        self.sent.append(len(cloudpickle.dumps(task)))
        self.returned.append(len(cloudpickle.dumps(outcome)))
        return outcome

    def __call__(self, tasks: Sequence[Task], do: Callable[[Task], Outcome] = run_scene) -> Iterator[Outcome]:
        for task in tasks:
            yield self.did(task, do)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rooms", default="synthetic:200..203")
    parser.add_argument("--scenes", type=int, default=10_000)
    parser.add_argument("--cores", default="1,16,64")
    args = parser.parse_args()
    cores = [int(text) for text in args.cores.split(",")]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    captures = captures_of([args.rooms])
    with tempfile.TemporaryDirectory() as folder:
        measure_benchmark(captures, Path(folder), args.scenes, cores)
        measure_training(list(captures.values()), Path(folder) / "cache", args.scenes, cores)


def measure_benchmark(captures: dict[str, str], folder: Path, scenes: int, cores: list[int]) -> None:
    """Print what `benchmark` takes for a scene, and for so many."""
    meter = Meter()
    results = benchmark(captures, job(".", ", ".join(CLASSES)), METHODS, folder, spread=meter)
    measured = results["scenes"].values()
    frames, points = (mean([scene[key] for scene in measured]) for key in ("frames", "points"))
    print(f"benchmark: {len(captures)} rooms of {frames:.0f} frames, {points:,.0f} points each in the mean")
    sizes: dict[str, list[int]] = {}
    for name in captures:
        for file in sorted((folder / "scenes" / name).rglob("*")):
            if file.is_file():
                sizes.setdefault(f"scenes/NAME/{file.name}", []).append(file.stat().st_size)
        sizes.setdefault("scores/NAME.json", []).append((folder / "scores" / f"{name}.json").stat().st_size)
    whole = show_files(sizes, len(captures), scenes)
    summary = (folder / "results.json").stat().st_size / len(captures)
    print(f"results.json {summary / 1e3:.1f} kB a scene; {scenes:,} scenes: {scenes * summary / 1e6:,.0f} MB")
    print(f"{whole / points:.0f} bytes a point on disk")
    stages = [
        stage for scene in measured for stage in (*scene["stages"].values(), *scene["methods"].values())
    ]
    show_rest(meter, max(stage["peak_gb"] for stage in stages), scenes, cores)


def measure_training(captures: list[str], folder: Path, scenes: int, cores: list[int]) -> None:
    """Print what making captures ready for `train` takes for a scene, and for so many."""
    meter, making = Meter(), Making(COMPACT, "geometric", "segmenter:lite", folder)
    watch = Stopwatch()
    for name in captures:
        with watch(name):
            made = meter.did(Capture(name, making), make)
        if made.file is None:
            raise SystemExit(f"{name}: {made.why}")
    sizes: dict[str, list[int]] = {}
    for file in folder.glob("*.safetensors"):
        kind = "lesson of the teacher" if "-" in file.stem else "what the student is told"
        sizes.setdefault(kind, []).append(file.stat().st_size)
    print(f"\ntrain, made ready: {len(captures)} rooms")
    show_files(sizes, len(captures), scenes)
    show_rest(meter, max(stage["peak_gb"] for stage in watch.stages.values()), scenes, cores)


def show_files(sizes: dict[str, list[int]], measured: int, scenes: int) -> float:
    """Print bytes by file; the mean sum of a scene."""
    for name, found in sorted(sizes.items(), key=lambda item: -sum(item[1])):
        print(f"{name:34s} {sum(found) / measured / 1e3:10.1f} kB a scene, at most {max(found) / 1e3:.1f}")
    whole = sum(map(sum, sizes.values())) / measured
    files = sum(map(len, sizes.values())) / measured
    print(
        f"together {whole / 1e6:.2f} MB and {files:.0f} files a scene; "
        f"{scenes:,} scenes: {scenes * whole / 1e9:,.1f} GB, {scenes * files:,.0f} files"
    )
    return whole


def show_rest(meter: Meter, peak: float, scenes: int, cores: list[int]) -> None:
    """Print seconds, memory and what travels."""
    first, later = meter.seconds[0], meter.seconds[1:]
    each = mean(later or [first])
    print(
        f"{each:.1f} s of a core a scene ({min(later or [first]):.1f} to {max(later or [first]):.1f}); ",
        end="",
    )
    print(f"the first, which loads the models, {first:.1f} s; peak {peak:.2f} GB")
    for count in cores:
        print(f"{scenes:,} scenes on {count} cores: {scenes * each / count / 3600:,.1f} hours")
    sent, returned = mean(meter.sent), mean(meter.returned)
    print(
        f"a task is {sent / 1e3:.1f} kB, its outcome {returned / 1e3:.1f} kB (at most "
        f"{max(meter.returned) / 1e3:.1f}); {scenes:,} scenes: {scenes * (sent + returned) / 1e6:,.0f} MB"
    )


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


if __name__ == "__main__":
    main()

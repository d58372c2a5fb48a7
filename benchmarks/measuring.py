"""What all benchmarks share: seconds and memory of a piece of work, the machine it ran on, and the JSON file
that `compare.py` reads."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from purify3d.base.stopwatch import Stopwatch, hand_back

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("purify3d", "torch", "numpy", "scipy")


# Of the process


def resident() -> float:
    """GB (10^9) of this process now; 0 where the system does not tell."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e9 if statm.exists() else 0.0


class Clock(Stopwatch):
    """Adds up the seconds of cores over its stages."""

    core_seconds = 0.0

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        with super().__call__(name):
            start = time.process_time()
            yield
            self.core_seconds += time.process_time() - start


def measured(run: Callable[[Stopwatch], Any], imports: float) -> tuple[dict[str, Any], Any]:
    """Seconds of the stages and in all, of the clock and of all cores together, highest memory less that of
    imports, and what was returned. Seconds of cores tell little of who else used the machine."""
    hand_back()
    watch, before = Clock(), resident()
    result = run(watch)
    peak = max(stage["peak_gb"] for stage in watch.stages.values())
    return {
        "seconds": {name: stage["seconds"] for name, stage in watch.stages.items()},
        "total": round(sum(stage["seconds"] for stage in watch.stages.values()), 3),
        "core_seconds": round(watch.core_seconds, 3),
        "peak_gb_less_imports": round(peak - imports, 3),
        "peak_gb_less_inputs": round(peak - before, 3),
    }, result


# Of the machine


def machine() -> str:
    """Processor, cores and system in one line."""
    return f"{processor()}, {os.cpu_count()} cores, {platform.platform()}"


def processor() -> str:
    """Its name, where the system tells it; else its kind."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    return name or platform.processor() or platform.machine()


def commit() -> str | None:
    """What is measured, `+` where tracked files differ from it; None where git does not say."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--exclude=*", "--dirty=+"],
            cwd=ROOT, capture_output=True, text=True, check=True, timeout=30,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def facts(*packages: str) -> dict[str, Any]:
    """The machine, what else it did (load averages of 1, 5 and 15 minutes), versions, and the commit.

    Call it before the work, or the load is one's own.

    Args:
        packages: beside `PACKAGES` those whose versions matter; None stands where one is not installed.
    """
    import torch

    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "load_before": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "versions": {name: _version(name) for name in (*PACKAGES, *packages)},
        "commit": commit(),
        "when": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def write_json(file: Path | None, about: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """`result` and, under `about`, what `facts` gave; nothing where no file is asked for."""
    if file is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"about": about, **result}, indent=1) + "\n", encoding="utf-8")

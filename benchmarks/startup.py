"""Seconds until the program answers: help, the first lines of `segment`, imports.

    python benchmarks/startup.py [--only NAME...] [--repeats 5] [--json FILE]

Each is a process of its own; the median counts, after one that warms the disk's cache. `segment` works on a
procedural room and is ended once it has named the capture: its first line says that it has begun, its second
what it found, for which it needs its libraries. Times are of an idle machine or tell nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from measuring import facts, write_json

PROGRAM = (sys.executable, "-m", "purify3d.cli")
CAPTURE = "synthetic:1?frames=2&width=64&height=48"
#: Seconds that each may take on an idle machine.
LIMITS = {"help": 0.3, "segment, first line": 1.0, "import of all libraries": 4.0}


def whole(*command: str) -> float:
    """Seconds of a process from start to end.

    Raises:
        CalledProcessError: it failed.
    """
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def until_line(number: int, *command: str) -> float:
    """Seconds from the start of a process to its n-th line on stderr; it is ended then.

    Raises:
        RuntimeError: it ended before.
    """
    start = time.perf_counter()
    lines: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if len(lines) == number:
                seconds = time.perf_counter() - start
                process.kill()
                return seconds
    raise RuntimeError(f"{' '.join(command)} said {lines}; expected {number} lines or more")


def tasks(folder: str) -> dict[str, Callable[[], float]]:
    """What is timed, by name."""
    segment = (*PROGRAM, "segment", CAPTURE, "--labels", "chair, table", "-o", folder, "--overwrite")

    def imported(what: str) -> Callable[[], float]:
        return lambda: whole(sys.executable, "-c", f"import {what}")

    return {
        "python": lambda: whole(sys.executable, "-c", ""),
        "help": lambda: whole(*PROGRAM, "--help"),
        "segment --help": lambda: whole(*PROGRAM, "segment", "--help"),
        "segment, first line": lambda: until_line(1, *segment),
        "segment, second line": lambda: until_line(2, *segment),
        "import purify3d": imported("purify3d"),
        "import torch": imported("torch"),
        "import of all libraries": imported("purify3d.runs, purify3d.captures, purify3d.backbones"),
    }


def timed(repeats: int, only: Sequence[str] = ()) -> dict[str, list[float]]:
    """Seconds of each run of the tasks named; of all tasks without names."""
    with tempfile.TemporaryDirectory() as folder:
        runs = {}
        for name, task in tasks(folder).items():
            if not only or name in only:
                task()
                runs[name] = [round(task(), 3) for _ in range(repeats)]
        return runs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=[], choices=tasks(""), metavar="NAME")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    about, runs = facts(), timed(args.repeats, args.only)
    seconds: dict[str, Any] = {name: round(median(found), 3) for name, found in runs.items()}
    for name, found in seconds.items():
        limit = LIMITS.get(name)
        meant = "" if limit is None else f"   at most {limit:g}: {'yes' if found <= limit else 'NO'}"
        print(f"{name:24} {found:6.2f} s{meant}")
    write_json(args.json, about, {"seconds": seconds, "runs": runs})


if __name__ == "__main__":
    main()

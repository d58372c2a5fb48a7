"""Seconds and peak memory of each stage."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class Stopwatch:
    """Measures stages of this process.

    Attributes:
        stages: name -> {"seconds": wall clock, "peak_gb": highest resident memory, 10^9 bytes}. What was
            freed before a stage is handed back first. Where the system cannot reset its high-water mark (not
            Linux), the peak is that of the process so far.
    """

    def __init__(self) -> None:
        self.stages: dict[str, dict[str, float]] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        hand_back()
        _reset_peak()
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - start
            self.stages[name] = {"seconds": round(seconds, 3), "peak_gb": round(peak_memory() / 1e9, 3)}


def hand_back() -> None:
    """Give freed memory back to the system, where the C library can.

    glibc keeps hundreds of megabytes of what threads have freed, and these lie beside what comes next.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def peak_memory() -> int:
    """Highest resident memory of this process in bytes, since the last reset where the system has one."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _reset_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the high-water mark
    except OSError:
        return

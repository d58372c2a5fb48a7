"""How much memory is free."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from purify3d.base.limits import address_space_left


def free_memory(device: torch.device | str = "cpu") -> float | None:
    """Bytes that can be taken without harm, on this machine and on the device; None where nobody says.

    The system's own estimate (MemAvailable), or what a container or a limit of the process
    leaves, whichever is less.
    """
    said = [_available(), address_space_left(), *(_container(*files) for files in _CONTAINERS)]
    if torch.device(device).type == "cuda" and torch.cuda.is_available():
        said.append(float(torch.cuda.mem_get_info(device)[0]))
    return min((each for each in said if each is not None), default=None)


#: Limit and use of a container, of version 2 and 1 of control groups.
_CONTAINERS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)


def _available() -> float | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    except OSError:
        pass
    try:  # not Linux: what is unused; less than what could be freed
        return float(os.sysconf("SC_AVPHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _container(limit: Path, used: Path) -> float | None:
    """What is left of a limit, files that are only cached counted as left."""
    try:
        most, now = limit.read_text().strip(), float(used.read_text())
        if most == "max":
            return None
        cached = 0.0
        for line in (limit.parent / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name in ("inactive_file", "total_inactive_file"):
                cached = max(cached, float(value))
        return max(0.0, float(most) - now + cached)
    except (OSError, ValueError):
        return None

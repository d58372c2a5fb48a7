"""What work will take, from what was measured: bytes and seconds a voxel, a point, a frame.

The numbers are in one place, here; docs/speed.md says how they were measured.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

#: Bytes that are there whatever the scene.
_BASE = 200e6
#: Bytes a voxel while neighbours, weights and pooling are made, beside 8 for each neighbour.
_VOXEL = 490
#: The same where a student embeds the voxels.
_STUDENT = 1200
#: Bytes a voxel of the whole scene that tiles take as well: cells, places, the values of two rounds.
_TILED = 260
#: A tile works on its voxels and on those around that these hear or look at, for which it has room.
_AROUND = 1.6
#: Voxels of a tile at least: smaller ones are mostly surroundings.
_SMALLEST = 20_000


def affinity_bytes(voxels: int, neighbors: int, *, student: bool = False) -> float:
    """Bytes that neighbours, weights and pooling of so many voxels take at their peak, beside their input."""
    return _BASE + voxels * (8 * neighbors + (_STUDENT if student else _VOXEL))


def tile_size(voxels: int, neighbors: int, available: float | None, *, student: bool = False) -> int | None:
    """Voxels of a tile so that an affinity fits, or None where it fits without tiles.

    Args:
        voxels: of the scene.
        available: bytes that it may take; None: nobody knows, no tiles.
    """
    if available is None or affinity_bytes(voxels, neighbors, student=student) <= available:
        return None
    each = affinity_bytes(1, neighbors, student=student) - _BASE
    room = available - _BASE - voxels * _TILED
    return max(_SMALLEST, int(room / (each * _AROUND)))


def free_memory(device: torch.device | str = "cpu") -> float | None:
    """Bytes that can be taken without harm, on this machine and on the device; None where nobody says.

    The system's own estimate (MemAvailable), or what a container leaves, whichever is less.
    """
    said = [_available(), *(_container(*files) for files in _CONTAINERS)]
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

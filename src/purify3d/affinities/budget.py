"""What work will take: bytes and seconds a voxel, a point, a frame.

The numbers are in one place, here: rounded up from what was measured (docs/speed.md), so that it rather takes
less.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

#: Bytes that are there whatever the scene: the program, its libraries, the 2D model that ships.
PROGRAM = 500e6
#: Bytes a point while neighbours are pooled: the cloud and its features in their stored channels.
POINT = 320
#: Bytes a point while features are lifted, beside 4 for each channel.
_LIFTED = 200
#: Points that a frame sees, whose features are there once more while they are added up.
_IN_VIEW = 100_000
#: Channels of families whose features lie in fewer than their space has: classes.
_CHANNELS = {"segmenter": 150, "simulated": 28}
#: Bytes that finding neighbours takes whatever the scene.
_BASE = 150e6
#: Bytes a voxel while neighbours, weights and pooling are made, beside 8 for each neighbour.
_VOXEL = 450
#: The same where a student embeds the voxels.
_STUDENT = 520
#: Bytes a voxel of the whole scene that tiles take as well: cells, places, columns that are pooled.
_TILED = 450
#: A tile works on its voxels and on those around that these hear or look at, for which it has room.
_AROUND = 1.6
#: Voxels of a tile at least: smaller ones are mostly surroundings.
_SMALLEST = 20_000
#: Seconds of two cores: to start; a frame to fuse and to lift without the 2D model; a point, in all stages;
#: a voxel of a student; a neighbour to find, and to hear in a round.
_START, FRAME, _POINT, _EMBED, _SEARCH, _ROUND = 2.5, 0.08, 4e-6, 4e-6, 3.3e-8, 1.1e-9
#: Seconds a frame of 640x480 by the family of the 2D model, two cores (docs/backbones.md).
_MODELS = {"segmenter": 0.02, "features": 0.05, "clip": 0.4, "siglip": 0.6, "lseg": 15.8, "xdecoder": 3.3}


@dataclass(frozen=True)
class Estimate:
    """What a segmentation will take.

    Attributes:
        memory: bytes at the peak.
        tiled: bytes at the peak where neighbours lie in tiles.
        lifting: bytes at the peak of lifting alone, which tiles do not change.
        seconds: of a machine with two cores; None: nothing is known of this 2D model or device.
    """

    memory: float
    tiled: float
    lifting: float
    seconds: float | None

    def __str__(self) -> str:
        if self.seconds is None:
            return f"about {self.memory / 1e9:.1f} GB"
        minutes = self.seconds / 60
        time = (
            f"{minutes:.0f} minutes" if minutes >= 1.5 else "a minute" if minutes > 0.5 else "half a minute"
        )
        return f"about {self.memory / 1e9:.1f} GB, {time}"

    def line(self, available: float | None) -> str:
        """One line for people, with what to do where it does not fit.

        Args:
            available: bytes that may be taken; None: nobody knows.
        """
        if available is None or self.memory <= available:
            return str(self)
        said, tiled = f"{self}; {available / 1e9:.1f} GB are free", f"{self.tiled / 1e9:.1f} GB"
        if self.lifting > available:
            return (
                f"{said}, and features of so many points take {self.lifting / 1e9:.1f} GB while frames are "
                "looked at: give fewer points (a larger --voxel; with --onto, a thinner cloud)"
            )
        if self.tiled <= available:
            return f"{said}, so neighbours are kept in tiles on disk, which takes {tiled}"
        return f"{said}, and {tiled} in tiles do not fit either: give a larger --voxel"


def of_segmentation(
    points: int,
    voxels: int,
    frames: int,
    *,
    neighbors: int,
    rounds: int,
    backbone: str,
    floats: int,
    student: bool = False,
    memory: float | None = None,
    device: str = "cpu",
) -> Estimate:
    """What a segmentation of so many points in so many voxels will take.

    Args:
        backbone: name of the 2D model, whose family tells the seconds a frame.
        floats: that a point takes while features are lifted, see `lifted_floats`; 0: they are there already.
        memory: bytes that neighbours may take (`--memory`); None: all that is free.
        device: where it is computed; only the CPU was measured.
    """
    held = points * _LIFTED + 4.0 * floats * (points + min(points, _IN_VIEW))
    lifting = PROGRAM + held if floats else 0.0
    base = PROGRAM + points * POINT
    whole = affinity_bytes(voxels, neighbors, student=student) if rounds else 0.0
    least = _BASE + voxels * _TILED + _SMALLEST * _AROUND * (affinity_bytes(1, neighbors) - _BASE)
    if memory is not None and whole > memory:
        whole = max(memory, least)
    looking, seconds = _MODELS.get(backbone.partition(":")[0]), None
    if looking is not None and torch.device(device).type == "cpu":
        seconds = _START + points * _POINT + (frames * (FRAME + looking) if floats else 0)
        seconds += voxels * (neighbors * (_SEARCH + rounds * _ROUND) + (_EMBED if student else 0))
    tiled = base + min(whole, least)
    return Estimate(max(lifting, base + whole), max(lifting, tiled), lifting, seconds)


def lifted_floats(backbone: str, dim: int, *, masks: bool, consensus: bool, top_views: int) -> int:
    """Floats that a point takes while features are lifted.

    Args:
        backbone: name of the 2D model.
        dim: channels of its features.
        masks: it gives features of masks, which points share; else each point in view has its own.
        consensus: the best `top_views` views of each point are kept until the end.
    """
    channels = min(dim, _CHANNELS.get(backbone.partition(":")[0], dim))
    return channels * (1 + top_views if consensus and not masks else 1)


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

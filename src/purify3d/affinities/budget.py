"""Bytes that an affinity takes, which decide whether it is kept in tiles.

The numbers are rounded up from what was measured (docs/speed.md), so that it rather takes less.
"""

from __future__ import annotations

#: Bytes that finding neighbours takes whatever the scene.
_BASE = 150e6
#: Bytes a voxel while neighbours, weights and pooling are made, beside 8 for each neighbour.
_VOXEL = 450
#: The same where a student embeds the voxels.
_STUDENT = 520
#: Bytes a voxel of the whole scene that tiles take as well: cells, places, columns that are pooled.
_TILED = 450
#: A tile works on its voxels and on those around that these take from or look at, for which it has room.
_AROUND = 1.6
#: Voxels of a tile at least: smaller ones are mostly surroundings.
_SMALLEST = 20_000


def affinity_bytes(voxels: int, neighbors: int, *, student: bool = False) -> float:
    """Bytes that neighbours, weights and pooling of so many voxels take at their peak, beside their input."""
    return _BASE + voxels * (8 * neighbors + (_STUDENT if student else _VOXEL))


def tiled_bytes(voxels: int, neighbors: int) -> float:
    """The least that the same takes in tiles."""
    return _BASE + voxels * _TILED + _SMALLEST * _AROUND * (affinity_bytes(1, neighbors) - _BASE)


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

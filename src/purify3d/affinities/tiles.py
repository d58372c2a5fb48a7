"""Affinities of scenes larger than memory: made tile by tile, kept in a file, multiplied tile by tile.

A tile is the voxels of a box of the grid. Its affinity takes the neighbours of these, wherever they lie,
and what the embedding of both looks at. Nothing is cut off at borders: the values of a round are whole before
the next begins, so that any number of rounds reaches as far as without tiles.
"""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from purify3d.base.errors import PurifyError
from purify3d.base.progress import Progress, silent
from purify3d.grid.cells import BESIDE, key_steps, pack_cells
from purify3d.grid.neighbors import grid_neighbors
from purify3d.types import PointCloud, PointFeatures, Voxels

#: See `tiled_affinity`.
Weigh = Callable[[np.ndarray, Tensor, Tensor], Tensor]

_AT_A_TIME = 1 << 14  # rows


class TiledAffinity:
    """An `Affinity` in a temporary file, of which one tile at a time is in memory.

    Rows, neighbours (int32) and weights (float32) are kept as they are, nothing is rounded. The file has no
    name, where the system can do that, and is gone when the value is, also when the program is killed.

    Attributes:
        count: V, of all voxels; k: neighbours of each.
        tiles: where each begins in the file.
    """

    def __init__(self, count: int, k: int) -> None:
        self.count, self.k, self.tiles = count, k, list[int]()
        try:
            self._file: Any = tempfile.TemporaryFile(prefix="purify3d-", dir=scratch())  # noqa: SIM115
        except OSError as error:  # also where no folder for temporary files can be found at all
            raise PurifyError(
                f"no temporary file of tiles can be made ({error.strerror}); expected a folder that can be "
                f"written, with room for about {count * k * 8 / 1e9:.1f} GB. Name one in TMPDIR"
            ) from error

    def __repr__(self) -> str:
        return f"TiledAffinity({self.count:,} voxels, {self.k} neighbours each, in {len(self.tiles)} tiles)"

    def append(self, rows: np.ndarray, sources: np.ndarray, place: np.ndarray, weight: np.ndarray) -> None:
        """Keep a tile.

        Args:
            rows: (T,) voxels.
            sources: (H,) voxels, at least all neighbours of the rows.
            place: (T, K) int32 the neighbours of each row, as places among the sources.
            weight: (T, K) float32.

        Raises:
            PurifyError: the file cannot be written.
        """
        start = self._file.seek(0, os.SEEK_END)
        try:
            parts = (rows.astype(np.int32), sources.astype(np.int32), place, weight)
            pickle.dump(parts, self._file, protocol=5)
            self._file.flush()
        except OSError as error:
            raise PurifyError(
                f"a temporary file of tiles in {scratch()} cannot be written ({error.strerror}); expected "
                f"room for about {self.count * self.k * 8 / 1e9:.1f} GB. Name a folder of a larger disk in "
                "TMPDIR, or give a larger --voxel"
            ) from error
        self.tiles.append(start)

    def read(self, tile: int) -> tuple[Tensor, ...]:
        """Rows (T,), sources (H,), neighbours (T, K) as places among the sources, weights (T, K)."""
        self._file.seek(tile)
        try:
            parts = pickle.load(self._file)  # of our own making, and without a name
        except (EOFError, pickle.UnpicklingError) as error:
            raise PurifyError(
                f"a temporary file of tiles in {scratch()} was cut off. Repeat the command"
            ) from error
        return tuple(map(torch.from_numpy, parts))

    def times(self, values: Tensor) -> Tensor:
        """The product with (V, C) values: one round of pooling, on their device."""
        result = torch.empty_like(values)
        for tile in self.tiles:
            rows, sources, neighbor, weight = (part.to(values.device) for part in self.read(tile))
            near = values.index_select(0, sources)
            result[rows.long()] = embedding_bag(
                neighbor, near, per_sample_weights=weight.to(values.dtype), mode="sum"
            )
        return result


def tiled_affinity(
    cells: np.ndarray, k: int, weigh: Weigh, *, limit: int, reach: int = 0, progress: Progress = silent
) -> TiledAffinity:
    """The affinity of all voxels, made tile by tile.

    Args:
        cells: (V, 3) int32, `Voxels.index`: in lexicographic order.
        k: neighbours wanted.
        weigh: takes (S,) rows of voxels, ascending: those of the tile, all their neighbours, and all within
            `reach` of either; (T,) int64 which of the S the tile is; (T, K) int32 neighbours among the S.
            Gives (T, K) weights.
        limit: voxels of a tile at most.
        reach: cells, along each axis, that the embedding of a voxel looks at.

    Raises:
        PurifyError: the temporary file cannot be written.
    """
    made = TiledAffinity(len(cells), min(k, len(cells) - 1))
    brick = pack_cells((cells - cells.min(axis=0)) // reach + 1) if reach else None
    place = np.empty(len(cells), dtype=np.int32)
    tiles = cut(cells, limit)
    for rows in progress(tiles, name="tiles", total=len(tiles)):
        neighbor = tile_neighbors(cells, rows, k)
        wanted = np.zeros(len(cells), dtype=bool)
        wanted[rows] = wanted[neighbor] = True
        if brick is not None:
            wanted = _bricks_around(brick, wanted)
        seen = np.flatnonzero(wanted)
        place[seen] = np.arange(len(seen), dtype=np.int32)
        for some in np.array_split(neighbor, -(-len(rows) // _AT_A_TIME)):  # in place
            some[:] = place.take(some)
        weight = weigh(seen, torch.from_numpy(place[rows].astype(np.int64)), torch.from_numpy(neighbor))
        made.append(rows, seen, neighbor, weight.cpu().numpy())
    return made


def cut(cells: np.ndarray, limit: int) -> list[np.ndarray]:
    """Rows (int32, ascending) of the (V, 3) cells of each tile: boxes, halved until they hold few enough.

    Args:
        limit: cells of a tile at most, at least 1.
    """
    done, todo = [], [np.arange(len(cells), dtype=np.int32)]
    while todo:
        rows = todo.pop()
        if len(rows) <= limit:
            done.append(rows)
            continue
        extent = np.ptp(cells[rows], axis=0)
        along = cells[rows, int(extent.argmax())]
        # Between two layers, as near to half of the cells as that can be.
        middle = np.median(along)
        low = along < middle if (along < middle).any() else along <= middle
        todo += [rows[~low], rows[low]]
    return done


def tile_neighbors(cells: np.ndarray, rows: np.ndarray, k: int) -> np.ndarray:
    """`grid_neighbors` of some rows of (V, 3) cells without a search among all: (T, min(k, V - 1)) int32.

    Searched is the rows' box and a margin around it. Who has k others within the margin cannot have nearer
    ones outside, ties and all; for the rest the margin is doubled, until it holds all there is.
    """
    k = min(k, len(cells) - 1)
    found = np.empty((len(rows), k), dtype=np.int32)
    pending = np.arange(len(rows))
    # On a surface k neighbours fill a disc of radius (k / pi)^1/2, in its corners a quarter of one.
    margin = int(1.2 * k**0.5) + 1
    while len(pending) and k:
        here = cells[rows[pending]]
        low, high = here.min(axis=0) - margin, here.max(axis=0) + margin
        around = np.flatnonzero(((cells >= low) & (cells <= high)).all(axis=1))
        if len(around) > k:
            asked = torch.from_numpy(np.searchsorted(around, rows[pending]))
            near = grid_neighbors(torch.from_numpy(cells[around]), k, rows=asked).numpy()
            last = cells[around[near[:, -1]]].astype(np.int64)
            sure = np.square(last - here).sum(axis=1) < (margin + 1) ** 2
            sure |= len(around) == len(cells)
            found[pending[sure]] = around[near[sure]]
            pending = pending[~sure]
        margin *= 2
    return found


def _bricks_around(brick: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(V,) bool: the voxels of the bricks (by (V,) keys) that hold a wanted one, and of the bricks around."""
    return np.isin(brick, np.unique(np.unique(brick[wanted])[:, None] + key_steps(BESIDE)))


def part_of(
    points: PointCloud, voxels: Voxels, features: PointFeatures, rows: np.ndarray
) -> tuple[PointCloud, Voxels, PointFeatures]:
    """The points of some voxels (rows, ascending), these voxels, and the features of these points."""
    kept = torch.from_numpy(rows).to(voxels.index.device)
    member = torch.zeros(len(voxels), dtype=torch.bool, device=kept.device)
    member[kept] = True
    chosen = member[voxels.of_point].nonzero()[:, 0]
    of_point = torch.searchsorted(kept, voxels.of_point[chosen])
    single = {name: getattr(points, name)[chosen] for name in ("xyz", "rgb", "normal", "label", "instance")}
    some = replace(points, **single, missing=points.missing[:0])
    return some, replace(voxels, index=voxels.index[kept], of_point=of_point), features.at(chosen)


def scratch() -> str:
    """A folder for large temporary files: TMPDIR, else /var/tmp, since /tmp often lies in memory."""
    large = Path("/var/tmp")
    if "TMPDIR" not in os.environ and large.is_dir() and os.access(large, os.W_OK):
        return str(large)
    return tempfile.gettempdir()

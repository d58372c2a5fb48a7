"""From labelled points back to images: which point each pixel with depth lies on."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from purify3d.grid.projection import backproject
from purify3d.types import Camera, Frame

_UNKNOWN, _NONE = -2, -1
_MOST_BLOCKS = 1 << 24  # that are counted, whether anything is in them or not


class PointLookup:
    """The nearest of P points to any place, for millions of places.

    Space is cut into cubes of half the reach; the first pixel in a cube asks a tree for the point nearest to
    its centre, the others take what it found. Blocks of cubes exist where a pixel has been. So the point is
    the nearest to within a quarter of the reach along each axis, and a frame takes milliseconds.
    """

    def __init__(self, xyz: np.ndarray, reach: float) -> None:
        """
        Args:
            xyz: (P, 3) float32, at least one point.
            reach: metres; what is farther from all points than this has none.
        """
        self._tree, self._reach, self._size = cKDTree(xyz), reach, reach / 2
        self._low = xyz.min(axis=0).astype(np.float64) - reach
        cells = np.ceil((xyz.max(axis=0) + reach - self._low) / self._size).astype(np.int64) + 1
        self._bits = 3
        while np.prod(-(-cells >> self._bits) + 1) > _MOST_BLOCKS:
            self._bits += 1
        self._blocks = (cells >> self._bits) + 1
        self._slot = np.full(int(np.prod(self._blocks)), _NONE, dtype=np.int32)
        self._cell = np.full((64, 1 << 3 * self._bits), _UNKNOWN, dtype=np.int32)
        self._used = 0

    def __call__(self, xyz: np.ndarray) -> np.ndarray:
        """(M, 3) float places -> (M,) int32 number of the point that is nearest, -1 = none within reach."""
        scaled = (xyz - self._low.astype(np.float32)) * np.float32(1 / self._size)
        top = (self._blocks << self._bits).astype(np.float32)
        inside = ((scaled >= 0) & (scaled < top)).all(axis=1)
        result = np.full(len(xyz), _NONE, dtype=np.int32)
        cell = scaled[inside].astype(np.int32)
        block = np.ravel_multi_index(tuple((cell >> self._bits).T), tuple(self._blocks))
        self._open(block)
        edge = 1 << self._bits
        within = np.ravel_multi_index(tuple((cell & (edge - 1)).T), (edge, edge, edge))
        place = self._slot[block].astype(np.int64) << 3 * self._bits | within
        found = self._cell.reshape(-1)[place]
        if len(fresh := np.flatnonzero(found == _UNKNOWN)):
            _, first = np.unique(place[fresh], return_index=True)
            self._ask(cell[fresh[first]], place[fresh[first]])
            found[fresh] = self._cell.reshape(-1)[place[fresh]]
        result[inside] = found
        return result

    def _open(self, block: np.ndarray) -> None:
        """Room for the cubes of these blocks."""
        closed = np.unique(block[self._slot[block] == _NONE])
        while self._used + len(closed) > len(self._cell):
            self._cell = np.concatenate([self._cell, np.full_like(self._cell, _UNKNOWN)])
        self._slot[closed] = np.arange(self._used, self._used + len(closed))
        self._used += len(closed)

    def _ask(self, cell: np.ndarray, place: np.ndarray) -> None:
        centers = self._low + (cell + 0.5) * self._size
        _, nearest = self._tree.query(centers, distance_upper_bound=self._reach)
        self._cell.reshape(-1)[place] = np.where(nearest == self._tree.n, _NONE, nearest)


def points_of_pixels(frame: Frame, lookup: PointLookup) -> np.ndarray:
    """(h, w) int32 of the depth image: the point that each pixel lies on, -1 = none, or no depth there."""
    depth = frame.depth()
    there = depth > 0
    local = backproject(depth, frame.depth_camera)[there]
    pose = frame.world_from_camera
    world = local @ pose[:3, :3].T.astype(np.float32) + pose[:3, 3].astype(np.float32)
    image = np.full(depth.shape, _NONE, dtype=np.int32)
    image[there] = lookup(world)
    return image


def on_color(image: np.ndarray, depth_camera: Camera, camera: Camera) -> np.ndarray:
    """(h, w) of the depth camera -> (H, W) of the colour camera, which shares its pose; -1 = outside."""
    if camera == depth_camera:
        return image
    column = (np.arange(camera.width) - camera.cx) * depth_camera.fx / camera.fx + depth_camera.cx
    row = (np.arange(camera.height) - camera.cy) * depth_camera.fy / camera.fy + depth_camera.cy
    column, row = column.round().astype(np.int64), row.round().astype(np.int64)
    inside = (
        ((row >= 0) & (row < depth_camera.height))[:, None] & (column >= 0) & (column < depth_camera.width)
    )
    taken = image[row.clip(0, depth_camera.height - 1)[:, None], column.clip(0, depth_camera.width - 1)]
    return np.where(inside, taken, _NONE)

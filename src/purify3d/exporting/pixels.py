"""From labelled points back to images: which point each pixel with depth lies on."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from purify3d.grid.projection import backproject
from purify3d.types import Camera, Frame

_NONE = -1


class PointLookup:
    """The nearest of P points to any place, for millions of places.

    Space is cut into cubes of half the reach; the first place in a cube asks a tree for the point nearest to
    its centre, the others take what it found. So the point is the nearest to within a quarter of the reach
    along each axis, and a frame takes milliseconds.
    """

    def __init__(self, xyz: np.ndarray, reach: float) -> None:
        """
        Args:
            xyz: (P, 3) float32, at least one point.
            reach: metres; what is farther from all points than this has none.
        """
        self._tree, self._reach, self._size = cKDTree(xyz), reach, reach / 2
        self._low = xyz.min(axis=0).astype(np.float64) - reach
        self._shape = np.ceil((xyz.max(axis=0) + reach - self._low) / self._size).astype(np.int64) + 1
        self._cell, self._point = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int32)  # ascending cells

    def __call__(self, xyz: np.ndarray) -> np.ndarray:
        """(M, 3) float places -> (M,) int32 number of the point that is nearest, -1 = none within reach."""
        scaled = (xyz - self._low.astype(np.float32)) * np.float32(1 / self._size)
        inside = ((scaled >= 0) & (scaled < self._shape.astype(np.float32))).all(axis=1)
        shape = tuple(self._shape)
        asked = np.ravel_multi_index(tuple(scaled[inside].astype(np.int64).T), shape)
        cell, back = np.unique(asked, return_inverse=True)
        new = np.setdiff1d(cell, self._cell, assume_unique=True)
        centers = self._low + (np.stack(np.unravel_index(new, shape), axis=1) + 0.5) * self._size
        _, nearest = self._tree.query(centers, distance_upper_bound=self._reach)
        place = np.searchsorted(self._cell, new)
        self._cell = np.insert(self._cell, place, new)
        self._point = np.insert(self._point, place, np.where(nearest == self._tree.n, _NONE, nearest))
        result = np.full(len(xyz), _NONE, dtype=np.int32)
        result[inside] = self._point[np.searchsorted(self._cell, cell)][back]
        return result


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

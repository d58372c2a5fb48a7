"""A mesh of depth frames: signed distances averaged on a sparse grid, and the surface where they are zero.

Distances after Curless and Levoy, "A volumetric method for building complex models from range images",
SIGGRAPH 1996; the surface after Gibson, "Constrained elastic surface nets", MICCAI 1998, without smoothing: a
vertex in each cell that the surface crosses, a square across each edge that it crosses. Own code, because it
is short, and nothing is made up where no camera looked: libraries for marching cubes want a dense grid, those
for Poisson reconstruction close every hole, and those that do more weigh more than this package.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from purify3d.base.errors import CaptureError, PurifyError
from purify3d.base.progress import Progress, silent
from purify3d.features.surface import depth_jumps
from purify3d.grid.cells import components, pack_cells, unpack_cells
from purify3d.grid.projection import backproject, inverse
from purify3d.types import Frame

_REACH = 3  # voxels in front of and behind the surface in which distances are kept
_HALF_GRID = 1 << 20  # cells are counted from the world's origin, in the middle of the range of keys
_SMALLEST = 100  # vertices of a piece that is kept
_STEP = np.array([1 << 42, 1 << 21, 1])  # what a key grows by for the next cell along each axis
_EDGES = [(a, b) for a in range(8) for b in range(a + 1, 8) if (a ^ b) in (1, 2, 4)]
_CORNERS = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])


def mesh_of_frames(
    frames: Sequence[Frame], voxel: float, *, progress: Progress = silent
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The surface that frames saw.

    Returns:
        (V, 3) float32 vertices in the world, (F, 3) int64 triangles that face the cameras, names of frames
        that cannot be read.

    Frames are read twice, one at a time. Pixels at depth jumps are left out, as are pieces of fewer than 100
    vertices.

    Args:
        voxel: edge of the grid's cells, metres.

    Raises:
        CaptureError: no frame has depth, or one sees farther from the origin than cells can be counted.
    """
    near = np.empty(0, dtype=np.int64)
    unread = []
    for frame in progress(frames, name="mesh: cells", total=len(frames)):
        try:
            near = np.union1d(near, _cells(frame, voxel))
        except (PurifyError, OSError):
            unread.append(frame.name)
    if not len(near):
        raise CaptureError(f"found no usable depth in {len(frames)} frames; expected metres along z")
    for step in _STEP:  # all corners within reach of a measured cell
        near = np.unique(near[:, None] + step * np.arange(-_REACH, _REACH + 2))
    xyz = (unpack_cells(near) - _HALF_GRID).astype(np.float32) * np.float32(voxel)
    total, weight = np.zeros(len(near), dtype=np.float32), np.zeros(len(near), dtype=np.float32)
    for frame in progress(frames, name="mesh: distances", total=len(frames)):
        if frame.name not in unread:
            _add(frame, xyz, total, weight, _REACH * voxel)
    seen = weight > 0
    vertices, faces = _surface(near[seen], total[seen] / weight[seen], voxel)
    return *_large(vertices, faces), unread


def _depth(frame: Frame) -> np.ndarray:
    depth = frame.depth()
    return np.where(depth_jumps(depth), np.float32(0), depth)


def _cells(frame: Frame, voxel: float) -> np.ndarray:
    """Keys of the cells that pixels of a frame fall into."""
    depth = _depth(frame)
    local = backproject(depth, frame.depth_camera)[depth > 0].astype(np.float64)
    world = local @ frame.world_from_camera[:3, :3].T + frame.world_from_camera[:3, 3]
    cells = np.floor(world / voxel) + _HALF_GRID
    if len(cells) and not (cells.min() > _REACH and cells.max() < 2 * _HALF_GRID - _REACH - 2):
        raise CaptureError(f"frame {frame.name} sees farther than {_HALF_GRID * voxel:.0f} m from the origin")
    return np.unique(pack_cells(cells))


def _add(frame: Frame, xyz: np.ndarray, total: np.ndarray, weight: np.ndarray, reach: float) -> None:
    """Add a frame's distances, as shares of the reach, to the corners it sees; near views weigh more."""
    depth, camera = _depth(frame), frame.depth_camera
    to_camera = inverse(frame.world_from_camera).astype(np.float32)
    z = xyz @ to_camera[2, :3] + to_camera[2, 3]
    ahead = np.flatnonzero((z > 0.05) & (z < depth.max(initial=0) + reach))
    local, z = xyz[ahead] @ to_camera[:2, :3].T + to_camera[:2, 3], z[ahead]
    column = np.rint(local[:, 0] / z * camera.fx + camera.cx)
    row = np.rint(local[:, 1] / z * camera.fy + camera.cy)
    inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    ahead, z = ahead[inside], z[inside]
    measured = depth[row[inside].astype(np.int32), column[inside].astype(np.int32)]
    distance = (measured - z) / reach
    kept = (measured > 0) & (distance > -1)
    ahead, share = ahead[kept], 1 / np.maximum(z[kept], 0.3) ** 2
    total[ahead] += share * np.minimum(distance[kept], 1)
    weight[ahead] += share


def _surface(keys: np.ndarray, value: np.ndarray, voxel: float) -> tuple[np.ndarray, np.ndarray]:
    """The surface between positive and negative values at corners of the grid, keys ascending."""
    corner = np.stack([_rows(keys, keys + offset @ _STEP) for offset in _CORNERS], axis=1)
    whole = (corner >= 0).all(axis=1)
    corner, cell = corner[whole], keys[whole]
    values = value[corner]
    crossed = (values > 0).any(axis=1) & (values <= 0).any(axis=1)
    corner, cell, values = corner[crossed], cell[crossed], values[crossed]
    place, count = np.zeros((len(cell), 3)), np.zeros(len(cell))
    for a, b in _EDGES:
        first, second = values[:, a].astype(np.float64), values[:, b].astype(np.float64)
        changes = (first > 0) != (second > 0)
        share = np.divide(first, first - second, out=np.zeros(len(cell)), where=changes)
        on_edge = _CORNERS[a] + share[:, None] * (_CORNERS[b] - _CORNERS[a])
        place += np.where(changes[:, None], on_edge, 0)
        count += changes
    vertices = (unpack_cells(cell) - _HALF_GRID + place / np.maximum(count, 1)[:, None]) * voxel
    parts = [np.empty((0, 3), dtype=np.int64)]
    for axis in range(3):
        # The edge from a cell's first corner along this axis, and the four cells around it.
        u, v = _STEP[(axis + 1) % 3], _STEP[(axis + 2) % 3]
        first, second = values[:, 0], values[:, (4, 2, 1)[axis]]
        around = np.stack([_rows(cell, cell - offset) for offset in (0, u, u + v, v)], axis=1)
        edge = ((first > 0) != (second > 0)) & (around >= 0).all(axis=1)
        square = around[edge]
        leaves = first[edge] > 0  # along the axis it goes inside: the surface faces backwards
        square[leaves] = square[leaves][:, ::-1]
        parts += [square[:, [0, 1, 2]], square[:, [0, 2, 3]]]
    return vertices.astype(np.float32), np.concatenate(parts)


def _rows(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where keys are among ascending ones, -1 = not there."""
    row = np.searchsorted(keys, wanted).clip(max=max(0, len(keys) - 1))
    return np.where(keys[row] == wanted, row, -1) if len(keys) else row - 1


def _large(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Without small pieces and vertices of no face."""
    count = len(vertices)
    piece = components(count, faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel())
    large = np.bincount(piece, minlength=1)[piece] >= _SMALLEST if count else np.zeros(0, dtype=bool)
    faces = faces[large[faces[:, 0]]]
    kept, number = np.unique(faces, return_inverse=True)
    return vertices[kept], number.reshape(faces.shape)

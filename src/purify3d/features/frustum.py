"""Points in cubes, so that a camera looks only at those that it can see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from purify3d.grid.projection import inverse
from purify3d.grid.voxels import voxelize
from purify3d.types import Camera

_EDGE = 0.5  # metres: a room is some hundred cubes, a frame sees some dozen
_FEWEST = 32  # points in a cube on average; more cubes than that would take as long as the points
_ROUNDING = 1e-5  # share of the largest coordinate that 32-bit projection may be off, and much more


@dataclass(frozen=True)
class FrustumIndex:
    """Points of a scene, sorted by the cube they lie in. Points that are not finite lie in none.

    Attributes:
        xyz: (M, 3) float, finite points in the order of cubes; number: (M,) int64, which points these are.
        start: (B + 1,) int64, where the points of each cube begin; in numpy, as are the bounds.
        low, high: (B, 3) float64, bounds of the points of each cube, metres.
    """

    xyz: Tensor
    number: Tensor
    start: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, xyz: Tensor) -> FrustumIndex:
        """Sort (N, 3) points, once for all frames of a scene. Everything lies where they do."""
        finite = xyz.isfinite().all(1)
        number = torch.nonzero(finite).squeeze(1)
        kept = xyz[number]
        if not len(kept):
            none = np.empty((0, 3))
            return cls(kept, number, np.zeros(1, np.int64), none, none)
        span = float((kept.amax(0).cpu().double() - kept.amin(0).cpu().double()).max())
        edge = max(_EDGE, span / 2**20)
        grid = voxelize(kept, edge)
        while len(grid) * _FEWEST > len(kept) and edge < span:
            edge *= 2
            grid = voxelize(kept, edge)
        order = grid.of_point.argsort(stable=True)
        kept, number = kept[order], number[order]
        size = np.bincount(grid.of_point.cpu().numpy(), minlength=len(grid))
        start = np.concatenate([[0], size.cumsum()])
        plain = kept.cpu().numpy().astype(np.float64)
        low, high = (each.reduceat(plain, start[:-1]) for each in (np.minimum, np.maximum))
        return cls(kept, number, start, low, high)

    def before(self, camera: Camera, world_from_camera: np.ndarray, farthest: float) -> tuple[Tensor, Tensor]:
        """What may lie in the picture and not beyond `farthest` metres along z: at least all that does.

        Args:
            camera: whose image, to half a pixel around it, counts as the picture.

        Returns:
            number (m,) int64 and xyz (m, 3) of the points of all cubes that meet the camera's pyramid.
        """
        # Inward normals in the camera's frame: four sides through its centre, a pixel beyond the outermost
        # centres (of which half is the picture's and half is slack), its own plane and the farthest.
        sides = np.array(
            [
                [camera.fx, 0, camera.cx + 1],
                [-camera.fx, 0, camera.width - camera.cx],
                [0, camera.fy, camera.cy + 1],
                [0, -camera.fy, camera.height - camera.cy],
                [0, 0, 1],
                [0, 0, -1],
            ],
            dtype=np.float64,
        )
        pose = np.asarray(world_from_camera, dtype=np.float64)
        sides /= np.linalg.norm(sides, axis=1, keepdims=True)
        camera_from_world = inverse(pose)
        normal = sides @ camera_from_world[:3, :3]
        offset = sides @ camera_from_world[:3, 3] + np.array([0, 0, 0, 0, 0, farthest])
        largest = max(np.abs(self.low).max(initial=0), np.abs(self.high).max(initial=0))
        slack = _ROUNDING * (largest + np.abs(pose[:3, 3]).max())
        # The corner of a cube that is farthest inside decides.
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        inside = middle @ normal.T + half @ np.abs(normal).T + offset + slack >= 0
        return self._runs(np.flatnonzero(inside.all(1)))

    def _runs(self, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
        """The points of these cubes; neighbours in the order are one piece of memory."""
        if not len(chosen):
            return self.number[:0], self.xyz[:0]
        cut = np.flatnonzero(np.diff(chosen) > 1) + 1
        first = self.start[chosen[np.concatenate([[0], cut])]].tolist()
        last = self.start[chosen[np.concatenate([cut - 1, [-1]])] + 1].tolist()
        runs = [slice(a, b) for a, b in zip(first, last, strict=True)]
        return torch.cat([self.number[run] for run in runs]), torch.cat([self.xyz[run] for run in runs])

"""The only place that knows about cameras and their rotations.

Transforms are named target_from_source; camera axes are OpenCV's (x right, y down, z forward); `uv` is
(column, row) and integer coordinates are pixel centres.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from purify3d.types import Camera

#: Multiply from the right to turn a pose with OpenGL camera axes (y up, z back) into one with OpenCV axes.
OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


def inverse(target_from_source: np.ndarray) -> np.ndarray:
    """(4, 4) rigid or affine transform -> its inverse, float64."""
    return np.linalg.inv(np.asarray(target_from_source, dtype=np.float64))


def pose_from_quaternion(xyzw: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """Unit quaternion (x, y, z, w) and translation (3,) -> (4, 4) float64; the quaternion is normalised."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_quat(np.asarray(xyzw, dtype=np.float64)).as_matrix()
    pose[:3, 3] = translation
    return pose


def resize_camera(camera: Camera, width: int, height: int) -> Camera:
    """The camera of the same image resampled to another size, pixel centres kept at integers."""
    sx, sy = width / camera.width, height / camera.height
    return Camera(
        fx=camera.fx * sx,
        fy=camera.fy * sy,
        cx=(camera.cx + 0.5) * sx - 0.5,
        cy=(camera.cy + 0.5) * sy - 0.5,
        width=width,
        height=height,
    )


def project(xyz: Tensor, camera: Camera, world_from_camera: np.ndarray) -> tuple[Tensor, Tensor]:
    """World points (N, 3) -> pixel coordinates uv (N, 2) and depth z (N,) in metres, same dtype.

    Points with z <= 0 are behind the camera; their uv has no meaning.
    """
    camera_from_world = torch.from_numpy(inverse(world_from_camera)).to(xyz.dtype).to(xyz.device)
    # Not as a matrix product, which may round otherwise for another number of points: where a point falls
    # must not depend on which others are asked for with it.
    x, y, z = (column[:, None] for column in xyz.unbind(1))
    right, down, ahead = camera_from_world[:3, :3].T
    local = x * right + y * down + z * ahead + camera_from_world[:3, 3]
    z = local[:, 2]
    focal = xyz.new_tensor([camera.fx, camera.fy])
    center = xyz.new_tensor([camera.cx, camera.cy])
    return local[:, :2] / z[:, None] * focal + center, z


def backproject(depth: np.ndarray, camera: Camera) -> np.ndarray:
    """(h, w) depth in metres -> (h, w, 3) float32 points in the camera's frame; 0 depth gives the origin."""
    u = (np.arange(camera.width, dtype=np.float32) - camera.cx) / camera.fx
    v = (np.arange(camera.height, dtype=np.float32) - camera.cy) / camera.fy
    return np.stack([depth * u[None, :], depth * v[:, None], depth], axis=-1).astype(np.float32)


def pixel_rays(row: np.ndarray, column: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """How far right and down (n,) pixels lie at a depth of 1, in the camera's frame, float64."""
    return (column - camera.cx) / camera.fx, (row - camera.cy) / camera.fy


def map_pixels(uv: Tensor, source: Camera, target: Camera) -> Tensor:
    """uv (N, 2) in one camera -> uv in another that shares the centre and axes (colour and depth)."""
    scale = uv.new_tensor([target.fx / source.fx, target.fy / source.fy])
    return (uv - uv.new_tensor([source.cx, source.cy])) * scale + uv.new_tensor([target.cx, target.cy])


def quarter_turns_upright(world_from_camera: np.ndarray, up: np.ndarray) -> int:
    """How often an image must be turned 90 degrees counter-clockwise for `up` to point to its top (0..3).

    A camera that looks along `up` within 30 degrees has no top, and gets 0.
    """
    right, down = np.asarray(up) @ world_from_camera[:3, :2]
    if np.hypot(right, down) < 0.5:
        return 0
    # In the image plane the angle of up against the top edge; counter-clockwise turns bring right to top.
    return int(np.round(np.arctan2(right, -down) / (np.pi / 2))) % 4


def turn_camera(camera: Camera, world_from_camera: np.ndarray, turns: int) -> tuple[Camera, np.ndarray]:
    """Camera and pose of the image after `np.rot90(image, turns)` (counter-clockwise quarter turns)."""
    pose = np.array(world_from_camera, dtype=np.float64)
    for _ in range(turns % 4):
        # Pixel (u, v) moves to (v, width - 1 - u): new x is old y, new y is minus old x.
        camera = replace(
            camera,
            fx=camera.fy,
            fy=camera.fx,
            cx=camera.cy,
            cy=camera.width - 1 - camera.cx,
            width=camera.height,
            height=camera.width,
        )
        pose[:3, :2] = np.stack([pose[:3, 1], -pose[:3, 0]], axis=1)
    return camera, pose


def distort(xy: np.ndarray, k1: float, k2: float, p1: float, p2: float, k3: float = 0.0) -> np.ndarray:
    """Ideal normalised image coordinates (..., 2) -> where a Brown-Conrady lens puts them (OpenCV)."""
    x, y = xy[..., 0], xy[..., 1]
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    return np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ],
        axis=-1,
    )

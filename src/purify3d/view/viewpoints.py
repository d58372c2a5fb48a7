"""Where to look at a scene from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from purify3d.geometry import resize_camera
from purify3d.types import Camera, Frame, PointCloud
from purify3d.view.drawing import visible
from purify3d.view.palettes import NO_LABEL_COLOR

_CANDIDATES = 24  # frames
_SAMPLE = 40_000  # points that are drawn to judge a view
_NEAR, _FAR = 1.0, 6.0  # metres: nearer things fill the picture, farther ones are hardly seen
_SMALL = (96, 72)  # pixels of the picture that a view is judged by


def overview_camera(points: PointCloud, up: np.ndarray, width: int, height: int) -> tuple[Camera, np.ndarray]:
    """A camera that looks down on the whole scene at 50 degrees, along its longer side's diagonal."""
    xyz = points.xyz.numpy().astype(np.float64)
    low, high = np.percentile(xyz, [0.5, 99.5], axis=0)
    center, radius = (low + high) / 2, max(float(np.linalg.norm(high - low)) / 2, 0.1)
    east = np.cross(up, [0.0, 0.0, 1.0] if abs(up[2]) < 0.9 else [0.0, 1.0, 0.0])
    east /= np.linalg.norm(east)
    north = np.cross(up, east)
    tilt, turn = np.radians(50), np.radians(30)
    back = np.cos(tilt) * (np.cos(turn) * east + np.sin(turn) * north) + np.sin(tilt) * np.asarray(up)
    right = np.cross(up, back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(right, back), -back], axis=1)
    pose[:3, 3] = center + back * radius * 2.6
    # Focal length and principal point such that the scene fills the panel.
    local = (xyz - pose[:3, 3]) @ pose[:3, :3]
    first, last = np.percentile(local[:, :2] / local[:, 2:], [0.5, 99.5], axis=0)
    focal = 0.92 * float((np.array([width, height]) / np.maximum(last - first, 1e-2)).min())
    cx, cy = np.array([width - 1, height - 1]) / 2 - focal * (first + last) / 2
    return Camera(focal, focal, cx, cy, width, height), pose


def fit_camera(camera: Camera, width: int, height: int) -> Camera:
    """The frame's camera resized to fit a panel."""
    scale = min(width / camera.width, height / camera.height)
    return resize_camera(camera, max(1, round(camera.width * scale)), max(1, round(camera.height * scale)))


def inside_view(frames: Sequence[Frame], points: PointCloud, colors: np.ndarray, apart: float) -> Frame:
    """Of two dozen candidates the frame that shows most different colours, and much at a distance to see it.

    Args:
        colors: (N, 3) uint8 of the panel that the view is for.
        apart: metres between the points.
    """
    step = max(1, len(points) // _SAMPLE)
    few = PointCloud(points.xyz[::step], points.rgb[::step], points.normal[::step], points.label[::step])
    kind = _kinds(colors[::step])
    far = apart * float(np.sqrt(step))  # what is left of a surface lies that much farther apart

    def worth(frame: Frame) -> float:
        camera = fit_camera(frame.camera, *_SMALL)
        shown, depth = visible(few, camera, frame.world_from_camera, cull=False, apart=far)
        seen = kind[shown[(depth > _NEAR) & (depth < _FAR)]]
        seen = seen[seen >= 0]
        share = np.bincount(seen) / max(1, len(seen))
        share = share[share > 0]
        different = float(np.exp(-(share * np.log(share)).sum())) if len(share) else 0.0
        return different * len(seen) / shown.size

    return max(frames[:: max(1, len(frames) // _CANDIDATES)], key=worth)


def _kinds(colors: np.ndarray) -> np.ndarray:
    """(N,) a number per colour, -1 = no label; colours that change gradually are one where they are alike."""
    packed = colors.astype(np.int64) @ [1 << 16, 1 << 8, 1]
    _, kind = np.unique(packed, return_inverse=True)
    if kind.max(initial=0) >= 512:
        _, kind = np.unique((colors >> 5).astype(np.int64) @ [64, 8, 1], return_inverse=True)
    return np.where((colors == NO_LABEL_COLOR).all(axis=1), -1, np.asarray(kind).reshape(-1))

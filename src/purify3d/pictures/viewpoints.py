"""Where to look at a scene from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from purify3d.base.threads import in_threads
from purify3d.grid.projection import resize_camera
from purify3d.pictures.drawing import visible
from purify3d.pictures.palettes import NO_LABEL_COLOR
from purify3d.types import Camera, Frame, PointCloud

_CANDIDATES = 24  # frames
_SAMPLE = 40_000  # points that are drawn to judge a view
_NEAR, _FAR = 1.0, 6.0  # metres: nearer things fill the picture, farther ones are hardly seen
_SMALL = (96, 72)  # pixels of the picture that a view is judged by
_CHANGED = 3.0  # weight of a point that pooling changed
_AGAIN = 0.1  # weight of a point that another view shows
_LITTLE = 0.05  # worth below which another view is not worth its place


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


def inside_views(
    frames: Sequence[Frame],
    points: PointCloud,
    colors: np.ndarray,
    between: float,
    *,
    changed: np.ndarray | None = None,
    count: int = 2,
) -> list[Frame]:
    """Of two dozen candidates the frames that show most different colours, each what those before do not.

    What counts are labels, at a distance to see them, and what pooling changed.

    Args:
        colors: (N, 3) uint8 of the panel that the view is for.
        between: metres between the points.
        changed: (N,) bool, points that are worth more; None: none is.
        count: frames wanted; there may be fewer.
    """
    step = max(1, len(points) // _SAMPLE)
    few = PointCloud(points.xyz[::step], points.rgb[::step], points.normal[::step], points.label[::step])
    kind = _kinds(colors[::step])
    weight = np.ones(len(few)) if changed is None else 1 + (_CHANGED - 1) * changed[::step]
    far = between * float(np.sqrt(step))  # what is left of a surface lies that much farther between

    def look(frame: Frame) -> tuple[Frame, np.ndarray]:
        camera = fit_camera(frame.camera, *_SMALL)
        shown, depth = visible(few, camera, frame.world_from_camera, cull=False, between=far)
        seen = shown[(depth > _NEAR) & (depth < _FAR)]
        return frame, seen[kind[seen] >= 0]

    looks = list(in_threads(look, frames[:: max(1, len(frames) // _CANDIDATES)]))
    new = np.ones(len(few))
    chosen: list[Frame] = []
    for _ in range(min(count, len(looks))):
        frame, seen = max(looks, key=lambda look: _worth(kind[look[1]], (weight * new)[look[1]]))
        if chosen and not _worth(kind[seen], (weight * new)[seen]) > _LITTLE:
            break
        chosen.append(frame)
        new[seen] = _AGAIN
        looks = [look for look in looks if look[0] is not frame]
    return chosen


def _worth(kind: np.ndarray, weight: np.ndarray) -> float:
    """How many kinds of things a view shows (the exponential of their entropy), times how much of it."""
    total = float(weight.sum())
    if total == 0:
        return 0.0
    share = np.bincount(kind, weights=weight) / total
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum())) * total / (_SMALL[0] * _SMALL[1])


def _kinds(colors: np.ndarray) -> np.ndarray:
    """(N,) a number per colour, -1 = no label; colours that change gradually are one where they are alike."""
    packed = colors.astype(np.int64) @ [1 << 16, 1 << 8, 1]
    _, kind = np.unique(packed, return_inverse=True)
    if kind.max(initial=0) >= 512:
        _, kind = np.unique((colors >> 5).astype(np.int64) @ [64, 8, 1], return_inverse=True)
    return np.where((colors == NO_LABEL_COLOR).all(axis=1), -1, np.asarray(kind).reshape(-1))

"""One picture that says whether a result can be trusted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from purify3d.geometry import project, resize_camera
from purify3d.types import Camera, Frame, PointCloud, Scene
from purify3d.view.palettes import label_colors

_BACKGROUND = 255
_MAX_SPLAT = 9  # pixels; nearer points leave gaps rather than cover everything


def picture(
    scene: Scene,
    panels: Sequence[tuple[str, np.ndarray]],
    legend: Sequence[str] = (),
    *,
    width: int = 560,
    height: int = 420,
) -> Image.Image:
    """Side-by-side panels of the same scene in different colours, seen from outside and from one frame.

    Args:
        scene: with points.
        panels: title and (N, 3) uint8 colours of each column.
        legend: label names, in the order of `palette.label_colors`.
        width, height: of one panel in pixels.

    Returns:
        RGB image: one column a panel; first row from above with the ceiling and near walls cut away, second
        row through the camera of a frame that looks into the scene (if it has frames); the legend below.
    """
    points = scene.points
    assert points is not None
    overview, overview_pose = overview_camera(points, scene.up, width, height)
    looks = [(overview, overview_pose, True)]
    if scene.frames:
        frame = _widest_view(scene.frames)
        looks.append((_fit(frame.camera, width, height), frame.world_from_camera, False))
    rows = [
        [render(points, colors, camera, pose, cull=cull) for _, colors in panels]
        for camera, pose, cull in looks
    ]
    title, foot = 34, 30 * ((len(legend) + 7) // 8) + (10 if legend else 0)
    canvas = Image.new("RGB", (len(panels) * width, title + sum(len(row[0]) for row in rows) + foot), "white")
    draw = ImageDraw.Draw(canvas)
    for column, (name, _) in enumerate(panels):
        draw.text((column * width + 10, 6), name, fill="black", font=ImageFont.load_default(20))
        y = title
        for row in rows:
            canvas.paste(Image.fromarray(row[column]), (column * width, y))
            y += len(row[column])
    step = canvas.width // 8
    for i, (name, color) in enumerate(zip(legend, label_colors(len(legend)), strict=True)):
        x, y = 10 + i % 8 * step, canvas.height - foot + 10 + i // 8 * 30
        draw.rectangle((x, y, x + 18, y + 18), fill=tuple(int(c) for c in color))
        draw.text((x + 26, y), name, fill="black", font=ImageFont.load_default(15))
    return canvas


def render(
    points: PointCloud, colors: np.ndarray, camera: Camera, world_from_camera: np.ndarray, *, cull: bool
) -> np.ndarray:
    """Draw (N, 3) uint8 colours at the points, nearest in front: (H, W, 3) uint8.

    Args:
        cull: leave out points whose normal faces away from the camera, which opens rooms from outside.
    """
    uv, z = project(points.xyz, camera, world_from_camera)
    keep = z > 0.1
    if cull:
        center = torch.from_numpy(world_from_camera[:3, 3]).float()
        keep &= (points.normal * (center - points.xyz)).sum(1) > 0
    keep &= ((uv > -_MAX_SPLAT) & (uv < uv.new_tensor([camera.width, camera.height]) + _MAX_SPLAT)).all(1)
    index = torch.nonzero(keep)[:, 0]
    order = index[z[index].argsort(descending=True)]  # far points first: later writes win
    column, row = uv[order].round().long().numpy().T
    # A point stands for a 2 cm voxel: cover the pixels it fills, a little more against gaps.
    size = (0.024 * camera.fx / z[order]).ceil().clamp(1, _MAX_SPLAT).long().numpy()
    image = np.full((camera.height, camera.width, 3), _BACKGROUND, dtype=np.uint8)
    nearest = np.full((camera.height, camera.width), np.inf, dtype=np.float32)
    depth, shown = z[order].numpy(), colors[order.numpy()]
    for dy in range(_MAX_SPLAT):
        for dx in range(_MAX_SPLAT):
            use = size > max(dx, dy)
            y, x = row[use] + dy - size[use] // 2, column[use] + dx - size[use] // 2
            ok = (y >= 0) & (y < camera.height) & (x >= 0) & (x < camera.width)
            y, x, d, c = y[ok], x[ok], depth[use][ok], shown[use][ok]
            closest = np.full_like(nearest, np.inf)
            closest[y, x] = d  # sorted, so this is the nearest of this offset
            front = (d == closest[y, x]) & (d < nearest[y, x])
            nearest[y[front], x[front]] = d[front]
            image[y[front], x[front]] = c[front]
    return image


def overview_camera(points: PointCloud, up: np.ndarray, width: int, height: int) -> tuple[Camera, np.ndarray]:
    """A camera that looks down on the whole scene at 50 degrees, along its longer side's diagonal."""
    xyz = points.xyz.numpy().astype(np.float64)
    low, high = np.percentile(xyz, [0.5, 99.5], axis=0)
    center, radius = (low + high) / 2, np.linalg.norm(high - low) / 2
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
    focal = 0.92 * float((np.array([width, height]) / (last - first)).min())
    cx, cy = np.array([width - 1, height - 1]) / 2 - focal * (first + last) / 2
    return Camera(focal, focal, cx, cy, width, height), pose


def _fit(camera: Camera, width: int, height: int) -> Camera:
    """The frame's camera resized to fit a panel."""
    scale = min(width / camera.width, height / camera.height)
    return resize_camera(camera, round(camera.width * scale), round(camera.height * scale))


def _widest_view(frames: Sequence[Frame]) -> Frame:
    """Of two dozen candidates the frame that looks into the room: much depth, and much difference in it."""

    def openness(frame: Frame) -> float:
        depth = frame.depth()
        usable = depth[(depth > 1) & (depth < 6)]
        return float(usable.std() * usable.size / depth.size) if usable.size else 0.0

    return max(frames[:: max(1, len(frames) // 24)], key=openness)

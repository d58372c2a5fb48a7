"""Pictures of frames laid over each other: what one measures, drawn into the photo of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import numpy as np
import torch
from PIL import Image, ImageDraw

from purify3d.checking.agreement import TOLERANCE, Views
from purify3d.grid.projection import map_pixels
from purify3d.pictures.fonts import lettering
from purify3d.types import Frame

_WIDTH = 420  # pixels of a panel
_HEAD = 30
_ROWS = 3
_GREEN, _RED, _BLUE = (0, 158, 115), (213, 94, 0), (86, 180, 233)  # told apart without red or green, too


def overlay(frames: Sequence[Frame], views: Views) -> Image.Image:
    """Up to three pairs of frames: photo, the other frame's pixels in this view, and how they fare.

    Green pixels agree; orange ones are seen through, which cannot be; blue ones are hidden. With right poses
    the two photos show the same things at the same places.

    Args:
        frames: the whole capture; views: of some of its frames.
    """
    rows = [_row(frames, views, i, j) for i, j in _pairs(views)]
    height = sum(row.height for row in rows) + _HEAD
    image = Image.new("RGB", (3 * _WIDTH, max(height, 2 * _HEAD)), "white")
    draw = ImageDraw.Draw(image)
    titles = ("photo", "another frame, seen from here", "agree, seen through, hidden")
    for column, title in enumerate(titles if rows else ("no two frames look at the same place", "", "")):
        text, font = lettering(title, 16)
        draw.text((column * _WIDTH + 8, 6), text, fill="black", font=font)
    top = _HEAD
    for row in rows:
        image.paste(row, (0, top))
        top += row.height
    return image


def _pairs(views: Views) -> list[tuple[int, int]]:
    """Pairs that look at the same place and not from the same one, each frame once."""
    overlaps = []
    for i, j in permutations(range(len(views)), 2):
        number, _ = views.compare(views.points(i), j)
        moved = np.linalg.norm(views.pose[i, :3, 3] - views.pose[j, :3, 3])
        overlaps.append((len(number) * min(1.0, float(moved) / 0.3), i, j))
    chosen: list[tuple[int, int]] = []
    for count, i, j in sorted(overlaps, reverse=True):
        if count > 0 and not {i, j} & {k for pair in chosen for k in pair}:
            chosen.append((i, j))
    return chosen[:_ROWS]


def _row(frames: Sequence[Frame], views: Views, i: int, j: int) -> Image.Image:
    """The i-th view drawn into the j-th."""
    height, width = views.depth[j].shape
    row, column = np.nonzero(views.depth[i] > 0)
    world = _placed(views, i, column, row)
    number, ahead = views.compare(world, j)
    there = (world[number] - views.pose[j, :3, 3]) @ views.pose[j, :3, :3]
    fx, fy, cx, cy = views.lens[j]
    u = np.rint(there[:, 0] / there[:, 2] * fx + cx).astype(int)
    v = np.rint(there[:, 1] / there[:, 2] * fy + cy).astype(int)
    photo = _photo(frames[views.number[j]], views, j, *np.meshgrid(np.arange(width), np.arange(height)))
    colors = _photo(frames[views.number[i]], views, i, column, row)[number]
    drawn, fared = np.full((height, width, 3), 255, np.uint8), (photo // 3 + 160).astype(np.uint8)
    order = np.argsort(-there[:, 2])  # nearest last
    drawn[v[order], u[order]] = colors[order]
    kinds = np.select([ahead > TOLERANCE, ahead < -TOLERANCE], [1, 2])
    fared[v[order], u[order]] = np.array([_GREEN, _RED, _BLUE], np.uint8)[kinds[order]]
    size = (_WIDTH, round(_WIDTH * height / width))
    line = Image.new("RGB", (3 * _WIDTH, size[1]))
    for place, panel in enumerate((photo, drawn, fared)):
        line.paste(Image.fromarray(panel).resize(size, Image.Resampling.BILINEAR), (place * _WIDTH, 0))
    return line


def _placed(views: Views, i: int, column: np.ndarray, row: np.ndarray) -> np.ndarray:
    pixels = [*views.pixel[:i], np.stack([column, row], axis=1), *views.pixel[i + 1 :]]
    return replace(views, pixel=tuple(pixels)).points(i)


def _photo(frame: Frame, views: Views, i: int, column: np.ndarray, row: np.ndarray) -> np.ndarray:
    """(..., 3) uint8 colours at pixels of a thinned depth image; grey outside the photo."""
    step = max(1, round(frame.depth_camera.width / views.depth[i].shape[1]))
    pixel = torch.from_numpy(np.stack([column.ravel(), row.ravel()], axis=1) * step).double()
    u, v = map_pixels(pixel, frame.depth_camera, frame.camera).round().long().numpy().T
    image = frame.color()
    inside = (u >= 0) & (v >= 0) & (u < image.shape[1]) & (v < image.shape[0])
    colors = np.full((len(u), 3), 128, np.uint8)
    colors[inside] = image[v[inside], u[inside]]
    return colors.reshape(*np.shape(column), 3)

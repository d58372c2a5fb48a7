"""One picture that says whether a result can be trusted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from purify3d.grid.neighbors import spacing
from purify3d.pictures.drawing import paint, shading, visible
from purify3d.pictures.fonts import Font, fitted, lettering
from purify3d.pictures.palettes import NO_LABEL_COLOR, heat_colors, label_colors
from purify3d.pictures.viewpoints import fit_camera, inside_views, overview_camera
from purify3d.types import Scene

_TITLE, _TEXT = 20, 15  # pixels of the fonts
_HEAD, _ROW, _MARGIN = 34, 30, 10  # pixels: title line, line of the legend, white around
_PANEL = (560, 420)  # pixels
_SWATCH, _GAP = 18, 26  # pixels: edge of a colour sample, space between entries
_BAR = 240  # pixels of the colour bar

Entry = tuple[str, tuple[int, int, int]]


def picture(
    scene: Scene,
    panels: Sequence[tuple[str, np.ndarray]],
    legend: Sequence[str] = (),
    *,
    scale: tuple[float, float, str] | None = None,
    changed: np.ndarray | None = None,
) -> Image.Image:
    """Side-by-side panels of the same scene in different colours, seen from outside and from two frames.

    All panels but the first, the photo, are shaded: shapes are seen, not only areas.

    Args:
        scene: with points.
        panels: title and (N, 3) uint8 colours of each column.
        legend: label names, which stand beside their `palettes.label_colors`.
        scale: the values that the ends of `palettes.heat_colors` stand for, and what they measure: a bar.
        changed: (N,) bool, points that frames should show.

    Returns:
        RGB image: one column a panel; first row from above with the ceiling and near walls cut away, then
        through the cameras of the frames that show most (if it has frames); the legend below.

    Raises:
        ValueError: the scene has no points.
    """
    points, (width, height) = scene.cloud(), _PANEL
    between = spacing(points.xyz)
    looks = [(*overview_camera(points, scene.up, width, height), True)]
    if scene.frames:
        views = inside_views(scene.frames, points, panels[-1][1], between, changed=changed)
        looks += [(fit_camera(f.camera, width, height), f.world_from_camera, False) for f in views]
    shown = [visible(points, camera, pose, cull=cull, between=between)[0] for camera, pose, cull in looks]
    light = [shading(points, seen, pose) for seen, (_, pose, _) in zip(shown, looks, strict=True)]
    across = len(panels) * width
    rows = _lines(_entries(legend, [colors for _, colors in panels[1:] or panels]), across)
    foot = _ROW * (len(rows) + (scale is not None))
    body = sum(len(seen) for seen in shown)
    canvas = Image.new("RGB", (across, _HEAD + body + foot + (_MARGIN if foot else 0)), "white")
    draw = ImageDraw.Draw(canvas)
    for column, (name, colors) in enumerate(panels):
        text, font = lettering(name, _TITLE)
        draw.text(
            (column * width + _MARGIN, 6), fitted(text, font, width - 2 * _MARGIN), fill="black", font=font
        )
        y = _HEAD
        for seen, bright in zip(shown, light, strict=True):
            drawn = paint(seen, colors)
            if column:
                drawn = (drawn * bright[:, :, None]).round().astype(np.uint8)
            canvas.paste(Image.fromarray(drawn), (column * width, y))
            y += len(seen)
    y = _HEAD + body + _MARGIN
    for row in rows:
        for x, text, font, color in row:
            draw.rectangle((x, y, x + _SWATCH, y + _SWATCH), fill=color)
            draw.text((x + _SWATCH + 8, y), text, fill="black", font=font)
        y += _ROW
    if scale is not None:
        _draw_bar(canvas, draw, y, *scale)
    return canvas


def _entries(legend: Sequence[str], labels: Sequence[np.ndarray]) -> list[Entry]:
    """Names and colours of a legend, and of points without a label where there are any in (N, 3) colours."""
    entries: list[Entry] = [
        (name, (int(r), int(g), int(b))) for name, (r, g, b) in zip(legend, label_colors(legend), strict=True)
    ]
    if legend and any((colors == NO_LABEL_COLOR).all(axis=1).any() for colors in labels):
        entries.append(("(no label)", NO_LABEL_COLOR))
    return entries


def _lines(entries: Sequence[Entry], across: int) -> list[list[tuple[int, str, Font, tuple[int, int, int]]]]:
    """Entries in as many lines as they need: left edge, text, font and colour of each."""
    rows: list[list[tuple[int, str, Font, tuple[int, int, int]]]] = []
    x = across
    for number, (name, color) in enumerate(entries):
        text, font = lettering(name, _TEXT, otherwise=f"#{number}")
        text = fitted(text, font, across - 2 * _MARGIN - _SWATCH - 8)
        wide = _SWATCH + 8 + int(np.ceil(font.getlength(text)))
        if x + wide > across - _MARGIN:
            rows.append([])
            x = _MARGIN
        rows[-1].append((x, text, font, color))
        x += wide + _GAP
    return rows


def _draw_bar(
    canvas: Image.Image, draw: ImageDraw.ImageDraw, y: int, low: float, high: float, what: str
) -> None:
    """The colours of heat between two numbers, then what they measure."""
    left, font = f"{low:.3g}", lettering("0", _TEXT)[1]
    draw.text((_MARGIN, y), left, fill="black", font=font)
    x = _MARGIN + int(np.ceil(font.getlength(left))) + 8
    bar = np.repeat(heat_colors(np.linspace(0, 1, _BAR))[None], _SWATCH, axis=0)
    canvas.paste(Image.fromarray(bar), (x, y))
    x += _BAR + 8
    draw.text((x, y), f"{high:.3g}", fill="black", font=font)
    x += int(np.ceil(font.getlength(f"{high:.3g}"))) + _GAP
    text, font = lettering(what, _TEXT)
    draw.text((x, y), fitted(text, font, canvas.width - _MARGIN - x), fill="black", font=font)

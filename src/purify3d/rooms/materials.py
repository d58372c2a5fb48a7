"""Procedural surfaces. A material is a square tile of colour painted once with periodic noise and laid over
the object in its own coordinates, so a room renders quickly and textures stay with their objects."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

#: Texels along the edge of a tile.
TILE = 128
#: Rows and columns of a tile, 0..1.
_y, _x = np.meshgrid(np.arange(TILE) / TILE, np.arange(TILE) / TILE, indexing="ij")

Color = np.ndarray  # (3,) sRGB, 0..255


@dataclass(frozen=True, eq=False)
class Material:
    """What a surface looks like.

    Attributes:
        tile: (TILE, TILE, 3) uint8 sRGB albedo; row 0 is up, columns run along the texture's first axis.
        span: (2,) metres one tile covers along columns and rows.
        gloss: 0 (matte) .. 1 (mirror-like): highlight, and how badly a depth sensor sees it.
        glow: light it gives off itself, as a multiple of its albedo.
        upright: the second texture axis is the world's up, never turned with the grain.
        kind: the painter that made it.
    """

    tile: np.ndarray
    span: tuple[float, float]
    gloss: float = 0.0
    glow: float = 0.0
    upright: bool = False
    kind: str = ""

    @property
    def mean(self) -> Color:
        """(3,) mean albedo, 0..255."""
        return self.tile.reshape(-1, 3).mean(axis=0)


def noise(rng: np.random.Generator, smooth: float = 1.0, stretch: float = 1.0) -> np.ndarray:
    """(TILE, TILE) periodic noise, mean 0, deviation 1.

    `smooth` is the spectral fall-off (0 white, 2 clouds); `stretch` > 1 draws it out along columns (grain).
    """
    fy, fx = np.meshgrid(np.fft.fftfreq(TILE) * TILE, np.fft.rfftfreq(TILE) * TILE, indexing="ij")
    radius = np.hypot(fy, fx * stretch)
    radius[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.normal(size=(TILE, TILE))) * radius**-smooth
    field = np.fft.irfft2(spectrum, s=(TILE, TILE))
    return field / field.std()


def _paint(color: Color, shade: np.ndarray) -> np.ndarray:
    """Colour, one or one for each texel, times (1 + shade (TILE, TILE))."""
    return np.clip(color * (1 + shade[..., None]), 0, 255).astype(np.uint8)


def paint(rng: np.random.Generator, color: Color) -> Material:
    """Painted or lacquered: almost plain."""
    tile = _paint(color, noise(rng, 1.2) * rng.uniform(0.003, 0.02))
    return Material(tile, (1.0, 1.0), gloss=rng.uniform(0, 0.35), kind="paint")


def plain(color: Color, gloss: float = 0.1) -> Material:
    """One colour: small things."""
    tile = np.broadcast_to(np.clip(color, 0, 255).astype(np.uint8), (TILE, TILE, 3))
    return Material(tile, (1.0, 1.0), gloss=gloss, kind="paint")


def plaster(rng: np.random.Generator, color: Color) -> Material:
    """A wall: clouds and fine grain."""
    tile = _paint(
        color, noise(rng, 1.5) * rng.uniform(0.005, 0.03) + noise(rng, 0) * rng.uniform(0.002, 0.015)
    )
    return Material(tile, (1.6, 1.6), upright=True, kind="plaster")


def wood(rng: np.random.Generator, color: Color) -> Material:
    """Grain: rings bent by stretched noise, running along the longest edge of a part."""
    rings = np.sin(2 * np.pi * (rng.integers(3, 9) * _y + 0.25 * noise(rng, 1.4, 6)))
    shade = rings * rng.uniform(0.02, 0.1) + noise(rng, 0.8, 12) * rng.uniform(0.03, 0.09)
    return Material(_paint(color, shade), (0.9, 0.45), gloss=rng.uniform(0, 0.3), kind="wood")


def planks(rng: np.random.Generator, color: Color) -> Material:
    """A wooden floor of staggered boards."""
    rows = int(rng.integers(4, 8))
    row = (_y * rows).astype(int)
    column = (_x * 2 + rng.random(rows)[row]).astype(int) % 2
    tone = rng.normal(0, rng.uniform(0.03, 0.1), (rows, 2))[row, column]
    seam = ((_y * rows) % 1 < 0.03 * rows / 5) | (((_x * 2 + rng.random(rows)[row]) % 1) < 0.012)
    shade = tone + noise(rng, 0.9, 10) * 0.05 - 0.3 * seam
    return Material(_paint(color, shade), (1.8, 0.9), gloss=rng.uniform(0.05, 0.35), kind="planks")


def tiles(rng: np.random.Generator, color: Color) -> Material:
    """Floor or kitchen tiles with joints."""
    count = int(rng.integers(2, 5))
    tone = rng.normal(0, 0.035, (count, count))[(_y * count).astype(int), (_x * count).astype(int)]
    joint = ((_y * count) % 1 < 0.03 * count) | ((_x * count) % 1 < 0.03 * count)
    tile = _paint(color, tone + noise(rng, 1.3) * 0.02)
    tile[joint] = np.clip(color * rng.uniform(0.6, 0.85), 0, 255)
    return Material(tile, (1.2, 1.2), gloss=rng.uniform(0.1, 0.5), kind="tiles")


def weave(rng: np.random.Generator, color: Color) -> Material:
    """Woven cloth."""
    n = int(rng.integers(20, 42))
    threads = np.sin(2 * np.pi * n * _x) * np.sin(2 * np.pi * n * _y)
    shade = threads * rng.uniform(0.03, 0.12) + noise(rng, 0.5) * 0.04 + noise(rng, 1.8) * 0.03
    return Material(_paint(color, shade), (0.4, 0.4), kind="weave")


def stripes(rng: np.random.Generator, color: Color) -> Material:
    """Striped cloth or wallpaper."""
    other = shift(rng, color, 60)
    n = int(rng.integers(2, 7))
    mask = ((_x * n) % 1 < rng.uniform(0.25, 0.6))[..., None]
    tile = _paint(np.where(mask, color, other), noise(rng, 0.6) * 0.03)
    return Material(tile, (0.5, 0.5), upright=True, kind="stripes")


def checks(rng: np.random.Generator, color: Color) -> Material:
    """A blanket's or tablecloth's checks."""
    n = int(rng.integers(2, 5))
    level = ((_x * n) % 1 < 0.5).astype(float) + ((_y * n) % 1 < 0.5)
    mixed = color + (shift(rng, color, 70) - color) * level[..., None] / 2
    return Material(_paint(mixed, noise(rng, 0.5) * 0.04), (0.5, 0.5), kind="checks")


def speckle(rng: np.random.Generator, color: Color) -> Material:
    """Stone or laminate with speckles."""
    field = noise(rng, 0.4)
    shade = np.where(field > 1.2, rng.uniform(-0.35, 0.25), 0) + np.where(
        field < -1.5, rng.uniform(-0.3, 0.3), 0
    )
    tile = _paint(color, shade + noise(rng, 1.5) * 0.03)
    return Material(tile, (0.6, 0.6), gloss=rng.uniform(0.1, 0.5), kind="speckle")


def carpet(rng: np.random.Generator, color: Color) -> Material:
    """Wall-to-wall carpet: rough, with faint clouds."""
    tile = _paint(color, noise(rng, 0.2) * rng.uniform(0.04, 0.1) + noise(rng, 1.6) * 0.04)
    return Material(tile, (0.8, 0.8), kind="carpet")


def rug(rng: np.random.Generator, color: Color) -> Material:
    """A rug's repeated ornament: mirrored clouds cut into two or three colours."""
    field = noise(rng, 1.6)
    field = field + field[:, ::-1] + field[::-1] + field[::-1, ::-1]
    bands = np.digitize(field, np.quantile(field, [0.4, 0.75]))
    colors = np.stack([color, shift(rng, color, 50), shift(rng, color, 90)])
    return Material(_paint(colors[bands], noise(rng, 0.2) * 0.06), (0.8, 0.8), kind="rug")


def brick(rng: np.random.Generator, color: Color) -> Material:
    """A brick wall."""
    rows, columns = 8, 3
    row = (_y * rows).astype(int)
    along = _x * columns + 0.5 * (row % 2)
    tone = rng.normal(0, 0.09, (rows, columns))[row, along.astype(int) % columns]
    tile = _paint(color, tone + noise(rng, 0.8) * 0.05)
    tile[((_y * rows) % 1 < 0.14) | (along % 1 < 0.05)] = np.clip(color * 0.4 + 110, 0, 235)
    return Material(tile, (0.72, 0.6), upright=True, kind="brick")


def metal(rng: np.random.Generator, color: Color) -> Material:
    """Brushed metal."""
    tile = _paint(color, noise(rng, 0.5, 20) * 0.03)
    return Material(tile, (0.4, 0.4), gloss=rng.uniform(0.45, 0.85), kind="metal")


def leaf(rng: np.random.Generator, color: Color) -> Material:
    """Leaves."""
    return Material(_paint(color, noise(rng, 0.9, 4) * 0.14), (0.2, 0.1), gloss=0.15, kind="leaf")


def picture(rng: np.random.Generator, color: Color, width: float, height: float) -> Material:
    """A poster of one tile: clouds, stripes, patches or lines of text on a ground of `color`."""
    tile = np.broadcast_to(np.asarray(color, dtype=float), (TILE, TILE, 3)).copy()
    style = rng.integers(4)
    if style == 0:  # a landscape
        edge = 0.55 + 0.06 * noise(rng, 2.0)[0][None, :]
        tile[:] = np.where((_y < edge)[..., None], random_color(rng, 0.5, 0.9), random_color(rng, 0.3, 0.6))
        tile *= 1 + noise(rng, 1.3)[..., None] * 0.12
    elif style == 1:  # patches
        for _ in range(rng.integers(3, 9)):
            cx, cy, w, h = rng.random(4) * [1, 1, 0.3, 0.3] + [0, 0, 0.05, 0.05]
            if rng.random() < 0.5:
                tile[np.hypot(_x - cx, _y - cy) < w * 0.7] = random_color(rng, 0.2, 0.9)
            else:
                tile[(abs(_x - cx) < w) & (abs(_y - cy) < h)] = random_color(rng, 0.2, 0.9)
    elif style == 2:  # a printed page, a chart
        ink = random_color(rng, 0.05, 0.4)
        line = (_y * rng.integers(9, 18)) % 1 < 0.4
        ragged = _x < 0.55 + 0.4 * rng.random(TILE)[(_y * 13).astype(int)]
        tile[line & ragged & (_x > 0.1) & (_x < 0.92) & (_y > 0.2) & (_y < 0.92)] = ink
        tile[(_y > 0.07) & (_y < 0.15) & (_x > 0.1) & (_x < rng.uniform(0.5, 0.9))] = ink
    else:  # abstract bands
        field = np.digitize(noise(rng, 2.2), np.sort(rng.normal(0, 0.8, 3)))
        tile[:] = np.stack([random_color(rng, 0.2, 0.9) for _ in range(4)])[field]
    margin = rng.choice([0.0, 0.06, 0.12])
    tile[(_x < margin) | (_x > 1 - margin) | (_y < margin) | (_y > 1 - margin)] = color
    tile = np.clip(tile, 0, 255).astype(np.uint8)
    return Material(tile, (width, height), gloss=rng.uniform(0, 0.4), upright=True, kind="picture")


def outdoors(rng: np.random.Generator, width: float, height: float) -> Material:
    """What a window shows: sky above trees or houses, bright."""
    sky = np.array([185, 210, 240.0]) * (1 - 0.25 * (1 - _y))[..., None] + 12 * noise(rng, 2)[..., None]
    ground = random_color(rng, 0.25, 0.55, hue=rng.uniform(0.2, 0.4))
    edge = rng.uniform(0.45, 0.8) + 0.08 * noise(rng, 1.8)[0][None, :]
    tile = np.where((_y > edge)[..., None], ground * (1 + 0.2 * noise(rng, 0.9)[..., None]), sky)
    if rng.random() < 0.4:  # a house opposite
        left, right, roof = rng.uniform(0, 0.5), rng.uniform(0.5, 1), rng.uniform(0.3, 0.6)
        inside = (_x > left) & (_x < right) & (_y > roof)
        tile[inside] = random_color(rng, 0.4, 0.7, saturation=0.25)
        tile[inside & ((_x * 9) % 1 < 0.4) & ((_y * 9) % 1 < 0.5)] = 70
    tile = np.clip(tile, 0, 255).astype(np.uint8)
    glow = rng.uniform(0.5, 1.2)
    return Material(tile, (width, height), gloss=0.9, glow=glow, upright=True, kind="outdoors")


def screen(rng: np.random.Generator, width: float, height: float) -> Material:
    """A screen: off and dark, or showing windows or a picture."""
    if rng.random() < 0.5:
        tile = _paint(np.array([16.0, 17, 20]), noise(rng, 1.8) * 0.15)
        return Material(tile, (width, height), gloss=0.95, upright=True, kind="screen")
    shown = picture(rng, random_color(rng, 0.1, 0.5, saturation=0.4), width, height)
    return Material(shown.tile, (width, height), gloss=0.9, glow=0.35, upright=True, kind="screen")


def glowing(rng: np.random.Generator, color: Color, glow: float) -> Material:
    """A lamp shade or a light bulb."""
    return Material(_paint(color, noise(rng, 0.8) * 0.02), (0.4, 0.4), glow=glow, kind="glowing")


def random_color(
    rng: np.random.Generator,
    dark: float,
    bright: float,
    hue: float | None = None,
    saturation: float | None = None,
) -> Color:
    """A colour of value `dark`..`bright` (0..1); hue (turns) and saturation at random unless given."""
    h = rng.random() if hue is None else hue + rng.normal(0, 0.02)
    s = 0.05 + 0.7 * rng.random() ** 1.6 if saturation is None else saturation * rng.uniform(0.6, 1.3)
    return 255 * np.array(colorsys.hsv_to_rgb(h % 1, min(s, 1.0), rng.uniform(dark, bright)))


def shift(rng: np.random.Generator, color: Color, amount: float) -> Color:
    """Another colour at about `amount` RGB units from this one."""
    step = rng.normal(size=3) + rng.normal() * 1.5
    return np.clip(color + amount * step / np.linalg.norm(step), 12, 248)


WOODS = [
    (176, 128, 80),
    (140, 92, 56),
    (96, 62, 40),
    (205, 170, 125),
    (222, 196, 158),
    (160, 110, 75),
    (70, 50, 38),
]


def wood_color(rng: np.random.Generator) -> Color:
    """A colour wood comes in."""
    return np.clip(np.array(rng.choice(WOODS)) * rng.uniform(0.85, 1.15) + rng.normal(0, 5, 3), 0, 255)


def neutral(rng: np.random.Generator, dark: float = 0.1, bright: float = 0.95) -> Color:
    """White to black, faintly tinted."""
    return random_color(rng, dark, bright, saturation=0.06)

"""Small things, lamps, plants, and what hangs on walls, in the item frame of shapes.py."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from purify3d.rooms import materials as m
from purify3d.rooms.materials import Material
from purify3d.rooms.paints import Style
from purify3d.rooms.shapes import FORWARD, Item, Mesh, Top, ball, box, lathe, rod, rounded_box, sheet

Rng = np.random.Generator


def lamp(rng: Rng, style: Style, height: float) -> Item:
    """Table (height about 0.4) or floor lamp (about 1.6): foot, stem, shade."""
    item = Item("lamp")
    wide = rng.uniform(0.1, 0.15) if height < 0.8 else rng.uniform(0.16, 0.24)
    shade = rng.uniform(0.16, 0.22) if height < 0.8 else rng.uniform(0.22, 0.32)
    foot = style.metal if rng.random() < 0.5 and not style.twin else style.main
    if height < 0.8 and rng.random() < 0.5:  # a bulging vase for a foot
        h = height - shade
        item.add(lathe([0, 0.05, 0.09, 0.05, 0.02, 0.012], np.array([0, 0, 0.35, 0.7, 0.8, 1.2]) * h), foot)
    elif height > 0.8 and rng.random() < 0.3:  # tripod
        for angle in np.arange(3) * 2 * np.pi / 3:
            foot_at = 0.22 * (height - shade) * np.array([np.cos(angle), np.sin(angle), 0])
            lean = Rotation.from_euler("yz", [-0.22, angle])
            item.add(rod(0.013, 1.02 * (height - shade)), foot, foot_at, lean)
    else:
        item.add(rod(wide * 0.7, 0.02, wide * 0.6), foot)
        item.add(rod(0.011, height - 0.5 * shade), foot)
    glow = m.glowing(rng, np.array([255, 232, 196.0]) * rng.uniform(0.75, 1), rng.choice([0.0, 0.8, 1.2]))
    top = wide * rng.uniform(0.5, 1.0)
    item.add(lathe([wide, top], [height - shade, height]), glow)
    return item


def pendant(rng: Rng, style: Style, drop: float) -> Item:
    """Ceiling lamp hanging `drop` metres; z = 0 is the ceiling."""
    item = Item("lamp")
    glow = m.glowing(rng, np.array([255, 244, 225.0]), 1.2)
    if drop < 0.15:
        item.add(lathe([0.2, 0.2, 0.17, 0], [0, -0.05, -0.09, -0.1]), glow)
        return item
    item.add(rod(0.006, drop - 0.15), style.metal, (0, 0, -drop + 0.15))
    if rng.random() < 0.5:
        item.add(ball((0.14, 0.14, 0.14)), glow, (0, 0, -drop))
    else:
        item.add(lathe([0.03, 0.22, 0.23], [0.15, -0.05, -0.1]), style.metal, (0, 0, -drop))
        item.add(ball((0.05, 0.05, 0.05)), glow, (0, 0, -drop))
    return item


def plant(rng: Rng, style: Style, height: float) -> Item:
    """Pot, stems and leaves."""
    item = Item("plant")
    pot, wide = height * rng.uniform(0.22, 0.32), height * rng.uniform(0.12, 0.18)
    skin = style.main if style.twin or rng.random() < 0.5 else style.trim
    item.add(lathe([0, wide * 0.75, wide, wide * 0.92, wide * 0.9], [0, 0, pot, pot, pot * 0.9]), skin)
    soil = m.carpet(rng, np.array([60, 44, 32.0]))
    item.add(lathe([0, wide * 0.9], [pot * 0.9, pot * 0.9]), soil)
    green = m.leaf(rng, m.random_color(rng, 0.3, 0.6, hue=rng.uniform(0.24, 0.36), saturation=0.6))
    slim, reach = rng.random() < 0.4, height * rng.uniform(0.25, 0.42)
    for _ in range(int(rng.integers(12, 26))):
        angle, rise = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 1.0)
        base = np.array([0, 0, pot * 0.9 + (0 if slim else rise * (height - pot) * 0.55)])
        out = np.array([np.cos(angle), np.sin(angle), 0])
        length = reach * (1.6 if slim else 1.0) * rng.uniform(0.7, 1.1)
        lift = rng.uniform(0.5, 1.3) if slim else rng.uniform(-0.1, 0.8)
        t = np.linspace(0, 1, 5)
        up = (length * (lift * t * 1.6 - 0.6 * t**2))[:, None]
        spine = base + out * (length * t)[:, None] + np.array([0, 0, 1]) * up
        side = np.array([-out[1], out[0], 0]) * (0.05 if slim else 0.16) * height * 0.5
        width = np.sin(np.pi * np.clip(t * 0.9 + 0.08, 0, 1))[:, None]
        item.add(sheet(np.stack([spine - side * width, spine + side * width])), green)
    if not slim:
        item.add(rod(0.012, (height - pot) * 0.6), m.wood(rng, np.array([80, 62, 40.0])), (0, 0, pot * 0.9))
    return item


def trash_can(rng: Rng, style: Style) -> Item:
    """An open tapered bin, or a square one."""
    item = Item("trash can")
    radius, height = rng.uniform(0.12, 0.17), rng.uniform(0.26, 0.42)
    skin = style.main if style.twin else [style.metal, style.main, style.trim][rng.integers(3)]
    sides = 20 if rng.random() < 0.6 else 4
    bin_ = _vessel(radius, height, (0.8, 0.95, 0.77), 0.01, sides)
    item.add(bin_, skin, turn=Rotation.from_euler("z", np.pi / 4))
    return item


def _vessel(
    radius: float, height: float, shares: tuple[float, float, float], thick: float, sides: int = 20
) -> Mesh:
    """An open vessel with a bottom; `shares` of the radius: foot, inner rim, inner foot."""
    foot, rim, inside = (radius * share for share in shares)
    heights = [0, 0, height, height, thick, thick]
    return lathe([0, foot, radius, rim, inside, 0], heights, sides, sides > 4)


def carton(rng: Rng, style: Style, size: float) -> Item:
    """A closed cardboard or storage box, with tape or a lid."""
    item = Item("box")
    a, b, h = size * rng.uniform([0.7, 0.6, 0.4], [1.1, 1.0, 0.9]) / 2 * [1, 1, 2]
    if rng.random() < 0.55 and not style.twin:
        board = m.paint(rng, np.array([176, 136, 92.0]) * rng.uniform(0.85, 1.1))
        item.slab(a, (-b, b), (0, h), board)
        tape = m.plain(np.array([205, 180, 140.0]))
        item.slab(a * 0.12, (-b - 0.001, b + 0.001), (h * 0.6, h + 0.001), tape)
    else:
        item.slab(a, (-b, b), (0, h * 0.8), style.main)
        item.slab(a + 0.005, (-b - 0.005, b + 0.005), (h * 0.8, h), style.trim)
    item.tops.append(Top(-a, -b, a, b, h))
    return item


def cup(rng: Rng, style: Style) -> Item:
    """A mug, or a glass-like tumbler without a handle."""
    item = Item("cup")
    radius, height = rng.uniform(0.035, 0.048), rng.uniform(0.08, 0.13)
    skin = (
        style.main if style.twin or rng.random() < 0.3 else m.plain(m.random_color(rng, 0.2, 0.98), gloss=0.3)
    )
    item.add(_vessel(radius, height, (0.85, 0.9, 0.8), 0.008), skin)
    if rng.random() < 0.7:
        angle = np.linspace(-np.pi / 2, np.pi / 2, 7)
        out, up = radius * 0.93 + 0.55 * radius * np.cos(angle), height / 2 + 0.3 * height * np.sin(angle)
        arc, side = np.stack([out, 0 * angle, up], 1), np.array([0, 0.007, 0])
        turn = Rotation.from_euler("z", rng.uniform(0, 6.28))
        item.add(sheet(np.stack([arc - side, arc + side])), skin, turn=turn)
    return item


def _cover(rng: Rng, style: Style) -> Material:
    return style.main if style.twin or rng.random() < 0.1 else m.plain(m.random_color(rng, 0.12, 0.95))


def book_row(rng: Rng, style: Style, width: float, depth: float, clear: float) -> Item:
    """Books standing side by side along x, the last ones leaning or lying."""
    item = Item("book")
    covers = [_cover(rng, style) for _ in range(5)]
    x, tall = 0.0, min(clear - 0.03, 0.33)
    while True:
        thick = rng.uniform(0.015, 0.05)
        if x + thick > width:
            break
        height, deep = tall * rng.uniform(0.68, 1.0), min(depth - 0.01, rng.uniform(0.14, 0.21))
        item.block((x, 0.01, 0), (x + thick - 0.001, 0.01 + deep, height), covers[rng.integers(5)])
        x += thick
    if not item.parts:
        item.block((0, 0.01, 0), (min(width, 0.03), 0.15, tall * 0.8), covers[0])
    return item


def book_pile(rng: Rng, style: Style) -> Item:
    """One to five books lying on each other."""
    item = Item("book")
    z = 0.0
    for _ in range(int(rng.integers(1, 6))):
        a, b, h = rng.uniform([0.14, 0.1, 0.012], [0.26, 0.19, 0.045])
        turn = Rotation.from_euler("z", rng.normal(0, 0.15))
        item.add(box((a, b, h)), _cover(rng, style), (0, 0, z + h / 2), turn)
        z += h
    return item


def pillow(rng: Rng, style: Style, width: float, height: float) -> Item:
    """A pillow lying flat, centred on the origin."""
    item = Item("pillow")
    thick = rng.uniform(0.1, 0.16)
    item.add(rounded_box((width, height, thick), thick * 0.48), style.soft, (0, 0, thick / 2))
    return item


def cushion(rng: Rng, style: Style) -> Item:
    """A square cushion leaning backwards (towards -y)."""
    item = Item("pillow")
    size = rng.uniform(0.36, 0.46)
    lean = Rotation.from_euler("x", 0.3)
    item.add(rounded_box((size, 0.14, size), 0.065), style.soft, (0, 0.05, size / 2 - 0.01), lean)
    return item


def television(rng: Rng, style: Style, width: float, stand: bool) -> Item:
    """A flat screen on feet, or for a wall."""
    item = Item("television")
    height, foot = width * 0.57, 0.07 if stand else 0.0
    item.slab(width / 2, (0, 0.035), (foot, foot + height), style.metal)
    rim = 0.012
    glass = m.screen(rng, width - 2 * rim, height - 2 * rim)
    item.slab(width / 2 - rim, (0.03, 0.037), (foot + rim, foot + height - rim), glass)
    if stand:
        for x in (-width * 0.3, width * 0.3):
            item.block((x - 0.02, -0.08, 0), (x + 0.02, 0.12, 0.012), style.metal)
            item.block((x - 0.012, 0.008, 0), (x + 0.012, 0.024, foot), style.metal)
    return item


def monitor(rng: Rng, style: Style) -> Item:
    """A computer monitor on a stem and foot."""
    item = Item("monitor")
    width, lift = rng.uniform(0.46, 0.66), rng.uniform(0.1, 0.18)
    height = width * 0.6
    item.slab(width / 2, (0, 0.03), (lift, lift + height), style.metal)
    glass = m.screen(rng, width - 0.02, height - 0.02)
    item.slab(width / 2 - 0.01, (0.028, 0.032), (lift + 0.01, lift + height - 0.01), glass)
    item.slab(0.025, (-0.02, 0.0), (0.01, lift + height * 0.5), style.metal)
    item.slab(0.12, (-0.09, 0.09), (0, 0.012), style.metal)
    return item


def sink(rng: Rng, style: Style, width: float, depth: float) -> Item:
    """A basin let into a counter with a tap behind it; z = 0 is the worktop, x = y = 0 the basin's middle."""
    item = Item("sink")
    skin = style.metal if rng.random() < 0.75 else m.paint(rng, m.neutral(rng, 0.85, 0.98))
    a, b, deep, wall = width / 2, depth / 2, 0.17, 0.012
    item.slab(a, (-b, b), (-deep, -deep + wall), skin)
    for x0, x1 in ((-a, -a + wall), (a - wall, a)):
        item.block((x0, -b, -deep), (x1, b, 0.004), skin)
    for y in ((-b, -b + wall), (b - wall, b)):
        item.slab(a, y, (-deep, 0.004), skin)
    for x0, x1 in ((-a - 0.02, -a), (a, a + 0.02)):
        item.block((x0, -b - 0.02, 0), (x1, b + 0.02, 0.005), skin)
    for y in ((-b - 0.02, -b), (b, b + 0.02)):
        item.slab(a, y, (0, 0.005), skin)
    tap, reach = rng.uniform(0.18, 0.32), b * 0.9
    item.add(rod(0.014, tap), style.metal, (0, -b - 0.04, 0))
    item.slab(0.011, (-b - 0.045, -b - 0.04 + reach), (tap - 0.015, tap + 0.006), style.metal)
    item.add(rod(0.009, 0.05), style.metal, (0, -b - 0.045 + reach, tap - 0.06))
    return item


def frame_picture(rng: Rng, style: Style, ground: Material | None, width: float, height: float) -> Item:
    """A picture in a frame, or a bare poster 3 mm thick; `ground` gives the paper the wall's colour.
    The origin is the middle of its lower edge."""
    item = Item("picture")
    paper = m.neutral(rng, 0.75, 0.97) if rng.random() < 0.5 else m.random_color(rng, 0.3, 0.9)
    art = m.picture(rng, paper if ground is None else ground.mean, width, height)
    if rng.random() < 0.5:
        item.slab(width / 2, (0, 0.003), (0, height), art)
        return item
    rim, deep = rng.uniform(0.012, 0.04), rng.uniform(0.006, 0.02)
    bar = style.main if rng.random() < 0.6 else style.trim
    item.slab(width / 2, (0, deep * 0.5), (0, height), art)
    _frame(item, bar, width, height, rim, deep)
    return item


def _frame(item: Item, bar: Material, width: float, height: float, rim: float, deep: float) -> None:
    """Four bars inside a rectangle on the wall."""
    a = width / 2
    item.block((-a, 0, 0), (-a + rim, deep, height), bar)
    item.block((a - rim, 0, 0), (a, deep, height), bar)
    item.slab(a - rim, (0, deep), (0, rim), bar)
    item.slab(a - rim, (0, deep), (height - rim, height), bar)


def window(rng: Rng, style: Style, width: float, height: float) -> Item:
    """A window flush with its wall: panes 2 mm, frame 6 mm proud; sometimes a sill."""
    item = Item("window")
    rim = rng.uniform(0.045, 0.08)
    view = m.outdoors(rng, width, height)
    item.slab(width / 2, (0, 0.002), (0, height), view)
    _frame(item, style.main, width, height, rim, 0.006)
    for x in np.linspace(-width / 2, width / 2, int(rng.integers(1, 4)) + 1)[1:-1]:
        item.block((x - rim / 2, 0, rim), (x + rim / 2, 0.006, height - rim), style.main)
    if rng.random() < 0.4:
        z = height * rng.uniform(0.5, 0.75)
        item.slab(width / 2 - rim, (0, 0.0055), (z, z + rim * 0.6), style.main)
    if rng.random() < 0.3:
        item.slab(width / 2 + 0.04, (0, 0.08), (-0.03, 0), style.main)
    return item


def door(rng: Rng, style: Style) -> Item:
    """A closed door flush with its wall: leaf 4 mm, panels 7 mm, casing 9 mm proud, and a handle."""
    item = Item("door")
    width, height, case = rng.uniform(0.8, 0.95), rng.uniform(1.98, 2.1), rng.uniform(0.05, 0.09)
    item.slab(width / 2, (0, 0.004), (0, height), style.main)
    casing = style.main if rng.random() < 0.6 else style.trim
    for x in (-width / 2 - case, width / 2):
        item.block((x, 0, 0), (x + case, 0.009, height + case), casing)
    item.slab(width / 2, (0, 0.009), (height, height + case), casing)
    panel = style.main if rng.random() < 0.7 else style.trim
    if rng.random() < 0.6:
        for low, high in ((0.12, 0.85), (0.98, height - 0.14)):
            item.slab(width / 2 - 0.12, (0, 0.007), (low, high), panel)
    side = rng.choice([-1, 1]) * (width / 2 - 0.07)
    item.add(rod(0.025, 0.012), style.metal, (side, 0.004, 1.02), FORWARD)
    reach = -np.sign(side) * 0.12
    item.block((min(side, side + reach), 0.045, 1.01), (max(side, side + reach), 0.06, 1.03), style.metal)
    item.block((side - 0.009, 0.004, 1.011), (side + 0.009, 0.05, 1.029), style.metal)
    return item


def curtain(rng: Rng, style: Style, width: float, height: float) -> Item:
    """A hanging cloth in folds under a rod; the origin is the middle of its lower edge."""
    item = Item("curtain")
    folds = max(2, round(width / rng.uniform(0.08, 0.14)))
    x = np.linspace(-width / 2, width / 2, folds * 8 + 1)
    y = 0.055 + 0.03 * np.sin(2 * np.pi * folds * (x / width + 0.5)) + rng.normal(0, 0.002, len(x))
    rows = [
        np.stack([x * (1 + 0.03 * bulge), y, np.full_like(x, z)], axis=1)
        for z, bulge in ((0, 1), (height, -1))
    ]
    item.add(sheet(np.stack(rows)), style.soft)
    return item


def curtain_rod(rng: Rng, style: Style, width: float) -> Item:
    """The rod curtains hang from, with two brackets."""
    item = Item("curtain")
    across = Rotation.from_euler("y", 90, degrees=True)
    item.add(rod(0.012, width), style.metal, (-width / 2, 0.055, 0), across)
    for x in (-width * 0.45, width * 0.45):
        item.block((x - 0.008, 0, -0.008), (x + 0.008, 0.055, 0.008), style.metal)
    return item


def rug(rng: Rng, style: Style, width: float, depth: float) -> Item:
    """A rug of about one centimetre, rectangular or round."""
    item = Item("rug")
    thick = rng.uniform(0.006, 0.014)
    painter = m.rug if rng.random() < 0.6 else m.carpet
    color = style.soft.mean if rng.random() < 0.5 else m.random_color(rng, 0.2, 0.9, saturation=0.45)
    skin = painter(rng, color)
    if abs(width - depth) < 0.3 and rng.random() < 0.6:
        item.add(rod(min(width, depth) / 2, thick, sides=40), skin, (0, depth / 2, 0))
        return item
    item.slab(width / 2, (0, depth), (0, thick), skin)
    if rng.random() < 0.4:
        border = m.carpet(rng, m.shift(rng, color, 60))
        for x in (-width / 2, width / 2 - 0.06):
            item.block((x, 0, 0), (x + 0.06, depth, thick + 0.001), border)
    return item

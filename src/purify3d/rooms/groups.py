"""Pieces of furniture that belong together, arranged in one frame and placed in a room as one.

Group frame: as the item frame (x along the width, 0 in the middle; y from the back to the front; z up).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from purify3d.rooms import furniture as f
from purify3d.rooms import objects as o
from purify3d.rooms.paints import Style
from purify3d.rooms.shapes import Item, Top, around

Rng = np.random.Generator


class Styles(Protocol):
    """Draws the materials of the next object, which may take after `host` (None: floor or wall)."""

    def __call__(self, host: Item | None = None) -> Style: ...


def sleeping(rng: Rng, styles: Styles) -> list[Item]:
    """A bed with pillows, nightstands and their lamps."""
    bed = f.bed(rng, styles())
    group = [bed]
    top = bed.tops[0]
    count = 2 if top.x1 - top.x0 > 1.25 else 1
    linen = styles(bed)
    for i in range(count):
        slot = (top.x1 - top.x0) / count
        pillow = o.pillow(rng, linen, min(0.68, slot - 0.06), rng.uniform(0.36, 0.46))
        group.append(pillow.moved((top.x0 + (i + 0.5) * slot, top.y0 + 0.26, top.z)))
    low, high = bed.bounds()
    style = styles()
    for side in rng.permutation([-1, 1])[: 1 + (rng.random() < 0.6)]:
        stand = f.nightstand(rng, style)
        half = stand.bounds()[1, 0]
        x = high[0] + half + 0.05 if side > 0 else low[0] - half - 0.05
        group.append(stand.moved((x, 0, 0)))
        if rng.random() < 0.75:
            lamp = o.lamp(rng, styles(stand), rng.uniform(0.36, 0.5))
            group.append(lamp.moved((x, rng.uniform(0.16, 0.22), stand.tops[0].z)))
    if rng.random() < 0.4:
        group.append(o.rug(rng, styles(), rng.uniform(1.0, 1.7), 0.6).moved((0, high[1] + 0.05, 0)))
    return group


def sitting(rng: Rng, styles: Styles) -> list[Item]:
    """A sofa with cushions, and before it a coffee table, mostly on a rug."""
    sofa = f.sofa(rng, styles())
    group = [sofa]
    top = sofa.tops[0]
    for side in (-1, 1):
        if rng.random() < 0.6:
            x = side * (top.x1 - 0.3) + rng.normal(0, 0.03)
            cushion = o.cushion(rng, styles(sofa))
            group.append(cushion.moved((x, top.y0 + 0.07, top.z + 0.003), rng.normal(0, 0.12)))
    front, lift = sofa.bounds()[1, 1], 0.0
    width, depth = rng.uniform(0.6, 1.2), rng.uniform(0.5, 0.7)
    if rng.random() < 0.65:
        rug = o.rug(rng, styles(), max(rng.uniform(1.5, 2.3), width + 0.4), depth + rng.uniform(0.5, 0.9))
        lift = _top(rug)
        group.append(rug.moved((0, front + 0.05, 0)))
    if rng.random() < 0.85:
        table = f.table(rng, styles(), width, depth, rng.uniform(0.36, 0.48))
        group.append(table.moved((0, front + 0.4, lift)))
    return group


def media(rng: Rng, styles: Styles) -> list[Item]:
    """A television on a low cabinet, or on the wall above it."""
    stand = f.tv_stand(rng, styles())
    top = stand.tops[0]
    width = min(rng.uniform(0.8, 1.4), top.x1 - top.x0)
    standing = rng.random() < 0.6
    screen = o.television(rng, styles(), width, standing)
    y, z = (top.y1 * 0.45, top.z) if standing else (0.0, top.z + rng.uniform(0.2, 0.45))
    return [stand, screen.moved((0, y, z))]


def dining(rng: Rng, styles: Styles) -> list[Item]:
    """A table with two to six chairs, sometimes on a rug; free-standing."""
    width, depth = rng.choice([0.8, 0.95, 1.25, 1.6]) + rng.uniform(0, 0.15), rng.uniform(0.78, 0.95)
    table = f.table(rng, styles(), width, depth, rng.uniform(0.72, 0.77))
    style, seed = styles(), int(rng.integers(1 << 30))
    seats = []
    count = 2 if width > 1.2 else 1
    for i in range(count):
        x = (i - (count - 1) / 2) * width / 2
        seats += [(x, 0.0, 0.0), (x, depth, np.pi)]
    if rng.random() < 0.6:
        seats += [(-width / 2, depth / 2, -np.pi / 2), (width / 2, depth / 2, np.pi / 2)]
    chairs = []
    for x, y, yaw in seats:
        if rng.random() < 0.12:
            continue
        chair = f.chair(np.random.default_rng(seed), style)  # a set: the same chair each time
        # The chair's back is its y = 0, its front is pushed a hand's breadth under the table top.
        back = chair.bounds()[1, 1] - rng.uniform(-0.25, 0.12)
        away = back * np.array([np.sin(yaw), -np.cos(yaw)])
        chairs.append(chair.moved((x + away[0], y + away[1], 0), yaw + rng.normal(0, 0.06)))
    group = [table, *chairs]
    if rng.random() < 0.5:
        low, high = around(group)
        rug = o.rug(rng, styles(), high[0] - low[0] + 0.3, high[1] - low[1] + 0.3)
        if len(rug.parts) > 1 or len(rug.parts[0].mesh.vertices) == 8:  # chairs would step off a round one
            group = [item.moved((0, 0, _top(rug))) for item in group]
            group.append(rug.moved(((low[0] + high[0]) / 2, low[1] - 0.15, 0)))
    return group


def working(rng: Rng, styles: Styles) -> list[Item]:
    """A desk with monitors, a lamp, a chair and a trash can."""
    desk = f.desk(rng, styles())
    group = [desk]
    top = desk.tops[0]
    count = int(rng.integers(1, 3)) if top.x1 - top.x0 > 1.3 else 1
    style, seed = styles(desk), int(rng.integers(1 << 30))
    for i in range(count):
        screen = o.monitor(np.random.default_rng(seed), style)
        x = (i - (count - 1) / 2) * (screen.bounds()[1, 0] * 2 + 0.03)
        group.append(screen.moved((x, rng.uniform(0.14, 0.2), top.z), rng.normal(0, 0.04)))
    taken = count * 0.34
    if rng.random() < 0.6 and top.x1 > taken + 0.15:
        group.append(o.lamp(rng, styles(desk), rng.uniform(0.36, 0.5)).moved((-(top.x1 - 0.12), 0.15, top.z)))
    chair = f.chair(rng, styles())
    x, y = rng.normal(0, 0.08), top.y1 + chair.bounds()[1, 1] - rng.uniform(-0.2, 0.1)
    group.append(chair.moved((x, y, 0), np.pi + rng.normal(0, 0.25)))
    if rng.random() < 0.6:
        group.append(o.trash_can(rng, styles()).moved((top.x1 + 0.25, 0.3, 0)))
    # What is left of the desk is free for clutter.
    desk.tops[:] = [Top(top.x0, 0.36, top.x1, top.y1, top.z)]
    return group


def cooking(rng: Rng, styles: Styles) -> list[Item]:
    """A kitchen counter with a sink, cabinets on the wall above it, a refrigerator beside it."""
    width = rng.uniform(1.5, 2.6)
    middle, half = rng.uniform(-0.2, 0.2) * width, rng.uniform(0.22, 0.32)
    style = styles()
    counter = f.counter(rng, style, width, (middle - half, middle + half))
    depth, height = counter.tops[0].y1, counter.tops[0].z
    group = [counter, o.sink(rng, styles(), 2 * half, depth - 0.2).moved((middle, depth / 2, height))]
    if rng.random() < 0.8:
        fridge = f.refrigerator(rng, styles())
        x = width / 2 + fridge.bounds()[1, 0] + 0.02
        group.append(fridge.moved((x if rng.random() < 0.5 else -x, 0, 0)))
    if rng.random() < 0.7:
        hung = Item("cabinet")
        z0, z1 = height + rng.uniform(0.5, 0.6), height + rng.uniform(1.05, 1.25)
        a = width / 2 * rng.uniform(0.6, 1.0)
        hung.slab(a, (0, 0.31), (z0, z1), style.main)
        f.drawers(hung, rng, style, (-a, a), (z0, z1), 0.31, 1, max(2, round(2 * a / 0.45)))
        group.append(hung.moved((0, 0.005, 0)))
    return group


def shelving(rng: Rng, styles: Styles) -> list[Item]:
    """A bookshelf filled with rows and piles of books, boxes, a small plant."""
    shelf = f.bookshelf(rng, styles())
    group = [shelf]
    height = shelf.bounds()[1, 2]
    levels = sorted({round(top.z, 4) for top in shelf.tops} | {round(height, 4)})
    for top in shelf.tops:
        above = [z for z in levels if z > top.z + 0.05]
        clear = (above[0] - 0.022 if above else top.z + 0.4) - top.z
        wide, deep = top.x1 - top.x0, top.y1 - top.y0
        middle = (top.x0 + top.x1) / 2, (top.y0 + top.y1) / 2, top.z
        draw = rng.random()
        if draw < 0.68:
            start = rng.uniform(0, 0.3) * wide * (rng.random() < 0.5)
            row = o.book_row(rng, styles(shelf), (wide - start) * rng.uniform(0.5, 1.0) - 0.01, deep, clear)
            group.append(row.moved((top.x0 + start + 0.004, top.y0, top.z)))
        elif draw < 0.85:
            size = min(clear * 0.95, wide * 0.8, deep * 0.95, 0.3)
            group.append(o.carton(rng, styles(shelf), size).moved(middle))
        elif clear > 0.25:
            group.append(o.plant(rng, styles(shelf), min(clear * 0.6, 0.3)).moved(middle))
    shelf.tops.clear()
    return group


def storing(rng: Rng, styles: Styles) -> list[Item]:
    """A wardrobe, a sideboard or a chest of drawers."""
    return [f.cabinet(rng, styles())]


def cooling(rng: Rng, styles: Styles) -> list[Item]:
    """A refrigerator by itself."""
    return [f.refrigerator(rng, styles())]


def growing(rng: Rng, styles: Styles) -> list[Item]:
    """A big plant."""
    height = rng.uniform(0.6, 1.5)
    return [o.plant(rng, styles(), height).moved((0, 0.28 * height, 0))]


def reading(rng: Rng, styles: Styles) -> list[Item]:
    """A floor lamp."""
    return [o.lamp(rng, styles(), rng.uniform(1.4, 1.75)).moved((0, 0.26, 0))]


def binning(rng: Rng, styles: Styles) -> list[Item]:
    """A trash can."""
    return [o.trash_can(rng, styles()).moved((0, 0.2, 0))]


def stacking(rng: Rng, styles: Styles) -> list[Item]:
    """One to three boxes on each other."""
    group: list[Item] = []
    z, size = 0.0, rng.uniform(0.35, 0.6)
    for _ in range(int(rng.integers(1, 4))):
        carton = o.carton(rng, styles(group[-1] if group else None), size)
        group.append(carton.moved((0, 0.3, z), rng.normal(0, 0.08)))
        z += carton.tops[0].z
        size *= rng.uniform(0.7, 0.9)
        carton.tops.clear()
    return group


def resting(rng: Rng, styles: Styles) -> list[Item]:
    """A chair by itself."""
    return [f.chair(rng, styles())]


def _top(item: Item) -> float:
    return float(item.bounds()[1, 2])

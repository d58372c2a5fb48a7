"""Furniture that stands on the floor. Each kind draws its own dimensions, number and form of parts.

Every function returns one item in the item frame (shapes.py): x along the width, y from the back to the
front, z up from the floor.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.spatial.transform import Rotation

from purify3d.rooms.paints import Style
from purify3d.rooms.shapes import FORWARD, Item, Span, Top, box, lathe, rod

Rng = np.random.Generator


def _legs(item: Item, rng: Rng, style: Style, low: np.ndarray, high: np.ndarray, height: float) -> None:
    """Four thin legs under a rectangle, square or round, upright or splayed."""
    material = style.trim if rng.random() < 0.5 else style.main
    if rng.random() < 0.3 and not style.twin:
        material = style.metal
    thick, tilt = rng.uniform(0.02, 0.04), rng.choice([0.0, 0.0, 0.1])
    round_ = rng.random() < 0.4
    middle = (low + high) / 2
    for x in (low[0] + thick, high[0] - thick):
        for y in (low[1] + thick, high[1] - thick):
            lean = tilt * np.array([np.sign(y - middle[1]), -np.sign(x - middle[0]), 0])
            turn = Rotation.from_rotvec(lean)
            inset = 0.5 * height * tilt
            at = np.array([x - inset * np.sign(-lean[1]), y - inset * np.sign(lean[0]), height])
            leg = rod(thick / 2 * 0.7, height, thick / 2) if round_ else box((thick, thick, height))
            item.add(leg, material, at - turn.apply([0, 0, height if round_ else height / 2]), turn)


def table(rng: Rng, style: Style, width: float, depth: float, height: float) -> Item:
    """Dining or coffee table: rectangular or round top on four legs, two panels or a pedestal."""
    item = Item("table")
    thick = rng.uniform(0.02, 0.045)
    under = height - thick
    half = width / 2
    if abs(width - depth) < 0.15 and rng.random() < 0.7:
        radius = (width + depth) / 4
        item.add(rod(radius, thick, sides=32), style.main, (0, depth / 2, under))
        free = 0.6 * radius
        item.tops.append(Top(-free, depth / 2 - free, free, depth / 2 + free, height))
        item.add(rod(rng.uniform(0.025, 0.05), under), style.trim, (0, depth / 2, 0))
        foot = lathe([0, 0.55 * radius, 0.5 * radius, 0.04, 0], [0, 0, 0.02, 0.05, 0.05])
        item.add(foot, style.trim, (0, depth / 2, 0))
        return item
    item.slab(half, (0, depth), (under, height), style.main)
    item.tops.append(Top(-half, 0, half, depth, height))
    form = rng.integers(4)
    if form == 0:
        for x in (-half + 0.06, half - 0.06):
            item.block((x - 0.015, 0.05, 0), (x + 0.015, depth - 0.05, under), style.main)
        item.slab(half - 0.07, (depth / 2 - 0.01, depth / 2 + 0.01), (0.3 * height, 0.5 * height), style.main)
        return item
    _legs(item, rng, style, np.array([-half + 0.02, 0.02]), np.array([half - 0.02, depth - 0.02]), under)
    if form > 1:
        for y in (0.05, depth - 0.07):
            item.slab(half - 0.06, (y, y + 0.02), (under - 0.08, under), style.main)
    if height < 0.55 and rng.random() < 0.4:
        item.slab(half - 0.05, (0.05, depth - 0.05), (0.12, 0.135), style.trim)
    return item


def desk(rng: Rng, style: Style) -> Item:
    """Desk: a top on panel legs or trestles, with a drawer block and a modesty panel."""
    item = Item("desk")
    width, depth, height = rng.uniform(1.0, 1.6), rng.uniform(0.55, 0.75), rng.uniform(0.71, 0.76)
    half, under = width / 2, height - 0.028
    item.slab(half, (0, depth), (under, height), style.main)
    item.tops.append(Top(-half, 0, half, depth, height))
    legs = style.metal if rng.random() < 0.4 else style.main
    sides = [-1, 1]
    if rng.random() < 0.65:
        side = int(rng.choice(sides))
        sides.remove(side)
        x0, x1 = sorted((side * (half - 0.02), side * (half - rng.uniform(0.34, 0.44))))
        item.block((x0, 0.04, 0), (x1, depth - 0.04, under), style.main)
        drawers(item, rng, style, (x0, x1), (0.05, under - 0.02), depth - 0.04, int(rng.integers(2, 5)))
    for side in sides:
        x = side * (half - 0.04)
        if rng.random() < 0.5:
            item.block((x - 0.012, 0.03, 0), (x + 0.012, depth - 0.03, under), legs)
        else:
            for y in (0.05, depth - 0.05):
                item.add(rod(0.017, under), legs, (x, y, 0))
    if rng.random() < 0.6:
        item.slab(half - 0.05, (0.05, 0.065), (under - 0.35, under), style.main)
    return item


def chair(rng: Rng, style: Style) -> Item:
    """Chair: four legs with a slatted, solid or padded back, or an office chair on a star base."""
    item = Item("chair")
    width, depth = rng.uniform(0.4, 0.48), rng.uniform(0.4, 0.48)
    height, half, back = rng.uniform(0.43, 0.47), width / 2, rng.uniform(0.38, 0.55)
    if rng.random() < 0.35:
        _office_base(item, rng, style, depth, height)
        item.slab(half, (0, depth), (height - 0.07, height), style.soft, soft=0.03)
        item.slab(half - 0.02, (-0.03, 0.03), (height + 0.1, height + 0.1 + back), style.soft, soft=0.025)
        item.slab(0.03, (-0.05, -0.03), (height - 0.05, height + 0.3), style.metal)
        if rng.random() < 0.6:
            for x in (-half - 0.03, half):
                item.block((x, 0.06, height + 0.18), (x + 0.03, depth - 0.1, height + 0.21), style.metal)
                item.block((x, 0.2, height - 0.04), (x + 0.03, 0.24, height + 0.18), style.metal)
        return item
    _legs(item, rng, style, np.array([-half, 0.0]), np.array([half, depth]), height - 0.025)
    padded = rng.random() < 0.45
    item.slab(half, (0, depth), (height - 0.025, height - 0.001 if not padded else height - 0.01), style.main)
    if padded:
        item.slab(half, (0.01, depth), (height - 0.02, height + 0.03), style.soft, soft=0.02)
    top = height + back
    for x in (-half, half - 0.03):
        item.block((x, 0, height - 0.01), (x + 0.03, 0.03, top), style.main)
    match rng.integers(3):
        case 0:
            for z in np.arange(height + 0.12, top - 0.02, rng.uniform(0.09, 0.16)):
                item.slab(half - 0.02, (0.005, 0.022), (z, z + 0.05), style.main)
        case 1:
            item.slab(half - 0.02, (0.002, 0.025), (height + 0.12, top), style.main)
        case _:
            item.slab(half, (-0.015, 0.035), (height + 0.1, top + 0.02), style.soft, soft=0.02)
    return item


def _office_base(item: Item, rng: Rng, style: Style, depth: float, height: float) -> None:
    item.add(rod(0.025, height - 0.1), style.metal, (0, depth / 2, 0.06))
    start, hub = rng.uniform(0, np.pi), np.array([0, depth / 2, 0])
    for angle in start + np.arange(5) * 2 * np.pi / 5:
        turn = Rotation.from_euler("z", angle)
        item.add(box((0.28, 0.035, 0.025)), style.metal, hub + turn.apply([0.14, 0, 0.075]), turn)
        item.add(rod(0.025, 0.05), style.metal, hub + turn.apply([0.27, 0, 0]))


def sofa(rng: Rng, style: Style) -> Item:
    """Sofa of two or three seats with arms, back, seat and back cushions, on legs or a plinth."""
    item = Item("sofa")
    seats, seat_width = int(rng.integers(2, 4)), rng.uniform(0.58, 0.72)
    arm, depth = rng.uniform(0.1, 0.24), rng.uniform(0.8, 0.95)
    seat, back = rng.uniform(0.4, 0.46), rng.uniform(0.72, 0.9)
    half, foot = seats * seat_width / 2, rng.choice([0.02, 0.08, 0.13])
    body, cushion = style.soft, style.soft if rng.random() < 0.7 else style.soft2
    if foot > 0.05:
        for x in (-half - arm + 0.07, half + arm - 0.07):
            for y in (0.08, depth - 0.08):
                item.add(rod(0.016, foot + 0.01, 0.024), style.trim, (x, y, 0))
    else:
        item.slab(half, (0.05, depth - 0.05), (0, 0.04), style.trim)
    item.slab(half + arm, (0, depth - 0.02), (foot, seat - 0.14), body, soft=0.02)
    item.slab(half + arm, (0, 0.2), (foot, back), body, soft=0.06)
    top = seat + rng.uniform(0.12, 0.22)
    for x in (-half - arm, half):
        item.block((x, 0.02, foot), (x + arm, depth, top), body, soft=min(0.06, arm * 0.45))
    for i in range(seats):
        x = -half + i * seat_width
        item.block((x, 0.15, seat - 0.16), (x + seat_width, depth, seat), cushion, soft=0.045)
        low, high = (x + 0.01, 0.17, seat - 0.02), (x + seat_width - 0.01, 0.36, back + 0.04)
        item.block(low, high, cushion, soft=0.06)
    item.tops.append(Top(-half, 0.36, half, depth - 0.05, seat))
    return item


def bed(rng: Rng, style: Style) -> Item:
    """Bed, its head at the back: headboard, frame or box, mattress, blanket hanging over the sides."""
    item = Item("bed")
    half, length = rng.uniform(0.45, 0.9), rng.uniform(1.9, 2.1)
    frame, top = rng.uniform(0.25, 0.35), rng.uniform(0.46, 0.58)
    head = rng.uniform(0.75, 1.2)
    if rng.random() < 0.5:
        item.slab(half + 0.03, (0.03, length + 0.05), (0.1, frame), style.main)
        for x in (-half, half - 0.06):
            for y in (0.06, length - 0.03):
                item.block((x, y, 0), (x + 0.06, y + 0.06, 0.1), style.main)
    else:
        item.slab(half + 0.02, (0.03, length + 0.03), (0.0, frame), style.soft)
    padded = rng.random() < 0.4
    item.slab(half + 0.03, (0, 0.06), (0, head), style.soft if padded else style.main, soft=0.02 * padded)
    sheet = style.soft2
    item.slab(half, (0.06, length), (frame - 0.02, top - 0.015), sheet, soft=0.04)
    fold = rng.uniform(0.5, 0.9)
    item.slab(half + 0.025, (fold, length + 0.025), (frame - 0.05, top + 0.02), style.soft, soft=0.05)
    if rng.random() < 0.4:
        item.slab(half + 0.03, (fold + 0.8, fold + 1.2), (frame, top + 0.03), style.soft2, soft=0.03)
    item.tops.append(Top(-half, 0.07, half, fold, top - 0.015))
    return item


def drawers(
    item: Item, rng: Rng, style: Style, x: Span, z: Span, y: float, rows: int, columns: int = 1
) -> None:
    """Drawer or door fronts on the face at y, between the ends of x and z, with a knob or bar each."""
    front = style.main if rng.random() < 0.6 else style.trim
    bar = rng.random() < 0.6
    gap = 0.006
    xs, zs = np.linspace(*x, columns + 1), np.linspace(*z, rows + 1)
    for i in range(columns):
        for j in range(rows):
            left, right, low, high = xs[i] + gap, xs[i + 1] - gap, zs[j] + gap, zs[j + 1] - gap
            item.block((left, y, low), (right, y + 0.016, high), front)
            cx, cz, wide, tall = (left + right) / 2, (low + high) / 2, 0.08, 0.006
            if high - low > 1.3 * (right - left):  # a door
                cx, wide, tall = right - 0.05 if i % 2 == 0 else left + 0.05, 0.006, 0.09
            if bar:
                item.block((cx - wide, y + 0.03, cz - tall), (cx + wide, y + 0.042, cz + tall), style.metal)
            else:
                item.add(rod(0.013, 0.03), style.metal, (cx, y + 0.016, cz), FORWARD)


def nightstand(rng: Rng, style: Style) -> Item:
    """Nightstand: a small chest with drawers, or a shelf on legs."""
    item = Item("nightstand")
    half, depth, height = rng.uniform(0.19, 0.26), rng.uniform(0.35, 0.42), rng.uniform(0.45, 0.6)
    foot = rng.choice([0.0, 0.12, 0.2])
    if foot:
        _legs(item, rng, style, np.array([-half, 0.0]), np.array([half, depth - 0.02]), foot)
    item.slab(half, (0, depth - 0.02), (foot, height), style.main)
    rows = int(rng.integers(1, 3))
    drawers(item, rng, style, (-half, half), (foot + 0.01, height - 0.02), depth - 0.02, rows)
    item.tops.append(Top(-half, 0, half, depth - 0.02, height))
    return item


def cabinet(rng: Rng, style: Style) -> Item:
    """Wardrobe, sideboard or chest of drawers."""
    item = Item("cabinet")
    tall = rng.random() < 0.4
    if tall:
        width, depth, height = rng.uniform(0.8, 1.6), rng.uniform(0.5, 0.6), rng.uniform(1.8, 2.15)
        rows, columns = 1, max(2, round(width / 0.5))
    else:
        width, depth, height = rng.uniform(0.8, 1.7), rng.uniform(0.38, 0.48), rng.uniform(0.6, 1.0)
        rows, columns = int(rng.integers(1, 5)), max(1, round(width / rng.uniform(0.4, 0.8)))
    half, foot = width / 2, rng.choice([0.04, 0.06, 0.14])
    if foot > 0.1:
        _legs(item, rng, style, np.array([-half, 0.0]), np.array([half, depth - 0.03]), foot)
    else:
        item.slab(half - 0.02, (0.02, depth - 0.05), (0, foot), style.trim)
    item.slab(half, (0, depth - 0.03), (foot, height), style.main)
    drawers(item, rng, style, (-half, half), (foot + 0.01, height - 0.03), depth - 0.03, rows, columns)
    if not tall:
        item.tops.append(Top(-half, 0, half, depth - 0.03, height))
    return item


def tv_stand(rng: Rng, style: Style) -> Item:
    """A low cabinet with open compartments and doors."""
    item = Item("cabinet")
    half, depth, height = rng.uniform(0.6, 0.95), rng.uniform(0.38, 0.45), rng.uniform(0.4, 0.58)
    item.slab(half, (0, depth), (height - 0.03, height), style.main)
    item.slab(half, (0, depth - 0.02), (0.05, 0.08), style.main)
    item.slab(half - 0.03, (0, depth - 0.06), (0, 0.05), style.trim)
    item.slab(half, (0, 0.012), (0.08, height - 0.03), style.main)
    walls = np.linspace(-half, half - 0.02, int(rng.integers(3, 5)))
    for x in walls:
        item.block((x, 0.01, 0.08), (x + 0.02, depth - 0.02, height - 0.03), style.main)
    for left, right in pairwise(walls):
        if rng.random() < 0.6:
            drawers(item, rng, style, (left + 0.02, right), (0.08, height - 0.03), depth - 0.03, rows=1)
        else:
            low, high = (left + 0.02, 0.01, height * 0.5), (right, depth - 0.04, height * 0.5 + 0.015)
            item.block(low, high, style.main)
    item.tops.append(Top(-half, 0, half, depth, height))
    return item


def bookshelf(rng: Rng, style: Style) -> Item:
    """Open shelves, with or without a back; the compartments are its tops."""
    item = Item("bookshelf")
    half, depth = rng.uniform(0.38, 0.65), rng.uniform(0.26, 0.34)
    height = rng.choice([rng.uniform(0.8, 1.2), rng.uniform(1.6, 2.1), rng.uniform(1.6, 2.1)])
    board, shelves = 0.022, max(2, round(height / rng.uniform(0.3, 0.4)))
    levels = np.linspace(0.05, height - board, shelves + 1)
    for x in (-half, half - board):
        item.block((x, 0, 0), (x + board, depth, height), style.main)
    for z in levels:
        item.slab(half - board, (0, depth - 0.002), (z, z + board), style.main)
    if rng.random() < 0.75:
        back = style.main if rng.random() < 0.6 else style.trim
        item.slab(half - board, (0, 0.008), (0.05, height), back)
    middle = half > 0.5 and rng.random() < 0.6
    if middle:
        item.slab(board / 2, (0.008, depth - 0.004), (0.05, height - board), style.main)
    inner = half - board
    spans = [(-inner, -board / 2), (board / 2, inner)] if middle else [(-inner, inner)]
    for z in levels[:-1]:
        for x0, x1 in spans:
            item.tops.append(Top(x0, 0.01, x1, depth, z + board))
    if height < 1.3:
        item.tops.append(Top(-half, 0, half, depth, height))
    return item


def refrigerator(rng: Rng, style: Style) -> Item:
    """Refrigerator with one to three doors and handles; white, metal or in the colour of its style."""
    item = Item("refrigerator")
    half, depth, height = rng.uniform(0.29, 0.42), rng.uniform(0.58, 0.72), rng.uniform(1.45, 1.95)
    body = style.metal if rng.random() < 0.5 else style.main
    item.slab(half, (0, depth - 0.06), (0.02, height), body)
    item.slab(half - 0.03, (0.05, depth - 0.1), (0, 0.03), style.metal)
    splits = [[0.0, 1.0], [0.0, 0.35, 1.0], [0.0, 0.68, 1.0], [0.0, 0.3, 0.6, 1.0]][rng.integers(4)]
    z = 0.04 + np.array(splits) * (height - 0.045)
    side = rng.choice([-1, 1])
    for low, high in pairwise(z):
        item.slab(half, (depth - 0.055, depth), (low + 0.004, high - 0.004), body, soft=0.008)
        x, middle = side * (half - 0.05), (low + high) / 2
        reach = min(0.25, (high - low) * 0.35)
        bar = (x - 0.01, depth + 0.02, middle - reach), (x + 0.01, depth + 0.035, middle + reach)
        item.block(*bar, style.metal)
        for end in (middle - reach, middle + reach - 0.02):
            item.block((x - 0.008, depth, end), (x + 0.008, depth + 0.02, end + 0.02), style.metal)
    return item


def counter(rng: Rng, style: Style, width: float, basin: tuple[float, float] | None) -> Item:
    """Kitchen counter: base units with fronts under a worktop, which is open over `basin` (x0, x1)."""
    item = Item("counter")
    half, depth, height = width / 2, rng.uniform(0.58, 0.64), rng.uniform(0.86, 0.93)
    base = height - 0.04
    item.slab(half, (0, 0.02), (0.1, base), style.main)
    item.slab(half - 0.01, (0.05, depth - 0.08), (0, 0.1), style.trim)
    holes = [(-half, half)] if basin is None else [(-half, basin[0]), (basin[1], half)]
    for x0, x1 in holes:
        item.block((x0, 0, 0.1), (x1, depth - 0.03, base), style.main)
        item.block((x0, 0, base), (x1, depth, height), style.trim)
        item.tops.append(Top(x0, 0, x1, depth, height))
    if basin is not None:
        item.block((basin[0], depth - 0.06, 0.1), (basin[1], depth - 0.03, base), style.main)
        item.block((basin[0], 0, base), (basin[1], 0.1, height), style.trim)
        item.block((basin[0], depth - 0.1, base), (basin[1], depth, height), style.trim)
    rows, columns = int(rng.integers(1, 3)), max(1, round(width / 0.55))
    drawers(item, rng, style, (-half, half), (0.1, base), depth - 0.03, rows, columns)
    return item

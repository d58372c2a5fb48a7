"""Lay out a room: walls, doors, windows, furniture along walls and in the middle, clutter on what is flat."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from purify3d.rooms import groups as g
from purify3d.rooms import objects as o
from purify3d.rooms.materials import Material
from purify3d.rooms.paints import Palette, Style
from purify3d.rooms.shapes import Item, Mesh, Top, around, sheet

Rng = np.random.Generator

_THEMES: dict[str, list[Callable[[Rng, g.Styles], list[Item]]]] = {
    "living": [g.sitting, g.media, g.shelving, g.dining, g.storing, g.sitting, g.working],
    "bedroom": [g.sleeping, g.storing, g.working, g.shelving, g.media, g.resting],
    "office": [g.working, g.working, g.shelving, g.storing, g.dining, g.shelving, g.sitting],
    "kitchen": [g.cooking, g.dining, g.cooling, g.storing, g.shelving, g.sitting],
    "studio": [g.cooking, g.sitting, g.sleeping, g.working, g.dining, g.media, g.shelving, g.cooling],
}
#: What lies on what is flat, and sizes it is drawn between.
_CLUTTER: list[tuple[Callable[..., Item], tuple[float, float] | None]] = [
    (o.book_pile, None),
    (o.cup, None),
    (o.carton, (0.1, 0.28)),
    (o.lamp, (0.3, 0.45)),
    (o.plant, (0.16, 0.34)),
]
_SMALL = [g.growing, g.reading, g.binning, g.stacking, g.growing, g.stacking, g.binning, g.resting]


@dataclass(frozen=True)
class Wall:
    """A stretch of wall: `start` (2,), unit `along` (2,), `inward` (2,) normal, length (metres), its skin."""

    start: np.ndarray
    along: np.ndarray
    inward: np.ndarray
    length: float
    skin: Material

    def spot(self, s: float, gap: float) -> np.ndarray:
        """(2,) position at `s` metres along the wall, `gap` away from it."""
        return self.start + s * self.along + gap * self.inward

    @property
    def yaw(self) -> float:
        """Turn that puts an item's back to the wall."""
        return float(np.arctan2(self.along[1], self.along[0]))

    def place(self, item: Item, s: float, gap: float, z: float = 0.0) -> Item:
        """Put an item's back to the wall, its middle at `s` metres, `gap` away, `z` high."""
        return item.moved((*self.spot(s, gap), z), self.yaw)


@dataclass(frozen=True)
class Light:
    """A source spread over a rectangle: centre (3,), half edges `a`, `b` (3,), linear RGB power (3,);
    `facing` (3,) for one that shines to one side only, else zeros."""

    center: np.ndarray
    a: np.ndarray
    b: np.ndarray
    power: np.ndarray
    facing: np.ndarray

    @classmethod
    def flat(cls, center: np.ndarray, half: float, power: np.ndarray) -> Light:
        """A level square that shines to all sides; `half` its edge in metres."""
        return cls(center, np.array([half, 0, 0]), np.array([0, half, 0]), power, np.zeros(3))


@dataclass(frozen=True)
class Room:
    """A furnished room in world coordinates: +z up, metres, floor at z = 0.

    Attributes:
        items: every object instance; walls, floor and ceiling among them.
        lights, ambient: light sources, and the linear RGB light that comes from everywhere.
        size: (3,) extent; the room spans from the origin to it.
        notch: (2,) extent of the corner that is missing at high x and high y; zeros for a rectangle.
    """

    items: tuple[Item, ...]
    lights: tuple[Light, ...]
    ambient: np.ndarray
    size: np.ndarray
    notch: np.ndarray

    def inside(self, low: np.ndarray, high: np.ndarray, margin: float = 0.0) -> bool:
        """Does the rectangle (2,), (2,) lie within the walls?"""
        if (low[:2] < margin).any() or (high[:2] > self.size[:2] - margin).any():
            return False
        corner = self.size[:2] - self.notch
        return not (high[:2] > corner - margin).all() or not self.notch.any()


@dataclass(frozen=True)
class Layout:
    """What rooms hold.

    Attributes:
        themes: what stands in a room, the first two always.
        twin: share of objects that take the colour of what they stand on or hang at.
        windows, pictures, small: how many are tried, at least and below.
        clutter: things on what is flat, as a multiple of the usual.
    """

    themes: Mapping[str, Sequence[Callable[[Rng, g.Styles], list[Item]]]]
    twin: float = 0.55
    windows: tuple[int, int] = (1, 4)
    pictures: tuple[int, int] = (3, 8)
    small: tuple[int, int] = (3, 7)
    clutter: float = 1.0


ORDINARY = Layout(_THEMES)
#: What pooling is known to fail on: posters and windows that lie in walls, rugs, thin legs and lamps, small
#: things on large tables, full shelves, and twins that share colour and direction.
STRESS = Layout(
    {
        "crowded": [g.dining, g.shelving, g.storing, g.working, g.dining, g.shelving, g.reading, g.storing],
        "gallery": [g.sitting, g.dining, g.reading, g.storing, g.resting, g.shelving, g.sitting, g.reading],
    },
    twin=0.9,
    windows=(3, 6),
    pictures=(18, 30),
    small=(6, 9),
    clutter=6.0,
)


def furnish(seed: int, *, stress: bool = False) -> Room:
    """The room of a seed: the same seed always gives the same room.

    Args:
        stress: one of `STRESS`.
    """
    rng = np.random.default_rng([7, seed])
    return _Builder(rng, STRESS if stress else ORDINARY).build()


class _Builder:
    def __init__(self, rng: Rng, layout: Layout) -> None:
        self.rng, self.palette, self.layout = rng, Palette(rng), layout
        self.size = np.array([rng.uniform(3.3, 5.9), rng.uniform(3.2, 5.2), rng.uniform(2.35, 2.9)])
        self.notch = np.zeros(2)
        if rng.random() < 0.4:
            self.notch = self.size[:2] * rng.uniform(0.25, 0.45, 2)
        self.debt = self.rng.random()  # towards the next twin
        self.items: list[Item] = []
        self.lights: list[Light] = []
        self.boxes: list[tuple[np.ndarray, np.ndarray]] = []  # what is taken: corners (3,), (3,)
        self.room = Room((), (), np.zeros(3), self.size, self.notch)

    def build(self) -> Room:
        rng = self.rng
        self._shell()
        self._openings(self._door, 1 + (rng.random() < 0.25))
        themes = self.layout.themes
        wanted = list(themes[str(rng.choice(list(themes)))])
        order = [0, 1, *(2 + rng.permutation(len(wanted) - 2))]
        for turn, i in enumerate(order):
            if turn == 3:  # windows go where the first pieces leave wall free, the rest stands under them
                self._openings(self._window, int(rng.integers(*self.layout.windows)))
            if self._covered() < 0.5:
                self._furnish(wanted[i])
        for i in rng.permutation(len(_SMALL))[: rng.integers(*self.layout.small)]:
            self._furnish(_SMALL[i])
        self._pictures()
        self._clutter()
        self._ceiling_lamp()
        warm = 1 + np.array([0.08, 0, -0.1]) * rng.normal(0.3, 1)
        ambient = rng.uniform(0.14, 0.34) * warm
        return Room(tuple(self.items), tuple(self.lights), ambient, self.size, self.notch)

    def _style(self, host: Material) -> Style:
        """Materials of the next object; every so often it looks like its host. Not by mere chance: contacts
        are few, and each room should have its share."""
        self.debt += self.layout.twin * self.rng.uniform(0.7, 1.3)
        if self.debt < 1:
            return self.palette.style()
        self.debt -= 1
        return self.palette.style(host)

    def _shell(self) -> None:
        x, y, z = self.size
        cx, cy = self.size[:2] - self.notch
        corners = [(0, 0), (x, 0), (x, y), (0, y)]
        if self.notch.any():
            corners = [(0, 0), (x, 0), (x, cy), (cx, cy), (cx, y), (0, y)]
        ring = np.array(corners, dtype=float)
        self.walls: list[Wall] = []
        skirting = self.rng.random() < 0.5
        accent = int(self.rng.integers(len(ring)))
        board = self.palette.pick([*self.palette.woods, self.palette.paints[0]])
        for i, (a, b) in enumerate(zip(ring, np.roll(ring, -1, axis=0), strict=True)):
            length = float(np.linalg.norm(b - a))
            along = (b - a) / length
            skin = self.palette.accent if i == accent else self.palette.wall
            wall = Wall(a, along, np.array([-along[1], along[0]]), length, skin)
            item = Item("wall")
            item.add(_quad((0, 0, 0), (length, 0, z)), skin)
            if skirting:
                item.block((0, 0, 0), (length, 0.012, 0.08), board)
            self.items.append(wall.place(item, 0, 0))
            self.walls.append(wall)
        self.gap = 0.014 if skirting else 0.004
        for label, height, skin in (("floor", 0.0, self.palette.floor), ("ceiling", z, self.palette.ceiling)):
            item = Item(label)
            item.add(_quad((0, 0, height), (cx, y, height)), skin)
            if self.notch.any():
                item.add(_quad((cx, 0, height), (x, cy, height)), skin)
            self.items.append(item)

    def _fits(self, low: np.ndarray, high: np.ndarray) -> bool:
        """Is the box between two corners (3,) within the walls and clear of all others?"""
        if not self.room.inside(low, high) or high[2] > self.size[2]:
            return False
        low = low + np.array([0, 0, 0.001])
        return not any((low < b).all() and (a < high).all() for a, b in self.boxes)

    def _take(self, items: list[Item], extra: np.ndarray | None = None) -> bool:
        """Add items if the boxes around them fit; `extra` (2, 3) widens the room they need."""
        low, high = around(items)
        if extra is not None:
            low, high = np.minimum(low, extra[0]), np.maximum(high, extra[1])
        if not self._fits(low, high):
            return False
        self.boxes.append((low, high))
        self.items.extend(items)
        return True

    def _covered(self) -> float:
        area = self.size[0] * self.size[1] - self.notch.prod()
        return float(sum(np.prod(b[:2] - a[:2]) for a, b in self.boxes if a[2] < 0.1) / area)

    def _openings(self, make: Callable[[Wall, Style], bool], count: int) -> None:
        for _ in range(count):
            for _ in range(16):
                wall = self.walls[int(self.rng.integers(len(self.walls)))]
                if wall.length > 1.3 and make(wall, self._style(wall.skin)):
                    break

    def _door(self, wall: Wall, style: Style) -> bool:
        item = o.door(self.rng, style)
        s = self.rng.uniform(0.7, wall.length - 0.6)
        placed = wall.place(item, s, 0.0)
        clear = placed.bounds()
        clear[:, :2] += np.clip(wall.inward, 0, 1) * [[0], [0.8]] + np.clip(wall.inward, -1, 0) * [[0.8], [0]]
        return self._take([placed], clear)

    def _window(self, wall: Wall, style: Style) -> bool:
        rng = self.rng
        width, low = min(rng.uniform(0.8, 1.9), wall.length - 0.5), rng.uniform(0.75, 1.0)
        height = min(rng.uniform(1.0, 1.45), self.size[2] - low - 0.25)
        item = o.window(rng, style, width, height)
        s = rng.uniform(width / 2 + 0.2, wall.length - width / 2 - 0.2)
        placed = [wall.place(item, s, 0.0, low)]
        if rng.random() < 0.65:
            placed += self._curtains(wall, s, width, low, height)
        if not self._take(placed):
            return False
        along, inward = np.array([*wall.along, 0]), np.array([*wall.inward, 0])
        center = np.array([*(wall.start + s * wall.along), low + height / 2]) + 0.12 * inward
        day = rng.uniform(0.4, 1.6) * np.array([0.92, 1.0, 1.1]) * width * height
        half = np.array([0, 0, height / 2])
        self.lights.append(Light(center, along * width / 2, half, day, inward))
        return True

    def _curtains(self, wall: Wall, s: float, width: float, low: float, height: float) -> list[Item]:
        rng, top = self.rng, low + height + 0.1
        style = self._style(self.palette.wall)
        foot = 0.03 if rng.random() < 0.6 else low - 0.1
        cloth = rng.uniform(0.25, 0.5)
        out = [wall.place(o.curtain_rod(rng, style, width + 2 * cloth * 0.8), s, 0.0, top)]
        for side in (-1, 1) if rng.random() < 0.8 else (1,):
            drape = o.curtain(rng, style, cloth, top - foot)
            out.append(wall.place(drape, s + side * (width / 2 + cloth * 0.2), 0.0, foot))
        return out

    def _style_on(self, host: Item | None = None) -> Style:
        if host is not None:
            return self._style(host.skin())
        return self._style(self.palette.floor if self.rng.random() < 0.6 else self.palette.wall)

    def _furnish(self, make: Callable[[Rng, g.Styles], list[Item]]) -> None:
        """Place a group: a few different draws of it, each at many spots, until one fits."""
        for _ in range(3):
            if self._settle(make, make(self.rng, self._style_on)):
                break

    def _settle(self, make: Callable[[Rng, g.Styles], list[Item]], group: list[Item]) -> bool:
        rng = self.rng
        low, high = around(group)
        width = high[0] - low[0]
        for _ in range(40):
            if make is g.dining:  # free-standing
                yaw = float(rng.choice([0, np.pi / 2]))
                at = rng.uniform(0.15, 0.85, 2) * self.size[:2]
                at -= (low[1] + high[1]) / 2 * np.array([-np.sin(yaw), np.cos(yaw)])
            else:
                wall = self.walls[int(rng.integers(len(self.walls)))]
                if wall.length < width + 0.1:
                    continue
                s = rng.uniform(-low[0] + 0.03, wall.length - high[0] - 0.03)
                if rng.random() < 0.25:  # into a corner
                    s = -low[0] + 0.03 if rng.random() < 0.5 else wall.length - high[0] - 0.03
                at, yaw = wall.spot(s, self.gap + max(0.0, -low[1])), wall.yaw
            turn = Rotation.from_euler("z", yaw)
            corners = turn.apply(np.stack([low, high])) + np.array([*at, 0])
            # Ask for the box first: moving all its triangles costs more.
            if self._fits(corners.min(axis=0), corners.max(axis=0)):
                return self._take([item.moved((*at, 0), yaw) for item in group])
        return False

    def _pictures(self) -> None:
        rng = self.rng
        for _ in range(int(rng.integers(*self.layout.pictures))):
            wall = self.walls[int(rng.integers(len(self.walls)))]
            width, height = rng.uniform(0.25, 1.0), rng.uniform(0.3, 0.85)
            style = self._style(wall.skin)
            item = o.frame_picture(rng, style, wall.skin if style.twin else None, width, height)
            for _ in range(10):
                if wall.length < width + 0.3:
                    break
                s, z = rng.uniform(width / 2 + 0.1, wall.length - width / 2 - 0.1), rng.uniform(1.05, 1.5)
                if self._take([wall.place(item, s, 0.0, z)]):
                    break

    def _clutter(self) -> None:
        """Small things on what is flat, clear of what stands there already."""
        for host in list(self.items):
            if not host.tops or host.label in ("bed", "sofa", "box"):
                continue
            for top in host.tops:
                self._litter(top, host.skin())

    def _litter(self, top: Top, skin: Material) -> None:
        rng = self.rng
        area = (top.x1 - top.x0) * (top.y1 - top.y0)
        standing = [b for b in (item.bounds() for item in self.items) if abs(b[0, 2] - top.z) < 0.02]
        for _ in range(int(rng.poisson(self.layout.clutter * (1.5 + 3.5 * area)))):
            style = self._style(skin)
            make, size = _CLUTTER[rng.choice(len(_CLUTTER), p=[0.36, 0.28, 0.2, 0.06, 0.1])]
            item = make(rng, style, rng.uniform(*size)) if size else make(rng, style)
            low, high = item.bounds()
            room = np.array([top.x1 - top.x0, top.y1 - top.y0]) - (high - low)[:2]
            if (room <= 0).any():
                continue
            at = np.array([top.x0, top.y0]) - low[:2] + rng.random(2) * room
            placed = item.moved((*at, top.z), 0.0)
            low, high = placed.bounds()
            crowded = any(
                (low[:2] - 0.01 < b[1, :2]).all() and (b[0, :2] < high[:2] + 0.01).all() for b in standing
            )
            if crowded or high[2] > self.size[2]:
                continue
            standing.append(np.stack([low, high]))
            self.items.append(placed)

    def _ceiling_lamp(self) -> None:
        rng = self.rng
        count = int(rng.integers(1, 3)) if self.size[0] > 4.8 else 1
        for i in range(count):
            drop = rng.choice([0.1, rng.uniform(0.35, 0.7)])
            at = np.array([(i + 0.5) / count * self.size[0], 0.5 * self.size[1]]) + rng.normal(0, 0.2, 2)
            if self.notch.any():
                at = at * (self.size[:2] - 0.5 * self.notch) / self.size[:2]
            item = o.pendant(rng, self._style(self.palette.ceiling), drop).moved((*at, self.size[2]))
            low, high = item.bounds()
            if not self.room.inside(low, high, 0.2) or not self._take([item]):
                continue
            tone = np.array([1.0, rng.uniform(0.78, 0.95), rng.uniform(0.55, 0.85)])
            power = tone * rng.uniform(0.5, 2.2) / count
            center = np.array([*at, low[2] - 0.06])
            self.lights.append(Light.flat(center, rng.uniform(0.08, 0.2), power))
        for lamp in [item for item in self.items if item.label == "lamp"]:
            glow, high = lamp.parts[-1].material.glow, lamp.bounds()[1]
            if glow and high[2] < self.size[2] - 0.3 and len(self.lights) < 4 and rng.random() < 0.6:
                center = np.array([*lamp.bounds().mean(axis=0)[:2], high[2] + 0.05])
                power = rng.uniform(0.1, 0.35) * np.array([1, 0.82, 0.6])
                self.lights.append(Light.flat(center, 0.06, power))


def _quad(low: tuple[float, ...], high: tuple[float, ...]) -> Mesh:
    """An axis-aligned rectangle between two corners that share one coordinate."""
    a, b = np.array(low, dtype=float), np.array(high, dtype=float)
    second = np.arange(3) == np.flatnonzero(a != b)[1]
    return sheet(np.array([[a, np.where(second, b, a)], [np.where(second, a, b), b]]))

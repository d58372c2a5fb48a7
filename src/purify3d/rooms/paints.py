"""Which materials a room has, and which of them one object is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from purify3d.rooms import materials as m
from purify3d.rooms.materials import Material


@dataclass(frozen=True)
class Style:
    """The materials of one object: body, second material, two cloths, metal. `twin`: it is meant to look like
    what it touches, so its body should be most of it."""

    main: Material
    trim: Material
    soft: Material
    soft2: Material
    metal: Material
    twin: bool = False


#: What an object in the colour of its support is made of, by the support's material.
_TWIN = {"planks": m.wood, "wood": m.wood, "metal": m.metal, "speckle": m.speckle}


class Palette:
    """Materials shared by the objects of a room, so that it looks furnished by one person."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.woods = [m.wood(rng, m.wood_color(rng)) for _ in range(rng.integers(2, 4))]
        white = m.paint(rng, m.neutral(rng, 0.8, 0.97))
        self.paints = [white] + [m.paint(rng, m.random_color(rng, 0.15, 0.95)) for _ in range(3)]
        self.metals = [m.metal(rng, m.neutral(rng, low, low + 0.2)) for low in (0.12, 0.6)]
        self.cloths = [self.cloth(m.random_color(rng, 0.2, 0.95)) for _ in range(5)]
        tone = (
            m.neutral(rng, 0.75, 0.97)
            if rng.random() < 0.5
            else m.random_color(rng, 0.6, 0.95, saturation=0.25)
        )
        self.wall = m.plaster(rng, tone)
        self.accent = self.pick([self.wall, self.wall, self._accent(tone)])
        self.ceiling = m.plaster(rng, m.neutral(rng, 0.85, 0.98))
        self.floor = self._floor()

    def _accent(self, tone: np.ndarray) -> Material:
        rng = self.rng
        walls = (
            lambda: m.brick(rng, m.random_color(rng, 0.45, 0.8, hue=0.04, saturation=0.45)),
            lambda: m.stripes(rng, tone),
            lambda: m.tiles(rng, m.neutral(rng, 0.7, 0.95)),
            lambda: m.plaster(rng, m.random_color(rng, 0.3, 0.9)),
        )
        return walls[rng.integers(4)]()

    def _floor(self) -> Material:
        rng = self.rng
        floors = (
            lambda: m.planks(rng, self.pick(self.woods).mean),  # the same wood as the furniture
            lambda: m.planks(rng, m.wood_color(rng)),
            lambda: m.tiles(rng, m.random_color(rng, 0.4, 0.9, saturation=0.12)),
            lambda: m.speckle(rng, m.neutral(rng, 0.4, 0.85)),
            lambda: m.carpet(rng, m.random_color(rng, 0.3, 0.8, saturation=0.3)),
        )
        return floors[max(int(rng.integers(6)) - 1, 0)]()

    def pick(self, options: list[Material]) -> Material:
        return options[int(self.rng.integers(len(options)))]

    def cloth(self, color: np.ndarray) -> Material:
        """A new cloth: mostly woven, sometimes striped or checked."""
        painter = [m.weave, m.weave, m.weave, m.stripes, m.checks][int(self.rng.integers(5))]
        return painter(self.rng, color)

    def like(self, host: Material) -> Material:
        """A body material in the colour of `host`."""
        return _TWIN.get(host.kind, m.paint)(self.rng, host.mean)

    def style(self, host: Material | None = None) -> Style:
        """Materials for one object; with `host`, body and cloth take the colour of what it stands on or
        hangs at, and colour alone can no longer tell them apart."""
        rng = self.rng
        body = self.pick(self.woods if rng.random() < 0.6 else self.paints)
        trim = self.pick([*self.woods, *self.paints, *self.metals])
        soft, soft2 = self.pick(self.cloths), self.pick(self.cloths)
        if rng.random() < 0.3:
            soft = self.cloth(m.random_color(rng, 0.15, 0.95))
        if host is not None:
            body, soft = self.like(host), m.weave(rng, host.mean)
            trim = body if rng.random() < 0.7 else trim
            soft2 = soft if rng.random() < 0.5 else soft2
        return Style(body, trim, soft, soft2, self.pick(self.metals), host is not None)

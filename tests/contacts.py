"""How often do touching objects look alike? Measured, so that nobody has to believe that a room is hard."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from purify3d.rooms.path import walk
from purify3d.rooms.render import Renderer
from purify3d.rooms.room import furnish
from purify3d.types import Camera

#: Metres between surface samples of two objects that touch.
REACH = 0.03
#: RGB distance (0..255) of mean albedos that counts as one colour.
COLOR = 25.0
#: Degrees between mean normals that count as one direction.
ANGLE = 15.0
_FEWEST = 5  # samples on each side of a contact


@dataclass(frozen=True)
class Contacts:
    """Touching pairs of object instances, one row each.

    Attributes:
        pair: (P, 2) positions in the room's items.
        color: (P,) RGB distance of the mean albedos near the contact.
        angle: (P,) degrees between the mean normals near the contact.
    """

    pair: np.ndarray
    color: np.ndarray
    angle: np.ndarray

    @property
    def share(self) -> float:
        """Share of contacts whose sides have one colour (COLOR) or one normal (ANGLE), 0..1."""
        return float(((self.color < COLOR) | (self.angle < ANGLE)).mean())


def contacts(seed: int, *, frames: int = 24) -> Contacts:
    """Every pair of objects of a room that are seen to touch.

    Surface samples are what the cameras along the path see, without noise, one per object and cubic
    centimetre. Two objects touch where samples of both lie within REACH; the samples of each that have one
    of the other within REACH give its mean albedo and mean normal at the contact.
    """
    room = furnish(seed)
    renderer = Renderer(room)
    camera = Camera(156.0, 156.0, 99.5, 74.5, 200, 150)
    rows = []
    for i, pose in enumerate(walk(room, frames, np.random.default_rng([11, seed]))):
        cast = renderer.cast(camera, pose, np.random.default_rng(i))
        near = (cast.depth > 0) & (cast.depth < 4)
        owner = cast.instance[near][:, None].astype(np.float64)
        rows.append(np.concatenate([owner, cast.xyz[near], cast.normal[near], cast.albedo[near]], axis=1))
    samples = np.concatenate(rows)
    cell = np.concatenate([samples[:, :1], np.floor(samples[:, 1:4] / 0.01)], axis=1).astype(np.int32)
    samples = samples[np.unique(cell, axis=0, return_index=True)[1]]
    owner, xyz = samples[:, 0].astype(int), samples[:, 1:4]
    # Only samples near another object can be part of a contact: look once for the nearest of another owner.
    trees = {int(o): cKDTree(xyz[owner == o]) for o in np.unique(owner)}
    index = {o: np.flatnonzero(owner == o) for o in trees}
    low = {o: xyz[index[o]].min(axis=0) - REACH for o in trees}
    high = {o: xyz[index[o]].max(axis=0) + REACH for o in trees}
    found: list[tuple[int, int, float, float]] = []
    for a in trees:
        for b in trees:
            if a >= b or (low[a] > high[b]).any() or (low[b] > high[a]).any():
                continue
            sides = [_near(xyz, index[p], trees[q], low[q], high[q]) for p, q in ((a, b), (b, a))]
            if min(map(len, sides)) < _FEWEST:
                continue
            (n, c), (m, d) = ((samples[s, 4:7].mean(axis=0), samples[s, 7:10].mean(axis=0)) for s in sides)
            cosine = n @ m / max(float(np.linalg.norm(n) * np.linalg.norm(m)), 1e-6)
            found.append(
                (a, b, float(np.linalg.norm(c - d)), float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))))
            )
    table = np.array(found).reshape(-1, 4)
    return Contacts(table[:, :2].astype(int), table[:, 2], table[:, 3])


def _near(xyz: np.ndarray, rows: np.ndarray, tree: cKDTree, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Those of `rows` that have a sample of the tree within REACH."""
    rows = rows[((xyz[rows] > low) & (xyz[rows] < high)).all(axis=1)]
    distance, _ = tree.query(xyz[rows], distance_upper_bound=REACH)
    return rows[np.isfinite(distance)]

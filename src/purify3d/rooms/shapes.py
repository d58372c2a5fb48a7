"""Triangle meshes that furniture is made of, and items: one labelled object made of parts.

Item frame: x along the item's width (0 in the middle), y from its back (0) to its front, z up from its foot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.spatial.transform import Rotation

from purify3d.rooms.materials import Material

Vector = Sequence[float] | np.ndarray
Span = tuple[float, float]  # from, to
#: Turns what stands upright to point to the front.
FORWARD = Rotation.from_euler("x", -90, degrees=True)


@dataclass(frozen=True)
class Mesh:
    """Triangles: vertices (n, 3) metres, faces (m, 3), normals (m, 3, 3) at each corner of each face."""

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray


@dataclass(frozen=True)
class Part:
    """One mesh of one material, placed. `axes` (3, 3) and `origin` (3,) take it back to its texture:
    texture = axes @ (xyz - origin), metres, the longest edge along the first axis unless the material is
    upright."""

    mesh: Mesh
    material: Material
    axes: np.ndarray
    origin: np.ndarray


@dataclass(frozen=True)
class Top:
    """A free rectangle that things can be put on: corners (x0, y0, x1, y1) in the item frame, height z."""

    x0: float
    y0: float
    x1: float
    y1: float
    z: float


@dataclass(frozen=True)
class Item:
    """One object instance."""

    label: str
    parts: list[Part] = field(default_factory=list)
    tops: list[Top] = field(default_factory=list)

    def add(
        self, mesh: Mesh, material: Material, at: Vector = (0, 0, 0), turn: Rotation | None = None
    ) -> None:
        """Add a mesh, turned about its own origin and then moved to `at`."""
        low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
        order = np.argsort(np.zeros(3) if material.upright else low - high, kind="stable")
        part = Part(mesh, material, np.eye(3)[order], low)
        self.parts.append(_move(part, np.eye(3) if turn is None else turn.as_matrix(), np.asarray(at)))

    def block(self, low: Vector, high: Vector, material: Material, soft: float = 0.0) -> None:
        """Add a box between two corners, with edges rounded by `soft` metres."""
        a, b = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
        self.add(rounded_box(b - a, soft) if soft else box(b - a), material, (a + b) / 2)

    def slab(self, half: float, y: Span, z: Span, material: Material, soft: float = 0.0) -> None:
        """Add a box from -half to half across and between the ends of `y` and `z`, see `block`."""
        self.block((-half, y[0], z[0]), (half, y[1], z[1]), material, soft)

    def moved(self, at: Vector = (0, 0, 0), yaw: float = 0.0) -> Item:
        """Turned about +z by `yaw` radians, then moved. Tops survive quarter turns only."""
        rotation, shift = Rotation.from_euler("z", yaw).as_matrix(), np.asarray(at, dtype=float)
        tops = []
        for top in self.tops:
            corners = np.array([[top.x0, top.y0, top.z], [top.x1, top.y1, top.z]]) @ rotation.T + shift
            (x0, y0, z), (x1, y1, _) = corners.min(axis=0), corners.max(axis=0)
            tops.append(Top(x0, y0, x1, y1, z))
        return replace(self, parts=[_move(part, rotation, shift) for part in self.parts], tops=tops)

    def skin(self) -> Material:
        """The material of its largest part, by the box around the part."""
        return max(self.parts, key=lambda part: float(np.ptp(part.mesh.vertices, axis=0).max())).material

    def bounds(self) -> np.ndarray:
        """(2, 3) lowest and highest corner."""
        vertices = np.concatenate([part.mesh.vertices for part in self.parts])
        return np.stack([vertices.min(axis=0), vertices.max(axis=0)])


def around(items: Sequence[Item]) -> np.ndarray:
    """(2, 3) lowest and highest corner of several items."""
    low, high = np.stack([item.bounds() for item in items], axis=1)
    return np.stack([low.min(axis=0), high.max(axis=0)])


def _move(part: Part, rotation: np.ndarray, shift: np.ndarray) -> Part:
    mesh = Mesh(part.mesh.vertices @ rotation.T + shift, part.mesh.faces, part.mesh.normals @ rotation.T)
    return replace(part, mesh=mesh, axes=part.axes @ rotation.T, origin=rotation @ part.origin + shift)


def _flat(vertices: np.ndarray, faces: np.ndarray) -> Mesh:
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    return Mesh(vertices, faces, np.repeat(normal[:, None], 3, axis=1))


def _grid(rows: int, columns: int, closed: bool = False) -> np.ndarray:
    """Faces of a (rows, columns) grid of vertices; `closed` joins the last column to the first."""
    across = columns if closed else columns - 1
    r, c = np.repeat(np.arange(rows - 1), across), np.tile(np.arange(across), rows - 1)
    d = (c + 1) % columns
    a, b, e, f = r * columns + c, r * columns + d, (r + 1) * columns + c, (r + 1) * columns + d
    return np.concatenate([np.stack([a, b, f], 1), np.stack([a, f, e], 1)])


def box(size: Vector) -> Mesh:
    """A box centred on the origin."""
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])
    return _flat(corners * np.asarray(size), faces)


def rounded_box(size: Vector, radius: float) -> Mesh:
    """A centred box whose edges are rounded: a cushion, a mattress."""
    half = np.asarray(size, dtype=float) / 2
    radius = min(radius, 0.98 * float(half.min()))
    # Parameter lines crowd where the surface bends; the middle of every face is one flat patch.
    line = np.concatenate([-1 + (1 - np.cos(np.linspace(0, np.pi / 2, 4))) * 0.5, [0.0]])
    line = np.concatenate([line, -line[-2::-1]])
    u, v = (grid.ravel() for grid in np.meshgrid(line, line, indexing="ij"))
    vertices: list[np.ndarray] = []
    normals: list[np.ndarray] = []
    faces: list[np.ndarray] = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            cube = np.empty((len(u), 3))
            cube[:, axis], cube[:, (axis + 1) % 3], cube[:, (axis + 2) % 3] = sign, u * sign, v
            # Outer half of each parameter range bends around the edge, the inner half spans the face.
            core = np.clip(cube * 2, -1, 1) * (half - radius)
            direction = np.sign(cube) * np.maximum(np.abs(cube) - 0.5, 0) * 2
            direction = np.tan(direction * np.pi / 4)
            direction /= np.linalg.norm(direction, axis=1, keepdims=True)
            faces.append(_grid(len(line), len(line)) + sum(len(patch) for patch in vertices))
            vertices.append(core + radius * direction)
            normals.append(direction)
    face = np.concatenate(faces)
    return Mesh(np.concatenate(vertices), face, np.concatenate(normals)[face])


def lathe(radius: Vector, height: Vector, sides: int = 20, smooth: bool = True) -> Mesh:
    """A profile of radii at heights, turned about z: legs, pots, shades. Radius 0 at an end closes it."""
    angle = np.arange(sides) * 2 * np.pi / sides
    ring = np.stack([np.cos(angle), np.sin(angle), np.zeros(sides)], axis=1)
    r, z = np.maximum(np.asarray(radius, dtype=float), 1e-4), np.asarray(height, dtype=float)
    vertices = (ring[None] * r[:, None, None] + np.array([0, 0, 1.0]) * z[:, None, None]).reshape(-1, 3)
    mesh = _flat(vertices, _grid(len(r), sides, closed=True))
    if not smooth:
        return mesh
    # Round the circumference only: the profile keeps its edges.
    slope = mesh.normals[:, :1, 2:3]
    around = vertices[mesh.faces] * [1, 1, 0]
    around /= np.maximum(np.linalg.norm(around, axis=2, keepdims=True), 1e-9)
    sign = np.sign(np.einsum("mij,mij->m", around, mesh.normals * [1, 1, 0]))[:, None, None]
    normals = np.concatenate(
        [(around * sign * np.sqrt(1 - slope**2))[..., :2], mesh.normals[..., 2:]], axis=2
    )
    flat = np.abs(slope[:, 0, 0]) > 0.99
    normals[flat] = mesh.normals[flat]
    return Mesh(vertices, mesh.faces, normals)


def rod(radius: float, length: float, top: float | None = None, sides: int = 12) -> Mesh:
    """A closed cylinder from z = 0 to `length`, tapering to radius `top`."""
    end = radius if top is None else top
    return lathe([0, radius, end, 0], [0, 0, length, length], sides)


def ball(radius: Vector, rows: int = 8, sides: int = 14) -> Mesh:
    """An ellipsoid centred on the origin."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, rows)
    unit = lathe(np.cos(angle), np.sin(angle), sides)
    scale = np.asarray(radius)
    normal = unit.vertices[unit.faces] / scale
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    return Mesh(unit.vertices * scale, unit.faces, normal)


def sheet(points: np.ndarray) -> Mesh:
    """A surface through a (rows, columns, 3) grid of points."""
    rows, columns = points.shape[:2]
    return _flat(points.reshape(-1, 3), _grid(rows, columns))

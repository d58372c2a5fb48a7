"""Cast rays into a room and light what they hit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter

from purify3d.base.errors import require
from purify3d.rooms.classes import CLASSES
from purify3d.rooms.materials import TILE, Material
from purify3d.rooms.room import Light, Room
from purify3d.rooms.shapes import Part
from purify3d.types import Camera

_LEVELS = 5  # of each tile, every one half as fine as the last
_LIFT = 0.0015  # metres a secondary ray starts above its surface, below the 2 mm of a window pane
_CORNER = 0.5  # metres within which other surfaces darken a corner
_LINEAR = (np.arange(256) / 255.0).astype(np.float32) ** 2.2


@dataclass(frozen=True)
class Cast:
    """What the rays of one image hit; (H, W, ...) arrays.

    Attributes:
        depth: float32 metres along the camera's z.
        label: int32 position in CLASSES.
        instance: int32 position in the room's items.
        xyz: float32 world position; normal: float32 unit normal towards the camera.
        albedo: float32 RGB 0..255.
        radiance: float32 linear RGB that reaches the camera, before exposure.
        gloss: float32 0..1 of the material.
        facing: float32 cosine between the surface normal and the ray.
    """

    depth: np.ndarray
    label: np.ndarray
    instance: np.ndarray
    xyz: np.ndarray
    normal: np.ndarray
    albedo: np.ndarray
    radiance: np.ndarray
    gloss: np.ndarray
    facing: np.ndarray


class Renderer:
    """A room ready to be looked at.

    Raises:
        MissingPackageError: embreex is not installed.
    """

    def __init__(self, room: Room) -> None:
        self.room = room
        parts = [(i, part) for i, item in enumerate(room.items) for part in item.parts]
        counts = [len(part.mesh.vertices) for _, part in parts]
        shift = np.concatenate([[0], np.cumsum(counts)[:-1]])
        vertices = np.concatenate([part.mesh.vertices for _, part in parts])
        faces = np.concatenate([part.mesh.faces + s for (_, part), s in zip(parts, shift, strict=True)])
        self.vertices, self.faces = vertices.astype(np.float32), faces.astype(np.int32)
        self.normals = np.concatenate([part.mesh.normals for _, part in parts]).astype(np.float32)
        self.part = np.repeat(np.arange(len(parts)), [len(part.mesh.faces) for _, part in parts])
        self.instance = np.array([i for i, _ in parts], dtype=np.int32)
        label = {name: position for position, name in enumerate(CLASSES)}
        self.label = np.array([label[room.items[i].label] for i, _ in parts], dtype=np.int32)
        self._atlas([part.material for _, part in parts])
        self._lay([part for _, part in parts])
        self._gloss = np.array([part.material.gloss for _, part in parts], dtype=np.float32)
        self._glow = np.array([part.material.glow for _, part in parts], dtype=np.float32)
        self._scene = require("embreex.rtcore_scene", "synthetic").EmbreeScene()
        mesh = require("embreex.mesh_construction", "synthetic").TriangleMesh
        self._mesh = mesh(self._scene, self.vertices, self.faces)

    def _atlas(self, materials: list[Material]) -> None:
        """All tiles and their coarser levels in one flat array of texels."""
        unique = {id(material): material for material in materials}
        number = {key: i for i, key in enumerate(unique)}
        self._tile = np.array([number[id(material)] for material in materials])
        levels = [np.stack([material.tile for material in unique.values()]).astype(np.float32)]
        while len(levels) < _LEVELS:
            n, size = len(levels[0]), levels[-1].shape[1] // 2
            levels.append(levels[-1].reshape(n, size, 2, size, 2, 3).mean(axis=(2, 4)))
        self._texels = np.concatenate([level.reshape(-1, 3) for level in levels])
        self._level_start = np.concatenate([[0], np.cumsum([level[..., 0].size for level in levels])[:-1]])

    def blocked(self, origin: np.ndarray, direction: np.ndarray, reach: np.ndarray) -> np.ndarray:
        """(n,) bool: is there a surface within `reach` (n,) metres along unit `direction` (n, 3)?"""
        found = self._scene.run(
            np.ascontiguousarray(origin, np.float32),
            np.ascontiguousarray(direction, np.float32),
            dists=np.ascontiguousarray(reach, np.float32),
            query="OCCLUDED",
        )
        return np.asarray(found) == 0

    def _lay(self, parts: list[Part]) -> None:
        """Texture coordinates in tiles are `_map[face] @ xyz + _at[face]`: box mapping, that is the two
        texture axes that lie in the face, the first of them along the grain."""
        axes = np.stack([part.axes for part in parts])[self.part]
        origin = np.stack([part.origin for part in parts])[self.part]
        span = np.array([part.material.span for part in parts])[self.part]
        facing = np.abs(np.einsum("nij,nj->ni", axes, self.normals.mean(axis=1))).argmax(axis=1)
        row = np.arange(len(axes))
        across = np.stack(
            [axes[row, np.where(facing == 0, 1, 0)], axes[row, np.where(facing == 2, 1, 2)]], axis=1
        )
        across /= span[..., None] * [[1], [-1]]  # tiles are stored from the top down
        self._map = across.astype(np.float32)
        self._at = -np.einsum("nij,nj->ni", across, origin).astype(np.float32)
        self._texel = (span[:, 0] / TILE).astype(np.float32)

    def albedo(self, face: np.ndarray, xyz: np.ndarray, footprint: np.ndarray) -> np.ndarray:
        """(n, 3) float32 RGB 0..255 at points of faces, seen through pixels of `footprint` (n,) metres."""
        level = np.log2(np.maximum(footprint / self._texel[face], 1)) + 0.5
        level = np.minimum(level.astype(np.int32), _LEVELS - 1)
        size = TILE >> level
        uv = np.einsum("nij,nj->ni", self._map[face], xyz) + self._at[face]
        xy = uv * size[:, None] - np.float32(0.5)
        first = np.floor(xy)
        f = xy - first
        wrap = size[:, None] - 1  # sizes are powers of two
        near = first.astype(np.int32)
        far = (near + 1) & wrap
        near &= wrap
        base = self._level_start[level] + self._tile[self.part[face]] * (size * size)
        up, down = base + near[:, 1] * size, base + far[:, 1] * size
        fx, fy = f[:, :1], f[:, 1:]
        t = self._texels
        top = t[up + near[:, 0]] * (1 - fx) + t[up + far[:, 0]] * fx
        return top * (1 - fy) + (t[down + near[:, 0]] * (1 - fx) + t[down + far[:, 0]] * fx) * fy

    def cast(self, camera: Camera, world_from_camera: np.ndarray, rng: np.random.Generator) -> Cast:
        """Look from a pose. `rng` scatters the shadow rays."""
        shape = (camera.height, camera.width)
        u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
        local = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones_like(u)], axis=-1)
        ray = (local.reshape(-1, 3) @ world_from_camera[:3, :3].T).astype(np.float32)
        eye = world_from_camera[:3, 3].astype(np.float32)
        hit = self._scene.run(np.tile(eye, (len(ray), 1)), ray, output=1)
        face = np.maximum(hit["primID"], 0)
        # Rays are one metre long along z, so the distance in ray lengths is the depth.
        depth = np.where(hit["primID"] >= 0, hit["tfar"], 0).astype(np.float32)
        a, b = hit["u"][:, None], hit["v"][:, None]
        corner = self.normals[face]
        normal = corner[:, 0] * (1 - a - b) + corner[:, 1] * a + corner[:, 2] * b
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
        unit = ray / np.linalg.norm(ray, axis=1, keepdims=True)
        cosine = -np.einsum("ni,ni->n", normal, unit)
        normal *= np.where(cosine < 0, -1, 1)[:, None].astype(np.float32)
        facing = np.abs(cosine)
        part = self.part[face]
        xyz = eye + ray * depth[:, None]
        footprint = depth / camera.fx / np.maximum(facing, 0.3)
        albedo = self.albedo(face, xyz, footprint)
        light = self._light(xyz + _LIFT * normal, normal, unit, self._gloss[part], shape, rng)
        paint = _LINEAR[albedo.astype(np.uint8)]
        radiance = paint * light[0] + light[1] + paint * self._glow[part][:, None]

        flat = Cast(
            depth,
            self.label[part],
            self.instance[part],
            xyz,
            normal,
            albedo,
            radiance.astype(np.float32),
            self._gloss[part],
            facing.astype(np.float32),
        )
        return Cast(*(values.reshape(*shape, *values.shape[1:]) for values in vars(flat).values()))

    def _light(
        self,
        xyz: np.ndarray,
        normal: np.ndarray,
        ray: np.ndarray,
        gloss: np.ndarray,
        shape: tuple[int, int],
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Diffuse and mirrored linear RGB light (n, 3) at points a little above their surfaces."""
        count = len(xyz)
        # Light from everywhere, less where something is near: two rays a pixel, shared with its neighbours.
        near = np.zeros(count, dtype=np.float32)
        for _ in range(2):
            direction = rng.standard_normal((count, 3), dtype=np.float32)
            direction = normal * 1.02 + direction / np.linalg.norm(direction, axis=1, keepdims=True)
            direction /= np.linalg.norm(direction, axis=1, keepdims=True)
            near += 0.5 * self.blocked(xyz, direction, np.full(count, _CORNER))
        open_ = 1 - 0.75 * uniform_filter(near.reshape(shape), 7).ravel()
        diffuse = self.room.ambient.astype(np.float32) * open_[:, None] * (1 + 0.15 * normal[:, 2:])
        mirrored = np.zeros((count, 3), dtype=np.float32)
        reflected = ray - 2 * np.einsum("ni,ni->n", ray, normal)[:, None] * normal
        for light in self.room.lights:
            fall, direction = self._shine(light, xyz, normal, shape, rng)
            power = light.power.astype(np.float32)
            diffuse += fall[:, None] * power
            shine = np.maximum(np.einsum("ni,ni->n", reflected, direction), 0) ** 24 * gloss * (fall > 0)
            mirrored += (0.35 * shine * np.minimum(fall + 0.2, 1))[:, None] * power
        return diffuse, mirrored

    def _shine(
        self,
        light: Light,
        xyz: np.ndarray,
        normal: np.ndarray,
        shape: tuple[int, int],
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """How much of one light falls on each point (n,), and the direction it comes from (n, 3)."""
        to = light.center.astype(np.float32) - xyz
        distance = np.linalg.norm(to, axis=1)
        direction = to / np.maximum(distance, 1e-3)[:, None]
        amount = np.maximum(np.einsum("ni,ni->n", direction, normal), 0)
        # A source is as wide as it is, so close to it light stops growing.
        wide = float(light.a @ light.a + light.b @ light.b)
        amount /= distance**2 + max(wide, 0.06)
        if light.facing.any():
            amount *= np.maximum(-(direction @ light.facing.astype(np.float32)), 0)
        # Shadows are soft: each pixel asks one spot of the source, neighbours share their answers.
        s = rng.random((2, len(xyz), 1), dtype=np.float32) * 2 - 1
        to += s[0] * light.a.astype(np.float32) + s[1] * light.b.astype(np.float32)
        reach = np.maximum(np.linalg.norm(to, axis=1), 1e-3)
        seen = ~self.blocked(xyz, to / reach[:, None], reach - 0.01)
        return amount * uniform_filter(seen.reshape(shape).astype(np.float32), 5).ravel(), direction

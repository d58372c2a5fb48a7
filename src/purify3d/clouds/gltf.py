"""glTF 2.0 and GLB: the vertices of every node of the scene, in the order of the file.

Own code because the reader at hand hands out objects from last to first, and doubles vertices that two parts
of a mesh share. Format: Khronos, "glTF 2.0 Specification", 2021.
"""

from __future__ import annotations

import base64
import io
import json
import struct
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.base.files import check_file, path_inside, read_text
from purify3d.clouds.vertices import Vertices, colors_at, no_colors, picture, vertex_normals

_KINDS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
_PACKED = ("KHR_draco_mesh_compression", "EXT_meshopt_compression")
_MOST_DECODED = 1_000_000_000  # pixels of textures; two large ones that take turns are decoded each time
_MOST_ROWS = 200_000_000  # of all tables; a few bytes can place a mesh many times
_MOST_PLACED = 20_000_000  # vertices, where meshes are placed more than once
_POINTS, _TRIANGLES, _STRIP, _FAN = 0, 4, 5, 6
_NO_TRIANGLES = np.empty((0, 3), dtype=np.int64)


def read_vertices(path: Path) -> Vertices:
    """The vertices of all meshes and clouds of a file, each placed in the world.

    A node's vertices come as they are stored, once each, also where several parts of its mesh share them.
    Colours are those of the vertices, else of the texture, else of the material.

    Raises:
        CaptureError: it cannot be read, is packed in a way that is not supported, or holds neither.
    """
    try:
        file = _File.opened(path)
        placed = _placed(file)
    except CaptureError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError) as error:
        raise CaptureError(
            f"{path}: cannot be read as glTF ({type(error).__name__}: {str(error)[:120]}); expected a whole "
            "glTF 2.0 file. Copy or export it again, or export it as PLY"
        ) from error
    if not placed:
        raise CaptureError(f"{path}: found neither a mesh nor points; expected one of them. Re-export it")
    xyz = np.concatenate([part.xyz for part in placed])
    ends = np.cumsum([len(part.xyz) for part in placed])
    triangles = [part.triangles + end - len(part.xyz) for part, end in zip(placed, ends, strict=True)]
    normal = vertex_normals(xyz, np.concatenate(triangles))
    for part, end in zip(placed, ends, strict=True):
        if part.normal is not None:
            normal[end - len(part.xyz) : end] = part.normal
    rgb = [no_colors(len(part.xyz)) if part.rgb is None else part.rgb for part in placed]
    colored = any(part.rgb is not None for part in placed)
    return Vertices(xyz, np.concatenate(rgb) if colored else None, normal)


@dataclass(frozen=True)
class _Placed:
    """Vertices in the world: (N, 3), (N, 3) or None, (N, 3) or None, and (F, 3) of them."""

    xyz: np.ndarray
    rgb: np.ndarray | None
    normal: np.ndarray | None
    triangles: np.ndarray


@dataclass
class _Part:
    """Vertices of a mesh that share one table of positions."""

    xyz: np.ndarray
    triangles: list[np.ndarray] = field(default_factory=list)
    normal: np.ndarray | None = None
    rgb: np.ndarray | None = None
    painted: np.ndarray | None = None

    def paint(self, used: np.ndarray, rgb: np.ndarray) -> None:
        """Colours of vertices that have none yet."""
        if self.rgb is None or self.painted is None:
            self.rgb, self.painted = no_colors(len(self.xyz)), np.zeros(len(self.xyz), dtype=bool)
        fresh = used & ~self.painted
        self.rgb[fresh] = rgb[fresh]
        self.painted |= used

    def placed(self, world: np.ndarray) -> _Placed:
        with np.errstate(
            invalid="ignore", over="ignore"
        ):  # what is not finite is said when the cloud is read
            xyz = self.xyz @ world[:3, :3].T + world[:3, 3]
        turn = _cofactors(world[:3, :3])
        if self.normal is not None:
            return _Placed(xyz, self.rgb, self.normal @ turn.T, _NO_TRIANGLES)
        triangles = (
            self.triangles[0]
            if len(self.triangles) == 1
            else np.concatenate([_NO_TRIANGLES, *self.triangles])
        )
        mirrored = world[0, :3] @ turn[0] < 0  # the determinant
        return _Placed(xyz, self.rgb, None, triangles[:, ::-1] if mirrored else triangles)


@dataclass
class _File:
    """The description of a scene, and the bytes that it points into.

    Attributes:
        rows: how many have been read; pixels: how many of textures have been decoded.
        images: the one that was decoded last, by its index.
    """

    path: Path
    tree: dict[str, Any]
    buffers: list[np.ndarray]
    rows: int = 0
    pixels: int = 0
    images: dict[int, np.ndarray | None] = field(default_factory=dict)

    @classmethod
    def opened(cls, path: Path) -> _File:
        text, binary = _chunks(path)
        tree = json.loads(text)
        packed = sorted(set(_PACKED) & set(tree.get("extensionsRequired", ())))
        if packed:
            raise ValueError(f"found {packed[0]}, which is not supported")
        read: dict[str | None, np.ndarray] = {}  # thousands of buffers may be of one file
        for entry in tree.get("buffers", ()):
            if (address := entry.get("uri")) not in read:
                read[address] = _bytes(path, entry, binary)
        return cls(path, tree, [read[entry.get("uri")] for entry in tree.get("buffers", ())])

    @property
    def stored(self) -> int:
        """Bytes of all buffers."""
        return sum(len(buffer) for buffer in {id(buffer): buffer for buffer in self.buffers}.values())

    def view(self, index: int) -> tuple[np.ndarray, int | None]:
        """The bytes of a buffer view, and from row to row as far as it says."""
        view = self.tree["bufferViews"][index]
        start, length = int(view.get("byteOffset", 0)), int(view["byteLength"])
        buffer = self.buffers[view["buffer"]]
        if not 0 <= start <= start + length <= len(buffer):
            raise ValueError(f"found {length} bytes from {start} in a buffer of {len(buffer)}")
        return buffer[start : start + length], view.get("byteStride")

    def table(self, index: int) -> np.ndarray:
        """(count, width) float64, or int64 of whole numbers, of an accessor."""
        if not 0 <= index < len(self.tree["accessors"]):
            raise ValueError(f"found accessor {index} among {len(self.tree['accessors'])}")
        entry = self.tree["accessors"][index]
        kind, width, count = _KINDS[entry["componentType"]], _WIDTHS[entry["type"]], int(entry["count"])
        self.count(count)
        if "bufferView" in entry:
            stored = self._rows(entry, kind, width, count)
        elif "sparse" in entry and count <= self.stored:
            stored = np.zeros((count, width), kind)
        else:
            raise ValueError(f"found {count} values that are stored nowhere")
        if sparse := entry.get("sparse"):
            some = int(sparse["count"])
            rows = self._rows(sparse["indices"], _KINDS[sparse["indices"]["componentType"]], 1, some)[:, 0]
            stored = stored.copy()
            stored[rows] = self._rows(sparse["values"], kind, width, some)
        if stored.dtype.kind == "f" or not entry.get("normalized"):
            return stored.astype(np.float64 if stored.dtype.kind == "f" else np.int64)
        return np.asarray(np.maximum(stored / np.iinfo(stored.dtype).max, -1))

    def count(self, rows: int) -> None:
        """
        Raises:
            ValueError: they are too many, with those before.
        """
        self.rows += rows
        if self.rows > _MOST_ROWS:
            raise ValueError(f"found more than {_MOST_ROWS} rows in all tables and places")

    def _rows(self, entry: dict[str, Any], kind: str, width: int, count: int) -> np.ndarray:
        data, stride = self.view(entry["bufferView"])
        size, start = np.dtype(kind).itemsize, int(entry.get("byteOffset", 0))
        step = int(stride or size * width)
        end = start + (count - 1) * step + size * width
        if not (count >= 0 <= start and step >= size * width and (count == 0 or end <= len(data))):
            raise ValueError(f"found {count} rows of {step} bytes from byte {start} in {len(data)} bytes")
        if count == 0:
            return np.empty((0, width), kind)
        return np.ndarray((count, width), kind, data, start, (step, size))

    def columns(self, index: int, width: int, rows: int | None = None) -> np.ndarray:
        """(rows, width) the first columns of a table; rows: as many as it has to have."""
        table = self.table(index)
        if table.shape[1] < width:
            raise ValueError(f"found rows of {table.shape[1]} numbers; expected {width}")
        if rows is not None and len(table) != rows:
            raise ValueError(f"found {len(table)} rows for {rows} vertices")
        return table[:, :width]

    def image(self, index: int) -> np.ndarray | None:
        """(H, W, 3) uint8; None where it cannot be found or read: a mesh without it is still a mesh."""
        if index not in self.images:
            self.images = {index: self._decoded(index)}  # of many large ones, memory holds one
        return self.images[index]

    def _decoded(self, index: int) -> np.ndarray | None:
        try:
            entry = self.tree["images"][index]
            view = entry.get("bufferView")
            data = _bytes(self.path, entry, None) if view is None else self.view(view)[0]
        except (OSError, ValueError, LookupError, TypeError, AttributeError, CaptureError) as error:
            warnings.warn(f"{self.path}: a texture is not read: {error}", PurifyWarning, stacklevel=2)
            return None
        decoded = picture(io.BytesIO(data.tobytes()))
        self.pixels += 0 if decoded is None else decoded.size // 3
        if self.pixels > _MOST_DECODED:
            raise ValueError(f"found textures of more than {_MOST_DECODED / 1e6:.0f} megapixels, one by one")
        return decoded


def _chunks(path: Path) -> tuple[bytes, bytes | None]:
    """The JSON of a file, and of GLB the bytes that come with it."""
    size = path.stat().st_size
    if path.suffix.lower() == ".gltf":
        return read_text(path).encode(), None
    with path.open("rb") as file:
        magic, version, _ = struct.unpack("<4sII", file.read(12).ljust(12, b"\0"))
        if magic != b"glTF" or version != 2:
            raise ValueError(f"found {magic!r} of version {version}; expected glTF of version 2")
        found: dict[bytes, bytes] = {}
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack("<I4s", head)
            if length > size - file.tell():
                raise ValueError(f"found a part of {length} bytes where {size - file.tell()} are left")
            found.setdefault(kind, file.read(length))
    return found[b"JSON"], found.get(b"BIN\0")


def _bytes(path: Path, entry: dict[str, Any], binary: bytes | None) -> np.ndarray:
    """What a buffer or image holds: in the file itself, in its address, or in a file beside."""
    address = entry.get("uri")
    if address is None:
        if binary is None:
            raise ValueError("found a buffer without an address")
        return np.frombuffer(binary, np.uint8)
    if address.startswith("data:"):
        return np.frombuffer(base64.b64decode(address.partition(",")[2]), np.uint8)
    beside = path_inside(path.parent, unquote(address))
    check_file(beside)
    return np.fromfile(beside, np.uint8)


def _placed(file: _File) -> list[_Placed]:
    """The vertices of each node; a mesh is read once, however often it is placed."""
    meshes: dict[int, list[_Part]] = {}
    placed = []
    own = total = 0
    for index, world in _nodes(file.tree):
        if index not in meshes:
            meshes[index] = _parts(file, file.tree["meshes"][index])
            own += sum(len(part.xyz) for part in meshes[index])
        total += sum(len(part.xyz) for part in meshes[index])
        if total > max(_MOST_PLACED, own):
            raise ValueError(f"found {own} vertices that are placed as more than {_MOST_PLACED}")
        for part in meshes[index]:
            file.count(len(part.xyz))
            placed.append(part.placed(world))
    return placed


def _nodes(tree: dict[str, Any]) -> Iterator[tuple[int, np.ndarray]]:
    """The number of each mesh that is placed and its (4, 4) world_from_mesh, nodes before their children, in
    order."""
    nodes = tree.get("nodes", [])
    if tree.get("scenes"):
        roots = tree["scenes"][tree.get("scene", 0)].get("nodes", [])
    else:
        children = {child for node in nodes for child in node.get("children", ())}
        roots = [i for i in range(len(nodes)) if i not in children]
    waiting = [(root, np.eye(4)) for root in reversed(roots)]
    seen: set[int] = set()
    while waiting:
        index, parent = waiting.pop()
        if index in seen or not 0 <= index < len(nodes):
            raise ValueError(f"found node {index} of {len(nodes)} twice, or none of that number")
        seen.add(index)
        node = nodes[index]
        world = parent @ _matrix(node)
        if "mesh" in node:
            yield node["mesh"], world
        waiting += [(child, world) for child in reversed(node.get("children", []))]


def _matrix(node: dict[str, Any]) -> np.ndarray:
    """(4, 4) parent_from_node."""
    if "matrix" in node:
        return np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    matrix = np.eye(4)
    x, y, z, w = (float(value) for value in node.get("rotation", (0, 0, 0, 1)))
    turn = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, :3] = np.array(turn) * np.array(node.get("scale", (1, 1, 1)), dtype=np.float64)
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix


def _cofactors(matrix: np.ndarray) -> np.ndarray:
    """(3, 3), which turns normals as the (3, 3) matrix turns what they stand on; times its length."""
    a, b, c = matrix.tolist()
    return np.array([_cross(b, c), _cross(c, a), _cross(a, b)])


def _cross(a: Sequence[float], b: Sequence[float]) -> list[float]:
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]


def _parts(file: _File, mesh: dict[str, Any]) -> list[_Part]:
    """The vertices of a mesh; what is drawn in lines has no surface to label."""
    parts: dict[int, _Part] = {}
    for primitive in mesh["primitives"]:
        tables, mode = primitive["attributes"], primitive.get("mode", _TRIANGLES)
        if mode not in (_POINTS, _TRIANGLES, _STRIP, _FAN) or "POSITION" not in tables:
            continue
        index = tables["POSITION"]
        if index not in parts:
            parts[index] = _Part(file.columns(index, 3).astype(np.float64))
        part = parts[index]
        count = len(part.xyz)
        order = file.table(primitive["indices"])[:, 0] if "indices" in primitive else np.arange(count)
        order = order.astype(np.int64)
        if len(order) and not 0 <= order.min() <= order.max() < count:
            raise ValueError(f"found faces of vertices {order.min()} to {order.max()} among {count}")
        if mode != _POINTS:
            part.triangles.append(_triangles(order, mode))
        if "NORMAL" in tables and part.normal is None:
            part.normal = file.columns(tables["NORMAL"], 3, count)
        used = np.zeros(count, dtype=bool)
        used[order] = True
        rgb = _colors(file, primitive, count)
        if rgb is not None:
            # Colours of vertices hold for all of them, those of a material for what its faces use.
            part.paint(np.ones(count, dtype=bool) if "COLOR_0" in tables else used, rgb)
    return list(parts.values())


def _triangles(order: np.ndarray, mode: int) -> np.ndarray:
    """(F, 3) of indices as a list of triangles, a strip or a fan."""
    if mode == _TRIANGLES:
        return order[: len(order) // 3 * 3].reshape(-1, 3)
    first = np.broadcast_to(order[:1], order[1:-1].shape) if mode == _FAN else order[:-2]
    triangles = np.stack([first, order[1:-1], order[2:]], axis=1)
    if mode == _STRIP:
        triangles[1::2] = triangles[1::2, ::-1]  # every other one turns the other way
    return triangles


def _colors(file: _File, primitive: dict[str, Any], count: int) -> np.ndarray | None:
    """(N, 3) uint8 colours of the vertices, of the texture where they are, or of the material."""
    tables = primitive["attributes"]
    if "COLOR_0" in tables:
        stored = file.columns(tables["COLOR_0"], 3, count)
        # Whole ones should say that they are shares.
        values = stored if stored.dtype.kind == "f" else stored / 255
        return np.nan_to_num(values * 255).round().clip(0, 255).astype(np.uint8)
    if "material" not in primitive:
        return None
    look = file.tree["materials"][primitive["material"]].get("pbrMetallicRoughness", {})
    texture = look.get("baseColorTexture")
    if texture is not None and (name := f"TEXCOORD_{texture.get('texCoord', 0)}") in tables:
        entry = file.tree["textures"][texture["index"]]
        webp = entry.get("extensions", {}).get("EXT_texture_webp", {}).get("source")
        image = file.image(entry.get("source", webp)) if entry.get("source", webp) is not None else None
        if image is not None:
            place = file.columns(tables[name], 2, count)
            return colors_at(image, np.nan_to_num(place, posinf=0, neginf=0) % 1)
    factor = look.get("baseColorFactor")
    if factor is None:
        return None
    shown = (np.array(factor[:3], dtype=np.float64) * 255).round().clip(0, 255)
    return np.broadcast_to(shown.astype(np.uint8), (count, 3))

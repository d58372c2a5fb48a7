"""GLB: for Blender, web pages and phones. Own writer: the file is one JSON and one block of numbers.

Format: Khronos, "glTF 2.0 Specification", 2021, and the extension KHR_materials_unlit.
"""

from __future__ import annotations

import json
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from purify3d.base.axes import z_up_from_world
from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.clouds import obj, ply
from purify3d.exporting.content import Content
from purify3d.exporting.mesh import mesh_of_frames
from purify3d.pictures.palettes import NO_LABEL_COLOR

_FACES = {".ply": ply.read_triangles, ".obj": obj.read_triangles}
_POINTS, _TRIANGLES = 0, 4
_FLOAT, _USHORT, _UINT = 5126, 5123, 5125
_Y_FROM_Z_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
_FAR = 2.0  # voxels from a vertex to the labelled point that it takes its colour of, at most


def write(path: Path, content: Content) -> None:
    """The run's mesh where it has one, or one of the frames where wished, else points; coloured as wished.

    The mesh is the file of `--onto`, or the cloud of the capture, where that has faces. Vertices of a mesh of
    the frames take the colour of the nearest labelled point within two voxels.

    Raises:
        CaptureError: see `mesh_of_frames`; the file of `--onto` is gone or another one.

    Warns:
        PurifyWarning: points are written as the capture, which might have a mesh, cannot be opened; frames
            that cannot be read are left out of the mesh.
    """
    faces = _own_faces(content)
    xyz, rgb = content.run.points.xyz.numpy(), content.rgb
    if not len(faces) and content.wishes.mesh:
        voxel = content.run.job.method.purify.voxel
        frames = content.capture.frames
        vertices, faces, unread = mesh_of_frames(frames, voxel, progress=content.run.progress)
        content.tell_unread(unread)
        if not len(faces):
            raise CaptureError(
                f"found no surface in {len(frames)} frames with cells of {voxel:g} m; expected depth images "
                "that overlap. Export without --mesh for points"
            )
        xyz, rgb = vertices, _nearest(content, vertices, _FAR * voxel)
    up = _Y_FROM_Z_UP @ z_up_from_world(content.run.scene.up)
    write_glb(path, xyz, rgb, faces, origin=content.run.scene.origin, y_up_from_world=up)


def write_glb(
    path: Path,
    xyz: np.ndarray,
    rgb: np.ndarray,
    faces: np.ndarray,
    *,
    origin: np.ndarray,
    y_up_from_world: np.ndarray,
) -> None:
    """Points or a mesh with a colour at each vertex, shown as it is, without light.

    Stored positions are relative to the origin; the node `world` adds it, in double precision, which gives
    the user's coordinates, and the node above turns them so that up is +y, as the format wants it. Colours
    are stored linear, in 16 bits, as the format wants them too.

    Args:
        xyz: (V, 3) metres relative to the origin; at least one.
        rgb: (V, 3) uint8, sRGB.
        faces: (F, 3) vertices of triangles, seen from both sides; none: the vertices are points.
        origin: (3,) metres.
        y_up_from_world: (3, 3) rotation.

    Raises:
        OSError: it cannot be written.
    """
    place = xyz.astype("<f4")
    shade = np.full((len(place), 4), 65535, dtype="<u2")
    shade[:, :3] = (linear(rgb) * 65535).round()
    views, accessors, data = [], [], b""
    extent = {"min": place.min(axis=0).tolist(), "max": place.max(axis=0).tolist()}
    columns: list[tuple[np.ndarray, int, str, int, dict[str, Any]]] = [
        (place, _FLOAT, "VEC3", 34962, extent),
        (shade, _USHORT, "VEC4", 34962, {"normalized": True}),
    ]
    columns += [(faces.astype("<u4").reshape(-1), _UINT, "SCALAR", 34963, {})] if len(faces) else []
    for number, (table, kind, shape, target, more) in enumerate(columns):
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": table.nbytes, "target": target})
        entry = {"bufferView": number, "componentType": kind, "count": len(table), "type": shape}
        accessors.append(entry | more)
        data += table.tobytes()  # widths are multiples of 4 bytes, so all begin where they may
    primitive: dict[str, Any] = {"attributes": {"POSITION": 0, "COLOR_0": 1}, "material": 0, "mode": _POINTS}
    if len(faces):
        primitive |= {"indices": 2, "mode": _TRIANGLES}
    turn = np.eye(4)
    turn[:3, :3] = y_up_from_world
    tree = {
        "asset": {"version": "2.0", "generator": "purify3d"},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [
            {"name": "y up", "matrix": turn.T.reshape(-1).tolist(), "children": [1]},
            {"name": "world", "translation": np.asarray(origin, dtype=np.float64).tolist(), "mesh": 0},
        ],
        "meshes": [{"primitives": [primitive]}],
        "materials": [
            {
                "pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 1},
                "extensions": {"KHR_materials_unlit": {}},
                "doubleSided": True,
            }
        ],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(data)}],
    }
    text = json.dumps(tree, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    with path.open("wb") as file:
        file.write(struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + len(data)))
        file.write(struct.pack("<I4s", len(text), b"JSON") + text)
        file.write(struct.pack("<I4s", len(data), b"BIN\0") + data)


def linear(rgb: np.ndarray) -> np.ndarray:
    """(..., 3) sRGB 0..255 -> linear 0..1, float64 (IEC 61966-2-1)."""
    value = np.asarray(rgb, dtype=np.float64) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _own_faces(content: Content) -> np.ndarray:
    """(F, 3) of the run's points: the faces of the file that they come from, if it has any."""
    none = np.empty((0, 3), dtype=np.int64)
    capture, points = content.run.job.capture, content.run.points
    rows = len(points) + len(points.missing)
    if capture.onto is not None:
        candidates = [Path(capture.onto)]
    else:
        try:
            scene = content.capture
        except CaptureError as error:
            if content.wishes.mesh:
                raise
            warnings.warn(
                f"points are written, not a mesh, as the capture cannot be opened: {error}", PurifyWarning, 4
            )
            return none
        candidates = [] if scene.points is None else list(scene.files)
    for file in candidates:
        if file.suffix.lower() not in _FACES:
            continue
        faces = _FACES[file.suffix.lower()](file)
        if len(faces) and faces.max() >= rows:
            raise CaptureError(
                f"{file}: found faces of {faces.max() + 1} vertices; expected the {rows} that were labelled. "
                "It has changed since: repeat the run with --overwrite"
            )
        if len(faces):
            number = points.file_rows(np.arange(len(points)), -1)  # rows that are no points have no number
            numbered = number[faces]
            return np.asarray(numbered[(numbered >= 0).all(axis=1)])
    return none


def _nearest(content: Content, vertices: np.ndarray, reach: float) -> np.ndarray:
    """(V, 3) uint8 colours of vertices: of the nearest point, of labels that of the nearest labelled one."""
    rgb, xyz = content.rgb, content.run.points.xyz.numpy()
    if content.wishes.colors == "label":
        labelled = content.run.labels.numpy() >= 0
        rgb, xyz = rgb[labelled], xyz[labelled]
    if not len(xyz):
        return np.full((len(vertices), 3), NO_LABEL_COLOR, dtype=np.uint8)
    _, nearest = cKDTree(xyz).query(vertices, distance_upper_bound=reach)
    return np.concatenate([rgb, np.array([NO_LABEL_COLOR], dtype=np.uint8)])[nearest]

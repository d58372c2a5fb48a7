"""Clouds and meshes that people bring: results in their own order and coordinates."""

from __future__ import annotations

import base64
import json
import os
import shutil
import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import pytest
import torch
import trimesh

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.clouds import read_cloud
from purify3d.clouds.gltf import read_vertices as read_gltf
from purify3d.clouds.ply import read_written, write_ply
from purify3d.pipeline import run_job
from purify3d.runs.job import changed, job
from purify3d.types import PointCloud

HOLES = [0, 7, 8, 500]


@pytest.fixture(scope="module")
def fused(room_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, np.ndarray]:
    """Positions and colours of the room's own points."""
    run = run_job(
        job(room_folder, "wall", up="+z", rounds=0, voxel=0.05), tmp_path_factory.mktemp("runs") / "room"
    )
    points = read_cloud(run.folder / "points.ply")
    return points.xyz.numpy().astype(np.float64), points.rgb.numpy()


def vertices_of(path: Path) -> np.ndarray:
    """The rows of a binary PLY of single values, by its header alone."""
    header, _, body = path.read_bytes().partition(b"end_header\n")
    kinds = {"float": "<f4", "double": "<f8", "uchar": "u1", "int": "<i4"}
    words = [line.split() for line in header.decode().splitlines() if line.startswith("property ")]
    return np.frombuffer(body, [(name, kinds[kind]) for _, kind, name in words])


def colored_ply(path: Path, xyz: np.ndarray, rgb: np.ndarray) -> Path:
    rows = np.empty(len(xyz), [*((n, "<f8") for n in "xyz"), *((n, "u1") for n in ("red", "green", "blue"))])
    for i, name in enumerate(rows.dtype.names):
        rows[name] = (*xyz.T, *rgb.T)[i]
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(xyz)}\n"
    header += "".join(f"property {'double' if n in 'xyz' else 'uchar'} {n}\n" for n in rows.dtype.names)
    path.write_bytes(f"{header}end_header\n".encode() + rows.tobytes())
    return path


def test_vertices_that_are_not_finite_keep_their_rows(
    room_folder: Path, fused: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    xyz, rgb = fused
    given = np.insert(
        xyz, [0, 6, 6, 497], [[np.nan] * 3, [1, np.inf, 1], [np.nan, 0, 0], [-np.inf] * 3], axis=0
    )
    colors = np.insert(rgb, [0, 6, 6, 497], 9, axis=0)
    assert np.flatnonzero(~np.isfinite(given).all(1)).tolist() == HOLES
    wanted = job(
        room_folder, "scannet20", up="+z", rounds=2, voxel=0.05, affinity="geometric",
        onto=str(colored_ply(tmp_path / "mine.ply", given, colors)),
    )  # fmt: skip
    with pytest.warns(PurifyWarning, match=rf"mine\.ply: 4 of {len(given)} points are left out"):
        run = run_job(wanted, tmp_path / "run")
    ids = np.loadtxt(run.export("scannet", tmp_path / "ids") / "labels.txt", dtype=int)
    labels, points = vertices_of(run.folder / "labels.ply"), vertices_of(run.folder / "points.ply")
    assert len(ids) == len(labels) == len(points) == len(given)
    there = np.isfinite(given).all(1)
    for rows in (labels, points):
        place = np.stack([rows[axis] for axis in "xyz"], 1)
        assert np.isnan(place[HOLES]).all()
        np.testing.assert_array_equal(place[there], given[there].astype(np.float32))
    for name, nothing in (("label", -1), ("score", 0), ("views", 0)):
        assert (labels[name][HOLES] == nothing).all()
        assert (labels[name][there] != nothing).mean() > 0.5
    assert (ids[HOLES] == 0).all()
    assert ((ids > 0) == (labels["label"] >= 0)).all()
    legend = json.loads((run.folder / "labels.json").read_text())
    assert sum(row["points"] for row in legend) == len(given)
    # Their neighbours get what they get without them.
    clean = str(colored_ply(tmp_path / "clean.ply", xyz, rgb))
    other = run_job(changed(wanted, {"onto": clean}), tmp_path / "clean")
    others = vertices_of(other.folder / "labels.ply")
    assert (others["label"] == labels["label"][there]).all()
    # A resumed run gives what a fresh one gave.
    whole = (run.folder / "labels.ply").read_bytes()
    (run.folder / "labels.ply").unlink()
    with pytest.warns(PurifyWarning, match="4 of"):
        reused = list(run_job(wanted, run.folder).reused)
    assert reused == ["points", "lift"]
    assert (run.folder / "labels.ply").read_bytes() == whole


def test_rows_that_are_no_points_come_back(tmp_path: Path) -> None:
    xyz = np.array([[0, 0, 0], [0, np.nan, 0], [1, 2, 3], [np.inf, 0, 0]])
    with pytest.warns(PurifyWarning, match="2 of 4"):
        cloud = read_cloud(colored_ply(tmp_path / "a.ply", xyz, np.full((4, 3), 7, np.uint8)))
    assert cloud.missing.tolist() == [1, 3]
    write_ply(tmp_path / "b.ply", cloud, score=np.array([0.25, 0.5], np.float32), views=np.array([3, 4]))
    back = read_written(tmp_path / "b.ply")
    assert back.points.missing.tolist() == [1, 3]
    assert torch.equal(back.points.xyz, cloud.xyz)
    assert back.score is not None
    assert back.score.tolist() == [0.25, 0.5]
    assert vertices_of(tmp_path / "b.ply")["views"].tolist() == [3, 0, 4, 0]


# --- LAS ----------------------------------------------------------------------------------------------------

FAR = np.array([691_234.0, 5_336_789.0, 512.0])


def las_file(path: Path, xyz: np.ndarray, rgb: np.ndarray, version: str = "1.4", kind: int = 7) -> Path:
    header = laspy.LasHeader(point_format=kind, version=version)
    header.scales, header.offsets = np.array([0.001, 0.001, 0.0005]), FAR - 1000
    header.add_extra_dim(laspy.ExtraBytesParams("height", np.float32))
    header.add_extra_dim(laspy.ExtraBytesParams("label", np.uint8))
    header.vlrs.append(laspy.VLR("somebody", 77, "mine", b"kept"))
    las = laspy.LasData(header)
    las.x, las.y, las.z = xyz.T
    las.red, las.green, las.blue = rgb.T.astype(np.uint16) * 256
    las.classification = np.arange(len(xyz)) % 20
    las.gps_time = np.arange(len(xyz)) / 7
    las.height = np.arange(len(xyz), dtype=np.float32)
    las.label = np.full(len(xyz), 4)
    las.write(path)
    return path


@pytest.mark.parametrize("suffix", ["las", "laz"])
def test_labels_go_back_into_a_las_of_the_users_own(
    suffix: str, room_folder: Path, fused: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    capture = Path(shutil.copytree(room_folder, tmp_path / "room"))
    for file in (capture / "pose").iterdir():
        pose = np.loadtxt(file)
        pose[:3, 3] += FAR
        np.savetxt(file, pose)
    order = np.random.default_rng(0).permutation(len(fused[0]))
    xyz, rgb = fused[0][order], fused[1][order]
    given = las_file(tmp_path / f"mine.{suffix}", xyz + FAR, rgb)
    run = run_job(
        job(
            capture, "wall, floor, bed", up="+z", rounds=2, voxel=0.05, affinity="geometric", onto=str(given)
        ),
        tmp_path / "run",
    )
    before, after = laspy.read(given), laspy.read(run.folder / f"labels.{suffix}")
    assert after.header.point_format.id == 7
    assert after.header.version == before.header.version
    assert (after.header.are_points_compressed, suffix) in ((False, "las"), (True, "laz"))
    np.testing.assert_array_equal(after.header.scales, before.header.scales)
    np.testing.assert_array_equal(after.header.offsets, before.header.offsets)
    for name in before.point_format.dimension_names:
        if name != "label":
            np.testing.assert_array_equal(np.asarray(after[name]), np.asarray(before[name]), err_msg=name)
    assert [bytes(vlr.record_data) for vlr in after.vlrs if vlr.user_id == "somebody"] == [b"kept"]
    rows = vertices_of(run.folder / "labels.ply")
    assert (np.asarray(after.label).dtype, np.asarray(after.score).dtype) == (np.int32, np.float32)
    np.testing.assert_array_equal(np.asarray(after.label), rows["label"])
    np.testing.assert_array_equal(np.asarray(after.score), rows["score"])
    assert len(set(rows["label"])) > 2
    np.testing.assert_allclose(np.stack([rows[axis] for axis in "xyz"], 1), xyz + FAR, atol=6e-4)
    # What is written is what a reader of clouds reads.
    np.testing.assert_array_equal(
        read_cloud(run.folder / f"labels.{suffix}", origin=FAR).label.numpy(), rows["label"]
    )


def spoilt(path: Path, at: int, layout: str, value: int) -> None:
    data = bytearray(path.read_bytes())
    struct.pack_into(layout, data, at, value)
    path.write_bytes(data)


@pytest.mark.parametrize("suffix", ["las", "laz"])
@pytest.mark.parametrize(
    ("at", "layout", "value", "message"),
    [
        (100, "<I", 2**32 - 1, "found 4294967295 records announced"),
        (247, "<Q", 2**32 - 1, "found 4294967295 points announced"),
        (247, "<Q", 2**64 - 1, "points announced"),
        (247, "<Q", 300, "promises|announced|cannot be read"),
        (243, "<I", 2**32 - 1, "found 4294967295 records announced"),
        (96, "<I", 2**32 - 1, "found points from byte 4294967295"),
        (105, "<H", 0, "found points of 0 bytes"),
        (0, "<I", 0, "found no LAS header"),
    ],
)
def test_a_las_that_promises_too_much_is_refused_at_once(
    at: int, layout: str, value: int, message: str, suffix: str, tmp_path: Path
) -> None:
    path = las_file(tmp_path / f"a.{suffix}", np.zeros((100, 3)) + FAR, np.zeros((100, 3)))
    spoilt(path, at, layout, value)
    begin = time.perf_counter()
    with pytest.raises(CaptureError, match=message):
        read_cloud(path, origin=FAR)
    assert time.perf_counter() - begin < 1


def test_a_laz_without_its_table_of_parts_is_refused(tmp_path: Path) -> None:
    path = las_file(tmp_path / "a.laz", np.zeros((100, 3)) + FAR, np.zeros((100, 3)))
    data = struct.unpack_from("<I", path.read_bytes(), 96)[0]
    table = struct.unpack_from("<q", path.read_bytes(), data)[0]
    spoilt(path, table + 4, "<I", 2**32 - 1)
    with pytest.raises(CaptureError, match="found no table of its parts"):
        read_cloud(path, origin=FAR)
    spoilt(path, data, "<q", 2**50)
    with pytest.raises(CaptureError, match="found no table of its parts"):
        read_cloud(path, origin=FAR)


def test_a_laz_of_parts_that_memory_cannot_hold_is_refused(tmp_path: Path) -> None:
    """The decompressor takes memory for a whole part, and ends the process where there is none."""
    path = las_file(tmp_path / "a.laz", np.zeros((100, 3)) + FAR, np.zeros((100, 3)))
    record = path.read_bytes().index(b"laszip encoded") - 2 + 54  # behind its head
    spoilt(path, record + 12, "<I", 2**32 - 2)
    with pytest.raises(CaptureError, match="found parts of 4294967294 points"):
        read_cloud(path, origin=FAR)


def test_a_laz_whose_layers_are_longer_than_the_file_is_refused(tmp_path: Path) -> None:
    path = las_file(tmp_path / "a.laz", np.zeros((100, 3)) + FAR, np.zeros((100, 3)))
    data, width = struct.unpack_from("<96xI5xH", path.read_bytes())
    spoilt(path, data + 8 + width + 4 + 4 * 3, "<I", 2**32 - 1)  # of the fourth field of the first part
    begin = time.perf_counter()
    with pytest.raises(CaptureError, match="found a part that ends beyond"):
        read_cloud(path, origin=FAR)
    assert time.perf_counter() - begin < 1


def test_a_record_behind_the_points_ends_within_the_file(tmp_path: Path) -> None:
    path = las_file(tmp_path / "a.las", np.zeros((9, 3)) + FAR, np.zeros((9, 3)))
    end = path.stat().st_size
    path.write_bytes(path.read_bytes() + struct.pack("<H16sHQ32s", 0, b"x", 1, 2**60, b""))
    spoilt(path, 235, "<Q", end)
    spoilt(path, 243, "<I", 1)
    with pytest.raises(CaptureError, match="found a record of 1152921504606846976 bytes"):
        read_cloud(path, origin=FAR)


# --- as many vertices, in the same order --------------------------------------------------------------------

PLACES = np.array([[0, 0, 0], [1, 0, 0], [7, 7, 7], [0, 1, 0], [1, 0, 0]], dtype=np.float64)


def read_grey(path: Path, origin: np.ndarray | None = None) -> PointCloud:
    with pytest.warns(PurifyWarning, match=rf"{path.name}: found no colours; .* normals only to go by"):
        return read_cloud(path, origin=origin)


def test_obj_of_several_objects_with_seams(tmp_path: Path) -> None:
    """Vertex 1 has two texture coordinates and two normals, 3 is on no face, 5 repeats 2."""
    path = tmp_path / "a.obj"
    path.write_text(
        "o first\nv 0 0 0\nv 1 0 0\nv 7 7 7\nvt 0 0\nvt 1 0\nvt 1 1\nvn 0 0 1\nvn 0 1 0\n"
        "o second\nv 0 1 0\nv 1 0 0\n"
        "f 1/1/1 2/2/1 4/3/1\nf 1/3/2 5/1/1 -2/2/1\nl 1 2\n"
    )
    cloud = read_grey(path)
    assert cloud.xyz.tolist() == PLACES.tolist()
    assert cloud.normal[1:].tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 1], [0, 0, 1]]
    assert cloud.normal[0].tolist() == pytest.approx([0, 0.5**0.5, 0.5**0.5])


def test_what_another_program_writes_has_its_vertices(tmp_path: Path) -> None:
    """Unmerged, with one on no face; STL has the corners of each facet."""
    mesh = trimesh.Trimesh(PLACES, [[0, 1, 3], [4, 3, 2]], process=False)
    for suffix in ("obj", "ply", "glb"):
        mesh.export(tmp_path / f"a.{suffix}")
        assert read_grey(tmp_path / f"a.{suffix}").xyz.tolist() == PLACES.tolist(), suffix
    for name, kind in (("binary.stl", "stl"), ("text.stl", "stl_ascii")):
        mesh.export(tmp_path / name, file_type=kind)
        assert read_grey(tmp_path / name).xyz.tolist() == PLACES[[0, 1, 3, 4, 3, 2]].tolist()


def test_stl_of_several_solids(tmp_path: Path) -> None:
    facet = (
        "facet normal 0 0 0\nouter loop\nvertex {0} 0 0\nvertex {0} 1 0\nvertex {0} 0 1\nendloop\nendfacet\n"
    )
    names = ["z", "b", "a"]
    path = tmp_path / "a.stl"
    path.write_text("".join(f"solid {n}\n{facet.format(i)}endsolid {n}\n" for i, n in enumerate(names)))
    cloud = read_grey(path)
    assert cloud.xyz[:, 0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert cloud.normal.tolist() == [[1, 0, 0]] * 9


def glb(path: Path, tree: dict[str, Any], tables: list[np.ndarray]) -> Path:
    """A GLB of these nodes and meshes, with one accessor a table."""
    kinds = {"f4": 5126, "u1": 5121, "u2": 5123, "u4": 5125, "i2": 5122}
    blob, views, accessors = b"", [], []
    for i, table in enumerate(tables):
        width = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}[1 if table.ndim == 1 else table.shape[1]]
        views.append({"buffer": 0, "byteOffset": len(blob), "byteLength": table.nbytes})
        kind = kinds[table.dtype.str[1:]]
        accessors.append({"bufferView": i, "componentType": kind, "count": len(table), "type": width})
        if kind != 5126 and width in ("VEC3", "VEC4"):
            accessors[-1]["normalized"] = True
        blob += table.tobytes() + bytes(-table.nbytes % 4)
    whole = {"asset": {"version": "2.0"}, "buffers": [{"byteLength": len(blob)}], "bufferViews": views}
    text = json.dumps({**whole, "accessors": accessors, **tree}).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sIII4s", b"glTF", 2, 28 + len(text) + len(blob), len(text), b"JSON")
    path.write_bytes(head + text + struct.pack("<I4s", len(blob), b"BIN\0") + blob)
    return path


def test_glb_nodes_in_their_order_and_shared_vertices_once(tmp_path: Path) -> None:
    tree = {
        "scenes": [{"nodes": [1, 0]}],
        "nodes": [
            {"name": "a", "mesh": 0, "scale": [2, 2, 2], "rotation": [0, 0, 0.5**0.5, 0.5**0.5]},
            {"name": "b", "children": [3, 2], "translation": FAR.tolist()},
            {"name": "c", "mesh": 1},
            {"name": "d", "mesh": 0, "matrix": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0.0625, 0, 0, 1]},
        ],
        "meshes": [
            {
                "primitives": [
                    {"attributes": {"POSITION": 0, "COLOR_0": 4}, "indices": 1},
                    {"attributes": {"POSITION": 0, "COLOR_0": 4}, "indices": 2},
                ]
            },
            {"primitives": [{"attributes": {"POSITION": 3}, "mode": 0}]},
        ],
    }
    colors = (np.arange(20).reshape(5, 4) * 3276).astype("<u2")
    tables = [np.array([0, 1, 3], "<u2"), np.array([1, 2, 3], "<u1"), np.array([[9, 8, 7]], "<f4"), colors]
    path = glb(tmp_path / "a.glb", tree, [PLACES.astype("<f4"), *tables])
    read = read_gltf(path)
    assert read.rgb is not None
    np.testing.assert_array_equal(read.xyz[:5], PLACES + [0.0625, 0, 0] + FAR)  # noqa: RUF005
    np.testing.assert_array_equal(read.xyz[5] - FAR, [9, 8, 7])
    turned = np.stack([-2 * PLACES[:, 1], 2 * PLACES[:, 0], 2 * PLACES[:, 2]], 1)
    np.testing.assert_allclose(read.xyz[6:], turned, atol=1e-12)
    shown = (colors[:, :3] / 65535 * 255).round().astype(int).tolist()
    assert read.rgb.tolist() == [*shown, [128] * 3, *shown]
    other = trimesh.load(path, process=False)
    assert {tuple(np.round(v, 4)) for part in other.dump() for v in part.vertices} >= {
        (691243.0, 5336797.0, 519.0)
    }


def test_gltf_with_its_buffer_beside_or_inside(tmp_path: Path) -> None:
    data = PLACES.astype("<f4").tobytes()
    (tmp_path / "b c.bin").write_bytes(data)
    tree: dict[str, Any] = {
        "asset": {"version": "2.0"},
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "mode": 0, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorFactor": [1, 0.2, 0, 1]}}],
        "nodes": [{"mesh": 0}],
        "bufferViews": [{"buffer": 0, "byteLength": len(data)}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 5, "type": "VEC3"}],
    }
    for address in ("b%20c.bin", "data:application/octet-stream;base64," + base64.b64encode(data).decode()):
        tree["buffers"] = [{"byteLength": len(data), "uri": address}]
        (tmp_path / "a.gltf").write_text(json.dumps(tree))
        cloud = read_cloud(tmp_path / "a.gltf")
        assert cloud.xyz.tolist() == PLACES.tolist()
        assert cloud.rgb.tolist() == [[255, 51, 0]] * 5


@pytest.mark.parametrize("nothing", ["nan", "-nan", "NaN", "inf", "-nan(ind)"])
def test_text_that_is_no_number_keeps_its_row(nothing: str, tmp_path: Path) -> None:
    rows = ["0 0 0 9 8 7", f"1 {nothing} 0 9 8 7", "0 1 0 9 8 7"]
    (tmp_path / "a.obj").write_text("".join(f"v {row}\n" for row in rows) + "f 1 2 3\n")
    ascii_ply(tmp_path / "a.ply", ["red", "green", "blue"], "uchar", [[9, 8, 7]] * 3)
    text = (tmp_path / "a.ply").read_text().replace("\n1 0 0 9", f"\n1 {nothing} 0 9")
    (tmp_path / "a.ply").write_text(text)
    for suffix in ("obj", "ply"):
        with pytest.warns(PurifyWarning, match="1 of 3 points are left out"):
            cloud = read_cloud(tmp_path / f"a.{suffix}")
        assert cloud.missing.tolist() == [1], suffix
        assert cloud.rgb.tolist() == [[9, 8, 7]] * 2


# --- colours ------------------------------------------------------------------------------------------------

SHADES = np.array([[0, 51, 102], [255, 204, 153], [10, 20, 30]])


def ascii_ply(path: Path, names: list[str], kind: str, values: list[list[object]]) -> Path:
    rows = "\n".join(f"{i} 0 0 " + " ".join(map(str, row)) for i, row in enumerate(values))
    properties = "".join(f"property {kind} {name}\n" for name in names)
    path.write_text(
        f"ply\nformat ascii 1.0\nelement vertex {len(values)}\nproperty float x\nproperty float y\n"
        f"property float z\n{properties}end_header\n{rows}\n"
    )
    return path


@pytest.mark.parametrize("names", ["red green blue", "r g b", "diffuse_red diffuse_green diffuse_blue"])
@pytest.mark.parametrize("alpha", [[], ["alpha"]])
@pytest.mark.parametrize(
    ("kind", "scale"),
    [("uchar", 1), ("uint16", 257), ("ushort", 1), ("float", 1), ("float", 1 / 255), ("double", 1 / 255)],
)
def test_colours_of_ply(names: str, alpha: list[str], kind: str, scale: float, tmp_path: Path) -> None:
    values = [[*(type(scale)(v) * scale for v in row.tolist()), *[0] * len(alpha)] for row in SHADES]
    path = ascii_ply(tmp_path / "a.ply", [*names.split(), *alpha], kind, values)
    assert read_cloud(path).rgb.tolist() == SHADES.tolist()


def test_colours_packed_as_the_point_cloud_library_does(tmp_path: Path) -> None:
    packed = [0xFF000000 | int(r) << 16 | int(g) << 8 | int(b) for r, g, b in SHADES]
    path = ascii_ply(tmp_path / "a.ply", ["rgba"], "uint", [[p] for p in packed])
    assert read_cloud(path).rgb.tolist() == SHADES.tolist()
    bare = [struct.unpack("<f", struct.pack("<I", p & 0xFFFFFF))[0] for p in packed]
    path = ascii_ply(tmp_path / "b.ply", ["rgb"], "float", [[repr(p)] for p in bare])
    assert read_cloud(path).rgb.tolist() == SHADES.tolist()
    header = "ply\nformat binary_little_endian 1.0\nelement vertex 3\n"
    header += "".join(f"property float {name}\n" for name in ("x", "y", "z", "rgb")) + "end_header\n"
    body = b"".join(struct.pack("<fffI", 0, 0, 0, p) for p in packed)  # as bits, some are no number
    (tmp_path / "c.ply").write_bytes(header.encode() + body)
    assert read_cloud(tmp_path / "c.ply").rgb.tolist() == SHADES.tolist()


@pytest.mark.parametrize("name", ["intensity", "scalar_Intensity", "scalar_intensity", "Intensity"])
def test_intensity_where_there_is_no_colour(name: str, tmp_path: Path) -> None:
    path = ascii_ply(tmp_path / "a.ply", [name], "float", [[0.0], [0.5], [1.0], [1.0]])
    assert read_cloud(path).rgb.tolist() == [[v] * 3 for v in (0, 128, 255, 255)]
    path = ascii_ply(tmp_path / "b.ply", [name, "red", "green", "blue"], "uchar", [[1, 2, 3, 4]])
    assert read_cloud(path).rgb.tolist() == [[2, 3, 4]]


@pytest.mark.parametrize("scale", [1, 1 / 255])
@pytest.mark.parametrize("tail", ["", " 1"])
def test_colours_of_obj(scale: float, tail: str, tmp_path: Path) -> None:
    rows = [" ".join(map(str, row)) + tail for row in (SHADES * scale).tolist()]
    (tmp_path / "a.obj").write_text("".join(f"v 0 0 0 {row}\n" for row in rows))
    assert read_cloud(tmp_path / "a.obj").rgb.tolist() == SHADES.tolist()


def test_a_las_that_nobody_coloured_shows_its_intensity(tmp_path: Path) -> None:
    las = laspy.LasData(laspy.LasHeader(point_format=2, version="1.2"))
    las.x = las.y = las.z = np.arange(3.0)
    las.write(tmp_path / "a.las")
    assert read_grey(tmp_path / "a.las").rgb.unique().tolist() == [128]
    las.intensity = np.array([0, 1000, 2000])
    las.write(tmp_path / "a.las")
    assert read_cloud(tmp_path / "a.las").rgb[:, 0].tolist() == [0, 129, 255]


# --- far away -----------------------------------------------------------------------------------------------


def test_far_coordinates_keep_their_millimetres_in_every_format(tmp_path: Path) -> None:
    near = np.random.default_rng(0).uniform(-5, 5, (50, 3)).round(3)
    far = near + FAR
    lines = [" ".join(f"{v:.3f}" for v in row) + " 9 9 9" for row in far]
    (tmp_path / "a.obj").write_text("".join(f"v {line}\n" for line in lines))
    colored_ply(tmp_path / "a.ply", far, np.full((50, 3), 9))
    las_file(tmp_path / "a.las", far, np.full((50, 3), 9))
    las_file(tmp_path / "a.laz", far, np.full((50, 3), 9))
    mesh = {"primitives": [{"attributes": {"POSITION": 0, "COLOR_0": 1}, "mode": 0}]}
    nodes = [{"mesh": 0, "translation": FAR.tolist()}]
    glb(
        tmp_path / "a.glb",
        {"nodes": nodes, "meshes": [mesh]},
        [near.astype("<f4"), np.full((50, 4), 9, "u1")],
    )
    for suffix in ("obj", "ply", "las", "laz", "glb"):
        cloud = read_cloud(tmp_path / f"a.{suffix}", origin=FAR)
        np.testing.assert_allclose(cloud.xyz.numpy(), near, atol=6e-4, err_msg=suffix)
        assert cloud.rgb.unique().tolist() == [9], suffix
        with pytest.raises(CaptureError, match="where 32-bit numbers are"):
            read_cloud(tmp_path / f"a.{suffix}")


# --- broken and hostile -------------------------------------------------------------------------------------

SUFFIXES = ["ply", "obj", "stl", "glb", "gltf", "las", "laz"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_no_file_is_refused_unopened(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"folder.{suffix}").mkdir()
    os.mkfifo(tmp_path / f"pipe.{suffix}")
    for name, kind in (("folder", "a folder"), ("pipe", "a named pipe")):
        with pytest.raises(CaptureError, match=rf"{name}\.{suffix}: found {kind}"):
            read_cloud(tmp_path / f"{name}.{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_gigabyte_of_nothing_is_refused_at_once(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    head = {"ply": b"ply\nformat ascii 1.0\ncomment ", "obj": b"v 1 2 3 "}.get(suffix, b"")
    path.write_bytes(head)
    os.truncate(path, 10**9)  # takes no room on the disk
    begin = time.perf_counter()
    tracemalloc.start()
    try:
        with pytest.raises(CaptureError, match=r"a\.\w+: (cannot be read as|found 1000 MB)") as refused:
            read_cloud(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(str(refused.value)) < 400 + len(str(path))
    assert peak < 50e6
    assert time.perf_counter() - begin < 5


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"\0" * 300, b"\xff" * 300, bytes(range(256)) * 4, b"[" * 100_000])
def test_what_is_no_cloud_is_refused_in_one_line(suffix: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(content)
    with pytest.raises(CaptureError, match=rf"a\.{suffix}: (cannot be read as|found)") as refused:
        read_cloud(tmp_path / f"a.{suffix}")
    assert "\n" not in str(refused.value)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("element vertex -1\nproperty float x", "found the header line 'element vertex -1'"),
        (f"element vertex {'9' * 5000}\nproperty float x", "found the header line"),
        ("element vertex 1\nproperty list float int x", "found the header line 'property list float"),
        (
            "element vertex 4000000000\nproperty float x\nproperty float y\nproperty float z",
            "found 0 of 4000000000 rows",
        ),
        (
            "element empty 4000000000\nelement vertex 1\nproperty float x\nproperty float y\n"
            "property float z",
            "found 0 of 1 rows",
        ),
        ("element vertex 0\nproperty float x\nproperty float y\nproperty float z", "found no point"),
        (
            "element list 4000000000\nproperty list uchar int a\nelement vertex 1\nproperty float x\n"
            "property float y\nproperty float z",
            "found the end of the data",
        ),
    ],
)
@pytest.mark.parametrize("order", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply_headers_that_promise_too_much(text: str, message: str, order: str, tmp_path: Path) -> None:
    (tmp_path / "a.ply").write_text(f"ply\nformat {order} 1.0\n{text}\nend_header\n")
    begin = time.perf_counter()
    with pytest.raises(CaptureError, match=message):
        read_cloud(tmp_path / "a.ply")
    assert time.perf_counter() - begin < 1


def test_lines_without_end_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.obj"
    for text in (b"v 0 0 0\n\nv " + b"0 " * 10**6, b"v 0 0 0\n\n" + b"\\\n" * 600_000):
        path.write_bytes(text)
        begin = time.perf_counter()
        with pytest.raises(CaptureError, match=r"line \d+: found a line of more than 1 MB"):
            read_cloud(path)
        assert time.perf_counter() - begin < 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accessors": [{"componentType": 5126, "count": 4 * 10**9, "type": "VEC3"}]}, "found more than"),
        ({"accessors": [{"componentType": 5126, "count": 4, "type": "VEC3"}]}, "stored nowhere"),
        (
            {"accessors": [{"bufferView": 0, "componentType": 5126, "count": 4 * 10**9, "type": "VEC3"}]},
            "found more than|rows of 12 bytes",
        ),
        (
            {"accessors": [{"bufferView": 0, "componentType": 5126, "count": 6, "type": "VEC3"}]},
            "found 6 rows of 12 bytes from byte 0 in 60 bytes",
        ),
        ({"bufferViews": [{"buffer": 0, "byteLength": 2**40}]}, "found 1099511627776 bytes from 0"),
        ({"nodes": [{"mesh": 0, "children": [0]}], "scenes": [{"nodes": [0]}]}, "found node 0 of 1 twice"),
        ({"extensionsRequired": ["KHR_draco_mesh_compression"]}, "found KHR_draco_mesh_compression"),
        ({"buffers": [{"byteLength": 60, "uri": "pipe"}]}, "pipe: found a named pipe"),
        ({"buffers": [{"byteLength": 60, "uri": "https://x.invalid/a.bin"}]}, "cannot be opened"),
        ({"nodes": [{"mesh": 5}]}, "cannot be read as glTF"),
        ({"nodes": "mesh"}, "cannot be read as glTF"),
        ({"meshes": []}, "cannot be read as glTF"),
        ({"nodes": []}, "found neither a mesh nor points"),
    ],
)
def test_what_bad_glbs_say(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    good = {
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "mode": 0}]}],
    }
    glb(tmp_path / "a.glb", {**good, **change}, [PLACES.astype("<f4")])
    begin = time.perf_counter()
    with pytest.raises(CaptureError, match=message):
        read_cloud(tmp_path / "a.glb")
    assert time.perf_counter() - begin < 1

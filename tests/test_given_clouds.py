"""Clouds and meshes that people bring: results in their own order and coordinates."""

from __future__ import annotations

import json
import shutil
import struct
import time
from pathlib import Path

import laspy
import numpy as np
import pytest
import torch

from purify3d.clouds import read_cloud
from purify3d.clouds.ply import read_written, write_ply
from purify3d.errors import CaptureError, PurifyWarning
from purify3d.job import changed, job
from purify3d.runs import segment_into

HOLES = [0, 7, 8, 500]


@pytest.fixture(scope="module")
def fused(room_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, np.ndarray]:
    """Positions and colours of the room's own points."""
    run, _ = segment_into(
        tmp_path_factory.mktemp("runs") / "room", job(room_folder, "wall", up="+z", rounds=0, voxel=0.05)
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
        room_folder, "scannet20", up="+z", rounds=2, format="scannet", voxel=0.05,
        onto=str(colored_ply(tmp_path / "mine.ply", given, colors)),
    )  # fmt: skip
    with pytest.warns(PurifyWarning, match=rf"mine\.ply: 4 of {len(given)} points are left out"):
        run, _ = segment_into(tmp_path / "run", wanted)
    ids = np.loadtxt(run.folder / "labels.txt", dtype=int)
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
    other, _ = segment_into(tmp_path / "clean", changed(wanted, {"onto": clean}))
    assert (np.loadtxt(other.folder / "labels.txt", dtype=int) == ids[there]).all()
    # A resumed run gives what a fresh one gave.
    whole = (run.folder / "labels.ply").read_bytes()
    (run.folder / "labels.ply").unlink()
    with pytest.warns(PurifyWarning, match="4 of"):
        _, reused = segment_into(run.folder, wanted)
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
    run, _ = segment_into(
        tmp_path / "run", job(capture, "wall, floor, bed", up="+z", rounds=2, voxel=0.05, onto=str(given))
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


def test_a_record_behind_the_points_ends_within_the_file(tmp_path: Path) -> None:
    path = las_file(tmp_path / "a.las", np.zeros((9, 3)) + FAR, np.zeros((9, 3)))
    end = path.stat().st_size
    path.write_bytes(path.read_bytes() + struct.pack("<H16sHQ32s", 0, b"x", 1, 2**60, b""))
    spoilt(path, 235, "<Q", end)
    spoilt(path, 243, "<I", 1)
    with pytest.raises(CaptureError, match="found a record of 1152921504606846976 bytes"):
        read_cloud(path, origin=FAR)

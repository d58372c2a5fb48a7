"""Clouds and meshes that people bring: results in their own order and coordinates."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from purify3d.clouds import read_cloud
from purify3d.clouds.ply import read_written, write_ply
from purify3d.errors import PurifyWarning
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

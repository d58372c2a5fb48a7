"""What the user says of a capture: axes, direction, units, range, a far origin."""

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from purify3d.base.errors import PurifyWarning
from purify3d.captures import open_capture
from purify3d.captures.conventions import Stored, near_origin
from purify3d.captures.formats.nerfstudio import write_nerfstudio
from purify3d.clouds import read_cloud
from purify3d.clouds.ply import read_written, write_ply
from purify3d.features.surface import with_points
from purify3d.pipeline import run_job
from purify3d.runs.job import job
from purify3d.types import Scene

UTM = np.array([691_234.0, 5_336_789.0, 512.0])
FLIP = np.diag([1.0, -1, -1, 1])


def spoil_poses(capture: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    for file in (capture / "pose").iterdir():
        np.savetxt(file, change(np.loadtxt(file)))


def far_away(pose: np.ndarray) -> np.ndarray:
    moved = pose.copy()
    moved[:3, 3] += UTM
    return moved


def poses(scene: Scene) -> np.ndarray:
    return np.stack([frame.world_from_camera for frame in scene.frames])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda pose: pose @ FLIP, {"pose_convention": "opengl"}),
        (np.linalg.inv, {"pose_direction": "world-to-camera"}),
        (
            lambda pose: np.linalg.inv(pose @ FLIP),
            {"pose_convention": "opengl", "pose_direction": "world-to-camera"},
        ),
        (lambda pose: np.vstack([np.c_[pose[:3, :3], pose[:3, 3] * 100], pose[3]]), {"scale": 0.01}),
    ],
)
def test_poses_are_read_as_they_are_said_to_be_stored(change, said, room: Scene, capture: Path) -> None:
    right = open_capture(capture, up="+z")
    spoil_poses(capture, change)
    np.testing.assert_allclose(poses(open_capture(capture, up="+z", **said)), poses(right), atol=1e-6)


def test_what_a_format_has_can_be_said_to_be_wrong(room: Scene, tmp_path: Path) -> None:
    folder = write_nerfstudio(replace(room, frames=room.frames[:3]), tmp_path / "room")
    right = poses(open_capture(folder, up="+z"))
    file = folder / "transforms.json"
    meta = json.loads(file.read_text())
    for entry in meta["frames"]:
        entry["transform_matrix"] = (np.array(entry["transform_matrix"]) @ FLIP).tolist()
    file.write_text(json.dumps(meta))
    np.testing.assert_allclose(
        poses(open_capture(folder, up="+z", pose_convention="opencv")), right, atol=1e-9
    )


def test_stored_poses_are_read_back() -> None:
    pose = np.eye(4)
    pose[:3, :3] = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    pose[:3, 3] = 2.0
    for convention in ("opencv", "opengl"):
        for direction in ("camera-to-world", "world-to-camera"):
            stored = Stored(convention, direction)
            np.testing.assert_allclose(stored.read(stored.write(pose)), pose, atol=1e-12)


def test_depth_has_the_unit_that_is_said(capture: Path) -> None:
    as_is, said = open_capture(capture), open_capture(capture, depth_unit=1 / 500)
    np.testing.assert_allclose(said.frames[0].depth(), as_is.frames[0].depth() * 2, rtol=1e-6)
    assert (as_is.frames[0].depth_unit, said.frames[0].depth_unit) == (0.001, 1 / 500)
    pickle.loads(pickle.dumps(said.frames[0])).depth()


def test_depth_beyond_the_range_is_none(capture: Path) -> None:
    whole = open_capture(capture).frames[0].depth()
    middle = float(np.median(whole[whole > 0]))
    cut = open_capture(capture, max_depth=middle).frames[0].depth()
    np.testing.assert_array_equal(cut, np.where(whole <= middle, whole, 0))
    assert (open_capture(capture, depth_unit=1.0).frames[0].depth() == 0).all()  # a thousand metres


@pytest.mark.parametrize("wrong", [{"depth_unit": 0.0}, {"max_depth": -1.0}, {"scale": float("nan")}])
def test_units_are_above_zero(wrong: dict[str, float], capture: Path) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(wrong))} = .*; expected a number above 0"):
        open_capture(capture, **wrong)


def test_a_far_capture_is_moved_near_the_origin(room: Scene, capture: Path) -> None:
    near = open_capture(capture, up="+z")
    spoil_poses(capture, far_away)
    far = open_capture(capture, up="+z")
    assert not near.origin.any()
    assert (far.origin == far.origin.round()).all()
    np.testing.assert_allclose(poses(far)[:, :3, 3] + far.origin, poses(near)[:, :3, 3] + UTM, atol=1e-6)
    assert np.abs(poses(far)[:, :3, 3]).max() < 10
    assert near_origin(near) is near
    # Nothing is merged away: as many voxels as near the origin, up to where cells begin.
    count = [len(with_points(scene).cloud()) for scene in (near, far)]
    assert count[1] == pytest.approx(count[0], rel=0.02)


def test_a_far_run_is_written_where_the_user_has_it(capture: Path, tmp_path: Path) -> None:
    near = run_job(job(capture, "wall, floor", up="+z", rounds=2), tmp_path / "near")
    spoil_poses(capture, far_away)
    run = run_job(job(capture, "wall, floor", up="+z", rounds=2), tmp_path / "far")
    facts = json.loads((run.folder / "scene.json").read_text())
    origin = np.array(facts["origin"])
    for name in ("points.ply", "labels.ply"):
        header = (run.folder / name).read_bytes()[:2000]
        assert b"property double x" in header
        placed = read_written(run.folder / name, origin=origin).points.xyz.double().numpy() + origin
        here = read_written(near.folder / name).points.xyz.numpy()
        assert np.abs(np.median(placed, 0) - UTM - np.median(here, 0)).max() < 0.02
    other = read_cloud(run.folder / "labels.ply", origin=UTM.round())
    assert np.abs(other.xyz.numpy()).max() < 20
    again = list(run_job(job(capture, "wall, floor", up="+z", rounds=2), tmp_path / "far").reused)
    assert again == ["points", "lift", "label"]
    written = write_nerfstudio(open_capture(capture, up="+z"), tmp_path / "written")
    np.testing.assert_allclose(poses(open_capture(written)), poses(open_capture(capture, up="+z")), atol=1e-9)


def test_a_far_cloud_is_read_to_the_millimetre(tmp_path: Path) -> None:
    xyz = np.random.default_rng(0).uniform(-5, 5, (1000, 3))
    with pytest.warns(PurifyWarning, match="found no colours"):
        cloud = read_cloud(_doubles(tmp_path / "far.ply", xyz + UTM), origin=UTM)
    np.testing.assert_allclose(cloud.xyz.numpy(), xyz, atol=1e-6)
    write_ply(tmp_path / "back.ply", cloud, origin=UTM)
    back = read_cloud(tmp_path / "back.ply", origin=UTM)
    np.testing.assert_allclose(back.xyz.numpy(), xyz, atol=1e-6)


def _doubles(path: Path, xyz: np.ndarray) -> Path:
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(xyz)}\n"
    header += "".join(f"property double {axis}\n" for axis in "xyz") + "end_header\n"
    path.write_bytes(header.encode() + xyz.astype("<f8").tobytes())
    return path

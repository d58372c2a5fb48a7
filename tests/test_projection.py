"""Algebra of cameras, axes and rotations, for any camera and pose."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from purify3d.base import axes
from purify3d.grid import projection
from purify3d.types import Camera

settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("repeatable")

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(2, 40)


@st.composite
def cameras(draw) -> Camera:
    width, height = draw(sizes), draw(sizes)
    focal = st.floats(5, 200)
    inside = st.floats(0, 1)
    return Camera(draw(focal), draw(focal), draw(inside) * width, draw(inside) * height, width, height)


@st.composite
def poses(draw) -> np.ndarray:
    rng = np.random.default_rng(draw(seeds))
    pose = np.eye(4)
    pose[:3, :3] = Rotation.random(random_state=rng).as_matrix()
    pose[:3, 3] = rng.uniform(-10, 10, 3)
    return pose


def pixels(camera: Camera) -> torch.Tensor:
    v, u = np.mgrid[: camera.height, : camera.width]
    return torch.from_numpy(np.stack([u, v], -1).reshape(-1, 2).astype(np.float64))


def to_world(local: np.ndarray, pose: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(local.reshape(-1, 3).astype(np.float64) @ pose[:3, :3].T + pose[:3, 3])


@given(cameras(), poses(), seeds)
def test_project_undoes_backproject(camera, pose, seed):
    depth = np.random.default_rng(seed).uniform(0.5, 8, (camera.height, camera.width)).astype(np.float32)
    uv, z = projection.project(to_world(projection.backproject(depth, camera), pose), camera, pose)
    assert torch.allclose(z, torch.from_numpy(depth.reshape(-1)).double(), atol=1e-5)
    assert torch.allclose(uv, pixels(camera), atol=2e-3)


def test_pixel_centres_are_integers():
    camera = Camera(100, 100, 3, 2, 7, 5)
    points = projection.backproject(np.ones((5, 7), np.float32), camera)
    assert np.array_equal(points[2, 3], [0, 0, 1])
    assert points[2, 4, 0] > 0  # x to the right
    assert points[3, 3, 1] > 0  # y down


@given(poses())
def test_inverse(pose):
    assert np.allclose(projection.inverse(pose) @ pose, np.eye(4), atol=1e-9)


@given(cameras(), sizes, sizes)
def test_resizing_keeps_rays(camera, width, height):
    """The corners of the image area stay on the same rays, and resizing back gives the camera back."""
    resized = projection.resize_camera(camera, width, height)
    for corner in (0.0, 1.0):
        before = (corner * camera.width - 0.5 - camera.cx) / camera.fx
        after = (corner * width - 0.5 - resized.cx) / resized.fx
        assert math.isclose(before, after, abs_tol=1e-9)
        before = (corner * camera.height - 0.5 - camera.cy) / camera.fy
        after = (corner * height - 0.5 - resized.cy) / resized.fy
        assert math.isclose(before, after, abs_tol=1e-9)
    back = projection.resize_camera(resized, camera.width, camera.height)
    assert np.allclose([back.fx, back.fy, back.cx, back.cy], [camera.fx, camera.fy, camera.cx, camera.cy])


@given(cameras(), cameras(), poses(), seeds)
def test_map_pixels_agrees_with_projecting_twice(source, target, pose, seed):
    rng = np.random.default_rng(seed)
    points = to_world(np.concatenate([rng.uniform(-2, 2, (20, 2)), rng.uniform(1, 5, (20, 1))], 1), pose)
    uv, _ = projection.project(points, source, pose)
    expected, _ = projection.project(points, target, pose)
    assert torch.allclose(projection.map_pixels(uv, source, target), expected, atol=1e-6)


@given(cameras(), poses())
def test_four_quarter_turns_are_none(camera, pose):
    turned, turned_pose = camera, pose
    for _ in range(4):
        turned, turned_pose = projection.turn_camera(turned, turned_pose, 1)
    assert (turned.width, turned.height) == (camera.width, camera.height)
    assert np.allclose([turned.cx, turned.cy], [camera.cx, camera.cy])
    assert np.allclose(turned_pose, pose)


@given(cameras(), poses(), st.integers(0, 7), seeds)
def test_a_turned_image_sees_the_same_points(camera, pose, turns, seed):
    depth = np.random.default_rng(seed).uniform(0.5, 8, (camera.height, camera.width)).astype(np.float32)
    points = to_world(projection.backproject(depth, camera), pose).reshape(camera.height, camera.width, 3)
    turned, turned_pose = projection.turn_camera(camera, pose, turns)
    turned_depth = np.ascontiguousarray(np.rot90(depth, turns))
    assert turned_depth.shape == (turned.height, turned.width)
    seen = to_world(projection.backproject(turned_depth, turned), turned_pose)
    assert np.allclose(seen, np.rot90(points.numpy(), turns).reshape(-1, 3), atol=1e-4)


@given(cameras(), poses())
def test_after_turning_upright_up_points_to_the_top(camera, pose):
    up = np.array([0.0, 0.0, 1.0])
    turns = projection.quarter_turns_upright(pose, up)
    _, upright = projection.turn_camera(camera, pose, turns)
    right, down = up @ upright[:3, :2]
    if np.hypot(right, down) < 0.5:
        assert turns == 0
    else:
        assert -down >= abs(right) - 1e-9


@given(poses(), st.floats(0, 29), st.integers(0, 2), st.sampled_from([-1.0, 1.0]))
def test_up_snaps_to_an_axis_within_30_degrees(pose, degrees, axis, sign):
    up = np.zeros(3)
    up[axis] = sign
    away = np.cross(up, pose[:3, 0])
    tilted = Rotation.from_rotvec(away / np.linalg.norm(away) * np.radians(degrees)).apply(up)
    assert np.array_equal(axes.guess_up(_standing_along(tilted)[None]), up)


def test_up_further_away_is_kept_as_it_is():
    diagonal = np.ones(3) / np.sqrt(3)
    assert np.allclose(axes.guess_up(_standing_along(diagonal)[None]), diagonal)


def test_cameras_that_cancel_have_z_up():
    both = np.stack([_standing_along(np.array([1.0, 0, 0])), _standing_along(np.array([-1.0, 0, 0]))])
    assert np.array_equal(axes.guess_up(both), [0, 0, 1])


def _standing_along(up: np.ndarray) -> np.ndarray:
    """A camera whose top edge points along `up`."""
    side = np.cross(up, [0.3, 0.5, 0.8])
    side /= np.linalg.norm(side)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([side, -up, np.cross(side, -up)], axis=1)
    return pose


@given(poses())
def test_quaternion_order_is_x_y_z_w(pose):
    quaternion = Rotation.from_matrix(pose[:3, :3]).as_quat()
    assert np.allclose(projection.pose_from_quaternion(3 * quaternion, pose[:3, 3]), pose)
    assert np.allclose(projection.pose_from_quaternion(np.array([0, 0, 0, 1]), np.zeros(3)), np.eye(4))


def test_distortion_has_the_published_terms():
    """Each coefficient alone, against the Brown-Conrady polynomial worked out by hand at (0.5, 1)."""
    xy = np.array([[0.5, 1.0]])
    r2 = 1.25
    for coefficient, expected in {
        "k1": (0.5 * (1 + 0.1 * r2), 1 + 0.1 * r2),
        "k2": (0.5 * (1 + 0.1 * r2**2), 1 + 0.1 * r2**2),
        "k3": (0.5 * (1 + 0.1 * r2**3), 1 + 0.1 * r2**3),
        "p1": (0.5 + 0.1 * 2 * 0.5, 1 + 0.1 * (r2 + 2)),
        "p2": (0.5 + 0.1 * (r2 + 2 * 0.25), 1 + 0.1 * 2 * 0.5),
    }.items():
        values = dict.fromkeys(("k1", "k2", "k3", "p1", "p2"), 0.0) | {coefficient: 0.1}
        assert np.allclose(projection.distort(xy, **values), [expected]), coefficient


@pytest.mark.parametrize(
    ("direction", "name"), [([0, 0, 1], "+z"), ([0, -1, 0], "-y"), ([0.6, 0.8, 0], "(0.60, 0.80, 0.00)")]
)
def test_directions_have_names(direction, name):
    assert axes.describe_axis(np.array(direction, dtype=float)) == name

"""Colour and depth cameras that differ in size, focal length and principal point, on a wall that is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import FakeModel, cloud_of
from scipy.spatial.transform import Rotation

from purify3d.features.config import LiftConfig
from purify3d.features.labels_from_frames import fuse_labels
from purify3d.features.lifting import lift
from purify3d.features.surface import fuse
from purify3d.grid.projection import OPENCV_FROM_OPENGL, resize_camera
from purify3d.types import (
    Camera,
    DenseFeatures,
    FeatureSpace,
    Frame,
    PointCloud,
    Scene,
)

COLOR = Camera(fx=120.0, fy=132.0, cx=66.3, cy=37.8, width=128, height=96)
DEPTH = Camera(fx=45.0, fy=42.0, cx=24.2, cy=21.1, width=60, height=44)
DISTANCE = 2.0  # metres, of the wall
POSE = np.eye(4)
POSE[:3, :3] = Rotation.from_rotvec([0.4, -0.9, 0.3]).as_matrix()
POSE[:3, 3] = [1.5, -0.7, 0.4]


def wall_frame(label: np.ndarray | None = None) -> Frame:
    """Colours tell the pixel: red is 2 x column, green 2 x row."""
    row, column = np.mgrid[: COLOR.height, : COLOR.width]
    color = np.stack([2 * column, 2 * row, np.full_like(row, 9)], axis=2).astype(np.uint8)
    return Frame(
        name="wall",
        camera=COLOR,
        depth_camera=DEPTH,
        world_from_camera=POSE,
        color=lambda: color,
        depth=lambda: np.full((DEPTH.height, DEPTH.width), DISTANCE, np.float32),
        label=None if label is None else lambda: label,
    )


def pixel_of(local: np.ndarray, camera: Camera) -> np.ndarray:
    """(N, 3) points in the camera's axes -> (N, 2) column and row, not rounded."""
    x, y, z = local.T
    return np.stack([camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy], axis=1)


def inside(pixel: np.ndarray, camera: Camera, margin: int) -> np.ndarray:
    column, row = np.rint(pixel).T
    fits = (column >= margin) & (column <= camera.width - 1 - margin)
    return fits & (row >= margin) & (row <= camera.height - 1 - margin)


def cloud(local: np.ndarray) -> PointCloud:
    """(N, 3) points in the camera's axes, in the world."""
    return cloud_of(torch.from_numpy(local @ POSE[:3, :3].T + POSE[:3, 3]).float())


@pytest.fixture(scope="module")
def wall() -> np.ndarray:
    """(N, 3) points on the wall in the camera's axes, far beyond what either image shows."""
    xy = np.random.default_rng(0).uniform(-2.2, 2.2, (20_000, 2))
    return np.concatenate([xy, np.full((len(xy), 1), DISTANCE)], axis=1)


def painter() -> FakeModel:
    """A 2D model whose features say where on the wall a pixel lies: x, y in metres, and 1."""
    row, column = np.mgrid[: COLOR.height, : COLOR.width]
    x, y = DISTANCE * (column - COLOR.cx) / COLOR.fx, DISTANCE * (row - COLOR.cy) / COLOR.fy
    values = torch.from_numpy(np.stack([x, y, np.ones_like(x)])).float()
    return FakeModel(FeatureSpace("painter", 3, 1.0), lambda _: DenseFeatures(values))


def lifted(local: np.ndarray, config: LiftConfig) -> tuple[np.ndarray, np.ndarray]:
    """Features and views of points in the camera's axes."""
    scene = Scene("wall", (wall_frame(),), np.array([0.0, 0.0, 1.0]), cloud(local))
    features = lift(scene, painter(), config=config)
    return features.values.numpy(), features.views.numpy()


def test_a_feature_comes_from_the_pixel_that_shows_the_point(wall: np.ndarray) -> None:
    values, views = lifted(wall, LiftConfig())
    seen = views > 0
    assert seen.sum() > 500
    off = np.abs(values[seen, :2] - wall[seen, :2])
    # The nearest pixel: half a pixel on the wall, and rounding.
    assert off[:, 0].max() < 0.51 * DISTANCE / COLOR.fx
    assert off[:, 1].max() < 0.51 * DISTANCE / COLOR.fy


@pytest.mark.parametrize("margin", [0, 10, 25])
def test_margins_hold_in_both_images(wall: np.ndarray, margin: int) -> None:
    in_color = inside(pixel_of(wall, COLOR), COLOR, margin)
    in_depth = inside(pixel_of(wall, DEPTH), DEPTH, round(margin * DEPTH.width / COLOR.width))
    _, views = lifted(wall, LiftConfig(margin=margin))
    # Each image alone would let points in that the other one keeps out.
    assert (in_color & ~in_depth).sum() > 20
    assert (in_depth & ~in_color).sum() > 20
    # A point within a millionth of a pixel's border may fall on either side.
    assert ((views > 0) != (in_color & in_depth)).sum() <= 1


def test_what_lies_behind_a_surface_is_not_seen(wall: np.ndarray) -> None:
    in_both = inside(pixel_of(wall, COLOR), COLOR, 10) & inside(pixel_of(wall, DEPTH), DEPTH, 5)
    for share, visible in ((0.96, True), (1.04, True), (0.94, False), (1.06, False)):
        moved = np.concatenate([wall[in_both] * share, wall[in_both][:1]])  # the last keeps the scene visible
        _, views = lifted(moved, LiftConfig())
        assert (views[:-1] > 0).all() == visible
        assert (views[:-1] > 0).any() == visible


def test_fused_colours_are_those_of_the_colour_image() -> None:
    points = fuse([wall_frame()], voxel=0.1)
    local = (points.xyz.numpy() - POSE[:3, 3]) @ POSE[:3, :3]
    np.testing.assert_allclose(local[:, 2], DISTANCE, atol=1e-4)
    pixel = pixel_of(local, COLOR)
    # Well inside the colour image, where a cube holds all of its pixels. Each depth pixel takes the nearest
    # colour pixel: half a step of 2 grey values, and the rounding of the mean.
    whole = inside(pixel, COLOR, 12)
    assert whole.sum() > 100
    assert np.abs(points.rgb.numpy()[whole, :2] - 2 * pixel[whole]).max() <= 1.6
    assert (points.rgb.numpy()[whole, 2] == 9).all()


def test_truth_is_read_in_the_depth_image() -> None:
    row, column = np.mgrid[: DEPTH.height, : DEPTH.width]
    label = (column // 5 + 12 * (row // 7)).astype(np.int32)
    depth = np.full(label.shape, DISTANCE)
    local = np.stack([depth * (column - DEPTH.cx) / DEPTH.fx, depth * (row - DEPTH.cy) / DEPTH.fy, depth], 2)
    points = local.reshape(-1, 3)
    outside = ~inside(pixel_of(points, COLOR), COLOR, 0)
    assert outside.sum() > 300  # the depth camera sees them, the colour camera does not
    found = fuse_labels([wall_frame(label)], cloud(points)).numpy()
    np.testing.assert_array_equal(found, label.ravel())


def test_truth_is_the_majority_and_of_the_very_surface() -> None:
    label = np.full((DEPTH.height, DEPTH.width), 5, np.int32)
    points = np.array([[0.0, 0.0, DISTANCE], [0.0, 0.0, 0.98 * DISTANCE], [5.0, 0.0, DISTANCE]])
    frames = [wall_frame(label), wall_frame(label * 0 + 2), wall_frame(label)]
    assert fuse_labels(frames, cloud(points)).tolist() == [5, -1, -1]
    assert fuse_labels([replace(frame, label=None) for frame in frames], cloud(points)).tolist() == [-1] * 3


def test_half_an_image_shows_the_same_rays() -> None:
    """The two by two pixels that become one are around its centre: (0, 0) lies at (0.5, 0.5) before."""
    half = resize_camera(COLOR, COLOR.width // 2, COLOR.height // 2)
    point = np.array([[0.31, -0.12, 1.7]])
    np.testing.assert_allclose(pixel_of(point, COLOR), 2 * pixel_of(point, half) + 0.5, atol=1e-9)


def test_opengl_cameras_look_along_minus_z_with_y_up() -> None:
    up_and_ahead = OPENCV_FROM_OPENGL @ np.array([0.0, -1.0, 2.0, 1.0])  # one up, two ahead, in OpenCV axes
    np.testing.assert_array_equal(up_and_ahead, [0.0, 1.0, -2.0, 1.0])

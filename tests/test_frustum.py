"""Looking only at the cubes before a camera finds what looking at all points finds."""

import numpy as np
import pytest
import torch
from pretended import back, pretending
from scipy.spatial.transform import Rotation

from purify3d.features.config import LiftConfig
from purify3d.features.frustum import FrustumIndex
from purify3d.features.lifting import measured_points, visible_points
from purify3d.grid.projection import project
from purify3d.types import Camera, Frame


def random_points(count: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(7).random((count, 3), dtype=np.float32))


def camera_at(rng: np.random.Generator, place: np.ndarray, reach: float) -> tuple[Frame, np.ndarray]:
    """A frame at a place with any turn, any lens and depth up to `reach`, and that depth."""
    width, height = (int(n) for n in rng.integers(1, 200, 2))
    camera = Camera(
        fx=float(10 ** rng.uniform(0, 3.5)),
        fy=float(10 ** rng.uniform(0, 3.5)),
        cx=float(rng.uniform(-0.5, 1.5) * width),
        cy=float(rng.uniform(-0.5, 1.5) * height),
        width=width,
        height=height,
    )
    pose = np.eye(4)
    pose[:3, :3] = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
    pose[:3, 3] = place
    depth = (reach * rng.random((height, width))).astype(np.float32)
    depth[rng.random(depth.shape) < 0.3] = 0
    frame = Frame("f", camera, camera, pose, color=lambda: np.zeros((height, width, 3)), depth=lambda: depth)
    return frame, depth


@pytest.mark.parametrize("size", [0.001, 0.3, 4.0, 60.0, 3e4])
@pytest.mark.parametrize("far", [0.0, 1000.0])
def test_every_point_that_a_frame_sees_is_found(size: float, far: float) -> None:
    rng = np.random.default_rng([int(size * 1000), int(far)])
    xyz = torch.from_numpy((rng.random((3000, 3)) * size + far).astype(np.float32))
    blocks, found = FrustumIndex.of(xyz), 0
    for _ in range(60):
        # From beside the scene, from within it, and from the very place of a point.
        place = (
            far + size * rng.uniform(-0.5, 1.5, 3) if rng.random() < 0.7 else xyz[rng.integers(3000)].numpy()
        )
        frame, _ = camera_at(rng, place, size * 10 ** rng.uniform(-1, 1))
        tolerance = float(rng.choice([0.01, 0.05, 0.5, 1.0]))
        plain = measured_points(xyz, frame, tolerance, 0)
        culled = measured_points(blocks, frame, tolerance, 0)
        assert torch.equal(plain[0], culled[0])
        assert torch.equal(plain[1], culled[1])
        found += len(plain[0])
    assert found > 100  # else nothing was compared


def test_what_is_behind_beside_and_beyond_is_not_looked_at() -> None:
    axis = torch.arange(-20.0, 20.0, 0.25)
    xyz = torch.cartesian_prod(axis, torch.tensor([0.1]), axis)
    camera = Camera(50, 50, 49.5, 49.5, 100, 100)  # 90 degrees
    blocks = FrustumIndex.of(xyz)
    number, before = blocks.before(camera, np.eye(4), 5.0)
    assert torch.equal(xyz[number], before)
    uv, z = project(xyz, camera, np.eye(4))
    needed = (z > 0) & (z <= 5) & ((uv + 0.5).abs() <= 100).all(1) & (uv >= -0.5).all(1)
    assert set(torch.nonzero(needed)[:, 0].tolist()) <= set(number.tolist())
    assert len(number) < 2 * int(needed.sum())
    z = before[:, 2]
    assert z.min() > -1  # of so few points a cube is a metre wide
    assert z.max() < 6


def test_a_pixel_without_a_number_hides_no_other() -> None:
    xyz = torch.tensor([[0.0, 0.0, 1.0]])
    camera = Camera(10, 10, 4.5, 4.5, 10, 10)
    depth = np.ones((10, 10), np.float32)
    depth[0, 0], depth[0, 1] = np.nan, np.inf
    frame = Frame("f", camera, camera, np.eye(4), color=lambda: np.zeros((10, 10, 3)), depth=lambda: depth)
    assert measured_points(FrustumIndex.of(xyz), frame, 0.05, 0)[0].tolist() == [0]


def test_without_depth_nothing_is_looked_at() -> None:
    rng = np.random.default_rng(1)
    xyz = random_points(500)
    frame, depth = camera_at(rng, np.full(3, -0.5), 2.0)
    depth[:] = 0
    assert len(measured_points(FrustumIndex.of(xyz), frame, 0.05, 0)[0]) == 0


def test_points_that_are_not_finite_are_never_seen() -> None:
    rng = np.random.default_rng(2)
    xyz = random_points(500)
    xyz[::7] = torch.nan
    xyz[3, 1] = torch.inf
    blocks = FrustumIndex.of(xyz)
    assert len(blocks.number) == int(xyz.isfinite().all(1).sum())
    for _ in range(20):
        frame, _ = camera_at(rng, rng.uniform(-1, 2, 3), 2.0)
        for points in (xyz, blocks):
            point, _ = measured_points(points, frame, 1.0, 0)
            assert xyz[point].isfinite().all()
        assert torch.equal(measured_points(xyz, frame, 1.0, 0)[0], measured_points(blocks, frame, 1.0, 0)[0])


def test_no_point_at_all() -> None:
    frame, _ = camera_at(np.random.default_rng(3), np.zeros(3), 2.0)
    for xyz in (torch.empty(0, 3), torch.full((4, 3), torch.nan)):
        point, uv = measured_points(FrustumIndex.of(xyz), frame, 1.0, 0)
        assert point.shape == (0,)
        assert uv.shape == (0, 2)


def test_lonely_points_share_cubes() -> None:
    """A hundred points a kilometre apart from each other are not a hundred cubes to look through."""
    xyz = random_points(100) * 1e5
    assert len(FrustumIndex.of(xyz).low) <= 8


def test_blocks_lie_where_the_points_do() -> None:
    xyz = random_points(400)
    frame, _ = camera_at(np.random.default_rng(5), np.full(3, 0.5), 1.0)
    plain = visible_points(FrustumIndex.of(xyz), frame, LiftConfig(margin=0, tolerance=1.0))
    assert len(plain[0])
    with pretending() as device:
        found = visible_points(FrustumIndex.of(xyz.to(device)), frame, LiftConfig(margin=0, tolerance=1.0))
        assert all(each.device == device for each in found)
    for one, other in zip(plain, found, strict=True):
        assert torch.equal(one, back(other))

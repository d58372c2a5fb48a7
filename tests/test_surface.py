"""Fusing frames into a cloud, against surfaces that are known."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.features import surface
from purify3d.features.labels_from_frames import fuse_labels
from purify3d.features.surface import depth_jumps, estimate_normals, fuse, with_points
from purify3d.grid.projection import backproject
from purify3d.types import Camera, Frame, PointCloud, Scene

CAMERA = Camera(100.0, 100.0, 79.5, 59.5, 160, 120)


def wall_frame(x: float, depth: float = 2.0, label: int = 4) -> Frame:
    """A camera at (x, 0, 0) that looks along +z at a wall."""
    pose = np.eye(4)
    pose[0, 3] = x
    return Frame(
        name=str(x),
        camera=CAMERA,
        depth_camera=CAMERA,
        world_from_camera=pose,
        color=lambda: np.full((120, 160, 3), 50 + int(100 * x), np.uint8),
        depth=lambda: np.full((120, 160), depth, np.float32),
        label=lambda: np.full((120, 160), label, np.int32),
    )


def test_a_wall_is_fused_where_it_is() -> None:
    points = fuse([wall_frame(0.0), wall_frame(1.0)], voxel=0.05)
    torch.testing.assert_close(points.xyz[:, 2], torch.full((len(points),), 2.0))
    assert points.xyz[:, 0].min() == pytest.approx(-1.59, abs=0.03)
    assert points.xyz[:, 0].max() == pytest.approx(2.59, abs=0.03)
    cells = torch.floor(points.xyz / 0.05)
    assert len(torch.unique(cells, dim=0)) == len(points)
    torch.testing.assert_close(points.normal, torch.tensor([0.0, 0, -1]).expand(len(points), 3))
    left, both = points.xyz[:, 0] < -0.7, (points.xyz[:, 0] > -0.5) & (points.xyz[:, 0] < 1.5)
    assert points.rgb[left].unique().tolist() == [50]
    assert points.rgb[both].float().mean() == pytest.approx(100, abs=3)  # the mean of both frames


def test_merging_early_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [wall_frame(0.3 * i) for i in range(6)]
    whole = fuse(frames)
    monkeypatch.setattr("purify3d.features.surface._MERGE_ROWS", 10_000)
    parts = fuse(frames)
    torch.testing.assert_close(whole.xyz, parts.xyz)
    assert torch.equal(whole.rgb, parts.rgb)


def test_many_pixels_of_one_voxel_lose_no_digits() -> None:
    """Sums are of 32 bits: 190,000 pixels of 10 frames in one voxel, far from the origin."""
    frame = wall_frame(0.0)
    pose = frame.world_from_camera.copy()
    pose[:3, 3] += 5004.0
    (point,) = fuse([replace(frame, world_from_camera=pose)] * 10, voxel=10.0).xyz.double()
    depth = frame.depth()
    local = backproject(depth, frame.depth_camera)[(depth > 0) & ~depth_jumps(depth)].astype(np.float64)
    expected = torch.from_numpy((local @ pose[:3, :3].T + pose[:3, 3]).mean(axis=0))
    torch.testing.assert_close(point, expected, atol=1e-3, rtol=0)


def test_the_scene_is_not_merged_again_for_every_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    color = wall_frame(0.0).color
    frames = [replace(wall_frame(4.0 * i), color=color) for i in range(60)]  # none sees what another saw
    merged, merge = [0], surface._merge

    def counted(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        merged[0] += sum(len(keys) for keys, _ in parts)
        return merge(parts)

    alone = sum(len(surface._partial_sums(frame, frame.depth(), frame.color(), 0.05)[0]) for frame in frames)
    monkeypatch.setattr(surface, "_merge", counted)
    monkeypatch.setattr(surface, "_MERGE_ROWS", 1)
    fuse(frames, voxel=0.05)
    assert merged[0] < 4 * alone  # 30 times as many where each frame merges all before it


@pytest.mark.parametrize(
    ("far", "voxel"),
    [
        (
            replace(
                wall_frame(1), name="far", world_from_camera=np.diag([1.0, 1, 1, 1]) + 3e4 * np.eye(4, k=3)
            ),
            0.02,
        ),
        (replace(wall_frame(1), name="far", depth=lambda: np.full((120, 160), 1e30, np.float32)), 0.02),
        (replace(wall_frame(1), name="far", world_from_camera=np.eye(4) - 20.0 * np.eye(4, k=3)), 1e-5),
    ],
)
def test_a_frame_too_far_away_is_named(far: Frame, voxel: float) -> None:
    message = (
        r"^frame far: found 19200 of 19200 pixels beyond .*Check the units .* pose of this frame .*--voxel"
    )
    with pytest.raises(CaptureError, match=message):
        fuse([wall_frame(0), far, wall_frame(2)], voxel=voxel)


@pytest.mark.parametrize("voxel", [0.001, 0.2, 1.0])
def test_normals_at_any_voxel_size(voxel: float) -> None:
    """A wall measured with 3 mm of noise, seen twice at the same pixels."""
    noise = np.random.default_rng(0).normal(0, 0.003, (120, 160)).astype(np.float32)
    frame = replace(wall_frame(0.0), depth=lambda: 0.5 + noise)
    points = fuse([frame, frame], voxel=voxel)
    assert (points.normal[:, 2] < -0.9).float().mean() > 0.98
    torch.testing.assert_close(points.normal.norm(dim=1), torch.ones(len(points)))


def test_too_few_points_for_a_plane_face_the_camera() -> None:
    line = torch.tensor([[0.0, 0, 2], [1, 0, 2], [2, 0, 2]])
    for xyz in (line, line[:1]):
        normal = estimate_normals(xyz, -2 * xyz)
        torch.testing.assert_close(normal, torch.nn.functional.normalize(-xyz, dim=1))


def test_frames_are_read_one_at_a_time() -> None:
    alive = 0

    class Depth(np.ndarray):
        pass

    def frame(i: int) -> Frame:
        def depth() -> np.ndarray:
            nonlocal alive
            alive += 1
            assert alive <= torch.get_num_threads() + 1  # the one before may not be collected yet
            image = np.full((120, 160), 2.0, np.float32).view(Depth)
            import weakref

            weakref.finalize(image, closed)
            return image

        return replace(wall_frame(0.1 * i), depth=depth)

    def closed() -> None:
        nonlocal alive
        alive -= 1

    fuse([frame(i) for i in range(8)])


def test_pixels_at_depth_jumps_are_left_out() -> None:
    depth = np.full((6, 8), 1.0, np.float32)
    depth[:, 4:] = 2.0
    depth[0, 0] = 0  # a hole is no jump
    jump = depth_jumps(depth)
    assert jump[:, 3:5].all()
    assert not jump[:, :3].any()
    assert not jump[:, 5:].any()


def test_no_depth_is_an_error() -> None:
    with pytest.raises(CaptureError, match="no usable depth in any of the 2 frames"):
        fuse([wall_frame(0, depth=0.0), wall_frame(1, depth=0.0)])


def test_normals_of_a_sphere_point_where_they_should() -> None:
    direction = torch.nn.functional.normalize(
        torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)), dim=1
    )
    normal = estimate_normals(2 * direction, -direction)
    assert ((normal * -direction).sum(1) > 0.98).float().mean() > 0.99


def test_a_cloud_of_its_own_gets_normals_towards_the_cameras() -> None:
    grid = torch.cartesian_prod(torch.arange(-1, 1, 0.05), torch.arange(-0.5, 0.5, 0.05), torch.tensor([2.0]))
    n = len(grid)
    cloud = PointCloud(
        grid, torch.zeros(n, 3, dtype=torch.uint8), torch.zeros(n, 3), torch.full((n,), -1).int()
    )
    scene = with_points(Scene("wall", (wall_frame(0.0),), np.array([0.0, -1, 0]), cloud))
    assert scene.points is not None
    assert torch.equal(scene.points.xyz, grid)
    assert (scene.points.normal[:, 2] < -0.99).all()


def test_truth_is_the_majority_of_the_views() -> None:
    frames = [wall_frame(0.0, label=4), wall_frame(0.01, label=7), wall_frame(0.02, label=7)]
    points = fuse(frames, voxel=0.05)
    assert fuse_labels(frames, points).unique().tolist() == [7]
    behind = replace(points, xyz=points.xyz + torch.tensor([0, 0, 0.5]))
    assert fuse_labels(frames, behind).unique().tolist() == [-1]
    assert fuse_labels([replace(f, label=None) for f in frames], points).unique().tolist() == [-1]


def test_small_voxels_keep_what_was_measured() -> None:
    """At 2 m a pixel is 2 cm wide: most small voxels have one at most, which is no noise."""
    frames = [wall_frame(0.003 * i) for i in range(8)]
    usual = len(fuse(frames, voxel=0.02))
    counts = []
    for voxel in (0.015, 0.01, 0.005, 0.002, 0.001):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            points = fuse(frames, voxel=voxel)
        counts.append(len(points))
        assert points.xyz[:, 2].sub(2).abs().max() < 1e-3
        cells = torch.unique(torch.floor(points.xyz[:, :2] / 0.02), dim=0)
        assert len(cells) > 0.95 * usual  # nowhere a gap
        assert voxel > 0.002 or "found a single pixel in" in str(said[0].message)
    assert counts == sorted(counts)
    assert counts[0] >= usual
    assert counts[-1] > 0.95 * 8 * 120 * 160


def test_a_lonely_pixel_is_noise_at_every_size() -> None:
    def spoilt(near: float) -> Frame:
        depth = np.full((120, 160), 2.0, np.float32)
        depth[60, 80] = near
        return replace(wall_frame(0.0), depth=lambda: depth)

    surface_only = [spoilt(2.0)] * 4
    for voxel in (0.05, 0.02, 0.005, 0.001):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PurifyWarning)
            points = fuse([*surface_only, spoilt(1.95)], voxel=voxel)  # no jump: within 5 %
        assert (points.xyz[:, 2] < 1.96).sum() == 0


def test_usual_voxels_say_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fuse([wall_frame(0.0, depth=1.6)], voxel=0.02)

"""The picture shows what is in front, from where it says."""

import numpy as np
import torch

from purify3d.types import Camera, PointCloud, Scene
from purify3d.view.palettes import colors_of_labels, heat_colors, label_colors
from purify3d.view.pictures import overview_camera, picture, render

CAMERA = Camera(100.0, 100.0, 49.5, 39.5, 100, 80)


def cloud(xyz: torch.Tensor, normal: tuple[float, float, float]) -> PointCloud:
    n = len(xyz)
    return PointCloud(
        xyz.float(),
        torch.full((n, 3), 128, dtype=torch.uint8),
        torch.tensor(normal).float().expand(n, 3).contiguous(),
        torch.full((n,), -1, dtype=torch.int32),
    )


def wall(z: float) -> torch.Tensor:
    axis = torch.arange(-1, 1, 0.02)
    return torch.cartesian_prod(axis, axis, torch.tensor([z]))


def test_the_nearer_surface_hides_the_other() -> None:
    points = cloud(torch.cat([wall(2.0), wall(1.5)]), (0, 0, -1))
    half = len(points) // 2
    colors = np.repeat([[255, 0, 0], [0, 0, 255]], half, axis=0).astype(np.uint8)
    for order in (np.arange(2 * half), np.arange(2 * half)[::-1].copy()):
        turned = cloud(points.xyz[order], (0, 0, -1))
        image = render(turned, colors[order], CAMERA, np.eye(4), cull=False)
        assert (image[20:60, 20:80] == [0, 0, 255]).all()


def test_culling_opens_the_room() -> None:
    points = cloud(torch.cat([wall(1.5), wall(2.0)]), (0, 0, -1))
    points.normal[: len(points) // 2] *= -1  # the nearer wall looks away
    colors = np.repeat([[255, 0, 0], [0, 0, 255]], len(points) // 2, axis=0).astype(np.uint8)
    image = render(points, colors, CAMERA, np.eye(4), cull=True)
    assert (image[20:60, 20:80] == [0, 0, 255]).all()


def test_overview_sees_everything_from_above() -> None:
    xyz = torch.rand(2000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([6.0, 3, 4])
    for up in (np.array([0.0, 0, 1]), np.array([0.0, 1, 0]), np.array([0.0, -1, 0])):
        camera, pose = overview_camera(cloud(xyz, (0, 0, 1)), up, 300, 200)
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-9)
        assert np.linalg.det(pose[:3, :3]) > 0
        assert pose[:3, 2] @ up < -0.5  # looks down
        assert pose[:3, 1] @ up < 0  # and is upright
        local = (xyz.numpy() - pose[:3, 3]) @ pose[:3, :3]
        u, v = (
            camera.fx * local[:, 0] / local[:, 2] + camera.cx,
            camera.fy * local[:, 1] / local[:, 2] + camera.cy,
        )
        assert ((u > 0) & (u < 300) & (v > 0) & (v < 200)).mean() > 0.97


def test_picture_has_a_column_per_panel_and_needs_no_frames() -> None:
    points = cloud(wall(0.0), (0, 0, 1))
    gray = np.full((len(points), 3), 90, np.uint8)
    image = picture(Scene("s", (), np.array([0.0, 0, 1]), points), [("a", gray), ("b", gray)], ["x", "y"])
    assert image.width == 2 * 560


def test_colors() -> None:
    assert len({tuple(c) for c in label_colors(60).tolist()}) == 60
    np.testing.assert_array_equal(label_colors(60)[:7], label_colors(7))
    shown = colors_of_labels(np.array([1, -1]), 3)
    np.testing.assert_array_equal(shown[0], label_colors(3)[1])
    assert shown[1].tolist() == [70, 70, 70]
    heat = heat_colors(np.linspace(-1, 2, 50)).astype(int)
    assert (np.diff(heat.sum(1)) >= 0).all()

"""The picture shows what is in front, from where it says, in colours that belong to words."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ImageDraw

from purify3d.pictures import fonts as lettering_module
from purify3d.pictures.drawing import paint, shading, visible
from purify3d.pictures.fonts import lettering
from purify3d.pictures.palettes import (
    LEAST_DISTANCE,
    NO_LABEL_COLOR,
    colors_of_labels,
    error_colors,
    heat_colors,
    lab,
    label_colors,
)
from purify3d.pictures.panels import picture
from purify3d.pictures.viewpoints import inside_views, overview_camera
from purify3d.types import Camera, Frame, PointCloud, Scene

CAMERA = Camera(100.0, 100.0, 49.5, 39.5, 100, 80)


def render(
    points: PointCloud, colors: np.ndarray, camera: Camera, pose: np.ndarray, **options: Any
) -> np.ndarray:
    """(H, W, 3) colours at the points, nearest in front."""
    return paint(visible(points, camera, pose, **options)[0], colors)


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


def test_shapes_are_shaded_and_photos_are_not() -> None:
    facing, edge = cloud(wall(2.0), (0, 0, -1)), cloud(wall(2.0), (1, 0, 0))
    shown, _ = visible(facing, CAMERA, np.eye(4), cull=False)
    middle = np.s_[38:42, 48:52]
    assert shading(facing, shown, np.eye(4))[middle].min() > 0.999
    assert shading(edge, shown, np.eye(4))[middle].max() < 0.73
    assert (shading(cloud(wall(2.0), (0, 0, 0)), shown, np.eye(4)) == 1).all()  # no normal, no shade


def test_errors_are_where_labels_differ_from_the_truth() -> None:
    label, truth = np.array([0, 1, -1, 2]), np.array([0, 0, 1, -1])
    right, wrong, none, unknown = error_colors(label, truth).tolist()
    assert len({tuple(color) for color in (right, wrong, none, unknown)}) == 4
    assert unknown == list(NO_LABEL_COLOR)
    assert error_colors(np.array([1]), np.array([1])).tolist() == [right]


def dotted(step: float) -> PointCloud:
    axis = torch.arange(-1, 1, step)
    return cloud(torch.cartesian_prod(axis, axis, torch.tensor([1.5])), (0, 0, -1))


@pytest.mark.parametrize("step", [0.01, 0.05, 0.2])
def test_points_are_drawn_as_large_as_their_spacing(step: float) -> None:
    points = dotted(step)
    red = np.tile(np.array([[255, 0, 0]], np.uint8), (len(points), 1))
    image = render(points, red, CAMERA, np.eye(4), cull=False)
    assert (image[10:70, 10:90] == [255, 0, 0]).all()  # no gap
    lonely = replace_points(points, slice(0, 1))
    size = (render(lonely, red[:1], CAMERA, np.eye(4), cull=False, between=step)[:, :, 1] == 0).sum() ** 0.5
    assert size <= max(2, np.ceil(2 * step * CAMERA.fx / 1.5))


def test_noise_right_before_the_camera_does_not_hide_the_scene() -> None:
    scene = wall(3.0)
    points = cloud(torch.cat([scene, torch.tensor([[0.0, 0, 0.15]])]), (0, 0, -1))
    colors = np.tile(np.array([[255, 0, 0]], np.uint8), (len(points), 1))
    colors[-1] = [0, 0, 255]
    blue = (render(points, colors, CAMERA, np.eye(4), cull=False) == [0, 0, 255]).all(axis=2).sum()
    assert 1 <= blue <= 4**2


def replace_points(points: PointCloud, rows: slice) -> PointCloud:
    return PointCloud(
        points.xyz[rows] * torch.tensor([0, 0, 1.0]),
        points.rgb[rows],
        points.normal[rows],
        points.label[rows],
    )


def panel(count: int) -> tuple[Scene, list[tuple[str, np.ndarray]]]:
    points = cloud(wall(0.0), (0, 0, 1))
    gray = np.full((len(points), 3), 90, np.uint8)
    return Scene("s", (), np.array([0.0, 0, 1]), points), [("a", gray)] * count


def texts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float, float, str]]:
    """Left, right, top and text of everything that is written."""
    seen: list[tuple[float, float, float, str]] = []
    write = ImageDraw.ImageDraw.text

    def spy(self, xy, text, *args, font, **more):
        seen.append((xy[0], xy[0] + font.getlength(text), xy[1], text))
        return write(self, xy, text, *args, font=font, **more)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", spy)
    return seen


@pytest.mark.parametrize("columns", [1, 3])
def test_legends_neither_overlap_nor_leave_the_picture(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    seen = texts(monkeypatch)
    scene, panels = panel(columns)
    names = [f"{'very ' * (i % 9)}long name {i}" for i in range(60)] + ["w" * 900, "end"]
    image = picture(scene, [("t" * 300, panels[0][1]), *panels[1:]], names)
    assert len(seen) == columns + len(names)
    assert {text for *_, text in seen} > set(names[:60]) | {"end"}
    for left, right, top, text in seen:
        assert left >= 0
        assert right <= image.width
        assert top + 20 <= image.height
        same = [other for other in seen if other[2] == top and other[0] > left]
        assert all(other[0] > right for other in same), text
    assert sum(text.endswith("...") for *_, text in seen) == 2


def test_names_that_no_font_has_are_spelt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering_module, "_PLACES", ())
    monkeypatch.setattr(lettering_module, "_system_font", lambda characters: "")
    assert lettering("chair", 15)[0] == "chair"
    assert lettering("\u6905\u5b50 (chair)", 15, otherwise="#3")[0] == "#3 U+6905 U+5B50 (chair)"
    assert lettering("caf\u01ce", 15)[0] == "cafa"
    seen = texts(monkeypatch)
    scene, panels = panel(1)
    picture(scene, [("\u6905", panels[0][1])], ["\ud800", "a\nb", "\u6905", ""])
    assert [text for *_, text in seen] == ["U+6905", "", "a b", "#2 U+6905", ""]


def test_a_font_that_has_the_characters_is_found() -> None:
    if not any(Path(place).is_file() for place in lettering_module._PLACES[:1]):
        pytest.skip("DejaVu is not installed")
    text, font = lettering("\u0441\u0442\u043e\u043b", 15)
    assert text == "\u0441\u0442\u043e\u043b"
    signs = {bytes(font.getmask(c)) for c in text}
    assert len(signs) == 4
    assert bytes(font.getmask("\uffff")) not in signs


def test_heat_has_a_bar_with_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = texts(monkeypatch)
    scene, panels = panel(1)
    plain = picture(scene, panels)
    image = picture(scene, panels, scale=(0.1234, 0.5, "cosine to 'chair'"))
    assert [text for *_, text in seen][-3:] == ["0.123", "0.5", "cosine to 'chair'"]
    assert image.height > plain.height
    foot = {tuple(c) for c in np.asarray(image)[plain.height :].reshape(-1, 3).tolist()}
    assert {tuple(c) for c in heat_colors(np.array([0.0, 1.0])).tolist()} <= foot


def test_points_without_a_label_are_in_the_legend(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = texts(monkeypatch)
    scene, panels = panel(1)
    picture(scene, panels, ["x"])
    assert [text for *_, text in seen] == ["a", "x"]
    panels[0][1][:3] = NO_LABEL_COLOR
    picture(scene, panels, ["x"])
    assert [text for *_, text in seen] == ["a", "x", "a", "x", "(no label)"]


def test_the_view_with_most_to_see_is_chosen() -> None:
    """One camera looks at a wall of one colour, one closely at many colours, one at many from 2 m."""
    plain, rich = wall(2.0), wall(-2.0)
    points = cloud(torch.cat([plain, rich]), (0, 0, 1))
    colors = np.zeros((len(points), 3), np.uint8)
    colors[len(plain) :, 0] = 30 * (np.arange(len(rich)) // 1000)
    back, close = np.diag([-1.0, 1, -1, 1]), np.diag([-1.0, 1, -1, 1])
    close[2, 3] = -1.5

    def frame(name: str, pose: np.ndarray) -> Frame:
        return Frame(name, CAMERA, CAMERA, pose, lambda: np.zeros(0), lambda: np.zeros(0))

    frames = [frame("plain", np.eye(4)), frame("close", close), frame("rich", back)]
    for order in (frames, frames[::-1]):
        assert inside_views(order, points, colors, 0.02)[0].name == "rich"
    # The second one shows what the first does not, though less; a third would show nothing new.
    assert [frame.name for frame in inside_views(frames, points, colors, 0.02, count=3)] == ["rich", "plain"]
    changed = np.arange(len(points)) < len(plain)
    colors[len(plain) :, 0] = 100 * (np.arange(len(rich)) // 5000)  # two colours beside one
    assert inside_views(frames, points, colors, 0.02)[0].name == "rich"
    assert inside_views(frames, points, colors, 0.02, changed=changed)[0].name == "plain"
    colors[len(plain) :] = NO_LABEL_COLOR  # however much there is of it, it is nothing to see
    assert inside_views(frames[::-1], points, colors, 0.02)[0].name == "plain"


def test_a_single_point_has_a_picture() -> None:
    point = cloud(torch.zeros(1, 3), (0, 0, 1))
    image = picture(Scene("s", (), np.array([0.0, 0, 1]), point), [("a", np.zeros((1, 3), np.uint8))])
    assert image.getcolors(1 << 20)


# --- colours ------------------------------------------------------------------------------------------------

CORE = [
    "floor", "wall", "ceiling", "chair", "table", "sofa", "bed", "door", "window", "cabinet", "picture",
    "curtain",
]  # fmt: skip


def closest(rgb: np.ndarray) -> float:
    distance = np.linalg.norm(lab(rgb)[:, None] - lab(rgb), axis=2)
    return float(distance[~np.eye(len(rgb), dtype=bool)].min())


def test_lab_is_that_of_the_tables() -> None:
    known = {
        (255, 255, 255): (100, 0, 0),
        (255, 0, 0): (53.24, 80.09, 67.20),
        (0, 0, 255): (32.30, 79.19, -107.86),
    }
    for rgb, expected in known.items():
        np.testing.assert_allclose(lab(np.array(rgb)), expected, atol=0.05)


def test_a_word_has_one_colour_in_every_list() -> None:
    words = ["spaceship", "Chair", "harp", "floor", "anvil", "sofa"]
    alone = [label_colors([word])[0].tolist() for word in words]
    assert label_colors(words).tolist() == alone
    assert label_colors(words[::-1]).tolist() == alone[::-1]
    assert label_colors(["SPACEship ", "chair"]).tolist() == alone[:2]
    assert alone[0] == [244, 191, 202]  # the same in every process and version


def test_of_two_labels_with_one_colour_the_later_one_gives_way() -> None:
    both = label_colors(["sofa", "couch", "floor"])
    assert both[0].tolist() == label_colors(["sofa"])[0].tolist() == label_colors(["couch"])[0].tolist()
    assert both[2].tolist() == label_colors(["floor"])[0].tolist()
    assert closest(both) >= LEAST_DISTANCE


def test_colours_of_many_labels_are_told_apart() -> None:
    names = [*CORE, *(f"thing {i}" for i in range(200))]
    colors = np.concatenate([label_colors(names), [NO_LABEL_COLOR, (255, 255, 255)]])
    assert closest(colors) >= LEAST_DISTANCE
    assert len(label_colors([f"thing {i}" for i in range(400)])) == 400  # more than there are colours
    assert label_colors([]).shape == (0, 3)


def test_common_words_are_told_apart_by_the_colour_blind() -> None:
    """Red-green blindness by the matrices of Machado et al. 2009, on linear light."""
    blind = {
        "deutan": [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
        "protan": [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
    }
    colors = label_colors(CORE)
    assert closest(colors) > 25
    linear = np.where(colors / 255 <= 0.04045, colors / 255 / 12.92, ((colors / 255 + 0.055) / 1.055) ** 2.4)
    for matrix in blind.values():
        seen = (linear @ np.array(matrix).T).clip(0, 1)
        assert (
            closest(255 * np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)) > 15
        )


def test_colours_of_points() -> None:
    names = ["chair", "harp", "floor"]
    shown = colors_of_labels(np.array([1, -1, 0]), names)
    assert shown.dtype == np.uint8
    assert shown.tolist() == [
        label_colors(names)[1].tolist(),
        list(NO_LABEL_COLOR),
        label_colors(names)[0].tolist(),
    ]


def test_heat_gets_brighter() -> None:
    heat = heat_colors(np.linspace(-1, 2, 50)).astype(int)
    assert (np.diff(heat.sum(1)) >= 0).all()

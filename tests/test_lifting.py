"""Lifting against the golden values of the official code, and against plain loops."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from fakes import FakeModel
from recorded import Recorded, pair

from purify3d.backbones import embed_vocabulary
from purify3d.features import fusing, lifting
from purify3d.features.codec import only_words
from purify3d.features.config import LiftConfig
from purify3d.features.fusing import View, fuse_consensus, fuse_mean
from purify3d.features.lifting import bicubic, cubic_weights, lift, view_of, visible_points
from purify3d.features.surface import with_points
from purify3d.grid.neighbors import nearest_known
from purify3d.types import (
    Camera,
    DenseFeatures,
    FeatureSpace,
    Frame,
    MaskFeatures,
    PointCloud,
    Scene,
    TextEmbeddings,
    Vocabulary,
)


@pytest.fixture(scope="module")
def projection() -> Recorded:
    return Recorded("projection")


def golden_frames(data: Recorded) -> list[Frame]:
    width, height = map(int, data["image_size"])
    k = data["intrinsics"]
    camera = Camera(k[0, 0], k[1, 1], k[0, 2], k[1, 2], width, height)
    return [
        Frame(
            name=str(i),
            camera=camera,
            depth_camera=camera,
            world_from_camera=np.linalg.inv(data["world_to_camera"][i]),
            color=lambda: np.zeros((height, width, 3), np.uint8),
            depth=lambda i=i: data["depth"][i],
        )
        for i in range(len(data["depth"]))
    ]


def golden_config(data: Recorded) -> LiftConfig:
    return LiftConfig(margin=int(data["cut_boundary"]), tolerance=float(data["visibility_threshold"]))


def test_visibility_is_golden(projection: Recorded) -> None:
    xyz = torch.from_numpy(projection["points"]).float()
    for i, frame in enumerate(golden_frames(projection)):
        point, pixel = visible_points(xyz, frame, golden_config(projection))
        expected = np.flatnonzero(projection["visible"][i])
        np.testing.assert_array_equal(point, expected)
        np.testing.assert_array_equal(pixel[:, 0], projection["col"][i][expected])
        np.testing.assert_array_equal(pixel[:, 1], projection["row"][i][expected])


def test_mask_lifting_and_consensus_are_golden(projection: Recorded) -> None:
    recorded = Recorded("lift_fusion")
    data = {k: torch.from_numpy(v) for k, v in recorded.items() if k != "fused_features"}
    xyz = torch.from_numpy(projection["points"]).float()
    labels = [f"label {i}" for i in range(len(data["text_embeddings"]))]
    space = FeatureSpace("golden", 512, float(data["logit_scale"]))
    text = torch.nn.functional.normalize(data["text_embeddings"].float(), dim=1)
    text_embeddings = TextEmbeddings(Vocabulary.parse(labels), text, torch.arange(len(labels)), space)
    views = []
    for i, frame in enumerate(golden_frames(projection)):
        point, pixel = visible_points(xyz, frame, golden_config(projection))
        score = data["class_logits"][i].softmax(-1)[:, :-1].amax(-1)
        seen = MaskFeatures(data["mask_logits"][i], score, data["mask_embeddings"][i])
        views.append(view_of(point, pixel, frame.camera, seen, xyz))
    values, seen_by, _ = fuse_consensus(lambda: views, len(xyz), text_embeddings, 3)
    fused = values[nearest_known(seen_by > 0, xyz)[0]]
    found, expected = pair(fused, recorded["fused_features"])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_bicubic_sampling_is_resizing_and_reading() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(5, 13, 17, generator=generator)
    camera = Camera(50, 50, 30, 20, 61, 47)
    full = torch.nn.functional.interpolate(maps[None], (47, 61), mode="bicubic", antialias=True)[0]
    pixel = torch.cartesian_prod(torch.arange(61), torch.arange(47))
    found = bicubic(maps.flatten(1).T, *cubic_weights(maps, camera), pixel)
    torch.testing.assert_close(found, full[:, pixel[:, 1], pixel[:, 0]].T, rtol=1e-4, atol=1e-5)


def test_a_pixel_belongs_to_the_likeliest_mask_whatever_is_read_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And a point on no mask to that of the nearest point that is on one."""
    generator = torch.Generator().manual_seed(3)
    logits = 3 * torch.randn(6, 12, 16, generator=generator) - 1
    seen = MaskFeatures(logits, torch.rand(6, generator=generator), torch.eye(6))
    camera = Camera(50, 50, 30, 20, 64, 48)
    pixel = torch.cartesian_prod(torch.arange(64), torch.arange(48))[::5]
    xyz = torch.rand(len(pixel), 3, generator=generator)
    full = torch.nn.functional.interpolate(logits[None], (48, 64), mode="bicubic", antialias=True)[
        0
    ].sigmoid()
    here = full[:, pixel[:, 1], pixel[:, 0]]
    row = (here * seen.score[:, None]).argmax(0)
    on = here.gather(0, row[None])[0] >= 0.5
    assert 50 < int(on.sum()) < len(on) - 50
    nearest_on = torch.cdist(xyz, xyz[on]).argmin(1)
    expected = torch.where(on, row, row[on][nearest_on])
    for at_once in (lifting._AT_ONCE, 60):
        monkeypatch.setattr(lifting, "_AT_ONCE", at_once)
        view = view_of(torch.arange(len(pixel)), pixel, camera, seen, xyz)
        assert torch.equal(view.row, expected)


def voices() -> FakeModel:
    """A 2D model that says one thing of a whole frame: the frame's name is how sure it is of label a."""

    def say(frame: Frame) -> DenseFeatures:
        sure = float(frame.name)
        return DenseFeatures(torch.tensor([sure, (1 - sure**2) ** 0.5])[:, None, None].expand(2, 4, 4))

    return FakeModel(FeatureSpace("voices", 2, 10.0), say, lambda texts: torch.eye(2)[: len(texts)])


def test_consensus_listens_to_three_views_unless_told() -> None:
    camera = Camera(40, 40, 19.5, 19.5, 40, 40)
    frames = tuple(
        Frame(
            name=name,
            camera=camera,
            depth_camera=camera,
            world_from_camera=np.eye(4),
            color=lambda: np.zeros((40, 40, 3), np.uint8),
            depth=lambda: np.ones((40, 40), np.float32),
        )
        for name in ("0.8", "0.75", "0.95", "0.9")
    )
    one = torch.ones(1, dtype=torch.int32)
    points = PointCloud(torch.tensor([[0.0, 0, 1]]), torch.zeros(1, 3).byte(), torch.zeros(1, 3), -one)
    scene = Scene("voices", frames, np.array([0.0, -1, 0]), points)
    features = lift(scene, voices(), "a, b", LiftConfig(fusion="consensus"))
    sure = torch.tensor([0.95, 0.9, 0.8])  # 0.75 is not heard
    unit = torch.stack([sure, (1 - sure.square()).sqrt()], dim=1)
    torch.testing.assert_close(features.values[0], (10 * sure).softmax(0) @ unit)


def test_consensus_chooses_a_label_and_not_a_wording() -> None:
    """Two views say sofa, two couch, three table: table is the likeliest wording, sofa|couch the label."""
    text_embeddings = TextEmbeddings(
        Vocabulary.parse("sofa|couch, table"),
        torch.eye(3),
        torch.tensor([0, 0, 1]),
        FeatureSpace("t", 3, 10.0),
    )
    one = torch.zeros(1, dtype=torch.int64)
    views = [View(one, one, torch.eye(3)[[said]], None) for said in (0, 0, 1, 1, 2, 2, 2)]
    values, _, _ = fuse_consensus(lambda: views, 1, text_embeddings, 3)
    assert values[0, 2] == 0  # no view that says table is heard
    assert values[0, :2].sum() == pytest.approx(1)


#: Rows of the tables of views of some 20 points: as of masks, and as of a dense model.
ROWS = (7, 35)


def random_views(generator: torch.Generator, basis: torch.Tensor | None, rows: int) -> list[View]:
    views = []
    for _ in range(6):
        point = torch.nonzero(torch.rand(40, generator=generator) < 0.5).squeeze(1)
        table = torch.randn(rows, 4, generator=generator)
        views.append(View(point, torch.randint(rows, point.shape, generator=generator), table, basis))
    return views


@pytest.mark.parametrize("waiting", [fusing._WAITING, 30, 0])
@pytest.mark.parametrize("rows", ROWS)
def test_mean_fusion_is_a_plain_average(rows: int, waiting: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fusing, "_WAITING", waiting)
    views = random_views(torch.Generator().manual_seed(1), None, rows)
    values, seen, _ = fuse_mean(views, 40)
    for point in range(40):
        rows = [v.table[v.row[i]] for v in views for i in torch.nonzero(v.point == point)[:, 0]]
        assert seen[point] == len(rows)
        if rows:
            torch.testing.assert_close(values[point], torch.stack(rows).mean(0))


def halves(masks: bool) -> FakeModel:
    """A model that sees two masks, left and right, or their features at every pixel."""
    rows = torch.randn(2, 6, generator=torch.Generator().manual_seed(3))
    right = (torch.arange(16) >= 8).float().expand(12, 16)
    both = torch.stack([1 - right, right])
    seen = (
        MaskFeatures(20 * both - 10, torch.tensor([0.5, 0.9]), rows) if masks else DenseFeatures(both, rows)
    )
    return FakeModel(FeatureSpace("halves", 6, 5.0), lambda _: seen)


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("fusion", ["mean", "consensus"])
def test_what_words_see_is_the_same_whenever_the_rest_is_left_out(
    room: Scene, fusion: Any, masks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While some points are fused, without the features of all, and afterwards."""
    monkeypatch.setattr(fusing, "_FINISHED", 1000)
    scene = with_points(room, voxel=0.06)
    scene = replace(scene, frames=scene.frames[:2])  # so that some points are copied
    backbone, config = halves(masks), LiftConfig(fusion=fusion)
    text_embeddings = [embed_vocabulary(backbone, "a|b, c"), embed_vocabulary(backbone, "d, e, f")]
    whole = only_words(lift(scene, backbone, "a, b", config), *text_embeddings)
    found = lift(scene, backbone, "a, b", config, keep=text_embeddings)
    assert len(found) > 3000
    assert 0 < (found.views == 0).sum() < len(found)
    assert found.values.shape[1] == 6
    for name in ("values", "views", "basis", "length", "gap", "agreement"):
        torch.testing.assert_close(getattr(found, name), getattr(whole, name), msg=name)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("factored", [False, True])
def test_consensus_is_the_loop_over_points(factored: bool, rows: int) -> None:
    generator = torch.Generator().manual_seed(2)
    basis = torch.randn(4, 9, generator=generator) if factored else None
    views = random_views(generator, basis, rows)
    dim = 9 if factored else 4
    text = torch.nn.functional.normalize(torch.randn(3, dim, generator=generator), dim=1)
    space = FeatureSpace("test", dim, 5.0)
    text_embeddings = TextEmbeddings(Vocabulary.parse("a, b, c"), text, torch.arange(3), space)
    values, _, _ = fuse_consensus(lambda: views, 40, text_embeddings, 3)
    fused = values if basis is None else values @ basis
    for point in range(40):
        rows = [v.table[v.row[i]] for v in views for i in torch.nonzero(v.point == point)[:, 0]]
        if not rows:
            continue
        features = torch.stack(rows) if basis is None else torch.stack(rows) @ basis
        unit = torch.nn.functional.normalize(features, dim=1)
        logits = 5.0 * unit @ text.T
        chosen = logits[:, logits.mean(0).argmax()].topk(min(3, len(rows)))
        torch.testing.assert_close(fused[point], chosen.values.softmax(0) @ unit[chosen.indices])

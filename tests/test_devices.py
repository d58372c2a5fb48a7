"""Everything is computed where its input lies; a device that is not here shows where that is forgotten."""

from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
import torch
from fakes import FakeModel, softmax_affinity
from pretended import MixedDevices, Pretended, back, pretending
from torch import Tensor

from purify3d.affinities.building import affinity, agreement
from purify3d.affinities.config import PurifyConfig, StudentConfig
from purify3d.affinities.embeddings import Geometric, Learned, Uniform, geometric_embedding
from purify3d.affinities.pooling import pool, pool_features, pool_scores
from purify3d.affinities.softmax import softmax_plain
from purify3d.affinities.student import Student
from purify3d.backbones import load_backbone
from purify3d.backbones.facts import Facts
from purify3d.base.devices import Movable, crossing, falling_back, find_device
from purify3d.base.errors import BackboneError, PurifyWarning
from purify3d.benchmarking.votes import label_by_regions
from purify3d.features.labels_from_frames import fuse_labels, in_vocabulary
from purify3d.features.lifting import (
    LiftConfig,
    View,
    fuse_consensus,
    fuse_mean,
    lift,
    sample,
    view_of,
    visible_points,
)
from purify3d.features.surface import with_points
from purify3d.grid.neighbors import grid_neighbors, nearest, nearest_known
from purify3d.grid.projection import project
from purify3d.grid.voxels import first_points, voxelize
from purify3d.labels.config import SegmentConfig
from purify3d.labels.labelling import label_points
from purify3d.labels.questions import answer, classify, scores
from purify3d.labels.regions import find_regions, heat
from purify3d.pipeline import segment
from purify3d.types import (
    DenseFeatures,
    FeatureSpace,
    Frame,
    MaskFeatures,
    PointCloud,
    PointFeatures,
    Scene,
    TextEmbeddings,
    Vocabulary,
)

SPACE = FeatureSpace("made up", 4, 10.0, length_is_confidence=True)


@pytest.fixture(scope="module")
def scene(room: Scene) -> Scene:
    return with_points(Scene(room.name, room.frames[:3], room.up, truth=room.truth), voxel=0.06)


@pytest.fixture(scope="module")
def text_embeddings() -> TextEmbeddings:
    rows = torch.nn.functional.normalize(torch.arange(12.0).reshape(3, 4).sin(), dim=1)
    return TextEmbeddings(Vocabulary.parse("red|blue, green"), rows, torch.tensor([0, 0, 1]), SPACE)


@pytest.fixture(scope="module")
def features(scene: Scene) -> PointFeatures:
    n = len(scene.cloud())
    gap = torch.where(torch.arange(n) % 5 == 0, 0.03, 0.0)
    return PointFeatures(torch.arange(4.0 * n).reshape(n, 4).sin(), (gap == 0).int(), SPACE, gap=gap)


def colours(masks: bool) -> FakeModel:
    """A dense model without weights, or one of masks: what lies on the CPU comes from there."""

    def see(frame: Frame) -> DenseFeatures | MaskFeatures:
        small = torch.from_numpy(frame.color()[::4, ::4].copy()).permute(2, 0, 1).float() / 255
        four = torch.cat([small, small[:1] - small[1:2]])
        if masks:
            return MaskFeatures(8 * four - 2, four.mean((1, 2)).sigmoid(), torch.eye(4, device="cpu") + 0.1)
        return DenseFeatures(four, None)

    return FakeModel(SPACE, see)


def moved(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor | Movable) else value


def same(found: Any, plain: Any, where: str = "result") -> None:
    """Bit for bit the same, and not one tensor of it on another device than the pretended one."""
    if isinstance(plain, Tensor):
        assert isinstance(found, Pretended), f"{where} has come back to the CPU"
        assert back(found).dtype == plain.dtype, where
        assert torch.equal(back(found), plain) or torch.equal(back(found).nan_to_num(), plain.nan_to_num())
    elif isinstance(plain, tuple | list):
        for i, (a, b) in enumerate(zip(found, plain, strict=True)):
            same(a, b, f"{where}[{i}]")
    elif is_dataclass(plain):
        for f in fields(plain):
            if f.name not in ("origin", "missing", "regions"):
                same(getattr(found, f.name), getattr(plain, f.name), f"{where}.{f.name}")
    else:
        assert found == plain, where


def check(stage: Any, *given: Any, kind: str = "cuda") -> None:
    """A stage on the pretended device gives what it gives on the CPU."""
    plain = stage(*given)
    with pretending(kind) as device:
        found = stage(*(moved(each, device) for each in given))
    same(found, plain)


def test_the_pretended_device_catches_what_a_real_one_would() -> None:
    with pretending() as device:
        here, far = torch.ones(3, device="cpu"), torch.ones(3, device=device)
        assert far.device == device
        assert here.device.type == "cpu"
        assert (far + 1).device == device
        assert far.new_zeros(2).device == device
        assert far.to("cpu").device.type == far.cpu().device.type == "cpu"
        assert here.to(far).device == device
        for mixed in (lambda: here + far, lambda: far[here.long()], lambda: torch.cat([far, here])):
            with pytest.raises(MixedDevices):
                mixed()
        with pytest.raises(MixedDevices):
            here[:2] = far[:2]
        with pytest.raises(MixedDevices):
            torch.zeros(3)
        with pytest.raises(TypeError):
            far.numpy()


def test_a_stage_that_forgets_the_device_is_caught(scene: Scene) -> None:
    def forgetful(xyz: Tensor) -> Tensor:
        return xyz * torch.tensor([1.0, 2.0, 3.0])

    with pytest.raises(MixedDevices), pretending() as device:
        forgetful(scene.cloud().xyz.to(device))


def test_auto_finds_a_device_that_is_here() -> None:
    assert find_device("auto") in (torch.device("cuda"), torch.device("mps"), torch.device("cpu"))
    with pytest.raises(BackboneError, match="found device 'gpu'"):
        find_device("gpu")


def test_crossing_returns_to_where_it_came_from() -> None:
    with pretending() as device:
        (twice,) = crossing(lambda values: (values * 2,), torch.ones(2, device=device))
        assert twice.device == device
        assert back(twice).tolist() == [2, 2]


def test_voxels_and_neighbours(scene: Scene) -> None:
    xyz = scene.cloud().xyz
    voxels = voxelize(xyz, 0.1)
    check(lambda xyz: voxelize(xyz, 0.1), xyz)
    check(lambda index: grid_neighbors(index, 9), voxels.index)
    check(lambda of_point: first_points(of_point, len(voxels)), voxels.of_point)
    check(nearest, xyz[::7], xyz)
    check(nearest_known, torch.arange(len(xyz)) % 3 == 0, xyz)
    check(lambda voxels, values: voxels.mean(values), voxels, xyz)
    check(lambda voxels, values: voxels.to_points(voxels.mean(values)), voxels, xyz)


def test_images_to_features(scene: Scene, text_embeddings: TextEmbeddings) -> None:
    xyz, frame = scene.cloud().xyz, scene.frames[0]
    check(lambda xyz: project(xyz, frame.camera, frame.world_from_camera), xyz)
    check(lambda xyz: visible_points(xyz, frame, LiftConfig()), xyz)
    point, pixel = visible_points(xyz, frame, LiftConfig())
    assert len(point) > 100
    for masks in (False, True):
        (seen,) = colours(masks).observe([frame], text_embeddings)
        values = seen.logits if isinstance(seen, MaskFeatures) else seen.values
        check(lambda maps, pixel: sample(maps, pixel, frame.camera), values, pixel)
        check(lambda p, px, s, xyz: view_of(p, px, frame.camera, s, xyz), point, pixel, seen, xyz)
        view = view_of(point, pixel, frame.camera, seen, xyz)
        table = (view.point, view.row, view.table)
        check(lambda *v: fuse_mean([View(*v, None)], len(xyz))[:2], *table)
        check(
            lambda b, *v: fuse_consensus(lambda: [View(*v, None)] * 2, len(xyz), b, 3)[:2],
            text_embeddings,
            *table,
        )


@pytest.mark.parametrize("fusion", ["mean", "consensus"])
@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("words", [False, True])
def test_lifting_follows_the_points_whatever_the_device_of_the_model(
    scene: Scene, text_embeddings: TextEmbeddings, fusion: Any, masks: bool, words: bool
) -> None:
    def stage(points: PointCloud) -> PointFeatures:
        given, keep = Scene(scene.name, scene.frames, scene.up, points), [text_embeddings] if words else []
        return lift(given, colours(masks), "a, b", LiftConfig(fusion=fusion), keep=keep)

    check(stage, scene.cloud())


@pytest.mark.parametrize("words", [False, True])
def test_features_made_elsewhere_follow_the_points(
    scene: Scene, features: PointFeatures, text_embeddings: TextEmbeddings, words: bool
) -> None:
    class Given:
        space, facts = SPACE, Facts("points", "none", 0, "none", "made up")

        def encode(self, texts: Any) -> Tensor:
            raise AssertionError("no words are asked for")

        def point_features(self, points: PointCloud, scene_name: str) -> PointFeatures:
            return features

    def stage(points: PointCloud) -> PointFeatures:
        given = Scene(scene.name, scene.frames, scene.up, points)
        return lift(given, Given(), keep=[text_embeddings] if words else [])

    check(stage, scene.cloud())


def test_truth(scene: Scene) -> None:
    check(lambda points: fuse_labels(scene.frames, points), scene.cloud())
    label = fuse_labels(scene.frames, scene.cloud())
    assert (label >= 0).any()
    check(lambda label: in_vocabulary(label, scene.truth, Vocabulary.parse("wall, floor, chair")), label)


def test_affinities_and_pooling(
    scene: Scene, features: PointFeatures, text_embeddings: TextEmbeddings
) -> None:
    points, config = scene.cloud(), PurifyConfig(voxel=0.1, neighbors=8)
    voxels = voxelize(points.xyz, 0.1)
    check(geometric_embedding, points, voxels)
    check(lambda f, v: agreement(f, v, 4.0), features, voxels)
    vectors, neighbor = geometric_embedding(points, voxels), grid_neighbors(voxels.index, 8)
    check(softmax_plain, vectors, neighbor)
    heard = softmax_affinity(vectors, neighbor)
    with pretending() as device:
        on_device = softmax_affinity(vectors.to(device), neighbor.to(device))
    # The CPU has a way of its own.
    assert torch.allclose(back(on_device.weight), heard.weight, atol=1e-4)
    check(lambda p, f, b: label_by_regions(p, f, b, config), points, features, text_embeddings)
    check(lambda a, v: pool(a, v, 3), heard, voxels.mean(features.values))
    check(lambda f, v, a: pool_features(f, v, a, 2), features, voxels, heard)
    check(lambda f, b, v, a: pool_scores(f, b, v, a, 2), features, text_embeddings, voxels, heard)
    for embedding in (Geometric(), Uniform()):
        with pretending() as device:
            _, found = affinity(points.to(device), features.to(device), config, embedding=embedding)
        assert isinstance(found.weight, Pretended)  # type: ignore[union-attr]
        _, plain = affinity(points, features, config, embedding=embedding)
        assert torch.allclose(back(found.weight), plain.weight, atol=1e-4)  # type: ignore[union-attr]


def test_words_that_lie_elsewhere_come_along(
    features: PointFeatures, text_embeddings: TextEmbeddings
) -> None:
    plain = scores(features, text_embeddings)
    with pretending() as device:
        found = scores(features.to(device), text_embeddings)
        labelled = classify(found, text_embeddings, threshold=0.1)
    same(found, plain)
    same(labelled.label, classify(plain, text_embeddings, threshold=0.1).label)


def test_labels_with_and_without_pooling(
    scene: Scene, features: PointFeatures, text_embeddings: TextEmbeddings
) -> None:
    points, plain = scene.cloud(), SegmentConfig(purify=PurifyConfig("uniform", voxel=0.1, rounds=0))
    check(lambda p, f, b: label_points(p, f, b, plain), points, features, text_embeddings)
    pooled = replace(plain, purify=replace(plain.purify, rounds=2))
    with pretending() as device:
        found = label_points(points.to(device), features.to(device), text_embeddings, pooled)
    same(found.label, label_points(points, features, text_embeddings, pooled).label)


def test_heat_and_regions(scene: Scene, features: PointFeatures, text_embeddings: TextEmbeddings) -> None:
    xyz = scene.cloud().xyz
    score = scores(features, text_embeddings)[:, 0].contiguous()
    check(heat, score)
    check(lambda xyz, score: find_regions(xyz, score), xyz, (xyz[:, 0] * 3).sin())
    check(lambda p, f: answer(p, f, "red", colours(False)), scene.cloud(), features)


def test_what_mps_lacks_is_computed_on_the_cpu_and_said_once(scene: Scene, features: PointFeatures) -> None:
    frame, points = scene.frames[0], scene.cloud()
    seen = MaskFeatures(torch.arange(48.0).reshape(4, 3, 4).sin(), torch.ones(4), torch.eye(4))
    given = (*visible_points(points.xyz, frame, LiftConfig()), seen, points.xyz)
    with pytest.warns(PurifyWarning, match="_winners is computed on the CPU"):
        check(lambda p, px, s, xyz: view_of(p, px, frame.camera, s, xyz), *given, kind="mps")
    check(lambda p, px, s, xyz: view_of(p, px, frame.camera, s, xyz), *given, kind="mps")
    check(lambda xyz: visible_points(xyz, frame, LiftConfig()), points.xyz, kind="mps")
    check(lambda xyz: voxelize(xyz, 0.1), points.xyz, kind="mps")


def test_what_went_wrong_for_another_reason_is_raised_on_mps_too() -> None:
    @falling_back
    def broken(values: Tensor) -> Tensor:
        raise RuntimeError("out of paper")

    with pytest.raises(RuntimeError, match="out of paper"), pretending("mps") as device:
        broken(torch.ones(1, device=device))


def test_the_model_that_ships_says_where_it_computes() -> None:
    backbone = load_backbone("segmenter:lite", device="cpu")
    assert backbone.device == torch.device("cpu")  # type: ignore[union-attr]
    assert backbone.dtype == torch.float32  # type: ignore[union-attr]


def test_segment_brings_the_labels_back(scene: Scene) -> None:
    config = SegmentConfig(purify=PurifyConfig("geometric", voxel=0.1, neighbors=8, rounds=2))
    plain = segment(scene, "a, b", backbone=colours(False), config=config, device="cpu").labels
    with pretending():
        found = segment(scene, "a, b", backbone=colours(False), config=config, device="cuda").labels
    assert not isinstance(found.label, Pretended)
    assert float((found.label == plain.label).float().mean()) > 0.999  # two ways of adding up
    assert torch.allclose(found.score, plain.score, atol=1e-3)


def test_a_student_elsewhere_than_the_points(
    scene: Scene, features: PointFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("purify3d.affinities.student.multiplies_bfloat16", lambda device: False)  # on either
    embedding = Learned(Student(StudentConfig(width=8, blocks=1, voxel_size=0.1)).eval(), "made up")
    config = PurifyConfig(voxel=0.1, neighbors=8, confidence=0)
    _, plain = affinity(scene.cloud(), features, config, embedding=embedding)
    with pretending() as device:
        _, found = affinity(scene.cloud().to(device), features.to(device), config, embedding=embedding)
        for module in embedding.student.modules():
            for of in (module._parameters, module._buffers):
                of.update(
                    {name: value.detach().to(device) for name, value in of.items() if value is not None}
                )
        _, turned = affinity(scene.cloud(), features, config, embedding=embedding)
        _, both = affinity(scene.cloud().to(device), features.to(device), config, embedding=embedding)
    for each in (found, turned, both):
        assert torch.allclose(back(each.weight), plain.weight, atol=1e-4)  # type: ignore[union-attr]
    assert isinstance(found.weight, Pretended)  # type: ignore[union-attr]
    assert not isinstance(turned.weight, Pretended)  # type: ignore[union-attr]

"""What `import purify3d` gives, and the nouns one builds it from."""

import importlib
import pickle
import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import purify3d
from purify3d.types import (
    Affinity,
    Camera,
    DenseFeatures,
    FeatureSpace,
    Frame,
    MaskFeatures,
    PointCloud,
    PointFeatures,
    Scene,
    TextEmbeddings,
    Vocabulary,
    Voxels,
)

SPACE = FeatureSpace("test", 2, 1.0)


def test_every_public_name_is_itself_after_every_submodule_was_imported() -> None:
    for module in pkgutil.walk_packages(purify3d.__path__, "purify3d."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in set(purify3d.__all__) - {"PAPER"}:  # a value, which has no name of its own
        value = getattr(purify3d, name)
        assert callable(value), name
        assert value.__name__ == name
    assert set(purify3d.__all__) <= set(dir(purify3d))


def test_the_verbs_together(room: Scene) -> None:
    scene = purify3d.with_points(room)
    points = scene.cloud()
    backbone = purify3d.load_backbone("segmenter:lite")
    labels = ["wall", "floor", "bed|mattress", "chair"]
    features = purify3d.lift(scene, backbone)
    purified = purify3d.purify(points, features, backbone=backbone)
    result = purify3d.segment(scene, labels, backbone=backbone).labels
    text_embeddings = purify3d.embed_vocabulary(backbone, labels)
    stepwise = purify3d.classify(purify3d.scores(purified, text_embeddings), text_embeddings)
    assert (stepwise.label == result.label).float().mean() > 0.999
    assert torch.equal(stepwise.label >= 0, result.label >= 0)
    truth = purify3d.fuse_labels(scene.frames, points)
    scores = purify3d.evaluate(result, truth, scene.truth)
    assert scores.miou is not None
    assert scores.miou > 0.3
    answer = purify3d.answer(points, purified, "somewhere to sleep", backbone)
    assert answer.score.shape == (len(points),)
    assert len(repr(answer)) < 120


def test_progress_bars_are_ready(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(purify3d.progress_bars(range(3), name="lift", total=3)) == [0, 1, 2]
    assert "lift: 100%" in capsys.readouterr().err


def test_import_is_light() -> None:
    check = "import sys, purify3d, purify3d.cli; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


# ------------------------------------------------------------------------------------------- from arrays


def test_a_cloud_from_arrays() -> None:
    xyz = np.random.default_rng(0).random((5, 3))
    cloud = PointCloud.from_arrays(xyz, rgb=np.full((5, 3), 0.5), normal=[[0, 0, 2.0]] * 5, label=range(5))
    assert cloud.xyz.dtype == torch.float32
    assert cloud.rgb[0].tolist() == [128, 128, 128]
    assert cloud.normal[0].tolist() == [0, 0, 1]
    assert cloud.label.tolist() == [0, 1, 2, 3, 4]
    plain = PointCloud.from_arrays(torch.from_numpy(xyz))
    assert torch.equal(plain.xyz, cloud.xyz)
    assert not plain.normal.any()
    assert plain.label.tolist() == [-1] * 5
    assert PointCloud.from_arrays(xyz, rgb=np.full((5, 3), 1, np.uint8)).rgb.max() == 1  # bytes, not shares


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"xyz": np.zeros((3, 2))}, r"xyz must be \(any, 3\), found \(3, 2\)"),
        ({"xyz": [[np.nan, 0, 0]]}, "xyz holds values that are not finite"),
        ({"xyz": [[5e6, 0, 0]]}, "0.500 m apart"),
        ({"xyz": [[0, 0, 0]], "rgb": [[300, 0, 0]]}, "rgb must be 0..255"),
        ({"xyz": [[0, 0, 0]], "normal": [[0, 0, 0], [0, 0, 0]]}, "normal must be"),
    ],
)
def test_clouds_that_cannot_be(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PointCloud.from_arrays(**arguments)


def test_a_scene_from_arrays_is_the_scene(room: Scene) -> None:
    camera = room.frames[0].camera
    made = Scene.from_arrays(
        [frame.color() for frame in room.frames],
        [frame.depth().astype(np.float64) for frame in room.frames],
        np.stack([frame.world_from_camera for frame in room.frames]),
        (camera.fx, camera.fy, camera.cx, camera.cy),
        up="+z",
    )
    ours, theirs = purify3d.with_points(made).cloud(), purify3d.with_points(room).cloud()
    torch.testing.assert_close(ours.xyz, theirs.xyz, atol=1e-6, rtol=0)
    assert torch.equal(ours.rgb, theirs.rgb)


def test_depth_of_nothing_is_zero() -> None:
    depth = np.array([[np.nan, np.inf], [-1.0, 2.0]])
    color = np.zeros((2, 2, 3), np.uint8)
    scene = Scene.from_arrays([color], [depth], [np.eye(4)], (1, 1, 0.5, 0.5))
    assert scene.frames[0].depth().tolist() == [[0, 0], [0, 2]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": []}, "found 1 colour images, 0 depth images and 1 poses"),
        ({"color": [np.zeros((2, 2, 3))]}, r"color\[0\] must be \(2, 2, 3\) uint8"),
        ({"depth": [np.zeros((1, 2))]}, "need depth_intrinsics"),
        ({"intrinsics": (1, 2, 3)}, "fx, fy, cx, cy"),
        ({"up": "w"}, "found 'w'; expected"),
    ],
)
def test_scenes_that_cannot_be(change: dict, message: str) -> None:
    good = {
        "color": [np.zeros((2, 2, 3), np.uint8)],
        "depth": [np.ones((2, 2))],
        "world_from_camera": [np.eye(4)],
        "intrinsics": (1, 1, 0.5, 0.5),
    }
    with pytest.raises(ValueError, match=message):
        Scene.from_arrays(**(good | change))


# ------------------------------------------------------------------------------------------------- nouns


def test_nouns_print_one_line_and_compare_by_identity(room: Scene) -> None:
    frame = room.frames[0]
    cloud = PointCloud.from_arrays(np.zeros((4, 3)))
    features = PointFeatures(torch.ones(4, 2), torch.ones(4, dtype=torch.int32), SPACE)
    text_embeddings = TextEmbeddings(Vocabulary.parse("a, b"), torch.ones(2, 2), torch.arange(2), SPACE)
    nouns = [
        frame,
        cloud,
        room,
        features,
        text_embeddings,
        Voxels(torch.zeros(2, 3, dtype=torch.int32), 0.02, torch.zeros(3), torch.zeros(4, dtype=torch.int64)),
        Affinity(torch.zeros(2, 1, dtype=torch.int64), torch.ones(2, 1)),
        purify3d.Segmentation(torch.zeros(4, dtype=torch.int32), torch.zeros(4), text_embeddings.vocabulary),
    ]
    for noun in nouns:
        assert type(noun).__name__ in repr(noun)
        assert len(repr(noun)) < 140
        assert "\n" not in repr(noun)
        assert noun == noun
        assert hash(noun) is not None
    assert PointCloud.from_arrays(np.zeros((4, 3))) != cloud


def test_frames_of_a_procedural_room_can_be_sent_to_other_processes(room: Scene) -> None:
    frame = pickle.loads(pickle.dumps(room.frames[2]))
    assert np.array_equal(frame.color(), room.frames[2].color())
    assert np.array_equal(frame.depth(), room.frames[2].depth())


@pytest.mark.parametrize(
    "make",
    [
        lambda: FeatureSpace("x", 0, 1.0),
        lambda: FeatureSpace("x", 3, float("nan")),
        lambda: DenseFeatures(torch.zeros(3, 4)),
        lambda: DenseFeatures(torch.zeros(3, 4, 5), torch.zeros(2, 9)),
        lambda: MaskFeatures(torch.zeros(3, 4, 5), torch.zeros(2), torch.zeros(3, 2)),
        lambda: PointFeatures(torch.zeros(3, 2), torch.zeros(2, dtype=torch.int32), SPACE),
        lambda: PointFeatures(torch.zeros(3, 5), torch.zeros(3, dtype=torch.int32), SPACE),
        lambda: Vocabulary(("a",), (("b",),)),
        lambda: TextEmbeddings(Vocabulary.parse("a"), torch.zeros(1, 3), torch.zeros(1), SPACE),
        lambda: Scene("x", (), np.array([0.0, 0, 2])),
        lambda: Frame("x", CAMERA, CAMERA, np.full((4, 4), np.nan), lambda: None, lambda: None),
        lambda: purify3d.Segmentation(torch.zeros(3), torch.zeros(2), Vocabulary.parse("a")),
    ],
)
def test_nouns_are_validated_when_made(make) -> None:
    with pytest.raises(ValueError, match=r"must|at least|need|finite|found|rows in|channels"):
        make()


CAMERA = Camera(1.0, 1.0, 0.5, 0.5, 2, 2)


def test_what_one_does_with_a_result(tmp_path: Path) -> None:
    vocabulary = Vocabulary.parse("chair, sofa|couch")
    result = purify3d.Segmentation(torch.tensor([0, 1, -1], dtype=torch.int32), torch.zeros(3), vocabulary)
    assert result.names == ("chair", "sofa")
    assert result.mask("Couch").tolist() == [False, True, False]
    with pytest.raises(KeyError, match="found no label 'bed'; expected one of chair, sofa"):
        result.mask("bed")
    assert result.numpy().tolist() == [0, 1, -1]
    assert len({tuple(color) for color in result.colors()}) == 3
    result.save(tmp_path / "x.ply", PointCloud.from_arrays(np.eye(3)))
    from purify3d.clouds import read_cloud

    assert read_cloud(tmp_path / "x.ply").label.tolist() == [0, 1, -1]


@pytest.mark.parametrize("labels", ["a|b, c", ["a|b", "c"], ("a|b", "c"), Vocabulary.parse("a|b, c")])
def test_labels_are_given_as_one_likes(labels) -> None:
    assert Vocabulary.parse(labels).synonyms == (("a", "b"), ("c",))

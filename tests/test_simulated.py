"""Errors of a simulated 2D model: where they come from, how alike they are, and that pooling can tell."""

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from purify3d import evaluate
from purify3d.affinities.config import PurifyConfig
from purify3d.affinities.embeddings import load_embedding
from purify3d.backbones import embed_vocabulary, load_backbone
from purify3d.base.errors import BackboneError
from purify3d.benchmarking.simulated import ERRORS, ErrorModel, Simulated, load, masks_of, smooth
from purify3d.features.labels_from_frames import fuse_labels
from purify3d.features.lifting import lift
from purify3d.features.surface import with_points
from purify3d.labels.config import SegmentConfig
from purify3d.labels.labelling import label_points
from purify3d.rooms import CLASSES, synthetic_scene
from purify3d.types import Camera, Frame, Scene

COUNT = len(CLASSES)
WALL, CHAIR, BOOK, LAMP = (CLASSES.index(name) for name in ("wall", "chair", "book", "lamp"))


def errors(**changed: object) -> ErrorModel:
    """No errors at all, but for what is given."""
    confusion = np.full((COUNT, COUNT), 1 / (COUNT - 1))
    np.fill_diagonal(confusion, 0)
    plain = {
        "confusion": confusion,
        "wrong": np.zeros(COUNT),
        "area": np.array([0.001, 0.1]),
        "missed": np.zeros(2),
        "border": 0.0,
        "lasting": 0.5,
        "reach": 1.0,
        "strength": 1.0,
    }
    return ErrorModel(**(plain | changed))  # type: ignore[arg-type]


def hand_made(label: np.ndarray, instance: np.ndarray, *, x: float = 0.0, yaw: float = 0.0) -> Frame:
    """A frame 2 m before a plane on which these objects are drawn."""
    height, width = label.shape
    camera = Camera(width / 1.3, width / 1.3, (width - 1) / 2, (height - 1) / 2, width, height)
    pose = np.eye(4)
    pose[:3, :3] = [[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]]
    pose[0, 3] = x
    return Frame(
        name="0",
        camera=camera,
        depth_camera=camera,
        world_from_camera=pose,
        color=lambda: np.zeros((height, width, 3), np.uint8),
        depth=lambda: np.full((height, width), 2.0, np.float32),
        label=lambda: label,
        instance=lambda: instance,
    )


def chair_before_wall(number: int = 0, **camera: float) -> Frame:
    """A wall with a chair of 40 x 40 pixels in its middle."""
    label, instance = np.full((120, 160), WALL, np.int32), np.zeros((120, 160), np.int32)
    label[40:80, 60:100], instance[40:80, 60:100] = CHAIR, number + 1
    return hand_made(label, instance, **camera)


@pytest.fixture(scope="module")
def room() -> Scene:
    """A room with cloud and truth, its images rendered once."""

    def kept(frame: Frame) -> Frame:
        assert frame.label is not None
        assert frame.instance is not None
        color, depth, label, instance = frame.color(), frame.depth(), frame.label(), frame.instance()
        return replace(
            frame, color=lambda: color, depth=lambda: depth, label=lambda: label, instance=lambda: instance
        )

    scene = synthetic_scene(400, frames=24, width=240, height=180)
    scene = with_points(replace(scene, frames=tuple(map(kept, scene.frames))), voxel=0.03)
    points = scene.cloud()
    return replace(scene, points=replace(points, label=fuse_labels(scene.frames, points)))


def test_without_errors_it_tells_the_truth() -> None:
    frame = chair_before_wall()
    posterior = Simulated(errors(), "none").posterior(frame)
    assert posterior.shape == (COUNT, 60, 80)  # half the image
    torch.testing.assert_close(posterior.sum(0), torch.ones(60, 80))
    assert (posterior.argmax(0).numpy() == masks_truth(frame)[::2, ::2]).all()
    assert posterior.amax(0).min() == pytest.approx(0.99, abs=1e-5)


def masks_truth(frame: Frame) -> np.ndarray:
    assert frame.label is not None
    return frame.label()


def test_masks_know_their_size_place_and_neighbor() -> None:
    masks = masks_of(chair_before_wall(number=7, x=3.0))
    assert masks.label.tolist() == [WALL, CHAIR]
    assert masks.instance.tolist() == [0, 8]
    np.testing.assert_allclose(masks.area, [1 - 1600 / 19200, 1600 / 19200])
    assert masks.neighbor.tolist() == [1, 0]
    # The chair's middle is half a pixel beyond the image's: columns 60 to 99 of 0 to 159.
    np.testing.assert_allclose(masks.center[1], [3.0, 0.0, 2.0], atol=0.02)


def test_a_missed_object_takes_the_name_of_what_is_around_it_and_small_ones_are_missed_more_often() -> None:
    label, instance = np.full((120, 160), WALL, np.int32), np.zeros((120, 160), np.int32)
    label[40:80, 60:100], instance[40:80, 60:100] = CHAIR, 1
    label[10:14, 10:14], instance[10:14, 10:14] = LAMP, 2
    model = Simulated(errors(missed=np.array([0.6, 0.1]), area=np.array([16 / 19200, 1600 / 19200])), "m")
    answers = []
    for step in range(300):
        frame = hand_made(label, instance, x=2.0 * step)
        answers.append(model.answers(frame, masks_of(frame))[0])
    found = np.array(answers)
    assert set(found[:, 1]) == {CHAIR, WALL}
    assert set(found[:, 2]) == {LAMP, WALL}
    assert (found[:, 1] == WALL).mean() == pytest.approx(0.1, abs=0.06)
    assert (found[:, 2] == WALL).mean() == pytest.approx(0.6, abs=0.09)


def test_a_whole_mask_takes_one_answer_from_its_row_of_the_confusion() -> None:
    confusion = np.full((COUNT, COUNT), 0.0)
    confusion[:, WALL], confusion[WALL] = 1.0, 0.0
    confusion[WALL, BOOK] = 1.0
    confusion[CHAIR, WALL], confusion[CHAIR, BOOK], confusion[CHAIR, LAMP] = 0.0, 0.75, 0.25
    wrong = np.zeros(COUNT)
    wrong[CHAIR] = 0.4
    model = Simulated(errors(confusion=confusion, wrong=wrong), "c")
    answers = []
    for step in range(300):
        frame = chair_before_wall(number=step, x=2.0 * step)
        shown = model.posterior(frame).argmax(0)[20:40, 30:50]
        assert len(shown.unique()) == 1
        answers.append(int(shown[0, 0]))
    share = np.bincount(answers, minlength=COUNT) / len(answers)
    assert share[CHAIR] == pytest.approx(0.6, abs=0.09)
    assert share[BOOK] == pytest.approx(0.3, abs=0.08)
    assert share[LAMP] == pytest.approx(0.1, abs=0.06)


def test_an_answer_is_as_often_right_as_it_is_sure() -> None:
    wrong = np.zeros(COUNT)
    wrong[CHAIR] = 0.25
    model = Simulated(errors(wrong=wrong), "c")
    sure, right = [], []
    for step in range(900):
        frame = chair_before_wall(number=step, x=2.0 * step)
        answer, how = model.answers(frame, masks_of(frame))
        sure.append(how[1])
        right.append(answer[1] == CHAIR)
    told, came = np.array(sure), np.array(right, float)
    for low, high in pairwise((0.55, 0.75, 0.9, 1.0)):
        these = (told >= low) & (told < high)
        assert these.sum() > 90
        assert came[these].mean() == pytest.approx(told[these].mean(), abs=0.09)


def test_near_views_err_more_alike_than_far_ones() -> None:
    wrong = np.zeros(COUNT)
    wrong[CHAIR] = 0.5
    model = Simulated(errors(wrong=wrong, lasting=0.1), "c")

    def alike(step: float, turn: float) -> float:
        same = []
        for number in range(250):
            views = [chair_before_wall(number=number, x=k * step, yaw=k * turn) for k in (0, 1)]
            first, second = (model.answers(view, masks_of(view))[0][1] == CHAIR for view in views)
            same.append(first == second)
        return float(np.mean(same))

    near = alike(0.1, 0.05)
    assert near > 0.85
    assert alike(4.0, 0.0) < near - 0.2
    assert alike(0.0, 2.0) < near - 0.2


def test_what_lasts_is_the_same_in_all_views_of_an_object() -> None:
    wrong = np.zeros(COUNT)
    wrong[CHAIR] = 0.5
    model = Simulated(errors(wrong=wrong, lasting=1.0), "c")
    for number in range(20):
        views = [chair_before_wall(number=number, yaw=yaw) for yaw in (0.0, 0.0)]
        one, other = (model.answers(view, masks_of(view))[0][1] for view in views)
        assert one == other


def test_borders_shift_by_pixels_and_nothing_else_moves() -> None:
    frame = chair_before_wall()
    shown = Simulated(errors(border=0.02), "b").posterior(frame).argmax(0).numpy()
    truth = masks_truth(frame)[::2, ::2]
    assert 20 < (shown != truth).sum() < 400  # the border is 160 cells of half the size long
    assert (shown[25:35, 35:45] == CHAIR).all()
    assert (shown[:8] == WALL).all()


def test_a_smooth_function_is_normal_and_forgets_within_its_reach() -> None:
    values = np.array([smooth(np.array([[0.0, 0.0], [0.5, 0.0], [4.0, 0.0]]), "key", k) for k in range(1500)])
    np.testing.assert_allclose(values.mean(0), 0, atol=0.08)
    np.testing.assert_allclose(values.std(0), 1, atol=0.06)
    assert np.corrcoef(values[:, 0], values[:, 1])[0, 1] == pytest.approx(np.exp(-0.125), abs=0.03)
    assert abs(np.corrcoef(values[:, 0], values[:, 2])[0, 1]) < 0.08
    assert smooth(np.zeros(2), "key", 1) != smooth(np.zeros(2), "key", 2)


def test_a_frame_gives_the_same_in_any_order_and_another_seed_gives_another(room: Scene) -> None:
    one, again, other = load("mosaic"), load("mosaic"), load("mosaic?seed=3")
    frames = room.frames[:3]
    text_embeddings = embed_vocabulary(one, list(CLASSES))
    forward = one.observe(frames, text_embeddings)
    backward = again.observe(frames[::-1], text_embeddings)[::-1]
    for a, b in zip(forward, backward, strict=True):
        assert torch.equal(a.values, b.values)
    assert any(
        not torch.equal(a.values, b.values)
        for a, b in zip(forward, other.observe(frames, text_embeddings), strict=True)
    )
    assert one.space.id == again.space.id != other.space.id


def test_known_numbers_on_every_machine() -> None:
    found = smooth(np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]), 0, "wrong", 10, 4, "view")
    np.testing.assert_allclose(found, [0.6209880225, -0.6200800004], atol=1e-9)


@pytest.mark.parametrize("lacks", ["label", "instance", "both"])
def test_frames_without_truth_are_refused(lacks: str) -> None:
    frame = chair_before_wall()
    frame = replace(
        frame,
        label=None if lacks != "instance" else frame.label,
        instance=None if lacks != "label" else frame.instance,
    )
    with pytest.raises(BackboneError, match=r"without images of true labels.*synthetic:SEED"):
        Simulated(errors(), "none").posterior(frame)


def test_captures_made_from_files_are_refused_though_they_have_truth() -> None:
    frame = replace(chair_before_wall(), files=(Path("color/0.jpg"),))
    with pytest.raises(BackboneError, match=r"frame 0 made from files.*segmenter:lite"):
        Simulated(errors(), "none").posterior(frame)


def test_labels_that_are_not_of_rooms_are_refused() -> None:
    label = np.full((120, 160), 40, np.int32)
    with pytest.raises(BackboneError, match=r"labels 40 to 40; expected .* labels 0 to 27"):
        masks_of(hand_made(label, np.zeros_like(label)))


@pytest.mark.parametrize("argument", ["lite", "mosaic?seed=", "mosaic?seed=x", "mosaic?seed=-1", "mosaic?"])
def test_other_arguments_are_refused(argument: str) -> None:
    with pytest.raises(BackboneError, match="expected simulated:mosaic"):
        load_backbone(f"simulated:{argument}")


def test_damaged_errors_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "errors.json"
    broken.write_text('{"confusion": [[0]]}')
    monkeypatch.setattr("purify3d.benchmarking.simulated.ERRORS", broken)
    with pytest.raises(BackboneError, match=r"cannot read the errors in .*KeyError"):
        load("mosaic")


def test_the_errors_that_ship_say_where_they_are_from() -> None:
    facts = json.loads(ERRORS.read_text())
    model = ErrorModel.of(facts)
    assert facts["classes"] == list(CLASSES)
    assert "synthetic:400..407" in facts["measured"]
    # At full strength the simulation is right, misses and is alike from view to view as the model is.
    for what in ("right", "missed"):
        assert facts["simulation"][what] == pytest.approx(facts["model"][what], abs=0.06)
    np.testing.assert_allclose(facts["simulation"]["alike"], facts["model"]["alike"], atol=0.12)
    assert facts["command"].startswith("python tools/calibrate_errors.py")
    np.testing.assert_allclose(model.confusion.sum(1), 1, atol=2e-3)
    assert (model.confusion.diagonal() == 0).all()
    assert model.missed[0] > model.missed[-1]
    assert 45 <= facts["raw_miou"] <= 55


def test_uniform_pooling_loses_and_geometric_pooling_gains(room: Scene) -> None:
    backbone = load("mosaic")
    text_embeddings = embed_vocabulary(backbone, list(CLASSES))
    points, features = room.cloud(), lift(room, backbone, text_embeddings)
    methods: Mapping[str, SegmentConfig] = {
        "raw": SegmentConfig(purify=PurifyConfig(rounds=0)),
        "uniform": SegmentConfig(purify=PurifyConfig(affinity="uniform", voxel=0.03)),
        "geometric": SegmentConfig(purify=PurifyConfig(affinity="geometric", voxel=0.03)),
    }
    miou = {}
    for name, config in methods.items():
        embedding = load_embedding(config.purify.affinity, backbone)
        found = label_points(points, features, text_embeddings, config, embedding=embedding)
        score = evaluate(found, points.label, room.truth).miou
        assert score is not None
        miou[name] = 100 * score
    assert 35 < miou["raw"] < 70
    assert miou["uniform"] < miou["raw"] - 5
    assert miou["geometric"] > miou["raw"] + 1

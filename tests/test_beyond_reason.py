"""Settings and stored values beyond reason are refused, or brought back."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import cycle

import numpy as np
import pytest
import torch
from test_questions import text_embeddings

import purify3d
from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.features.lifting import _check_margin
from purify3d.labels.questions import classify
from purify3d.runs.photos import look_at_photos
from purify3d.types import Camera, Frame, Scene, TextEmbeddings


def test_a_margin_that_leaves_nothing(room: Scene) -> None:
    """Colour of half the shorter side, and one pixel less."""
    shorter = min(room.frames[0].camera.width, room.frames[0].camera.height)
    _check_margin(room.frames, (shorter - 1) // 2)
    backbone = purify3d.load_backbone("segmenter:lite")
    scene = purify3d.with_points(replace(room, frames=room.frames[:1]), voxel=0.1)
    with pytest.raises(CaptureError, match=r"--margin .* leaves nothing of images of .*1 of 1 frames"):
        purify3d.lift(scene, backbone, config=purify3d.LiftConfig(margin=-(-shorter // 2)))
    small = replace(room.frames[0], camera=Camera(10, 10, 9.5, 9.5, 20, 20))
    with pytest.warns(PurifyWarning, match="1 of 2 frames"):
        _check_margin([room.frames[0], small], 10)


def test_a_score_is_a_cosine_whatever_was_rounded() -> None:
    words: TextEmbeddings = text_embeddings("a, b")
    found = classify(torch.tensor([[1.04, 1.068], [0.2, -1.2], [0.5, 0.25]]), words)
    assert found.label.tolist() == [1, 0, 0]  # the larger of two, though both are cut
    assert found.score.tolist() == pytest.approx([1.0, 0.2, 0.5])


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_poses_that_are_no_numbers(room: Scene, wrong: float) -> None:
    frame: Frame = room.frames[0]
    pose = frame.world_from_camera.copy()
    pose[0, 3] = wrong
    with pytest.raises(ValueError, match="pose is not finite"):
        replace(frame, world_from_camera=pose)
    camera, images = frame.camera, ([frame.color()], [frame.depth()])
    with pytest.raises(ValueError, match="not finite"):
        Scene.from_arrays(*images, pose[None], camera, depth_intrinsics=frame.depth_camera)


def _showing(frames: tuple[Frame, ...], *photos: np.ndarray) -> list[Frame]:
    """The frames with these photos in turn."""
    turns = cycle(partial(np.asarray, photo) for photo in photos)
    return [replace(frame, color=next(turns)) for frame in frames]


@pytest.mark.parametrize("level", [0, 128, 255])
def test_photos_of_one_colour_are_named(room: Scene, level: int) -> None:
    photo = room.frames[0].color()
    with pytest.warns(PurifyWarning, match=r"of one colour \("):
        look_at_photos("room", _showing(room.frames, np.full_like(photo, level)))
    with pytest.warns(PurifyWarning, match=r"of one colour \("):
        look_at_photos("room", _showing(room.frames, photo, np.full_like(photo, level)))


def test_the_same_photo_everywhere_is_named(room: Scene) -> None:
    photo = room.frames[0].color()
    with pytest.warns(PurifyWarning, match="are the same, though the cameras differ"):
        look_at_photos("room", _showing(room.frames, photo))
    look_at_photos("room", room.frames)
    look_at_photos("one", _showing((room.frames[0],) * 3, photo))  # a camera that stands still

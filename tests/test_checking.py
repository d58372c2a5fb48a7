"""Frames that agree, faults that are named, clouds that belong to other worlds."""

import json
import re
import runpy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.captures import CaptureConfig, open_capture
from purify3d.captures.conventions import Stored
from purify3d.checking import GOOD, WRONG, agreement, check, cloud_fit, examine, look
from purify3d.checking.agreement import Agreement, spread
from purify3d.clouds.ply import write_ply
from purify3d.features.surface import with_points
from purify3d.grid.projection import OPENCV_FROM_OPENGL
from purify3d.pipeline import run_job
from purify3d.rooms import synthetic_scene
from purify3d.runs.job import job
from purify3d.types import Camera, Frame, PointCloud, Scene

PLANTED = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "check.py"))
FAULTS, measured, posed = (PLANTED[name] for name in ("FAULTS", "measured", "posed"))


def wall(distance: float, sideways: float = 0.0) -> Frame:
    """A camera that looks at a wall, `sideways` metres to the right of the first."""
    camera = Camera(50.0, 50.0, 31.5, 23.5, 64, 48)
    pose = np.eye(4)
    pose[0, 3] = sideways
    depth = np.full((48, 64), distance, np.float32)
    return Frame("w", camera, camera, pose, partial(np.zeros, (48, 64, 3), np.uint8), partial(np.copy, depth))


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A room whose images are rendered once, so many that every fault shows."""
    made = synthetic_scene(4, frames=48, width=160, height=120)
    frames = [
        replace(f, depth=partial(np.copy, f.depth()), color=partial(np.copy, f.color()))
        for f in made.frames[::3]
    ]
    return replace(made, frames=tuple(frames))


def test_agreement_counts_what_is_seen_through_and_what_is_hidden() -> None:
    same = agreement(look([wall(2.0), wall(2.0, 0.1)]))
    assert (same.share, same.through, same.hidden) == (1.0, 0, 0)
    apart = agreement(look([wall(2.0), wall(3.0, 0.1)]))
    assert apart.agree == 0
    assert apart.through > 100  # the second sees through what the first measures
    assert apart.hidden > 100  # and the first hides what the second measures
    assert apart.share == 0.0


def test_agreement_allows_five_percent() -> None:
    assert agreement(look([wall(2.0), wall(2.09, 0.1)])).share == 1.0
    assert agreement(look([wall(2.0), wall(2.11, 0.1)])).share == 0.0


def test_every_frame_is_looked_up_in_every_other(scene: Scene) -> None:
    """Pair by pair; frames have different numbers of pixels, and one of them none."""
    whole = look([*scene.frames, wall(2.0)])
    views = replace(whole, pixel=tuple(p[: 40 * i] for i, p in enumerate(whole.pixel)))
    fared = [0, 0, 0]
    for i, j in permutations(range(len(views)), 2):
        for ahead in views.compare(views.points(i), j)[1].tolist():
            fared[0 if abs(ahead) <= 0.03 else 1 if ahead > 0 else 2] += 1
    assert min(fared) > 10
    assert agreement(views, tolerance=0.03) == Agreement(*fared)
    assert agreement(look([wall(2.0)])) == agreement(look([])) == Agreement(0, 0, 0)


def test_frames_that_look_elsewhere_tell_nothing() -> None:
    views = look([wall(2.0), wall(2.0, 100.0)])
    assert np.isnan(agreement(views).share)
    report = examine(Scene("walls", (wall(2.0), wall(2.0, 100.0)), np.array([0.0, -1, 0])))
    assert "too few frames look at the same places" in report.verdict
    assert report.status == "undecided"


def test_frames_without_depth_are_left_out() -> None:
    assert len(look([wall(2.0), wall(0.0), wall(2.0, 0.1)])) == 2
    report = examine(Scene("none", (wall(0.0), wall(0.0)), np.array([0.0, -1, 0])))
    assert "no frame holds any depth" in report.verdict
    assert report.status == "wrong"


def test_frames_are_chosen_far_apart_and_side_by_side() -> None:
    assert spread(5, 24) == [0, 1, 2, 3, 4]
    chosen = spread(1000, 24)
    assert len(chosen) <= 24
    assert chosen[0] == 0
    assert chosen[-1] == 999
    assert 16 in np.diff(chosen)


def test_right_frames_agree(scene: Scene) -> None:
    report = examine(scene)
    assert report.agreement.share > 0.99
    assert report.good
    assert report.found is None
    assert report.remarks == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named(fault: str, scene: Scene) -> None:
    plant, expected = FAULTS[fault]
    spoilt = plant(scene)
    report = examine(spoilt, Stored())
    told = " ".join([report.verdict, *report.remarks, report.far or ""])
    assert re.search(expected, told), told
    if report.found is not None and report.status == "wrong":
        assert not report.agreement.share >= GOOD
        assert examine(report.found.fix.of_scene(spoilt)).agreement.share == pytest.approx(
            report.found.share, abs=0.03
        )


def test_two_faults_at_once_are_named(scene: Scene) -> None:
    spoilt = measured(5.0, False, posed(lambda p: p @ OPENCV_FROM_OPENGL, scene))
    report = examine(spoilt)
    assert "--pose-convention opengl" in report.verdict
    assert "--depth-unit 0.0002" in report.verdict
    assert report.found is not None
    assert examine(report.found.fix.of_scene(spoilt)).good


@pytest.mark.parametrize(
    ("stored", "spoil", "flags"),
    [
        (Stored("opengl", "camera-to-world"), lambda p: p @ OPENCV_FROM_OPENGL, "--pose-convention opencv"),
        (Stored("opencv", "world-to-camera"), np.linalg.inv, "--pose-direction camera-to-world"),
        (
            Stored("opengl", "camera-to-world"),
            lambda p: np.linalg.inv(p @ OPENCV_FROM_OPENGL) @ OPENCV_FROM_OPENGL,
            "--pose-direction world-to-camera",
        ),
    ],
)
def test_flags_go_on_from_how_poses_were_read(
    stored: Stored, spoil: Callable[[np.ndarray], np.ndarray], flags: str, scene: Scene
) -> None:
    """`spoil` makes of right poses those that come out when they are read as `stored` and are not."""
    told = examine(posed(spoil, scene), stored).verdict
    assert f"give {flags}" in told
    assert ("--pose-convention" in told) == ("--pose-convention" in flags)


def test_noise_is_no_usual_mistake(scene: Scene) -> None:
    rng = np.random.default_rng(0)

    def drift(poses: np.ndarray) -> np.ndarray:
        poses = poses.copy()
        poses[:, :3, 3] += rng.normal(scale=0.5, size=(len(poses), 3))
        return poses

    report = examine(posed(drift, scene))
    assert report.found is None
    assert "none of the usual mistakes explains it" in report.verdict


# ------------------------------------------------------------------------------------------------- clouds

TURN = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


@pytest.fixture(scope="module")
def cloud(scene: Scene) -> np.ndarray:
    """(N, 3) float64, some points of the room: a search among them is quick."""
    return with_points(scene).cloud().xyz.double().numpy()[::5]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda xyz: xyz @ TURN.T, "x y z as x z -y"),
        (lambda xyz: xyz * 1000, "taken in millimetres"),
        (lambda xyz: xyz * 100, "taken in centimetres"),
        (lambda xyz: xyz + np.array([3.0, 0, 0]), r"moved by \(-(3\.0\d|2\.9\d), -?0\.0\d, -?0\.0\d\) m"),
        (lambda xyz: xyz @ TURN.T * 1000, "x y z as x z -y and taken in millimetres"),
    ],
)
def test_a_cloud_of_another_world_is_noticed(change, expected, scene: Scene, cloud: np.ndarray) -> None:
    views = look(scene.frames, count=10)
    right = cloud_fit(cloud, views)
    assert right.good
    assert right.seen > 0.98
    assert right.covered > 0.9
    wrong = cloud_fit(change(cloud), views)
    assert not wrong.good
    assert re.search(expected, wrong.sentence())


def test_a_part_of_the_scene_is_a_cloud_of_it(scene: Scene, cloud: np.ndarray) -> None:
    part = cloud[(np.abs(cloud[:, :2] - np.median(cloud[:, :2], axis=0)) < 0.6).all(axis=1)]
    fit = cloud_fit(part, look(scene.frames, count=10))
    assert fit.covered < 0.25
    assert fit.good


# ------------------------------------------------------------------------------------------- the commands


def spoil(capture: Path) -> Path:
    for file in (capture / "pose").iterdir():
        np.savetxt(file, np.loadtxt(file) @ OPENCV_FROM_OPENGL)
    return capture


def in_millimetres(capture: Path, file: Path) -> None:
    """Some points of a capture, a thousand times as far from each other as its poses say."""
    xyz = with_points(open_capture(capture)).cloud().xyz[::8]
    write_ply(file, PointCloud.from_arrays(xyz * 1000))


def test_check_says_what_is_there(purify3d: Any, capture: Path, tmp_path: Path) -> None:
    code, out, _ = purify3d("check", capture, "-o", tmp_path / "seen.png")
    assert code == 0
    for word in ("frames", "colour", "depth", "extent", "agreement", "ok: the frames agree"):
        assert word in out
    assert Image.open(tmp_path / "seen.png").size[0] > 1000


def test_the_library_gives_what_the_command_prints(purify3d: Any, capture: Path, tmp_path: Path) -> None:
    in_millimetres(capture, tmp_path / "mm.ply")
    report = check(capture, onto=tmp_path / "mm.ply", every=2)
    code, out, _ = purify3d(
        "check", capture, "--onto", tmp_path / "mm.ply", "--every", 2, "-o", tmp_path / "a.png", "--json"
    )
    told = json.loads(out)
    assert (code, told["good"], report.good) == (1, False, False)
    assert told.items() >= (report.facts | {"verdict": report.verdict, "remarks": report.remarks}).items()
    assert report.fit is not None
    assert "it would fit taken in millimetres" in report.verdict
    with pytest.raises(CaptureError, match="found no mistake that can be mended"):
        report.write_fixed(tmp_path / "fixed")


def test_check_names_a_fault_and_mends_it(purify3d: Any, capture: Path, tmp_path: Path) -> None:
    spoil(capture)
    code, out, _ = purify3d("check", capture, "-o", tmp_path / "seen.png", "--json")
    told = json.loads(out)
    assert (code, told["good"]) == (1, False)
    assert told["agree"] < 0.6
    assert told["agree_without"] > GOOD
    assert "--pose-convention opengl" in told["verdict"]
    code, out, _ = purify3d("check", capture, "-o", tmp_path / "a.png", "--pose-convention", "opengl")
    assert code == 0
    fixed = tmp_path / "fixed"
    code, out, _ = purify3d("check", capture, "-o", tmp_path / "a.png", "--fix", fixed)
    assert code == 0
    assert "a corrected capture" in out
    code, out, _ = purify3d("check", fixed, "-o", tmp_path / "b.png")
    assert code == 0
    right = open_capture(capture, pose_convention="opengl").frames[0]
    mended = open_capture(fixed).frames[0]
    np.testing.assert_allclose(mended.world_from_camera, right.world_from_camera, atol=1e-6)
    np.testing.assert_allclose(mended.depth(), right.depth(), atol=5.1e-4)


def test_there_is_nothing_to_mend_in_a_right_capture(purify3d: Any, capture: Path, tmp_path: Path) -> None:
    code, _, err = purify3d("check", capture, "-o", tmp_path / "a.png", "--fix", tmp_path / "fixed")
    assert code == 1
    assert "found no mistake that can be mended" in err
    assert not (tmp_path / "fixed").exists()


def test_segment_stops_where_most_is_wrong(capture: Path, tmp_path: Path) -> None:
    wanted = job(spoil(capture), "wall, floor", rounds=1)
    with pytest.raises(CaptureError, match=r"--pose-convention opengl.*--no-check"):
        run_job(wanted, tmp_path / "run")
    assert not (tmp_path / "run" / "points.ply").exists()
    run_job(wanted, tmp_path / "run", check=False)
    assert (tmp_path / "run" / "labels.ply").exists()


def test_segment_warns_where_something_is_off(capture: Path, tmp_path: Path) -> None:
    for file in (capture / "depth").iterdir():
        depth = np.asarray(Image.open(file)).astype(np.float64)
        Image.fromarray((depth * 1.4).round().astype(np.uint16)).save(file)
    report = examine(*CaptureConfig(str(capture)).whole())
    assert WRONG < report.agreement.share < GOOD
    with pytest.warns(PurifyWarning, match=r"different scale, poses times 1\.[34]"):
        run_job(job(capture, "wall, floor", rounds=1), tmp_path / "run")


def test_segment_warns_of_a_cloud_of_another_world(capture: Path, tmp_path: Path) -> None:
    in_millimetres(capture, tmp_path / "mm.ply")
    with (
        pytest.warns(PurifyWarning, match=r"it would fit taken in millimetres"),
        pytest.raises(CaptureError, match=r"none of the .* points is visible"),
    ):
        run_job(job(capture, "wall", onto=str(tmp_path / "mm.ply"), rounds=1), tmp_path / "run")

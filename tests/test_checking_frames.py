"""Single wrong poses, units, depth along rays: what only some frames or sizes tell."""

import json
import runpy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.captures import CaptureConfig, open_capture
from purify3d.captures.conventions import Stored, along_axis
from purify3d.captures.selecting import naming, without
from purify3d.checking import check, examine
from purify3d.checking.sizes import likely_units
from purify3d.grid.projection import OPENCV_FROM_OPENGL
from purify3d.pipeline import run_job
from purify3d.rooms import synthetic_scene
from purify3d.runs.job import job
from purify3d.runs.look import look_before
from purify3d.types import Camera, Scene

PLANTED = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "check.py"))
KINDS, SHARES, along_rays, depths, measured, misposed, posed, stretched = (
    PLANTED[name]
    for name in ("KINDS", "SHARES", "along_rays", "depths", "measured", "misposed", "posed", "stretched")
)


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A room whose images are rendered once."""
    made = synthetic_scene(4, frames=48, width=96, height=72)
    frames = [
        replace(f, depth=partial(np.copy, f.depth()), color=partial(np.copy, f.color()))
        for f in made.frames[::4]
    ]
    return replace(made, frames=tuple(frames))


def moved(change: Callable[[np.ndarray], None], numbers: Any, scene: Scene) -> Scene:
    """With another pose of some frames."""
    poses = np.stack([frame.world_from_camera for frame in scene.frames])
    for number in np.atleast_1d(numbers):
        change(poses[number])
    return posed(lambda _: poses, scene)


def away(pose: np.ndarray) -> None:
    pose[:3, 3] += [0.8, -0.5, 0.3]


def about(pose: np.ndarray) -> None:
    pose[:3, :3] = pose[:3, :3] @ Rotation.from_euler("y", 40, degrees=True).as_matrix()


def to_identity(pose: np.ndarray) -> None:
    pose[:] = np.eye(4)


def to_stored_identity(pose: np.ndarray) -> None:
    """The identity in a file whose cameras have OpenGL axes."""
    pose[:] = OPENCV_FROM_OPENGL


def astray(pose: np.ndarray) -> None:
    """So far away that it sees nothing that others see."""
    pose[:3, 3] += 30


def names(scene: Scene, numbers: Any) -> list[str]:
    return [scene.frames[number].name for number in np.atleast_1d(numbers)]


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("kind", KINDS)
def test_wrong_poses_are_named_and_no_others(kind: str, share: float, scene: Scene) -> None:
    spoilt, wrong = misposed(kind, share, scene)
    report = examine(spoilt)
    assert report.status == "wrong"
    assert {frame.name for frame in report.wrong} == wrong
    assert "--leave-out" in report.verdict
    assert report.found is not None
    assert examine(report.found.fix.of_scene(spoilt)).good


@pytest.mark.parametrize("change", [away, about, astray, to_identity, to_stored_identity])
@pytest.mark.parametrize("number", [1, 3, 4])
def test_one_of_six(change: Callable[[np.ndarray], None], number: int, scene: Scene) -> None:
    few = replace(scene, frames=scene.frames[:6])
    assert examine(few).good
    assert [frame.name for frame in examine(moved(change, number, few)).wrong] == names(few, number)


@pytest.mark.parametrize("change", [away, about])
@pytest.mark.parametrize("number", [0, 5])
def test_the_first_and_the_last(change: Callable[[np.ndarray], None], number: int, scene: Scene) -> None:
    few = replace(scene, frames=scene.frames[:6])
    assert [frame.name for frame in examine(moved(change, number, few)).wrong] == names(few, number)


def test_a_frame_that_sees_nothing_of_the_others_is_not_judged(scene: Scene) -> None:
    """The last one may be the first of another place."""
    report = examine(moved(astray, 11, scene))
    assert report.wrong == ()
    assert (
        f"1 of 12 frames see nothing that others see, so their poses cannot be judged: {names(scene, 11)[0]}"
        in report.remarks
    )


@pytest.mark.parametrize("numbers", [range(8, 12), range(7, 12), range(5)])
def test_a_camera_that_leaps_and_stays(numbers: range, scene: Scene) -> None:
    report = examine(moved(away, numbers, scene))
    assert [frame.name for frame in report.wrong] == names(scene, numbers)
    assert f"{names(scene, numbers)[0]}..{names(scene, numbers)[-1]}" in report.verdict


def test_the_words_for_a_wrong_pose(scene: Scene) -> None:
    verdict = examine(moved(to_identity, 4, scene)).verdict
    name = scene.frames[4].name
    assert f"1 of 12 frames has a wrong pose: {name} (the identity, agrees with the others in " in verdict
    assert verdict.endswith(f"To mend it, give --leave-out {name}")


def test_a_camera_that_stands_is_no_wrong_pose(scene: Scene) -> None:
    """The same photo at the same pose, brighter and with noise, for some frames."""
    rng = np.random.default_rng(0)

    def again(number: int) -> Any:
        frame = scene.frames[number]
        photo = np.clip(frame.color() * 1.1 + rng.normal(0, 6, frame.color().shape), 0, 255).astype(np.uint8)
        return replace(frame, name=f"{frame.name}-again", color=partial(np.copy, photo))

    frames = [*scene.frames[:6], again(5), again(5), *scene.frames[6:], again(11)]
    report = examine(replace(scene, frames=tuple(frames)))
    assert report.good
    assert report.wrong == ()
    assert not any("pose" in remark for remark in report.remarks)


def test_of_equal_poses_the_first_is_kept_unless_another_fits_better(scene: Scene) -> None:
    poses = np.stack([frame.world_from_camera for frame in scene.frames])
    held, ahead = poses.copy(), poses.copy()
    held[[4, 5]] = poses[3]
    ahead[3] = poses[4]
    report = examine(posed(lambda _: held, scene))
    assert [frame.name for frame in report.wrong] == names(scene, [4, 5])
    assert "very pose" in report.wrong[0].why
    assert [f.name for f in examine(posed(lambda _: ahead, scene)).wrong] == names(scene, 3)


def test_of_equal_poses_that_see_nothing_of_the_others_the_first_is_kept(scene: Scene) -> None:
    poses = np.stack([frame.world_from_camera for frame in scene.frames])
    astray(poses[3])
    poses[4] = poses[3]
    frames = [
        replace(f, depth=partial(np.zeros_like, f.depth())) if i in (3, 4) else f
        for i, f in enumerate(scene.frames)
    ]
    report = examine(posed(lambda _: poses, replace(scene, frames=tuple(frames))))
    assert names(scene, 4)[0] in [frame.name for frame in report.wrong]


def test_poses_that_do_not_move(scene: Scene) -> None:
    one = scene.frames[0].world_from_camera
    report = examine(posed(lambda p: np.stack([one] * len(p)), scene))
    assert report.status == "wrong"
    assert report.hopeless
    assert "the poses do not follow the camera" in report.verdict
    still = replace(scene, frames=tuple(replace(scene.frames[0], name=f"{i}") for i in range(6)))
    assert examine(still).good  # a camera on a table


# ------------------------------------------------------------------------------------- units and sizes


def both(factor: float, scene: Scene) -> Scene:
    return measured(factor, True, posed(partial(stretched, factor), scene))


@pytest.mark.parametrize(
    ("spoil", "status", "flag"),
    [
        (partial(both, 100.0), "undecided", "--scale 0.01 --depth-unit 0.001"),
        (partial(both, 1000.0), "undecided", "--scale 0.001 --depth-unit 0.001"),
        (partial(both, 39.37), "undecided", "--scale 0.0254 --depth-unit 0.001"),
        (partial(both, 0.001), "undecided", "--scale 1000 --depth-unit 0.001"),
        (partial(posed, partial(stretched, 1000.0)), "wrong", "--scale 0.001"),
        (partial(posed, partial(stretched, 100.0)), "wrong", "--scale 0.01"),
        (partial(measured, 0.001, True), "wrong", "--depth-unit 0.001"),
        (
            lambda s: measured(1000.0, True, posed(partial(stretched, 100.0), s)),
            "wrong",
            "--scale 0.01 --depth-unit 0.001",
        ),
    ],
)
def test_units_are_named(spoil: Callable[[Scene], Scene], status: str, flag: str, scene: Scene) -> None:
    spoilt = spoil(scene)
    report = examine(spoilt)
    assert report.status == status
    assert flag in report.verdict
    assert report.found is not None
    mended = examine(report.found.fix.of_scene(spoilt))
    assert mended.good, mended.verdict


def test_depth_in_whole_metres_is_no_depth(scene: Scene) -> None:
    report = examine(depths(lambda z: np.float32(0.001) * np.rint(z), scene))
    assert (report.status, report.hopeless) == ("wrong", True)
    assert "rounded, to whole metres" in report.verdict
    assert examine(depths(lambda z: np.float32(0.01) * np.rint(z * 100), scene)).good  # centimetres are fine


def test_sizes_of_every_scan_are_plausible(scene: Scene) -> None:
    for factor in (0.1, 1.0, 4.0):  # a table top, a room, a hall
        assert examine(both(factor, scene)).good
    assert [name for _, name in likely_units(230.0)] == ["centimetres", "inches"]
    assert likely_units(1e7) == []


# ----------------------------------------------------------------------------------- depth along the ray


def test_depth_along_rays_is_named_and_mended(scene: Scene) -> None:
    spoilt = along_rays(scene)
    report = examine(spoilt)
    assert report.status == "wrong"
    assert "give --depth-along ray" in report.verdict
    assert report.found is not None
    mended = report.found.fix.of_scene(spoilt)
    np.testing.assert_allclose(mended.frames[0].depth(), scene.frames[0].depth(), rtol=1e-5)
    # A right capture that was said to be along rays.
    lengthened = replace(
        scene,
        frames=tuple(replace(f, depth=partial(along_axis, f.depth, f.depth_camera)) for f in scene.frames),
    )
    assert "leave --depth-along ray away" in examine(lengthened, Stored(along="ray")).verdict


def test_a_ray_is_longer_than_its_share_of_the_axis() -> None:
    camera = Camera(50.0, 40.0, 1.0, 1.0, 4, 3)
    flat = partial(np.full, (3, 4), np.float32(2))
    rays = along_axis(flat, camera, back=True)
    assert rays[1, 1] == 2
    assert rays[2, 3] == pytest.approx(2 * np.sqrt(1 + (2 / 50) ** 2 + (1 / 40) ** 2))
    np.testing.assert_allclose(along_axis(lambda: rays, camera), flat(), rtol=1e-6)


# ------------------------------------------------------------------------------------------- the commands


def test_frames_are_left_out_by_name(scene: Scene) -> None:
    frames, out = scene.frames, [0, 3, 4, 5, 8, 9]
    given = naming(frames, out)
    assert given == f"{frames[0].name},{frames[3].name}..{frames[5].name},{frames[8].name},{frames[9].name}"
    kept = without(frames, given, "x")
    assert [f.name for f in kept] == [f.name for i, f in enumerate(frames) if i not in out]
    assert without(frames, tuple(given.split(",")), "x") == kept
    with pytest.raises(CaptureError, match="found 'nobody' in --leave-out and no frame"):
        without(frames, "nobody", "x")
    with pytest.raises(CaptureError, match="names all 12 frames"):
        without(frames, f"{frames[0].name}..{frames[-1].name}", "x")
    assert naming([replace(frames[0], name="a,b")], [0]) is None


def spoilt_pose(capture: Path) -> str:
    file = sorted((capture / "pose").iterdir())[2]
    np.savetxt(file, np.eye(4))
    return file.stem


def test_check_and_segment_name_a_wrong_pose(purify3d: Any, capture: Path, tmp_path: Path) -> None:
    name = spoilt_pose(capture)
    code, out, _ = purify3d("check", capture, "-o", tmp_path / "a.png", "--json")
    told = json.loads(out)
    assert (code, told["status"], told["wrong_frames"]) == (1, "wrong", [name])
    assert check(capture, leave_out=name).good
    code, out, _ = purify3d("check", capture, "-o", tmp_path / "a.png", "--fix", tmp_path / "fixed")
    assert code == 0
    total = len(open_capture(capture).frames)
    assert len(open_capture(tmp_path / "fixed").frames) == total - 1
    assert len(open_capture(capture, leave_out=name).frames) == total - 1
    with pytest.warns(PurifyWarning, match=f"wrong pose: {name} .*--leave-out {name}"):
        look_before(open_capture(capture), CaptureConfig(str(capture)))


def test_segment_stops_where_nothing_explains_the_contradiction(capture: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for file in (capture / "pose").iterdir():
        pose = np.loadtxt(file)
        pose[:3, 3] += rng.normal(scale=0.7, size=3)
        pose[:3, :3] = Rotation.random(random_state=rng).as_matrix() @ pose[:3, :3]
        np.savetxt(file, pose)
    wanted = job(capture, "wall, floor", rounds=1)
    with pytest.raises(CaptureError, match=r"none of the usual mistakes explains it.*--no-check"):
        run_job(wanted, tmp_path / "run")


def test_depth_along_rays_from_the_command(purify3d: Any, capture: Path, tmp_path: Path) -> None:
    right = open_capture(capture).frames[0].depth()
    for file, frame in zip(
        sorted((capture / "depth").iterdir()), CaptureConfig(str(capture)).whole()[0].frames, strict=True
    ):
        rays = along_axis(frame.depth, frame.depth_camera, back=True)
        Image.fromarray(np.rint(rays * 1000).astype(np.uint16)).save(file)
    code, out, _ = purify3d("check", capture, "-o", tmp_path / "a.png")
    assert code == 1
    assert "--depth-along ray" in out
    assert check(capture, depth_along="ray").good
    read = open_capture(capture, depth_along="ray").frames[0].depth()
    np.testing.assert_allclose(read, right, atol=2e-3)


def test_what_cannot_be_decided_has_its_own_exit_code(purify3d: Any, tmp_path: Path) -> None:
    code, out, _ = purify3d(
        "check", "synthetic:4?frames=2&width=64&height=48", "--limit", 1, "-o", tmp_path / "a.png"
    )
    assert code == 3
    assert "UNDECIDED: too few frames look at the same places" in out


def test_of_too_little_nothing_is_said_of_its_unit(scene: Scene) -> None:
    """Images of so few pixels that no point of them is looked at."""
    made = synthetic_scene(4, frames=3, width=16, height=12)
    report = examine(replace(made, frames=made.frames[:2]))
    assert report.status == "undecided"
    assert "nan" not in report.verdict
    assert "feet" not in report.verdict

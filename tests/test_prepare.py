"""Benchmarks made into folders of captures: what was downloaded is read, nothing is half there."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import click
import numpy as np
import pytest
from test_matterport import HOUSE, PANO, write_house
from test_sens import GREYS, MM, NAME, SIZE, TSV, VERTICES, frame, jpeg, pose, sens_bytes, write_scene

from purify3d.base.errors import CaptureError
from purify3d.base.workers import Processes
from purify3d.benchmarking.datasets import prepare, split_names
from purify3d.benchmarking.datasets.prepare import KINDS
from purify3d.captures import open_capture
from purify3d.captures.formats import matterport, prepared
from purify3d.cli import program
from purify3d.types import Scene
from purify3d.types.labelsets import label_set_names

Program = Callable[..., tuple[int, str, str]]


def long(count: int = 45, *, lost: tuple[int, ...] = ()) -> list[bytes]:
    """Frames that are all different."""
    found = []
    for i in range(count):
        place = np.full((4, 4), -np.inf) if i in lost else pose(i)
        depth = zlib.compress((MM[i % 3] // 2 + i).astype("<u2").tobytes())
        found.append(frame(place, jpeg(40 + i), depth))
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != ".lock"
    }


def same(a: Scene, b: Scene) -> None:
    """All but the colours, which are compared by their bytes."""
    assert [f.name for f in a.frames] == [f.name for f in b.frames]
    assert (a.name, dict(a.truth)) == (b.name, dict(b.truth))
    np.testing.assert_array_equal(a.up, b.up)
    for one, other in zip(a.frames, b.frames, strict=True):
        np.testing.assert_array_equal(one.world_from_camera, other.world_from_camera)
        for which in ("camera", "depth_camera"):
            x, y = getattr(one, which), getattr(other, which)
            assert (x.width, x.height) == (y.width, y.height)
            np.testing.assert_allclose((x.fx, x.fy, x.cx, x.cy), (y.fx, y.fy, y.cx, y.cy), rtol=1e-12)
        np.testing.assert_allclose(one.depth(), other.depth(), rtol=1e-6)
        np.testing.assert_array_equal(one.color(), other.color())
    for values in ("xyz", "rgb", "normal", "label", "instance"):
        left, right = getattr(a.cloud(), values), getattr(b.cloud(), values)
        np.testing.assert_array_equal(left.numpy(), right.numpy())


def test_scannet(tmp_path: Path) -> None:
    root, out = tmp_path / "scans", tmp_path / "out"
    folder = write_scene(root, frames=long(lost=(20,)))
    done = prepare("scannet", root, out)
    # Frame 20 is lost and not replaced by 21.
    scene = open_capture(out / NAME)
    assert [f.name for f in scene.frames] == ["0", "40"]
    assert scene.cloud().label.tolist() == [6, 6, 1, -1]
    assert scene.cloud().instance.tolist() == [0, 0, 5, -1]
    np.testing.assert_array_equal(scene.cloud().xyz.numpy(), VERTICES)
    assert scene.truth[6] == "sofa"
    # The picture is the file's own, byte by byte.
    assert (out / NAME / "images" / "40.jpg").read_bytes() == jpeg(80)
    np.testing.assert_allclose(scene.frames[1].depth(), (MM[1] // 2 + 40) / 1000, atol=1e-6)
    facts = done.scenes[NAME]
    assert (facts["frames"], facts["lost_poses"], facts["points"]) == (2, 1, 4)
    assert (facts["labelled"], facts["objects"], facts["left_out"]) == (3, 2, {})
    assert done.skipped == {}
    prepare("scannet", root, tmp_path / "all", every=1)
    same(open_capture(tmp_path / "all" / NAME), open_capture(folder))


def test_scannet200(tmp_path: Path) -> None:
    write_scene(tmp_path / "scans")
    (tmp_path / "scannetv2-labels.combined.tsv").write_text(TSV)
    prepare("scannet", tmp_path / "scans", tmp_path / "out", labels="scannet200")
    scene = open_capture(tmp_path / "out" / NAME)
    assert (scene.cloud().label.tolist(), scene.truth) == ([6, 6, 1, -1], {1: "wall", 6: "couch"})


def test_raw_colour_becomes_png(tmp_path: Path) -> None:
    data = bytes([40]) * (SIZE[0] * SIZE[1] * 3)
    write_scene(tmp_path / "in", frames=[frame(pose(0), data, zlib.compress(MM[0].tobytes()))], color=0)
    prepare("scannet", tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out" / NAME / "images" / "0.png").is_file()
    assert (open_capture(tmp_path / "out" / NAME).frames[0].color() == 40).all()


def test_matterport(tmp_path: Path) -> None:
    region = write_house(tmp_path / "scans")
    done = prepare("matterport", tmp_path / "scans", tmp_path / "out", labels="matterport160")
    name = f"{HOUSE}_region7"
    assert list(done.scenes) == [name]
    same(open_capture(tmp_path / "out" / name), matterport.read(region, labels="matterport160"))
    image = tmp_path / "out" / name / "images" / f"{PANO}_0_1.jpg"
    original = region.parent.parent / "undistorted_color_images" / f"{PANO}_i0_1.jpg"
    assert image.read_bytes() == original.read_bytes()
    prepare("matterport", tmp_path / "scans", tmp_path / "of21")
    assert open_capture(tmp_path / "of21" / name).cloud().label.tolist() == [-1] * 4


def test_only_prepared_scenes_are_taken_for_such(tmp_path: Path) -> None:
    write_scene(tmp_path / "in")
    prepare("scannet", tmp_path / "in", tmp_path / "out", every=1)
    folder = tmp_path / "out" / NAME
    assert prepared.recognises(folder)
    (folder / prepared.MARK).unlink()
    assert not prepared.recognises(folder)
    assert open_capture(folder).points is None  # nerfstudio's


def test_bad_scenes_do_not_stop_the_others(tmp_path: Path) -> None:
    root, out = tmp_path / "scans", tmp_path / "out"
    write_scene(root)
    write_scene(root, "scene0001_00", version=3)
    (write_scene(root, "scene0002_00") / "scene0002_00_vh_clean_2.ply").unlink()
    (write_scene(root, "scene0003_00") / "scene0003_00_vh_clean_2.labels.ply").unlink()
    (write_scene(root, "scene0004_00") / "scene0004_00.aggregation.json").write_text("{")
    write_scene(root, "scene0005_00", frames=[frame(pose(0), b"", b"")])
    done = prepare("scannet", root, out)
    assert list(done.scenes) == [NAME]
    why = {int(name[5:9]): text for name, text in done.skipped.items()}
    assert "found version 3" in why[1]
    assert "expected the scene's mesh" in why[2]
    assert "labels.ply" in why[3]
    assert "is not JSON" in why[4]
    assert "1 of 1 frames cannot be used" in why[5]
    report = json.loads((out / "prepared.json").read_text())
    assert report["skipped"] == done.skipped
    assert report["made_with"] == {"benchmark": "scannet", "labels": "scannet20", "every": 20}
    assert report["scenes"][NAME]["frames"] == 1
    assert sorted(entry.name for entry in out.iterdir()) == [".lock", "prepared.json", NAME]


def test_bad_frames_are_left_out_and_named(tmp_path: Path) -> None:
    frames = long(4)
    frames[1] = frame(pose(1), b"no image", zlib.compress(MM[1].tobytes()))
    frames[2] = frame(pose(2), jpeg(GREYS[2]), b"no depth")
    write_scene(tmp_path / "in", frames=frames)
    facts = prepare("scannet", tmp_path / "in", tmp_path / "out", every=1).scenes[NAME]
    assert facts["frames"] == 2
    assert "frame 1: the colour image is damaged" in facts["left_out"]["1"]
    assert "frame 2: the depth image is damaged" in facts["left_out"]["2"]
    assert [f.name for f in open_capture(tmp_path / "out" / NAME).frames] == ["0", "3"]


def test_file_that_ends_early_is_said(tmp_path: Path) -> None:
    folder = write_scene(tmp_path / "in")
    file = folder / f"{NAME}.sens"
    file.write_bytes(file.read_bytes()[:-200])
    (said,) = prepare("scannet", tmp_path / "in", tmp_path / "out", every=1).scenes[NAME]["warnings"]
    assert "ends after 2 of 3 frames" in said


def test_nothing_could_be_prepared(tmp_path: Path) -> None:
    write_scene(tmp_path / "in", version=3)
    with pytest.raises(CaptureError, match=r"none of 1 scenes could be prepared; scene0000_00: .*version 3"):
        prepare("scannet", tmp_path / "in", tmp_path / "out")
    assert NAME in json.loads((tmp_path / "out" / "prepared.json").read_text())["skipped"]


def test_finished_scenes_are_not_repeated(tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    write_scene(root)
    prepare("scannet", root, out)
    first = contents(out)
    times = {file: file.stat().st_mtime_ns for file in (out / NAME).rglob("*")}
    write_scene(root, "scene0001_00")
    shutil.rmtree(root / NAME)
    done = prepare("scannet", root, out, split=None)
    assert list(done.scenes) == ["scene0001_00"]
    assert times == {file: file.stat().st_mtime_ns for file in (out / NAME).rglob("*")}
    write_scene(root)
    done = prepare("scannet", root, out)
    assert done.before == (NAME, "scene0001_00")
    assert {name: data for name, data in contents(out).items() if name.startswith(NAME)} == {
        name: data for name, data in first.items() if name.startswith(NAME)
    }


def test_other_settings_are_refused(tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    write_scene(root)
    prepare("scannet", root, out)
    with pytest.raises(CaptureError, match=r"was prepared with .*every 20; asked for is .*every 1\. Name"):
        prepare("scannet", root, out, every=1)
    (out / NAME / prepared.MARK).write_text("[]")
    with pytest.raises(CaptureError, match="found something that is no prepared scene"):
        prepare("scannet", root, out)


KILLED = """
import os, signal, sys
from purify3d.benchmarking.datasets import prepare, writing
if __name__ == "__main__":
    write, names = writing._frame, []
    def until(folder, frame, *rest):
        names.append(frame.name)
        if len(names) == 5:  # within the second scene of three frames
            os.kill(os.getpid(), signal.SIGKILL)
        return write(folder, frame, *rest)
    writing._frame = until
    prepare("scannet", sys.argv[1], sys.argv[2], every=1)
"""


def test_killed_and_resumed(tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    for i in range(3):
        write_scene(root, f"scene000{i}_00")
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run([sys.executable, str(script), str(root), str(out)], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL
    halves = [entry.name for entry in out.iterdir() if entry.name.startswith(".partial-")]
    assert len(halves) == 1
    assert not (out / "scene0001_00").exists()
    assert list(json.loads((out / "prepared.json").read_text())["scenes"]) == ["scene0000_00"]
    done = prepare("scannet", root, out, every=1)
    assert done.before == ("scene0000_00",)
    prepare("scannet", root, tmp_path / "fresh", every=1)
    assert contents(out) == contents(tmp_path / "fresh")


def test_jobs_change_nothing(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for i in range(3):
        write_scene(root, f"scene000{i}_00")
    write_scene(root, "scene0009_00", version=3)
    one = prepare("scannet", root, tmp_path / "one", every=1)
    two = prepare("scannet", root, tmp_path / "two", every=1, workers=Processes(2))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert (one.scenes, one.skipped) == (two.scenes, two.skipped)


def test_one_writer(tmp_path: Path) -> None:
    from filelock import FileLock

    write_scene(tmp_path / "in")
    (tmp_path / "out").mkdir()
    with (
        FileLock(tmp_path / "out" / ".lock"),
        pytest.raises(CaptureError, match="another process is preparing"),
    ):
        prepare("scannet", tmp_path / "in", tmp_path / "out")


def test_splits_ship() -> None:
    listed = {(kind, split): split_names(kind, split) for kind, split in SPLITS}
    assert [len(set(names)) for names in listed.values()] == [312, 20, 406, 20]
    assert listed["scannet", "val"][0] == "scene0568_00"
    assert listed["matterport", "train"][0] == "VzqfbhrpDEA_region7"
    assert not set(listed["scannet", "val"]) & set(listed["scannet", "train"])
    # Label sets are files beside the lists.
    assert len(label_set_names()) == 6
    assert len(list((files("purify3d.data") / "splits").iterdir())) == 4


SPLITS = [("scannet", "val"), ("scannet", "train"), ("matterport", "test"), ("matterport", "train")]


def test_scenes_of_a_split(tmp_path: Path) -> None:
    write_scene(tmp_path / "in")
    write_scene(tmp_path / "in", "scene0568_00")
    done = prepare("scannet", tmp_path / "in", tmp_path / "out", split="val")
    assert list(done.scenes) == ["scene0568_00"]
    assert len(done.skipped) == 311
    assert done.skipped["scene0568_01"] == f"not in {tmp_path / 'in'}"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "scanet"}, "found benchmark 'scanet'; expected one of scannet, matterport"),
        ({"labels": "scannet40"}, "found labels 'scannet40'; expected one of scannet20, scannet200"),
        ({"split": "test"}, "found split 'test'; expected one of val, train"),
        ({"root": "nowhere"}, "found no such folder"),
        ({"kind": "matterport"}, r"found no HOUSE/region_segmentations/regionN\.ply"),
    ],
)
def test_wrong_usage(tmp_path: Path, given: dict[str, str], message: str) -> None:
    write_scene(tmp_path / "in")
    root = tmp_path / given.get("root", "in")
    options = {key: value for key, value in given.items() if key in ("labels", "split")}
    with pytest.raises(CaptureError, match=message):
        prepare(given.get("kind", "scannet"), root, tmp_path / "out", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_values_out_of_range(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found every = 0; expected at least 1"):
        prepare("scannet", tmp_path, tmp_path / "out", every=0)


def test_a_scene_that_is_there_twice(tmp_path: Path) -> None:
    write_scene(tmp_path / "in" / "a")
    write_scene(tmp_path / "in" / "b")
    with pytest.raises(CaptureError, match="expected each scene once"):
        prepare("scannet", tmp_path / "in", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CaptureError, match=r"found no \.sens file"):
        prepare("scannet", tmp_path / "empty", tmp_path / "out")


def test_command(tmp_path: Path, purify3d: Program) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    write_scene(root)
    write_scene(root, "scene0001_00", version=3)
    code, said, _ = purify3d("prepare", "scannet", root, "-o", out, "--every", 1)
    assert code == 0
    assert said.splitlines()[1].split() == [NAME, "3", "4", "3", "2", "0"]
    assert "scene0001_00 is skipped: " in said
    assert f"wrote {out / 'prepared.json'}" in said
    code, said, _ = purify3d("prepare", "scannet", root, "-o", out, "--every", 1, "--json")
    assert json.loads(said)["before"] == [NAME]
    code, said, error = purify3d("prepare", "scannet", root, "-o", out)
    assert (code, said) == (1, "")
    assert "asked for is" in error
    assert purify3d("prepare", "kitti", root, "-o", out)[0] == 2
    assert purify3d("prepare", "scannet", root)[0] == 2
    code, said, _ = purify3d("info", out / NAME, "--json")
    assert code == 0
    assert "sofa" in json.loads(said)["truth"]


def test_choices_of_the_command_are_the_benchmarks() -> None:
    from purify3d.cli.prepare import prepare as command

    (choice,) = [parameter.type for parameter in command.params if parameter.name == "benchmark"]
    assert list(choice.choices) == list(KINDS)  # type: ignore[attr-defined]


def test_header_alone_is_not_enough(tmp_path: Path) -> None:
    """A recording whose every pose was lost."""
    folder = write_scene(tmp_path / "in")
    (folder / f"{NAME}.sens").write_bytes(sens_bytes(long(3, lost=(0, 1, 2))))
    with pytest.raises(CaptureError, match="3 have a pose that is not finite"):
        prepare("scannet", tmp_path / "in", tmp_path / "out")


def test_damaged_images_of_a_region(tmp_path: Path) -> None:
    """The header is whole, so that only decoding shows it."""
    region = write_house(tmp_path / "in")
    image = region.parent.parent / "undistorted_depth_images" / f"{PANO}_d0_1.png"
    image.write_bytes(image.read_bytes()[:-2000])
    facts = prepare("matterport", tmp_path / "in", tmp_path / "out").scenes[f"{HOUSE}_region7"]
    assert facts["frames"] == 2
    assert "truncated or unreadable" in facts["left_out"][f"{PANO}_0_1"]


@pytest.mark.parametrize(("page", "reader"), [("scannet-release", "sens"), ("matterport", "matterport")])
def test_commands_of_the_pages_are_ones_that_exist(page: str, reader: str) -> None:
    text = (Path(__file__).resolve().parents[1] / "docs" / "devices" / f"{page}.md").read_text()
    assert f"`--reader {reader}` names the format" in text
    commands = re.findall(r"^    purify3d (.*)$", text, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["segment", "prepare"]
    for line in commands:
        name, *words = line.split()
        command = program.commands[name]
        values, rest, _ = command.make_parser(click.Context(command)).parse_args(words)
        assert rest == []
        if name == "prepare":
            assert len(split_names(values["benchmark"], values["split"])) in (312, 406)
            assert values.get("labels") in (None, "matterport21")
        else:
            assert values["labels"] in label_set_names()

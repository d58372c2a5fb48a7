"""Captures made ready for training by many: the same files, nothing twice, one bad capture stops no other."""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from purify3d.affinities.config import COMPACT
from purify3d.base.errors import PurifyWarning
from purify3d.base.workers import Processes, attempt
from purify3d.runs.job import capture_anywhere, model_anywhere
from purify3d.training.preparing import (
    CaptureTask,
    Making,
    make,
    prepare_all,
)

Program = Callable[..., tuple[int, str, str]]
TINY = "?frames=4&width=128&height=96"
ROOMS = [f"synthetic:{seed}{TINY}" for seed in (3, 4, 5)]


def making(folder: Path) -> Making:
    """A student that hears words, so that frames are lifted too."""
    return Making(replace(COMPACT, voxel_size=0.05), "geometric", "segmenter:lite", folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture(scope="module")
def serially(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serial")
    made = prepare_all(ROOMS, making(folder))
    assert list(made) == ROOMS
    assert all(one.result is not None and one.result.parent == folder for one in made.values())
    assert len(contents(folder)) == 6  # of each what the student is told, and what the teacher says
    return folder


def test_processes_make_the_same_files(serially: Path, tmp_path: Path) -> None:
    made = prepare_all([*ROOMS, ROOMS[0]], making(tmp_path), workers=Processes(2))
    assert list(made) == ROOMS
    assert contents(tmp_path) == contents(serially)


def test_what_is_there_is_not_made_again(
    serially: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(serially, tmp_path / "cache"))
    lost = prepare_all(ROOMS[1:2], making(folder))[ROOMS[1]].result
    assert lost is not None
    lost.unlink()  # as if stopped between what the student is told and what the teacher says
    before = {file: file.stat().st_ino for file in folder.iterdir()}
    monkeypatch.setattr("purify3d.training.scenes.prepare", None)  # would fail if it were called
    prepare_all(ROOMS, making(folder))
    assert contents(folder) == contents(serially)
    assert {file: file.stat().st_ino for file in before} == before


def test_a_cluster_is_asked_for_what_computes(tmp_path: Path) -> None:
    heard = replace(making(tmp_path), device="cuda")
    assert CaptureTask("a", heard).device == "cuda"
    assert CaptureTask("a", replace(heard, backbone=None)).device == "cpu"


def test_what_is_said_of_a_capture_has_its_name(capture: Path, tmp_path: Path) -> None:
    """A damaged frame is left out and said, whoever makes the capture ready."""
    first = min((capture / "color").iterdir())
    first.write_bytes(first.read_bytes()[:200])
    with pytest.warns(PurifyWarning, match=rf"^{re.escape(str(capture))}: .*") as caught:
        made = prepare_all([str(capture)], making(tmp_path / "cache"))
    assert made[str(capture)].result is not None
    assert any(first.stem in str(warning.message) for warning in caught)


def test_no_exception_leaves_a_task(tmp_path: Path) -> None:
    gone = attempt(make, CaptureTask("synthetic:3?frames=x", making(tmp_path)))
    assert gone.result is None
    assert gone.why
    unknown = attempt(make, CaptureTask(ROOMS[0], replace(making(tmp_path), teacher="master")))
    assert "found teacher 'master'" in unknown.why
    assert "\n" not in gone.why + unknown.why


def test_names_that_hold_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("weights.pt", "geometric"):
        (tmp_path / name).touch()
    assert model_anywhere("sonata:weights.pt") == f"sonata:{tmp_path / 'weights.pt'}"
    for name in ("sonata:facebook/sonata", "geometric", "sonata:"):
        assert model_anywhere(name) == name
    assert capture_anywhere("scan/office") == f"{tmp_path}/scan/office"
    assert capture_anywhere(ROOMS[0]) == ROOMS[0]


def test_what_another_process_writes_is_not_dropped(serially: Path, tmp_path: Path) -> None:
    writes, left = tmp_path / ".partial-1", tmp_path / ".partial-2"
    for folder in (writes, left):
        folder.mkdir()
        (folder / "a.safetensors").write_bytes(b"half")
    os.utime(left, (1, 1))  # of a process that died long ago
    prepare_all(ROOMS[:1], replace(making(tmp_path), limit=1))
    assert writes.exists()
    assert not left.exists()


def test_train_names_every_capture_that_fails(purify3d: Program, tmp_path: Path) -> None:
    arguments = (
        "train",
        ROOMS[0],
        tmp_path / "nowhere",
        ROOMS[1],
        tmp_path / "nor here",
        "--backbone",
        "none",
    )
    arguments += ("--steps", 1, "--crop", 1000, "--anchors", 50, "--width", 8, "-o", tmp_path / "s")
    code, _, err = purify3d(*arguments, "--jobs", 2)
    assert code == 1
    for name in ("nowhere", "nor here"):
        assert f"{tmp_path / name} failed: " in err
    assert "2 of 4 captures could not be made ready for training: " in err
    assert not (tmp_path / "s" / "model.safetensors").exists()
    kept = contents(tmp_path / "s" / "scenes")
    assert len(kept) == 4
    code, _, err = purify3d(arguments[0], ROOMS[0], *arguments[3:4], *arguments[5:], "--jobs", 2)
    assert code == 0, err
    assert contents(tmp_path / "s" / "scenes") == kept
    # The student is that of one process.
    code, _, err = purify3d(
        arguments[0], ROOMS[0], *arguments[3:4], *arguments[5:-1], tmp_path / "one", "--hold-out", 0
    )
    assert code == 0, err
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("s", "one")]
    assert weights[0] == weights[1]


def test_wrong_use(purify3d: Program, tmp_path: Path) -> None:
    code, _, err = purify3d("train", ROOMS[0], "-o", tmp_path / "s", "--jobs", 2, "--ray", "local")
    assert code == 2
    assert "found --jobs and --ray; expected one of them" in err

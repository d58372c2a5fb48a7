"""The table of stages: what follows from it, and that nothing else has to know a new one."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import purify3d
from purify3d.affinities.embeddings import Geometric
from purify3d.backbones import load_backbone
from purify3d.base.errors import RunError
from purify3d.pipeline import run_job
from purify3d.runs import Run
from purify3d.runs.folder import StageWriter
from purify3d.runs.job import job
from purify3d.runs.stages import STAGES, Stage
from purify3d.types import Scene, Vocabulary

LABELS = "wall, floor, chair|stool"
QUICK = {"affinity": "geometric", "rounds": 2, "voxel": 0.05}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The table with a stage between features and pooled features: how many frames saw each point, as a file.
    Gets the names of what is made and read of it."""
    happened: list[str] = []

    def make(run: Run, watch: Any) -> np.ndarray:
        happened.append("made")
        with watch("count"):
            return run.features.views.numpy()

    def write(making: StageWriter, run: Run, views: np.ndarray) -> None:
        happened.append("written")
        making.write("views.npy", lambda path: path.write_bytes(views.astype(np.int32).tobytes()))

    def read(run: Run) -> np.ndarray:
        happened.append("read")
        return np.fromfile(run.files.path / "views.npy", dtype=np.int32)

    def purify(run: Run, watch: Any) -> Any:
        assert len(run.value("views")) == len(run.points)
        return STAGES_BEFORE["purify"].make(run, watch)

    STAGES_BEFORE = dict(STAGES)
    monkeypatch.setitem(STAGES, "views", Stage(("lift",), make, write, read, lambda run: "by frames"))
    monkeypatch.setitem(STAGES, "purify", replace(STAGES["purify"], made_from=("lift", "views"), make=purify))
    return happened


def test_a_new_stage_enters_the_table_without_another_edit(
    counted: list[str], room_folder: Path, tmp_path: Path
) -> None:
    """It is made where it is asked for, written, recorded, timed, skipped and dropped like the others."""
    wanted = job(room_folder, LABELS, **QUICK)
    run = run_job(wanted, tmp_path / "run")
    assert counted == ["made", "written", "read"]
    record = json.loads((tmp_path / "run" / "stages.json").read_text())
    assert record["views"]["made_from"] == {"lift": record["lift"]["fingerprint"]}
    assert record["purify"]["made_from"].keys() == {"lift", "views"}
    assert "count" in record["views"]["watch"]
    assert "count" in run.metrics["stages"]
    # Nothing of it is repeated for other labels or another pooling.
    run_job(job(room_folder, "chair, table", **QUICK), tmp_path / "run")
    run_job(job(room_folder, LABELS, **QUICK | {"rounds": 1}), tmp_path / "run")
    assert counted.count("made") == 1
    # It is healed alone where its file was lost, and what was made from the same of it stays.
    (tmp_path / "run" / "views.npy").unlink()
    again = run_job(job(room_folder, LABELS, **QUICK | {"rounds": 3}), tmp_path / "run")
    assert counted.count("made") == 2
    assert again.reused == ("points", "lift")
    # With other features it goes, and all that was made from it.
    run_job(job(room_folder, LABELS, **QUICK, margin=3), tmp_path / "run", overwrite=True)
    assert counted.count("made") == 3
    assert Run.open(tmp_path / "run").value("views").shape == (len(run.points),)


def test_a_new_stage_in_memory(counted: list[str], room: Scene) -> None:
    run = purify3d.segment(room, LABELS, **QUICK)
    assert counted == []  # scores are pooled in place of features, which nobody asks for
    assert len(run.purified) == len(run.points)
    assert counted == ["made"]
    assert run.value("views") is run.value("views")


def test_what_is_replaced_takes_along_what_was_made_from_it(room_folder: Path, tmp_path: Path) -> None:
    run = run_job(job(room_folder, LABELS, **QUICK), tmp_path / "run")
    run.objects()
    assert (tmp_path / "run" / "objects.json").is_file()
    run_job(job(room_folder, "wall, floor", **QUICK), tmp_path / "run")  # other labels
    assert not (tmp_path / "run" / "objects.json").exists()
    assert (tmp_path / "run" / "purified.safetensors").is_file()
    assert "objects" not in json.loads((tmp_path / "run" / "stages.json").read_text())


def test_a_question_never_costs_a_run_its_labels(
    room_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the embedding of voxels is another by now: pooled features stay those of the labels, and
    where they are lost they are made anew and the labels stay."""
    run_job(job(room_folder, LABELS, **QUICK), tmp_path / "run")
    folder = tmp_path / "run"
    whole = (folder / "labels.ply").read_bytes(), (folder / "purified.safetensors").read_bytes()
    monkeypatch.setattr("purify3d.affinities.embeddings.Geometric", partial(Geometric, "other"))
    assert Run.open(folder).query("chair").text == "chair"
    assert ((folder / "labels.ply").read_bytes(), (folder / "purified.safetensors").read_bytes()) == whole
    (folder / "purified.safetensors").unlink()
    assert Run.open(folder).query("floor").text == "floor"
    assert (folder / "labels.ply").read_bytes() == whole[0]
    assert len(Run.open(folder).labels) > 0
    again = run_job(job(room_folder, LABELS, **QUICK), folder)
    assert again.reused == ("points", "lift")  # the next segment makes labels of what there is now


def test_labels_are_parsed_and_embedded_once(
    room_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run with the shipped student: its own words and the labels are each encoded once."""
    backbone, parse = load_backbone("segmenter:lite"), Vocabulary.parse
    parsed, encoded = [], []

    def counting_parse(labels: Any) -> Vocabulary:
        if not isinstance(labels, Vocabulary):
            parsed.append(labels)
        return parse(labels)

    encode = backbone.encode
    monkeypatch.setattr(Vocabulary, "parse", counting_parse)
    monkeypatch.setattr(backbone, "encode", lambda texts: encoded.append(tuple(texts)) or encode(texts))
    labels = "wall, floor, chair|stool, table that nobody else asks for"
    run = purify3d.segment(room_folder, labels, backbone=backbone, output=tmp_path / "run")
    assert parsed.count(labels) == 1
    own = ("wall", "floor", "chair", "stool", "table that nobody else asks for")
    assert encoded.count(own) == 1
    assert len(encoded) == 2  # the labels, and the student's words
    assert len(run.labels) == len(run.points)


def test_objects_load_no_2d_model(room_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_job(job(room_folder, LABELS, **QUICK), tmp_path / "run")

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a 2D model or an affinity was loaded")

    monkeypatch.setattr("purify3d.runs.inputs.load_backbone", never)
    monkeypatch.setattr("purify3d.runs.inputs.load_embedding", never)
    opened = purify3d.open_run(tmp_path / "run")
    assert len(opened.labels) == len(opened.points)
    found = opened.objects()
    assert {one.thing.label for one in found} <= {"wall", "floor", "chair"}
    assert opened.export("ply", tmp_path / "out.ply").is_file()


def test_one_entry_in_memory_and_in_a_folder(room_folder: Path, room: Scene, tmp_path: Path) -> None:
    inside = purify3d.segment(room_folder, LABELS, **QUICK)
    folder = purify3d.segment(room_folder, LABELS, output=tmp_path / "run", **QUICK)
    assert inside.folder is None
    assert folder.folder == tmp_path / "run"
    assert (inside.labels.label == folder.labels.label).float().mean() > 0.99  # stored features are rounded
    assert inside.query("chair").text == folder.query("chair").text == "chair"
    assert purify3d.query(tmp_path / "run", "chair").heat.equal(folder.query("chair").heat)
    assert {one.thing.label for one in inside.objects()} == {one.thing.label for one in folder.objects()}
    with pytest.raises(RunError, match="run in memory"):
        inside.show()
    with pytest.raises(ValueError, match=r"found limit, up and a scene that is open already"):
        purify3d.segment(room, LABELS, limit=2, up="+y")


def test_a_scene_of_ones_own_is_told_from_others(room: Scene, tmp_path: Path) -> None:
    """No file describes it, so its content enters the fingerprint: another scene is never taken for it."""

    def segmented(scene: Scene) -> Run:
        return purify3d.segment(scene, LABELS, output=tmp_path / "run", **QUICK)

    assert segmented(room).reused == ()
    assert segmented(room).reused == ("points", "lift", "label")
    moved = room.frames[0].world_from_camera + np.array([[0, 0, 0, 0.01], *[[0.0] * 4] * 3])
    other = replace(room, frames=(replace(room.frames[0], world_from_camera=moved), *room.frames[1:]))
    with pytest.raises(RunError, match="holds a run of another capture"):
        segmented(other)

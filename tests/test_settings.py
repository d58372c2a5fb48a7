"""Settings are declared once, and checked where they enter."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from purify3d.affinities.config import PurifyConfig
from purify3d.base.errors import LabelError, RunError
from purify3d.base.settings import documented, from_plain, leaves, to_plain
from purify3d.captures import CaptureConfig
from purify3d.features.config import LiftConfig
from purify3d.labels.config import SegmentConfig
from purify3d.runs.job import Job, changed, job

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PurifyConfig(confidence=NAN), "confidence = nan; expected a number of at least 0"),
        (lambda: PurifyConfig(voxel=1e-9), "voxel = 1e-09; expected a number of at least 0.001"),
        (lambda: PurifyConfig(voxel=INF), "voxel = inf"),
        (lambda: PurifyConfig(rounds=100_000), "rounds = 100000; expected a whole number"),
        (lambda: PurifyConfig(rounds=2.5), "rounds = 2.5"),
        (lambda: PurifyConfig(rounds=True), "rounds = True"),
        (lambda: PurifyConfig(fill=NAN), "fill = nan; .* or inf"),
        (lambda: PurifyConfig(fill=-INF), "fill = -inf"),
        (lambda: PurifyConfig(affinity=3), "affinity = 3; expected text"),
        (lambda: PurifyConfig(neighbors="96"), "neighbors = '96'"),
        (lambda: LiftConfig(tolerance=0), "tolerance = 0; expected a number above 0"),
        (lambda: LiftConfig(fusion="median"), "fusion = 'median'; expected one of mean, consensus"),
        (lambda: SegmentConfig(threshold=INF), "threshold = inf"),
        (lambda: CaptureConfig("x", every=0), "every = 0"),
        (lambda: CaptureConfig("x", intrinsics=(1.0, 2.0)), "four numbers"),
        (lambda: job("x", "chair", seed=2**64), "seed = 18446744073709551616"),
    ],
)
def test_values_are_checked_where_they_enter(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_inf_is_a_value_where_it_means_something() -> None:
    assert PurifyConfig(fill=INF).fill == INF


def test_every_setting_has_words_and_says_what_it_changes() -> None:
    for leaf in leaves(Job):
        assert len(leaf.help) > 10, leaf.path
        assert leaf.stage in ("points", "lift", "purify", "label", None)
    names = [leaf.name for leaf in leaves(Job)]
    assert len(set(names)) == len(names)


def test_docstrings_are_read_over_several_lines() -> None:
    @dataclass
    class Some:
        """Settings.

        Attributes:
            a, b: first
                and more.
            c: third.

        """

    assert documented(Some) == {"a": "first and more.", "b": "first and more.", "c": "third."}


def test_a_job_survives_its_file(tmp_path: Path) -> None:
    made = job(
        "scan", ["sofa|couch", "table"], fill=INF, intrinsics=[1, 2, 3, 4], threshold=0.5, fusion="consensus"
    )
    (tmp_path / "config.json").write_text(made.to_json())
    assert Job.read(tmp_path / "config.json") == made
    assert "Infinity" not in made.to_json()  # not everybody's JSON knows it
    assert from_plain(Job, to_plain(made)) == made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": {}}, "found methods; expected only capture"),
        ({"method": []}, r"found \[\] for method; expected an object"),
        ({"capture": "x"}, "found 'x' for capture"),
        ({"capture": {}}, "path"),
        ({"seed": "0"}, "seed = '0'; expected a whole number"),
        ({"labels": ""}, "found no label"),
        ({"labels": [[]]}, "expected text or a list of texts"),
        ({"format": "las"}, "found format; expected only capture"),
    ],
)
def test_a_file_edited_by_hand_is_refused_by_name(tmp_path: Path, change: dict, message: str) -> None:
    plain = to_plain(job("scan", "chair")) | change
    (tmp_path / "config.json").write_text(json.dumps(plain))
    with pytest.raises(RunError, match=message):
        Job.read(tmp_path / "config.json")


@pytest.mark.parametrize("text", ["{", "[]", "3", "[" * 100_000])
def test_files_that_are_no_settings(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RunError, match=r"config\.json"):
        Job.read(tmp_path / "config.json")


def test_a_file_with_some_keys_is_completed_by_what_is_given(tmp_path: Path) -> None:
    (tmp_path / "fast.json").write_text('{"method": {"purify": {"rounds": 3}}}')
    made = Job.read(tmp_path / "fast.json", path="scan", labels="chair", limit=5)
    assert (made.capture.path, made.capture.limit, made.method.purify.rounds) == ("scan", 5, 3)
    with pytest.raises(RunError, match=r"fast\.json cannot be used: .*'path'"):
        Job.read(tmp_path / "fast.json")
    with pytest.raises(ValueError, match="rounds = -1"):
        Job.read(tmp_path / "fast.json", path="scan", labels="chair", rounds=-1)


def test_settings_are_changed_by_name() -> None:
    base = job("scan", "chair")
    assert changed(base, {"rounds": 3, "limit": 5}).method.purify.rounds == 3
    assert [leaf.value for leaf in leaves(changed(base, {}))] == [leaf.value for leaf in leaves(base)]
    with pytest.raises(ValueError, match="found setting 'round'; expected one of"):
        changed(base, {"round": 3})


def test_paths_of_a_job_hold_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("scan", "mine", "seg.tflite", "g.pth", "student", "geometric", "lite"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    made = job("scan", "chair", onto="mesh.ply", backbone="segmenter:seg.tflite", affinity="released:g.pth")
    resolved = made.resolved()
    assert resolved.capture.path == str(tmp_path / "scan")
    assert resolved.capture.onto == str(tmp_path / "mesh.ply")
    assert resolved.backbone == f"segmenter:{tmp_path / 'seg.tflite'}"
    assert resolved.method.purify.affinity == f"released:{tmp_path / 'g.pth'}"
    plain = job("synthetic:3", "chair", affinity="mine").resolved()
    assert plain.capture.path == "synthetic:3"
    assert plain.backbone == "segmenter:lite"
    assert plain.method.purify.affinity == str(tmp_path / "mine")
    for built_in in ("student", "geometric"):  # whatever lies here
        assert job("x", "chair", affinity=built_in).resolved().method.purify.affinity == built_in
    hub = "segmenter:nvidia/segformer"
    assert job("x", "chair", backbone=hub).resolved().backbone == hub


def test_sets_are_named_exactly() -> None:
    assert (job("x", "scannet20").dataset_ids() or ())[5] == 6
    with pytest.raises(LabelError, match="'scanet20', which looks like a label set; expected one of"):
        job("x", "scanet20")
    assert job("x", "chair, table").dataset_ids() is None
    assert job("x", "ipad2|tablet").vocabulary.names == ("ipad2",)

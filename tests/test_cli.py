"""The program as its users meet it: the main job, and every bad input that is foreseen."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from purify3d.clouds.ply import read_written

Program = Callable[..., tuple[int, str, str]]
LABELS = "wall, floor, chair, table, bed|mattress"


@pytest.fixture(scope="module")
def finished(room_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the room."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    command = [
        sys.executable,
        "-m",
        "purify3d.cli",
        "segment",
        room_folder,
        "--labels",
        LABELS,
        "-o",
        folder,
    ]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return folder


@pytest.fixture
def run_folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def snapshot(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


# ------------------------------------------------------------------------------------------------ main job


def test_a_run_folder_holds_what_the_conventions_promise(finished: Path) -> None:
    assert {p.name for p in finished.iterdir()} == {
        ".lock",
        "config.json",
        "stages.json",
        "scene.json",
        "points.ply",
        "features.safetensors",
        "purified.safetensors",
        "labels.ply",
        "labels.json",
        "metrics.json",
        "picture.png",
    }
    header = (finished / "labels.ply").read_bytes().split(b"end_header")[0].decode()
    for line in (
        "format binary_little_endian 1.0",
        "comment label 4 bed",
        "property float nx",
        "property uchar red",
        "property int label",
        "property float score",
        "property int views",
    ):
        assert line in header
    label = read_written(finished / "labels.ply").points.label.numpy()
    assert set(np.unique(label)) <= set(range(-1, 5))
    assert len(label) == json.loads((finished / "metrics.json").read_text())["points"]
    legend = json.loads((finished / "labels.json").read_text())
    assert [entry["name"] for entry in legend] == ["wall", "floor", "chair", "table", "bed", "(none)"]
    assert [entry["points"] for entry in legend] == [(label == entry["index"]).sum() for entry in legend]


def test_metrics_say_how_they_were_made(finished: Path) -> None:
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["command"][1] == "segment"
    assert metrics["versions"]["purify3d"]
    assert metrics["seed"] == 0
    assert metrics["stages"]["lift"]["seconds"] > 0
    assert metrics["stages"]["lift"]["peak_gb"] > 0
    assert 0 < metrics["purified"]["miou"] <= 1
    assert metrics["purified"]["points"] == metrics["raw"]["points"] > 1000


def test_a_second_run_repeats_nothing(purify3d: Program, room_folder: Path, run_folder: Path) -> None:
    before = snapshot(run_folder)
    code, out, err = purify3d("segment", room_folder, "--labels", LABELS, "-o", run_folder)
    assert code == 0
    assert "lift: already done" in err
    assert "label: already done" in err
    assert "mIoU" in out
    assert snapshot(run_folder) == before


def test_other_labels_reuse_the_lift(purify3d: Program, room_folder: Path, run_folder: Path) -> None:
    features = (run_folder / "features.safetensors").stat().st_mtime_ns
    code, _, err = purify3d("segment", room_folder, "--labels", "chair, floor", "-o", run_folder)
    assert code == 0
    assert "lift: already done" in err
    assert "label: already done" not in err
    assert (run_folder / "features.safetensors").stat().st_mtime_ns == features
    assert len(json.loads((run_folder / "labels.json").read_text())) == 3


def test_a_resumed_run_labels_as_a_fresh_one(
    purify3d: Program, room_folder: Path, run_folder: Path, tmp_path: Path
) -> None:
    for output in (run_folder, tmp_path / "fresh"):
        assert purify3d("segment", room_folder, "--labels", "floor, bed", "-o", output)[0] == 0
    assert (run_folder / "labels.ply").read_bytes() == (tmp_path / "fresh" / "labels.ply").read_bytes()


def test_rounds_0_gives_the_raw_labels(purify3d: Program, room_folder: Path, run_folder: Path) -> None:
    before = json.loads((run_folder / "metrics.json").read_text())
    code, _, _ = purify3d("segment", room_folder, "--labels", LABELS, "--rounds", 0, "-o", run_folder)
    after = json.loads((run_folder / "metrics.json").read_text())
    assert code == 0
    assert after["purified"] == after["raw"] == before["raw"]
    assert before["purified"] != before["raw"]


def test_query_finds_regions_and_keeps_purified_features(purify3d: Program, run_folder: Path) -> None:
    code, out, _ = purify3d("query", run_folder, "bed", "--json")
    assert code == 0
    answer = json.loads(out)
    assert answer["regions"]
    for region in answer["regions"]:
        assert all(0 < size < 10 for size in region["size"])
    assert all(Path(file).stat().st_size > 0 for file in answer["files"])
    purified = (run_folder / "purified.safetensors").stat().st_mtime_ns
    again = json.loads(purify3d("query", run_folder, "bed", "--json")[1])
    for first, second in zip(answer["regions"], again["regions"], strict=True):
        assert second.pop("score") == pytest.approx(first.pop("score"), abs=1e-5)
        assert first == second
    assert (run_folder / "purified.safetensors").stat().st_mtime_ns == purified


def test_query_heat_is_the_score_of_segment(purify3d: Program, room_folder: Path, run_folder: Path) -> None:
    """Pooling scores and asking pooled features are one thing (up to the half precision they are kept in)."""
    assert purify3d("segment", room_folder, "--labels", "bed", "-o", run_folder)[0] == 0
    assert purify3d("query", run_folder, "bed")[0] == 0
    scores = [read_written(run_folder / name).score for name in ("labels.ply", "query-bed.ply")]
    np.testing.assert_allclose(scores[0], scores[1], atol=2e-3)


def test_eval_prints_what_metrics_hold(purify3d: Program, finished: Path) -> None:
    code, out, _ = purify3d("eval", finished)
    metrics = json.loads((finished / "metrics.json").read_text())
    assert code == 0
    assert f"{100 * metrics['purified']['miou']:.1f}" in out
    assert json.loads(purify3d("eval", finished, "--json")[1]) == metrics


def test_threshold_and_synonyms(purify3d: Program, room_folder: Path, run_folder: Path) -> None:
    labels = "sleeping furniture|bed, ground|floor"
    arguments = ("segment", room_folder, "--labels", labels, "--threshold", 0.6, "-o", run_folder)
    code, out, _ = purify3d(*arguments, "--json")
    result = json.loads(out)
    assert code == 0
    assert result["labels"][0]["synonyms"] == ["bed"]
    assert 0 < sum(entry["points"] for entry in result["labels"][:-1]) < result["metrics"]["points"]


def test_onto_labels_a_given_mesh_in_its_own_order(
    purify3d: Program, room_folder: Path, finished: Path, tmp_path: Path
) -> None:
    vertices = trimesh.load(finished / "points.ply", process=False).vertices[::7][::-1]
    trimesh.PointCloud(vertices, [90, 80, 70, 255]).export(tmp_path / "mine.ply")
    arguments = ("segment", room_folder, "--labels", LABELS, "--onto", tmp_path / "mine.ply")
    assert purify3d(*arguments, "-o", tmp_path / "onto")[0] == 0
    labelled = trimesh.load(tmp_path / "onto" / "labels.ply", process=False)
    np.testing.assert_allclose(labelled.vertices, vertices, atol=1e-6)


@pytest.mark.parametrize("what", ["capture", "run", "backbone"])
def test_info(purify3d: Program, room_folder: Path, finished: Path, what: str) -> None:
    path = {"capture": room_folder, "run": finished, "backbone": "segmenter:lite"}[what]
    code, out, _ = purify3d("info", path, "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts[what]
    assert {
        "capture": ("up", "+z"),
        "run": ("finished", ["points", "lift", "purify", "label"]),
        "backbone": ("channels", 384),
    }[what] in (facts.items())


# ----------------------------------------------------------------------------------------------- bad input


def refused(program: Program, output: Path, *arguments: object, code: int = 1) -> str:
    """The message of a run that fails with this exit code and leaves no output folder."""
    found, out, err = program(*arguments, "-o", output)
    assert found == code, err
    assert out == ""
    assert not output.exists()
    return err


def test_empty_folder(purify3d: Program, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    err = refused(purify3d, tmp_path / "out", "segment", tmp_path / "empty", "--labels", "chair")
    assert "found an empty folder; expected one of" in err


def test_unknown_format(purify3d: Program, tmp_path: Path) -> None:
    (tmp_path / "what").mkdir()
    (tmp_path / "what" / "notes.txt").write_text("?")
    err = refused(purify3d, tmp_path / "out", "segment", tmp_path / "what", "--labels", "chair")
    assert "found notes.txt; expected one of" in err
    assert "transforms.json" in err


def test_missing_intrinsics(purify3d: Program, capture: Path, tmp_path: Path) -> None:
    shutil.rmtree(capture / "intrinsic")
    err = refused(purify3d, tmp_path / "out", "segment", capture, "--reader", "scannet", "--labels", "chair")
    assert "intrinsic" in err
    assert "--intrinsics" in err


@pytest.mark.parametrize("kind", ["color/2.jpg", "depth/2.png"])
def test_truncated_image(purify3d: Program, capture: Path, tmp_path: Path, kind: str) -> None:
    file = capture / kind
    for each in file.parent.iterdir():  # one alone is left out
        each.write_bytes(each.read_bytes()[: each.stat().st_size // 2])
    err = refused(purify3d, tmp_path / "out", "segment", capture, "--labels", "chair")
    assert file.parent.name in err
    assert "truncated" in err
    assert "re-copy" in err.lower() or "copy" in err


def test_color_and_depth_of_different_size_need_two_intrinsics(
    purify3d: Program, capture: Path, tmp_path: Path
) -> None:
    for file in (capture / "depth").iterdir():
        Image.open(file).resize((80, 60), 0).save(file)
    (capture / "intrinsic" / "intrinsic_depth.txt").unlink()
    err = refused(purify3d, tmp_path / "out", "segment", capture, "--labels", "chair")
    assert "160x120" in err
    assert "80x60" in err


def test_poses_that_are_not_finite_are_skipped_and_counted(
    purify3d: Program, capture: Path, tmp_path: Path
) -> None:
    for i, value in ((1, -np.inf), (4, np.nan)):
        np.savetxt(capture / "pose" / f"{i}.txt", np.full((4, 4), value))
    code, _, err = purify3d("segment", capture, "--labels", "chair, floor", "-o", tmp_path / "out")
    assert code == 0
    assert "6 frames, 2 skipped (pose not finite)" in err


def test_only_bad_poses(purify3d: Program, capture: Path, tmp_path: Path) -> None:
    for file in (capture / "pose").iterdir():
        np.savetxt(file, np.full((4, 4), -np.inf))
    err = refused(purify3d, tmp_path / "out", "segment", capture, "--labels", "chair")
    assert "8" in err
    assert "finite" in err


def test_all_depth_zero(purify3d: Program, capture: Path, tmp_path: Path) -> None:
    for file in (capture / "depth").iterdir():
        Image.fromarray(np.zeros((120, 160), np.uint16)).save(file)
    arguments = ("segment", capture, "--labels", "chair")
    assert "no frame holds any depth" in refused(purify3d, tmp_path / "out", *arguments)
    err = refused(purify3d, tmp_path / "out", *arguments, "--no-check")
    assert "found no usable depth in any of the 8 frames" in err


def test_no_point_visible(purify3d: Program, capture: Path, tmp_path: Path) -> None:
    far = np.random.default_rng(0).random((100, 3)) + 500
    trimesh.PointCloud(far, [90, 80, 70, 255]).export(tmp_path / "far.ply")
    arguments = ("segment", capture, "--labels", "chair", "--onto", tmp_path / "far.ply", "--no-check")
    code, out, err = purify3d(*arguments, "-o", tmp_path / "out")
    assert (code, out) == (1, "")
    assert "none of the 100 points is visible in any of the 8 frames" in err
    assert "--onto" in err
    # Nothing was lifted yet, so another attempt may go to the same place.
    assert purify3d("segment", capture, "--labels", "chair", "-o", tmp_path / "out")[0] == 0


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("", "found no label"),
        (" , ", "found no label"),
        ("chair,,table", "label 2 of 3 is empty"),
        ("chair, Chair", "'Chair' was given twice"),
        ("sofa|couch, couch", "'couch' was given twice"),
        ("chair|", "remove the extra comma or bar"),
    ],
)
def test_bad_labels(purify3d: Program, room_folder: Path, tmp_path: Path, labels: str, message: str) -> None:
    err = refused(purify3d, tmp_path / "out", "segment", room_folder, "--labels", labels, code=2)
    assert message in err


@pytest.mark.parametrize(
    ("flags", "message", "code"),
    [
        (["--backbone", "segmentr:lite"], "expected one of segmenter:...", 1),
        (["--backbone", "segmenter:missing.tflite"], "found no file missing.tflite", 1),
        (["--affinity", "geometrical"], "expected student, geometric, uniform", 1),
        (["--intrinsics", "1,2,3"], "expected four numbers fx,fy,cx,cy", 2),
        (["--up", "sideways"], "--up: found 'sideways'", 1),
        (["--onto", "missing.ply"], "missing.ply: found no such file", 1),
        (["--up", "1e300,1e300,0"], "--up: found '1e300,1e300,0'; expected +x", 1),
        (["--rounds", "-1"], "found rounds = -1; expected a whole number of at least 0", 2),
        (["--rounds", "100000"], "found rounds = 100000", 2),
        (["--confidence", "nan"], "found confidence = nan", 2),
        (["--voxel", "1e-9"], "found voxel = 1e-09", 2),
        (["--threshold", "inf"], "found threshold = inf", 2),
        (["--seed", "99999999999999999999"], "found seed", 2),
        (["--device", "gpu"], "gpu", 1),
        (["--device", "cuda"], "cuda", 1),
        (["--labels", "scanet20"], "looks like a label set; expected one of matterport", 2),
        (["--config", "missing.json"], "cannot read missing.json", 1),
    ],
)
def test_bad_flags(
    purify3d: Program, room_folder: Path, tmp_path: Path, flags: list[str], message: str, code: int
) -> None:
    arguments = ("segment", room_folder, "--labels", "chair", *flags)
    err = refused(purify3d, tmp_path / "out", *arguments, code=code)
    assert message in err
    assert "Traceback" not in err


def test_an_empty_output_is_wrong_usage(purify3d: Program, room_folder: Path) -> None:
    code, _, err = purify3d("segment", room_folder, "--labels", "chair", "-o", "")
    assert code == 2
    assert "found an empty name" in err


def test_a_run_is_repeated_from_its_config(
    purify3d: Program, room_folder: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert purify3d("segment", "--config", finished / "config.json", "-o", "again")[0] == 0
    for name in ("config.json", "labels.ply", "features.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (finished / name).read_bytes()
    code, _, err = purify3d("segment", "--config", finished / "config.json", "--rounds", 2, "-o", "again")
    assert code == 0
    assert "lift: already done" in err
    assert json.loads((tmp_path / "again" / "config.json").read_text())["method"]["purify"]["rounds"] == 2
    assert purify3d("segment", "-o", "x")[0] == 2
    assert purify3d("segment", room_folder, "-o", "x")[0] == 2  # no labels


def test_all_settings_of_a_job_are_flags(purify3d: Program) -> None:
    from purify3d.base.settings import leaves
    from purify3d.runs.job import Job

    _, out, _ = purify3d("segment", "--help-all")
    for leaf in leaves(Job):
        assert leaf.name == "path" or f"--{leaf.name.replace('_', '-')} " in out


def test_nothing_like_this_here(purify3d: Program, run_folder: Path) -> None:
    code, out, _ = purify3d("query", run_folder, "traffic light")
    assert code == 0
    assert out.startswith("nothing like this here (peak ")
    absent = json.loads(purify3d("query", run_folder, "traffic light", "--json")[1])
    assert (absent["found"], absent["regions"]) == (False, [])
    assert absent["better"] > 0.1
    forced = json.loads(purify3d("query", run_folder, "traffic light", "--threshold", 0, "--json")[1])
    assert forced["found"]
    assert not json.loads(purify3d("query", run_folder, "bed", "--threshold", 1, "--json")[1])["found"]
    assert purify3d("query", run_folder, "bed", "--threshold", "nan")[0] == 2


def test_what_is_expected_to_fail_fails_in_one_line(
    purify3d: Program, capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image bomb, nested JSON, a label that cannot be encoded: one line each, and no traceback."""
    image = Image.new("L", (20_000, 20_000))
    image.save(tmp_path / "bomb.png")
    for file in list((capture / "color").iterdir()):  # one alone is left out
        shutil.copy(tmp_path / "bomb.png", file.with_suffix(".png"))
        file.unlink()
    (tmp_path / "nested").mkdir()
    (tmp_path / "nested" / "transforms.json").write_text("[" * 100_000)
    cases = [
        ("segment", capture, "--labels", "chair", "-o", tmp_path / "a"),
        ("segment", tmp_path / "nested", "--labels", "chair", "-o", tmp_path / "b"),
        ("segment", capture, "--labels", "cha\udcffir", "-o", tmp_path / "c"),
    ]
    for arguments in cases:
        code, out, err = purify3d(*arguments)
        assert code in (1, 2), err
        assert out == ""
        assert "Traceback" not in err
        assert "fault of purify3d" not in err
        assert err.splitlines()[-1].lower().startswith("error: ")


def test_a_fault_is_one_line_and_shown_on_demand(
    purify3d: Program, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("boom; use weights_only=False")

    monkeypatch.setattr("purify3d.runs.Run.open", broken)
    code, _, err = purify3d("eval", run_folder)
    assert code == 1
    assert len(err.splitlines()) == 1
    assert "this is a fault of purify3d" in err
    assert "weights_only" not in err
    monkeypatch.setenv("PURIFY3D_DEBUG", "1")
    assert "Traceback" in purify3d("eval", run_folder)[2]


def test_features_of_another_space(purify3d: Program, run_folder: Path) -> None:
    """A run whose features are of another model than its config names must not be asked."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(run_folder / "purified.safetensors")
    space = {"id": "xdecoder:123", "dim": 384, "logit_scale": 14.0}
    save_file(tensors, run_folder / "purified.safetensors", metadata={"space": json.dumps(space)})
    record = json.loads((run_folder / "stages.json").read_text())
    record["purify"]["files"]["purified.safetensors"] = (run_folder / "purified.safetensors").stat().st_size
    (run_folder / "stages.json").write_text(json.dumps(record))
    before = snapshot(run_folder)
    code, out, err = purify3d("query", run_folder, "chair")
    assert (code, out) == (1, "")
    assert "found features of 'xdecoder:123'" in err
    assert "segmenter:lite@" in err
    assert snapshot(run_folder) == before


def test_a_run_of_something_else_is_not_replaced(purify3d: Program, capture: Path, run_folder: Path) -> None:
    before = snapshot(run_folder)
    code, _, err = purify3d("segment", capture, "--labels", LABELS, "-o", run_folder)
    assert code == 1
    assert "holds a run of another capture" in err
    assert snapshot(run_folder) == before
    assert purify3d("segment", capture, "--labels", LABELS, "-o", run_folder, "--overwrite")[0] == 0


def test_a_folder_that_is_no_run_is_left_alone(purify3d: Program, capture: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("precious")
    code, _, err = purify3d("segment", capture, "--labels", LABELS, "-o", tmp_path / "thesis")
    assert code == 1
    assert "is not a run folder of this version; nothing was changed" in err
    assert snapshot(tmp_path / "thesis") == {"chapter.txt": b"precious"}


def test_questions_to_what_is_no_run(purify3d: Program, tmp_path: Path) -> None:
    code, _, err = purify3d("query", tmp_path, "chair")
    assert code == 1
    assert "found no run in" in err


def test_eval_without_truth(purify3d: Program, capture: Path, tmp_path: Path) -> None:
    shutil.rmtree(capture / "label")
    (capture / "labels.json").unlink()
    assert purify3d("segment", capture, "--labels", "chair, floor", "-o", tmp_path / "out")[0] == 0
    code, _, err = purify3d("eval", tmp_path / "out")
    assert code == 1
    assert "no truth to compare with" in err


@pytest.mark.parametrize("stop_at", ["features.safetensors", "labels.ply", "metrics.json"])
def test_a_killed_run_is_completed(
    purify3d: Program, room_folder: Path, finished: Path, tmp_path: Path, stop_at: str
) -> None:
    """The process dies in the middle of writing a file: no warning, no clean-up."""
    dying = (
        "import os, sys; from purify3d.runs import folder; write = folder._write\n"
        "def half(place, writer):\n"
        f"    if place.name != {stop_at!r}: return write(place, writer)\n"
        "    def partly(path): writer(path); os.truncate(path, path.stat().st_size // 2); os._exit(137)\n"
        "    write(place, partly)\n"
        "folder._write = half; from purify3d.cli import main; main()"
    )
    output = tmp_path / "run"
    arguments = ["segment", str(room_folder), "--labels", LABELS, "-o", str(output)]
    assert subprocess.run([sys.executable, "-c", dying, *arguments], capture_output=True).returncode == 137
    assert not (output / stop_at).exists()
    assert purify3d(*arguments)[0] == 0
    assert {p.name for p in output.iterdir()} == {p.name for p in finished.iterdir()}  # nothing partial
    assert (output / "labels.ply").read_bytes() == (finished / "labels.ply").read_bytes()


# -------------------------------------------------------------------------------------------------- manners


def test_help_is_quick_and_import_loads_no_torch() -> None:
    check = (
        "import sys, purify3d, purify3d.cli; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
    start = time.perf_counter()
    help_ = subprocess.run([sys.executable, "-m", "purify3d.cli", "--help"], check=True, capture_output=True)
    # A generous bound against heavy imports at the top; the 0.3 s of an idle machine are for benchmarks.
    assert time.perf_counter() - start < 3
    assert b"segment" in help_.stdout


def test_progress_goes_to_stderr_in_plain_lines(purify3d: Program, capture: Path, tmp_path: Path) -> None:
    _, out, err = purify3d("segment", capture, "--labels", "chair, floor", "-o", tmp_path / "out")
    assert "lift: 2 steps in" in err
    assert "\r" not in err
    assert "steps in" not in out
    assert os.linesep.join(out.splitlines()).startswith(("label", "IoU"))


# ---------------------------------------------------------------------------------------------- affinities


@pytest.mark.parametrize("kind", ["student", "released"])
def test_a_student_decides_who_belongs_together(
    purify3d: Program, room_folder: Path, run_folder: Path, tmp_path: Path, kind: str
) -> None:
    """A small random student that reads features and geometry, as a folder and as the released file."""
    import torch

    from purify3d.affinities.config import StudentConfig
    from purify3d.affinities.student import Student

    torch.manual_seed(0)
    student = Student(StudentConfig(feature_dim=384, width=8, blocks=1, out_channels=4))
    if kind == "student":
        student.save_pretrained(tmp_path / "student")
        name = str(tmp_path / "student")
    else:
        torch.save({"model_state_dict": student.state_dict()}, tmp_path / "geopurify.pth")
        name = f"released:{tmp_path / 'geopurify.pth'}"
    before = json.loads((run_folder / "metrics.json").read_text())
    arguments = ("segment", room_folder, "--labels", LABELS, "--affinity", name, "-o", run_folder)
    status, _, err = purify3d(*arguments)
    assert status == 0, err
    after = json.loads((run_folder / "metrics.json").read_text())
    assert after["raw"] == before["raw"]
    assert after["purified"] != before["purified"]
    assert purify3d("query", run_folder, "floor")[0] == 0

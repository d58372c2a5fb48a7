"""Benchmarks over many scenes: right numbers, nothing done twice, one bad scene stops no other."""

import io
import json
import re
import shlex
import shutil
import socket
import zlib
from collections.abc import Callable, Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_sens
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_sens import frame, ply, write_scene

from purify3d.base.errors import CaptureError, PurifyWarning, RunError
from purify3d.base.workers import Outcome, Processes, R, T, attempt
from purify3d.benchmarking import benchmark, read_results, table
from purify3d.benchmarking.compare import Column, compare
from purify3d.benchmarking.datasets.listing import captures_of, expanded
from purify3d.benchmarking.report import caution, plus_minus
from purify3d.benchmarking.scene import dense, sparse
from purify3d.captures.formats.nerfstudio import write_nerfstudio
from purify3d.captures.formats.nyu40 import NYU40
from purify3d.features.labels_from_frames import fuse_labels, in_vocabulary
from purify3d.features.surface import with_points
from purify3d.labels.metrics import Confusion, parts
from purify3d.pipeline import segment
from purify3d.rooms import synthetic_scene
from purify3d.runs.job import job
from purify3d.types.labelsets import load_label_set

Program = Callable[..., tuple[int, str, str]]

LABELS = "wall, floor, ceiling, chair, table"
TINY = "?frames=4&width=128&height=96"
HERE = job(".", LABELS, voxel=0.05)
METHODS = ["raw", "uniform", "geometric"]


# ------------------------------------------------------------------------------------------------- numbers


def by_hand(scenes: list[tuple[np.ndarray, np.ndarray]], classes: int) -> tuple[list[Any], list[Any]]:
    """IoU and accuracy per class, point by point."""
    iou: list[Any] = []
    accuracy: list[Any] = []
    for c in range(classes):
        right = true = either = 0
        for truth, label in scenes:
            for t, p in zip(truth.tolist(), label.tolist(), strict=True):
                if t < 0:
                    continue
                true += t == c
                right += t == c and p == c
                either += t == c or p == c
        iou.append(right / either if true else None)
        accuracy.append(right / true if true else None)
    return iou, accuracy


def mean(values: list[Any]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def close(found: Any, wanted: Any) -> None:
    if wanted is None:
        assert found is None or not np.isfinite(found)
    else:
        assert found == pytest.approx(wanted, abs=1e-12)


@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_numbers_are_those_counted_by_hand(seed: int, classes: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    names = ("wall", "chair", "Floor", "sofa", "ceiling", "cup")[:classes]
    scenes, each = [], []
    for _ in range(count):
        truth = rng.integers(-1, classes, 30)
        label = np.where(rng.random(30) < 0.5, truth, rng.integers(-1, classes, 30))
        scenes.append((truth, label))
        confusion = Confusion(names)
        confusion.add(torch.from_numpy(truth), torch.from_numpy(label))
        counts = dense(sparse(confusion.counts.numpy()), classes)
        np.testing.assert_array_equal(counts, confusion.counts.numpy())
        each.append(parts(counts))
    groups = table.groups_of(None, names) | {"base": [0], "novel": list(range(1, classes))}
    found = table.summary(np.stack(each), groups, seed=1)
    iou, accuracy = by_hand(scenes, classes)
    for i in range(classes):
        close(found["iou"][i], iou[i])
        close(found["accuracy"][i], accuracy[i])
    front = [i for i, name in enumerate(names) if name in ("chair", "sofa", "cup")]
    close(found["miou"], mean(iou))
    close(found["macc"], mean(accuracy))
    close(found["fmiou"], mean([iou[i] for i in front]))
    close(found["fmacc"], mean([accuracy[i] for i in front]))
    base, novel = iou[0], mean(iou[1:])
    close(found["base_miou"], base)
    close(found["novel_miou"], novel)
    if base is None or novel is None:
        assert found["hiou"] is None
    else:
        close(found["hiou"], 2 * base * novel / (base + novel) if base + novel else 0.0)
    own = [mean(by_hand([scene], classes)[0]) for scene in scenes]
    close(found["scene_mean"]["miou"]["mean"], mean(own))
    if count == 1:
        assert found["interval"]["miou"] is None
    elif found["miou"] is not None:
        low, high = found["interval"]["miou"]
        assert 0 <= low <= high <= 1


def test_numbers_in_full() -> None:
    """Two classes, two scenes; the third column is "no label"."""
    scenes = np.stack([parts(np.array(m)) for m in ([[3, 1, 0], [0, 2, 2]], [[0, 0, 0], [1, 5, 0]])])
    found = table.summary(scenes, {}, 0)
    assert found["iou"] == [3 / 5, 7 / 11]
    assert found["accuracy"] == [3 / 4, 7 / 10]
    assert found["miou"] == pytest.approx((3 / 5 + 7 / 11) / 2)
    # The first class is absent from the second scene, where a point is wrongly given to it.
    assert found["scene_mean"]["miou"]["mean"] == pytest.approx(((3 / 4 + 2 / 5) / 2 + 5 / 6) / 2)
    assert found["scene_mean"]["miou"]["interval"] == pytest.approx([(3 / 4 + 2 / 5) / 2, 5 / 6])


def test_absent_classes_are_left_out_or_zero() -> None:
    """Of three classes the last is in no scene, the second in the first scene alone."""
    scenes = np.array([[[3, 1, 0], [4, 2, 0], [4, 2, 0]], [[2, 0, 0], [2, 0, 0], [2, 0, 0]]], dtype=float)
    iou = [5 / 7, 1 / 3]
    groups = {"f": [1, 2], "base": [0, 1], "novel": [2]}
    skipped, zero = (table.summary(scenes, groups, 0, absent) for absent in ("skip", "zero"))
    assert skipped["miou"] == pytest.approx(sum(iou) / 2)
    assert zero["miou"] == pytest.approx(sum(iou) / 3)
    assert zero["macc"] == pytest.approx((5 / 6 + 1 / 2) / 3)
    assert (skipped["fmiou"], zero["fmiou"]) == pytest.approx((1 / 3, 1 / 6))
    assert (skipped["novel_miou"], zero["novel_miou"], zero["hiou"]) == (None, 0, 0)
    assert zero["iou"] == skipped["iou"] == [pytest.approx(5 / 7), pytest.approx(1 / 3), None]
    # Draws are the first twice, the second twice (where the second class is 0 too: 1 / 3), or both.
    assert zero["interval"]["miou"] == pytest.approx([(3 / 5 + 1 / 3) / 3, (5 / 7 + 1 / 3) / 3])
    assert zero["scene_mean"] == skipped["scene_mean"]


def test_paired_differences_by_hand() -> None:
    before, after = np.array([0.1, 0.2, np.nan, 0.6]), np.array([0.3, 0.2, 0.5, 0.5])
    found = table.paired(before, after)  # gains of 0.2, 0 and -0.1: mean 1 / 30, variance 7 / 300
    assert found == {
        "mean": pytest.approx(1 / 30),
        "error": pytest.approx(np.sqrt(7 / 300 / 3)),
        "better": 1,
        "scenes": 3,
    }
    assert plus_minus(found["mean"], found["error"]) == "+3.33 ± 8.82"
    one = table.paired(before[:1], after[:1])
    assert plus_minus(one["mean"], one["error"]) == "+20.00 ± -"
    none = table.paired(before[:0], after[:0])
    assert none == {"mean": None, "error": None, "better": 0, "scenes": 0}
    assert plus_minus(none["mean"], none["error"]) == "-"
    assert (caution(1), caution(10)) == ("; one scene has none", "")
    assert "of 9, fewer than 10, they are too narrow" in caution(9)


def test_intervals_hold_what_they_say() -> None:
    """Of many data sets drawn from one distribution, about 95 % of the intervals hold its mean."""
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(200):
        share = rng.uniform(0.2, 0.8, 40)
        scenes = np.stack([np.array([[s], [1.0], [s]]) for s in share])
        low, high = table.summary(scenes, {}, seed)["interval"]["miou"]
        held += low <= 0.5 <= high
    assert 0.90 <= held / 200 <= 0.985
    drawn = table.draws(7, 3)
    assert drawn.shape == (1000, 7)
    assert (drawn.sum(1) == 7).all()
    np.testing.assert_array_equal(drawn, table.draws(7, 3))


def test_groups_are_those_of_the_label_sets() -> None:
    names = load_label_set("scannet200").vocabulary.names
    groups = table.groups_of("scannet200", names)
    assert {key: len(groups[key]) for key in ("head", "common", "tail", "base", "novel")} == {
        "head": 66,
        "common": 68,
        "tail": 66,
        "base": 150,
        "novel": 50,
    }
    assert sorted([*groups["head"], *groups["common"], *groups["tail"]]) == list(range(200))
    assert len(groups["f"]) == 197
    assert table.groups_of(None, ["wall", "cup"]) == {"f": [1]}


# ----------------------------------------------------------------------------------------------- data sets


def test_names_of_many_captures(tmp_path: Path) -> None:
    assert expanded(["a", "synthetic:3..5?frames=2"]) == [
        "a",
        "synthetic:3?frames=2",
        "synthetic:4?frames=2",
        "synthetic:5?frames=2",
    ]
    assert expanded(["synthetic:val"])[::19] == ["synthetic:200", "synthetic:219"]
    assert expanded(["synthetic:test"])[::39] == ["synthetic:320", "synthetic:359"]
    assert len(expanded(["synthetic:300..319"])) == 20
    assert expanded(["synthetic:stress?frames=2"])[::9] == [
        "synthetic:700?stress=1&frames=2",
        "synthetic:709?stress=1&frames=2",
    ]
    with pytest.raises(CaptureError, match=r"synthetic:5\.\.3.*FIRST\.\.LAST"):
        expanded(["synthetic:5..3"])
    room = synthetic_scene(3, frames=2, width=32, height=24)
    for name in ("b/rgbd", "a/rgbd", "one"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_nerfstudio(room, tmp_path / name)
    (tmp_path / "prepared.json").write_text("{}")
    assert captures_of([str(tmp_path / "one")]) == {"one": str(tmp_path / "one")}
    # Two of one name take their folder's as well.
    assert list(captures_of([str(tmp_path / "b"), str(tmp_path / "a")])) == ["b-rgbd", "a-rgbd"]
    with pytest.warns(PurifyWarning, match="2 folders in it are no captures: a, b"):
        assert list(captures_of([str(tmp_path)])) == ["one"]
    with pytest.raises(CaptureError, match="one twice"):
        captures_of([str(tmp_path / "one"), str(tmp_path / "one")])
    with pytest.raises(CaptureError, match="nothing there"):
        captures_of([str(tmp_path / "two")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(CaptureError, match="no capture, and none in its 0 entries"):
        captures_of([str(tmp_path / "empty")])


# ---------------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rooms by three methods."""
    folder = tmp_path_factory.mktemp("measured")
    benchmark(rooms(2), HERE, METHODS, folder, command=["purify3d", "x y"])
    return folder


def rooms(count: int, first: int = 3) -> dict[str, str]:
    return captures_of([f"synthetic:{first}..{first + count - 1}{TINY}"])


def numbers(results: dict[str, Any]) -> dict[str, Any]:
    """All but times, memory and what was reused."""
    plain = {k: v for k, v in results.items() if k not in ("command", "reused")}
    plain = json.loads(json.dumps(plain))
    for scene in plain["scenes"].values():
        del scene["stages"], scene["warnings"]
        for method in scene["methods"].values():
            del method["seconds"], method["peak_gb"]
    return plain


def test_a_scene_has_the_numbers_of_its_run(measured: Path) -> None:
    """The run folder of a scene was written by `segment`, which scores by itself."""
    results = read_results(measured)
    assert results["shown"] == "geometric"
    for name, scene in results["scenes"].items():
        metrics = json.loads((measured / "scenes" / name / "metrics.json").read_text())
        assert scene["methods"]["raw"]["miou"] == pytest.approx(metrics["raw"]["miou"], abs=1e-12)
        assert scene["methods"]["geometric"]["miou"] == pytest.approx(metrics["purified"]["miou"], abs=1e-12)
        assert scene["labelled"] == metrics["raw"]["points"]
        assert scene["frames"] == 4
        assert scene["points"] > 1000
    methods = results["overall"]
    assert len({round(methods[m]["miou"], 6) for m in methods}) == 3


def test_nothing_is_done_twice(measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(measured, tmp_path / "again"))
    before = read_results(folder)

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("lifted again")

    monkeypatch.setattr("purify3d.runs.stages.lift", never)
    same = benchmark(rooms(2), HERE, METHODS, folder)
    assert same["reused"] == list(rooms(2))
    assert numbers(same) == numbers(before)
    # Another method lifts nothing; the numbers of the others stay.
    more = benchmark(rooms(2), HERE, ["raw", "geometric", "region-vote"], folder)
    assert more["reused"] == []
    assert more["overall"]["geometric"] == before["overall"]["geometric"]
    # A file that was cut off is measured again, from the features that are there.
    scores = folder / "scores" / f"{next(iter(rooms(1)))}.json"
    scores.write_text(scores.read_text()[:100])
    again = benchmark(rooms(2), HERE, ["raw", "geometric", "region-vote"], folder)
    assert len(again["reused"]) == 1
    assert numbers(again) == numbers(more)
    # What would need other features is refused for each scene, not replaced.
    with pytest.raises(RunError, match=r"none of 2 scenes.*holds a run of another capture"):
        benchmark(rooms(2), job(".", LABELS, voxel=0.05, margin=3), ["raw"], folder)


def test_exact_features_are_never_rounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("encoded")

    with monkeypatch.context() as patch:
        patch.setattr("purify3d.runs.artefacts.encode", never)
        exact = benchmark(rooms(1), HERE, METHODS, tmp_path, exact=True)
    assert not list((tmp_path / "scenes").iterdir())
    ((name, scene),) = exact["scenes"].items()
    run = segment(rooms(1)[name], LABELS, check=False, voxel=0.05, affinity="geometric")
    confusion = Confusion(run.labels.names)
    confusion.add(in_vocabulary(run.points.label, run.scene.truth, HERE.vocabulary), run.labels.label)
    assert scene["methods"]["geometric"]["counts"] == sparse(confusion.counts.numpy())
    assert scene["seen"] == float((run.views > 0).float().mean())
    assert benchmark(rooms(1), HERE, METHODS, tmp_path, exact=True)["reused"] == [name]
    stored = benchmark(rooms(1), HERE, METHODS, tmp_path)  # numbers of one kind do not stand for the other
    assert stored["reused"] == []
    assert stored["overall"]["raw"]["miou"] == pytest.approx(exact["overall"]["raw"]["miou"], abs=0.01)
    both = [Column(text, results, "geometric") for text, results in (("a", exact), ("b", stored))]
    assert compare(both)["notes"] == ["b: exact is False, was True"]


def test_what_was_finished_before_an_interruption_is_kept(measured: Path, tmp_path: Path) -> None:
    def stopped(tasks: Sequence[T], do: Callable[[T], R]) -> Iterator[Outcome[R]]:
        yield attempt(do, tasks[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        benchmark(rooms(2), HERE, METHODS, tmp_path, workers=stopped)
    assert not (tmp_path / "results.json").exists()
    results = benchmark(rooms(2), HERE, METHODS, tmp_path)
    assert results["reused"] == list(rooms(1))
    assert numbers(results) == numbers(read_results(measured))


def test_processes_give_the_same_numbers(measured: Path, tmp_path: Path) -> None:
    results = benchmark(rooms(2), HERE, METHODS, tmp_path / "two", workers=Processes(2))
    assert numbers(results) == numbers(read_results(measured))


def test_no_cluster_there(purify3d: Program, tmp_path: Path) -> None:
    with socket.socket() as taken:  # a port that nobody listens at
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        arguments = ("benchmark", f"synthetic:3{TINY}", "--labels", LABELS, "-o", tmp_path, "--ray", address)
        code, _, err = purify3d(*arguments)
    assert code == 1
    assert f"found no Ray cluster at {address}" in err


def test_a_bad_scene_stops_no_other(purify3d: Program, tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    for seed in (3, 4):
        write_nerfstudio(synthetic_scene(seed, frames=3, width=96, height=72), scans / f"room{seed}")
    write_nerfstudio(synthetic_scene(5, frames=3, width=96, height=72), scans / "<b>bad")
    (scans / "<b>bad" / "transforms.json").write_text('{"frames": [}')
    bare = json.loads((scans / "room4" / "transforms.json").read_text())
    (scans / "room4" / "transforms.json").write_text(json.dumps(bare | {"labels": {}}))
    arguments = ("benchmark", scans, "--labels", LABELS, "--methods", "raw", "-o", out, "--no-check")
    code, stdout, err = purify3d(*arguments)
    assert code == 1
    assert re.search(r"-b-bad failed: .*transforms.json", err)
    assert re.search(r"room4 failed: .*has no truth", err)
    assert "room3" in stdout
    results = read_results(out)
    assert list(results["scenes"]) == ["room3"]
    assert set(results["failed"]) == {"-b-bad", "room4"}
    page = (out / "report.html").read_text()
    assert "<b>bad" not in page.replace("<b>-b-bad</b>", "")
    assert "&lt;b&gt;bad" in page  # in the path of its reason


def test_wrong_use(purify3d: Program, tmp_path: Path) -> None:
    def said(*arguments: object, code: int = 2) -> str:
        found, _, err = purify3d("benchmark", f"synthetic:3{TINY}", "-o", tmp_path / "out", *arguments)
        assert found == code, err
        assert not (tmp_path / "out" / "results.json").exists()
        return err

    assert "found no --labels" in said()
    assert "each once" in said("--labels", LABELS, "--methods", "raw,raw")
    assert "geometric, uniform" in said("--labels", LABELS, "--methods", "geometrc", code=1)
    assert "one of them" in said("--labels", LABELS, "--jobs", 2, "--ray", "local")
    assert "expected scannet20" in said("--labels", LABELS, "--other-furniture")
    assert "scanet20" in said("--labels", "scanet20")
    (tmp_path / "none.txt").write_text("# nothing\n\n")
    assert "found no label" in said("--labels", tmp_path / "none.txt")


# ------------------------------------------------------------------------------------------------- the page


class Tables(HTMLParser):
    """Rows of cells of each table, by its id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._rows: list[list[str]] = []
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self._rows = self.tables[str(dict(attrs)["id"])] = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._cell = True
            self._rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        if self._cell:
            self._rows[-1][-1] += data


def test_the_page_has_the_numbers_of_the_file(measured: Path) -> None:
    text = (measured / "report.html").read_text()
    found, results = Tables(text), read_results(measured)
    keys = {"mIoU": "miou", "mAcc": "macc", "f-mIoU": "fmiou", "f-mAcc": "fmacc"}

    def shown(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.1f}"

    head, *rows = found.tables["overall"]
    assert head == ["method", *keys]
    for row in rows:
        overall = results["overall"][row[0]]
        for title, cell in zip(head[1:], row[1:], strict=True):
            low, high = overall["interval"][keys[title]]
            assert cell == f"{shown(overall[keys[title]])} [{shown(low)}, {shown(high)}]"
    assert [row[0] for row in rows] == results["methods"]
    head, *rows = found.tables["differences"]
    assert [row[0] for row in rows] == ["uniform - raw", "geometric - raw", "geometric - uniform"]
    first, second = (
        [100 * scene["methods"][m]["miou"] for m in METHODS] for scene in results["scenes"].values()
    )
    for row, (a, b) in zip(rows, [(0, 1), (0, 2), (1, 2)], strict=True):
        gains = first[b] - first[a], second[b] - second[a]
        assert row[1] == f"{sum(gains) / 2:+.2f} ± {abs(gains[0] - gains[1]) / 2:.2f}"
        assert row[2] == f"{sum(gain > 0 for gain in gains)} of 2"
    assert "of 2, fewer than 10, they are too narrow" in text
    head, *rows = found.tables["classes"]
    assert [row[0] for row in rows] == results["labels"]
    for i, row in enumerate(rows):
        assert row[1:-1] == [shown(results["overall"][m]["iou"][i]) for m in results["methods"]]
    true = np.sum([dense(s["methods"]["raw"]["counts"], 5) for s in results["scenes"].values()], axis=(0, 2))
    assert [int(row[-1]) for row in rows] == true.tolist()
    head, *rows = found.tables["scenes"]
    worst = [results["scenes"][row[0]]["methods"]["geometric"]["miou"] for row in rows]
    assert worst == sorted(worst)
    for row in rows:
        scene = results["scenes"][row[0]]
        assert row[1:4] == [shown(scene["methods"][m]["miou"]) for m in results["methods"]]
        assert int(row[5]) == scene["labelled"]
    assert "purify3d &#x27;x y&#x27;" in text  # the command that made it
    # Nothing is fetched from anywhere: pictures are inside.
    sources = [a["src"] for tag, a in found.tags if "src" in a]
    assert len(sources) == 2
    assert all(str(source).startswith("data:image/jpeg;base64,") for source in sources)
    assert not any("href" in a for _, a in found.tags)
    assert not re.search(r"url\(|@import|<script|<link", text)


def test_names_are_escaped(tmp_path: Path) -> None:
    labels = "wall, floor, chair, <script>alert(1)</script>"
    benchmark(rooms(1), job(".", labels), ["raw"], tmp_path, command=["purify3d", "<img src=x>"])
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert "<img src=x" not in page
    assert page.count("&lt;script&gt;") == 1  # absent: in the table of classes alone


# ---------------------------------------------------------------------------------------------- comparisons


def made(scenes: dict[str, list[list[int]]], **changed: Any) -> dict[str, Any]:
    """Results of a method "m" with these counts."""
    return {
        "labels": ["wall", "chair"],
        "label_set": None,
        "groups": {"f": [1]},
        "absent": "skip",
        "exact": False,
        "settings": {"backbone": "b", "method": {"purify": {"rounds": 19}}},
        "methods": ["m"],
        "shown": "m",
        "scenes": {name: {"methods": {"m": {"counts": counts}}} for name, counts in scenes.items()},
    } | changed


def test_differences_in_full() -> None:
    one = made({"a": [[0, 0, 2], [0, 1, 2], [1, 1, 4]], "b": [[0, 0, 4]], "c": [[0, 0, 1]]})
    two = made({"a": [[0, 0, 4], [1, 1, 4]], "b": [[0, 0, 3], [0, 2, 1]], "d": []})
    found = compare([Column("one", one, "m"), Column("two", two, "m")])
    assert found["scenes"] == ["a", "b"]
    assert found["left_out"] == ["c", "d"]
    assert found["notes"] == []
    (column,) = found["columns"]
    wall, chair = column["classes"]["wall"], column["classes"]["chair"]
    assert (wall["before"], wall["after"]) == (6 / 8, 7 / 8)
    assert (chair["before"], chair["after"]) == (4 / 6, 1.0)
    assert column["means"]["miou"]["difference"] == pytest.approx((7 / 8 + 1) / 2 - (6 / 8 + 4 / 6) / 2)
    assert column["means"]["fmiou"]["difference"] == pytest.approx(1 / 3)
    # Draws are a twice (a quarter of them), b twice, or both: -1/4 and +1/2 are the ends.
    assert wall["interval"] == pytest.approx([-1 / 4, 1 / 2])
    assert [(row["scene"], row["difference"]) for row in column["changed"]] == [
        ("a", pytest.approx((1 + 1) / 2 - (1 / 2 + 2 / 3) / 2)),
        ("b", pytest.approx(-1 / 4)),
    ]
    gains = (1 + 1) / 2 - (1 / 2 + 2 / 3) / 2, -1 / 4
    assert column["paired"] == {
        "mean": pytest.approx(sum(gains) / 2),
        "error": pytest.approx(abs(gains[0] - gains[1]) / 2),
        "better": 1,
        "scenes": 2,
    }


def test_a_result_against_itself_has_no_width() -> None:
    """Draws are the same for both."""
    rng = np.random.default_rng(0)
    rows = {
        f"room {i}": [[r, c, int(rng.integers(1, 50))] for r in (0, 1) for c in (0, 1, 2)] for i in range(12)
    }
    one = made(rows)
    (column,) = compare([Column("one", one, "m"), Column("again", one, "m")])["columns"]
    for row in (*column["means"].values(), *column["classes"].values()):
        assert (row["difference"], row["interval"]) == (0, [0, 0])
    assert column["paired"] == {"mean": 0, "error": 0, "better": 0, "scenes": 12}


def test_absent_classes_count_as_they_did_in_the_first() -> None:
    one = made({"a": [[0, 0, 4]]}, absent="zero")
    two = made({"a": [[0, 0, 3], [0, 1, 1]]})
    found = compare([Column("one", one, "m"), Column("two", two, "m")])
    assert found["notes"] == ["two: absent is skip, was zero"]
    assert found["columns"][0]["means"]["miou"]["after"] == 3 / 4 / 2


def test_what_is_no_pair_is_refused() -> None:
    one = made({"a": [[0, 0, 2]]})
    with pytest.raises(RunError, match="expected the same labels"):
        compare([Column("one", one, "m"), Column("two", made({"a": []}, labels=["wall", "sofa"]), "m")])
    with pytest.raises(RunError, match="no scene in common"):
        compare([Column("one", one, "m"), Column("two", made({"b": [[0, 0, 2]]}), "m")])
    with pytest.raises(RunError, match="expected two"):
        compare([Column("one", one, "m")])
    other = made({"a": [[0, 0, 3]]}, settings={"backbone": "c", "method": {"purify": {"rounds": 19}}})
    found = compare([Column("one", one, "m"), Column("two", other, "m")])
    assert found["notes"] == [
        "two: the truth of 1 of 1 scenes has other points than in one",
        "two: backbone is c, was b",
    ]
    assert found["columns"][0]["classes"]["wall"]["interval"] is None


def test_compare_as_a_command(purify3d: Program, measured: Path, tmp_path: Path) -> None:
    code, out, _ = purify3d("compare", measured)
    assert code == 0
    assert "uniform against raw" in out
    assert "geometric against raw" in out
    assert "of 2, fewer than 10, they are too narrow" in out
    assert re.search(r"mIoU of a scene [+-]\d+\.\d\d ± \d+\.\d\d, better on [012] of 2 scenes", out)
    code, out, _ = purify3d("compare", f"{measured}@raw", f"{measured}@geometric", "--json")
    assert code == 0
    (column,) = json.loads(out)["columns"]
    overall = read_results(measured)["overall"]
    assert column["means"]["miou"]["after"] == pytest.approx(overall["geometric"]["miou"])
    assert column["means"]["miou"]["before"] == pytest.approx(overall["raw"]["miou"])
    for text, content in (("cut", '{"labels": ['), ("other", '{"labels": ["a"]}'), ("list", "[]")):
        (tmp_path / f"{text}.json").write_text(content)
        code, _, err = purify3d("compare", measured, tmp_path / f"{text}.json")
        assert code == 1
        assert "is not what 'purify3d benchmark' writes" in err
    code, _, err = purify3d("compare", tmp_path / "none.json")
    assert code == 1
    assert "cannot be read" in err
    code, _, err = purify3d("compare", f"{measured}@student")
    assert code == 1
    assert "expected one of raw, uniform, geometric" in err


def test_the_commands_of_the_page(purify3d: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md").read_text()
    (block, *_) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    smaller = re.sub(r"\?frames=\d+", TINY, block)
    said = []
    for command in smaller.replace("\\\n", " ").splitlines():
        code, out, err = purify3d(*shlex.split(command)[1:])
        assert code == 0, err
        said.append(out)
        assert "uniform" in out
        assert "of 2, fewer than 10, they are too narrow" in out
    assert re.search(r"geometric - uniform +[+-]\d+\.\d\d ± \d+\.\d\d +[012] of 2", said[0])


# ------------------------------------------------------------------------------------- the paper's commands


def write_room(monkeypatch: pytest.MonkeyPatch, root: Path, name: str, seed: int) -> None:
    """A procedural room in the files of ScanNet's release, with every 20th frame of a video of its own."""
    room = with_points(synthetic_scene(seed, frames=4, width=128, height=96), voxel=0.05)
    points, camera = room.cloud(), room.frames[0].camera
    for constant in ("SIZE", "DEPTH_SIZE"):
        monkeypatch.setattr(test_sens, constant, (camera.width, camera.height))
    for constant in ("COLOR_K", "DEPTH_K"):
        monkeypatch.setattr(test_sens, constant, (camera.fx, camera.fy, camera.cx, camera.cy))
    frames = []
    for one in room.frames:
        stream = io.BytesIO()
        Image.fromarray(one.color()).save(stream, "JPEG", quality=95)
        millimetres = np.rint(one.depth() * 1000).astype("<u2").tobytes()
        frames += [frame(one.world_from_camera, stream.getvalue(), zlib.compress(millimetres))] * 20
    id_of = {name: number for number, name in NYU40.items()}
    truth = [id_of.get(room.truth.get(label, ""), 0) for label in fuse_labels(room.frames, points).tolist()]
    folder = write_scene(root, name, frames=frames)
    (folder / f"{name}_vh_clean_2.ply").write_bytes(ply(points.xyz.numpy()))
    (folder / f"{name}_vh_clean_2.labels.ply").write_bytes(ply(points.xyz.numpy(), truth))
    segments = {"sceneId": name, "segIndices": [7, 9, 4, *[3] * (len(points) - 3)]}
    (folder / f"{name}_vh_clean_2.0.010000.segs.json").write_text(json.dumps(segments))


def test_the_papers_two_commands(purify3d: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ScanNet's own files, two small scenes, through the commands of docs/reproduce.md."""
    page = (Path(__file__).resolve().parents[1] / "docs" / "reproduce.md").read_text().replace("\\\n", " ")
    first, second = re.findall(
        r"^ *(purify3d (?:prepare scannet|benchmark prepared) .*)$", page, re.MULTILINE
    )[:2]
    for number in (0, 1):
        write_room(monkeypatch, tmp_path / "scans", f"scene0011_0{number}", seed=3 + number)
    places = {
        "scans": tmp_path / "scans",
        "prepared": tmp_path / "prepared",
        "results": tmp_path / "results",
        "xdecoder:xdecoder_focall_last.pt": "segmenter:lite",  # weights that cannot be had here
        "raw,released:geopurify.pth": "raw,geometric",
    }
    assert {"--split", "val", "--preset", "paper"} <= {*first.split(), *second.split()}
    for command in (first, second):
        words = [places.get(word, word) for word in command.split()[1:]]
        code, out, err = purify3d(*words)
        assert code == 0, err
    results = read_results(tmp_path / "results")
    assert list(results["scenes"]) == ["scene0011_00", "scene0011_01"]
    assert results["label_set"] == "scannet20"
    assert len(results["labels"]) == 19
    for scene in results["scenes"].values():
        assert scene["frames"] == 4
        assert scene["points"] > scene["labelled"] > 1000
        assert scene["methods"]["raw"]["miou"] > 0.1
    assert {"base_miou", "novel_miou", "hiou"} <= results["overall"]["raw"].keys()
    assert "f-mIoU" in out
    arguments = ("benchmark", tmp_path / "prepared", "--methods", "raw", "--fill", "inf")
    code, _, err = purify3d(*arguments, "--labels", "scannet20", "--other-furniture", "-o", tmp_path / "of20")
    assert code == 0, err
    assert read_results(tmp_path / "of20")["labels"][-1] == "otherfurniture"
    code, _, err = purify3d(*arguments, "--labels", "scannet200", "-o", tmp_path / "of200")
    assert code == 1
    assert "was prepared with the truth of scannet20; found --labels scannet200" in err

"""Labels from a file, and text that looks like one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from purify3d.base.errors import LabelError
from purify3d.runs.job import Job, job
from purify3d.types import Vocabulary
from purify3d.types.labelsets import read_labels

LINES = "# rooms\nwall|partition\n\n  floor  \ntv/monitor\n"
NAMES = ("wall", "floor", "tv/monitor")
Program = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("labels.txt", "LABELS.TXT", "classes", "my, labels.txt", "one.csv", "words.names"):
        (tmp_path / name).write_text(LINES)
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        "labels.txt",
        " labels.txt ",
        "@labels.txt",
        "LABELS.TXT",
        "@classes",
        "./classes",
        "~/classes",
        "my, labels.txt",
        "one.csv",
        "words.names",
    ],
)
def test_every_way_to_name_a_file(folder: Path, text: str) -> None:
    for parsed in (Vocabulary.parse(text), read_labels(text), job("scan", text).vocabulary):
        assert parsed.names == NAMES
        assert parsed.synonyms[0] == ("wall", "partition")


def test_files_of_other_editors(folder: Path) -> None:
    (folder / "bom.txt").write_bytes(LINES.replace("\n", "\r\n").encode("utf-8-sig"))
    (folder / "wide.txt").write_text(LINES, encoding="utf-16")
    assert Vocabulary.parse("bom.txt").names == Vocabulary.parse("wide.txt").names == NAMES


def test_a_file_is_read_anew_and_recorded_by_its_labels(folder: Path) -> None:
    made = job("scan", "labels.txt")
    (folder / "labels.txt").write_text("lamp\n")
    assert read_labels("labels.txt").names == ("lamp",)
    (folder / "labels.txt").unlink()
    (folder / "config.json").write_text(made.to_json())
    assert json.loads(made.to_json())["labels"] == ["wall|partition", "floor", "tv/monitor"]
    assert Job.read(folder / "config.json", rounds=6).vocabulary.names == NAMES


@pytest.mark.parametrize(
    "text",
    [
        "nothing.txt",
        "Nothing.CSV",
        "labels.json",
        "@nothing",
        "@",
        "/",
        "/dev/null",
        "./nothing",
        "../nothing",
        "~",
        "~/nothing",
        "chair, nothing.txt",
        "chair|nothing.txt",
        "labels.txt, chair",
        "wall\nfloor",
        "wall,\r\nfloor",
        "a" * 5000 + ".txt",
        "a\0b.txt",
    ],
)
def test_what_looks_like_a_file_and_is_none(folder: Path, text: str) -> None:
    for given in (text, [text], ["lamp", text]):
        with pytest.raises(LabelError, match="file"):
            job("scan", given)
    with pytest.raises(LabelError, match="file"):
        Vocabulary.parse(text)


@pytest.mark.parametrize(
    "text", ["tv/monitor", "wall, tv/monitor|tv", "a.b", "st. bernard", "chair\n", "txt", "e@mail"]
)
def test_what_is_no_file(folder: Path, text: str) -> None:
    assert job("scan", text).labels == text
    assert job("scan", [text]).vocabulary.synonyms


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("# nothing\n\n", "found no label"),
        ("", "found no label"),
        ("wall, floor\n", "comma in 'wall, floor'"),
        ('["wall",\n"floor"]\n', "comma"),
        ("wall\n@other.txt\n", "looks like a file"),
        ("wall\nWall\n", "given twice"),
    ],
)
def test_files_that_hold_no_labels(folder: Path, content: str, message: str) -> None:
    (folder / "bad.txt").write_text(content)
    with pytest.raises(LabelError, match=message):
        job("scan", "bad.txt")


def test_files_that_cannot_be_read(folder: Path) -> None:
    (folder / "bad.txt").write_bytes(b"\xff\xfa\x00chair")
    with pytest.raises(LabelError, match="cannot read labels from the file"):
        job("scan", "bad.txt")
    os.mkfifo(folder / "pipe.txt")
    with pytest.raises(LabelError, match="file"):
        job("scan", "pipe.txt")


def test_a_run_by_a_file_is_repeated_without_it(purify3d: Program, folder: Path, room_folder: Path) -> None:
    flags = ("--rounds", 1, "--affinity", "geometric", "--voxel", 0.05)
    code, _, err = purify3d("segment", room_folder, "--labels", "labels.txt", *flags, "-o", folder / "run")
    assert code == 0, err
    (folder / "labels.txt").unlink()
    code, _, err = purify3d("segment", "--config", folder / "run/config.json", "-o", folder / "run")
    assert code == 0, err
    assert "label: already done" in err
    legend = json.loads((folder / "run/labels.json").read_text())
    assert [row["name"] for row in legend if row["index"] >= 0] == [*NAMES]
    code, out, err = purify3d("query", folder / "run", "@one.csv", "--json")
    assert code == 0, err
    assert "@one.csv" in out  # a question is one wording
    code, _, err = purify3d("segment", room_folder, "--labels", "labels.txt", "-o", folder / "other")
    assert code == 2
    assert "'labels.txt', which looks like a file" in err
    assert not (folder / "other").exists()


def test_benchmark_reads_the_same(purify3d: Program, folder: Path) -> None:
    for text, code in (("nothing.txt", 2), ("wall\nfloor", 2)):
        found, _, err = purify3d("benchmark", "synthetic:3", "--labels", text, "-o", folder / "out")
        assert (found, "file" in err) == (code, True)

"""Several captures with one command."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from purify3d.clouds.ply import read_written


@pytest.fixture
def scans(room_folder: Path, tmp_path: Path) -> Path:
    """Two captures of the room, the second with fewer frames, and one that is broken."""
    for name in ("attic", "cellar", "ruin"):
        shutil.copytree(room_folder, tmp_path / "scans" / name)
    for file in (tmp_path / "scans" / "cellar" / "pose").glob("[4-7].txt"):
        file.write_text("-inf " * 16)
    shutil.rmtree(tmp_path / "scans" / "ruin" / "intrinsic")
    return tmp_path / "scans"


def test_each_gets_a_run_and_one_that_fails_stops_no_other(
    purify3d: Any, scans: Path, tmp_path: Path
) -> None:
    arguments = ("--labels", "wall, floor", "--rounds", 1)
    code, out, err = purify3d("segment", scans / "*", *arguments, "-o", tmp_path / "runs")
    assert code == 1
    assert "2 of 3 captures are labelled" in out
    assert "failed: ruin:" in out
    assert "intrinsic" in out
    assert "3/3 ruin: failed" in err
    one, _, _ = purify3d("segment", scans / "attic", *arguments, "-o", tmp_path / "one")
    assert one == 0
    alone = read_written(tmp_path / "one" / "labels.ply").points
    among = read_written(tmp_path / "runs" / "attic" / "labels.ply").points
    np.testing.assert_array_equal(among.label, alone.label)
    fewer = read_written(tmp_path / "runs" / "cellar" / "labels.ply").points
    assert len(fewer) < len(alone)


def test_processes_give_the_same(purify3d: Any, scans: Path, tmp_path: Path) -> None:
    names = (scans / "attic", scans / "cellar")
    arguments = ("--labels", "wall, floor", "--rounds", 1, "--json")
    code, out, _ = purify3d("segment", *names, *arguments, "--jobs", 2, "-o", tmp_path / "two")
    assert code == 0
    told = json.loads(out)
    assert set(told) == {"attic", "cellar"}
    code, out, _ = purify3d("segment", *names, *arguments, "-o", tmp_path / "serial")
    assert code == 0
    for name, facts in json.loads(out).items():
        assert facts["points"] == told[name]["points"]
        both = [read_written(tmp_path / way / name / "labels.ply").points.label for way in ("two", "serial")]
        np.testing.assert_array_equal(*both)
    # The same command again finds everything done.
    code, out, _ = purify3d("segment", *names, *arguments, "-o", tmp_path / "serial")
    assert code == 0


def test_an_address_of_a_room_is_no_pattern(purify3d: Any, tmp_path: Path) -> None:
    address = "synthetic:3?frames=8&width=160&height=120"
    code, _, err = purify3d("segment", address, "--labels", "wall", "--rounds", 1, "-o", tmp_path / "run")
    assert code == 0, err


def test_what_cannot_be_asked_of_several(purify3d: Any, scans: Path, tmp_path: Path) -> None:
    names = (scans / "attic", scans / "cellar")
    code, _, err = purify3d("segment", *names, "--labels", "wall", "--onto", tmp_path / "a.ply")
    assert code == 2
    assert "--onto and several captures" in err
    code, _, err = purify3d("segment", scans / "nothing*", "--labels", "wall")
    assert code == 2
    assert "found nothing that matches" in err

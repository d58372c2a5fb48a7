"""The scripts in benchmarks/: what is compared with what, and that they give what they say."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import compare
import growth
import measuring
import purify_vs_released
import pytest
import released_steps
import startup
import torch
from PIL import Image

from purify3d.affinities.student import StudentConfig
from purify3d.grid.convolution import submanifold_conv_dense

ABOUT = {
    "processor": "A",
    "cores": 2,
    "threads": 2,
    "system": "s",
    "python": "3.11",
    "versions": {"torch": "2"},
}


def measurement(**ours: float) -> dict[str, Any]:
    """As purify_vs_released.py writes it."""
    row = {"seconds": {"neighbours": 0.25, "labels": 0.003}, "total": 0.6, "peak_gb_less_imports": 0.8} | ours
    baseline = {"seconds": {"neighbours": 25.0}, "total": 42.0}
    compared = [{"voxels": 131070, "width": 6, "ours": row, "released": baseline, "ratio": {"total": 67.0}}]
    return {"about": dict(ABOUT), "settings": {"rounds": 19}, "compared": compared}


def test_what_became_slower_or_smaller_is_named_with_its_row() -> None:
    new = measurement(total=0.9, peak_gb_less_imports=0.5)
    found = compare.changes(measurement(), new)
    assert [(change.word, change.old, change.new, change.unit, change.worse) for change in found] == [
        ("smaller", 0.8, 0.5, "GB", False),
        ("slower", 0.6, 0.9, "s", True),
    ]
    assert (
        str(found[1]) == "slower   compared / voxels 131070, width 6 / ours / total: 0.6 -> 0.9 s, 1.50 times"
    )


def test_a_change_within_the_share_or_below_ten_milliseconds_is_none() -> None:
    assert not compare.changes(measurement(), measurement(total=0.71))  # 18 %
    assert compare.changes(measurement(), measurement(total=0.71), share=0.15)
    assert not compare.changes(measurement(total=0.002), measurement(total=0.009))
    assert compare.changes(measurement(total=0.002), measurement(total=0.011))


def test_faster_counts_as_slower_does() -> None:
    """Exchanging old and new exchanges the words and nothing else."""
    one, other = measurement(total=1.0), measurement(total=0.83)
    assert [c.word for c in compare.changes(one, other)] == ["faster"]
    assert [c.word for c in compare.changes(other, one)] == ["slower"]
    assert not compare.changes(one, measurement(total=0.84))


def test_rows_are_found_by_what_they_measure_not_by_their_place() -> None:
    small, large = {"voxels": 50_000, "total": 0.3}, {"voxels": 500_000, "total": 3.0}
    assert not compare.changes({"scaling": [small, large]}, {"scaling": [large, small]})
    gone, come = compare.unmatched({"scaling": [small, large]}, {"scaling": [large]})
    assert (gone, come) == (["scaling / voxels 50000 / total"], [])


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        (("seconds", "voxels"), "s"),
        (("core_seconds",), "s"),
        (("consensus", "ours", "core_ms_per_frame"), "ms"),
        (("sizes", "points 5", "ms", "lift, dense, mean", "0"), "ms"),
        (("sizes", "points 5", "peak_gb dense, mean"), "GB"),
        (("rows", "voxels 60000", "bytes_per_voxel"), "bytes"),
        (("compared", "voxels 60000", "labels_alike"), None),
        (("compared", "voxels 60000", "right", "ours"), None),
        (("compared", "voxels 60000", "occupied"), None),
    ],
)
def test_units(path: tuple[str, ...], unit: str | None) -> None:
    found = compare.unit_of(path)
    assert (found and found[0]) == unit


def test_ratios_are_not_compared_and_small_bytes_a_voxel_are() -> None:
    assert not list(compare.numbers({"ratio": {"total": 5.0}, "ratio_of_core_seconds": 3.0}))
    [change] = compare.changes({"bytes_per_voxel": 1254}, {"bytes_per_voxel": 1900})
    assert change.word == "larger"


def run(*given: str | Path) -> tuple[int, str]:
    command = [sys.executable, compare.__file__, *map(str, given)]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def write(folder: Path, **files: dict[str, Any]) -> Path:
    folder.mkdir()
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


def test_two_folders_in_one_command(tmp_path: Path) -> None:
    old = write(tmp_path / "old", geometric=measurement(), startup={"seconds": {"help": 0.06}})
    new = write(tmp_path / "new", geometric=measurement(total=1.2), paper=measurement())
    code, said = run(old, new)
    assert code == 0
    assert "slower   geometric / compared / voxels 131070, width 6 / ours / total: 0.6 -> 1.2 s" in said
    assert "only in OLD: startup" in said
    assert "only in NEW: paper" in said
    assert run(old, new, "--fail")[0] == 1
    assert run(old, new, "--fail", "--share", "1.5")[0] == 0
    assert run(new, old, "--fail")[0] == 0, "what became faster fails nothing"


def test_a_slower_baseline_says_so_and_fails_nothing(tmp_path: Path) -> None:
    slow = measurement()
    slow["compared"][0]["released"]["total"] = 84.0
    old, new = write(tmp_path / "old", a=measurement()), write(tmp_path / "new", a=slow)
    code, said = run(old, new, "--fail")
    assert code == 0
    assert "released / total (baseline): 42 -> 84 s, 2.00 times" in said


def test_another_machine_is_said(tmp_path: Path) -> None:
    other = measurement()
    other["about"]["cores"], other["settings"] = 64, {"rounds": 3}
    old, new = write(tmp_path / "old", a=measurement()), write(tmp_path / "new", a=other)
    _, said = run(old, new)
    assert "a: not measured alike, cores: 2 -> 64" in said
    assert "a: not measured alike, settings: {'rounds': 19} -> {'rounds': 3}" in said


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "no JSON files"), ("{", "cannot be read"), ("[1]", "holds no measurement")]
)
def test_what_is_no_measurement_is_refused(tmp_path: Path, content: str | None, reason: str) -> None:
    old, bad = write(tmp_path / "old", a=measurement()), write(tmp_path / "bad")
    if content is not None:
        (bad / "a.json").write_text(content)
    code, said = run(old, bad)
    assert code == 2
    assert reason in said
    assert "Traceback" not in said
    assert run(old, bad / "none.json")[0] == 2


# ---------------------------------------------------------------------------------------------- measurements


def test_a_file_says_where_it_was_measured(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "a.json"
    measuring.write_json(file, measuring.facts("faiss-cpu", "no-such-package"), {"seconds": {"help": 0.1}})
    found = compare.read(file)[""]
    assert found["seconds"] == {"help": 0.1}
    about = found["about"]
    assert about["cores"] >= 1
    assert about["processor"]
    assert about["threads"] == torch.get_num_threads()
    assert about["versions"]["torch"] == torch.__version__
    assert about["versions"]["no-such-package"] is None
    assert not compare.apart(found, found)
    measuring.write_json(None, {}, {})  # nothing asked for, nothing written


def test_the_baselines_convolution_is_the_dense_one() -> None:
    generator = torch.Generator().manual_seed(3)
    index = torch.unique(torch.randint(-4, 4, (150, 3), generator=generator), dim=0)
    x = torch.randn(len(index), 5, generator=generator)
    kernel = torch.randn(27, 5, 7, generator=generator)
    found = released_steps.conv(x, kernel, released_steps.kernel_pairs(index))
    torch.testing.assert_close(found, submanifold_conv_dense(x, kernel, index), rtol=1e-4, atol=1e-4)


def test_released_steps_give_recorded_values() -> None:
    released_steps.check_baseline()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A narrow network in the place of the paper's, and points that are made only once."""
    monkeypatch.setattr(purify_vs_released, "PAPER", StudentConfig(width=16, blocks=1, out_channels=8))
    monkeypatch.setattr(purify_vs_released, "rooms", _rooms)
    return monkeypatch


_rooms = cache(purify_vs_released.rooms)


def test_labels_with_one_student_on_both_sides_are_compared(small: pytest.MonkeyPatch) -> None:
    row = purify_vs_released.compare(1500, 32, 6, 1, 0.0, "paper")
    assert row["labels_alike"] > 0.999
    assert row["width"] == 8
    assert row["computed_in"] in ("float32", "bfloat16")
    assert row["ours"]["seconds"].keys() == row["released"]["seconds"].keys()
    assert "student" in row["ratio"]
    drawn = torch.randn(1500, 8, generator=torch.Generator().manual_seed(4))
    small.setattr(purify_vs_released, "unit_embedding", lambda *_: drawn)
    with pytest.raises(SystemExit, match="labels agree on"):
        purify_vs_released.compare(1500, 32, 6, 1, 0.0, "paper")


def test_the_shipped_student_beside_the_papers(small: pytest.MonkeyPatch) -> None:
    row = purify_vs_released.compare(1500, 32, 6, 1, 0.0, "shipped")
    assert row["labels_alike"] is None, "two students: nothing to compare"
    assert row["right"]["ours"] > row["right"]["as lifted"]


def test_growth_is_drawn(tmp_path: Path) -> None:
    sizes = ((50_000, 0.27, 0.24), (500_000, 2.69, 0.96))
    rows = [{"voxels": v, "total": s, "peak_gb_less_imports": gb} for v, s, gb in sizes]
    file = tmp_path / "scaling.json"
    file.write_text(json.dumps({"scaling": rows}))
    done = subprocess.run([sys.executable, growth.__file__, str(file), str(tmp_path / "growth.png")])
    assert done.returncode == 0
    with Image.open(tmp_path / "growth.png") as image:
        assert image.size == (880, 396)


def test_startup_waits_for_the_line_it_names(tmp_path: Path) -> None:
    """Two lines half a second apart; a program that says less is no answer."""
    says = "import sys, time; print('a', file=sys.stderr, flush=True); time.sleep(.5); sys.exit('b')"
    first, second = (startup.until_line(n, sys.executable, "-c", says) for n in (1, 2))
    assert second > first
    assert second > 0.5
    with pytest.raises(RuntimeError, match="expected 3 lines or more"):
        startup.until_line(3, sys.executable, "-c", says)


def test_startup_times_what_it_is_asked_for() -> None:
    found = startup.timed(2, ["help", "segment, first line"])
    assert found.keys() == {"help", "segment, first line"}
    assert all(len(each) == 2 and min(each) > 0 for each in found.values())


def test_help_loads_nothing_heavy() -> None:
    """The whole program as it is started; what it has loaded is looked at when it leaves."""
    code = (
        "import atexit, sys\n"
        "heavy = lambda: {'torch', 'numpy', 'scipy', 'PIL'} & set(sys.modules)\n"
        "atexit.register(lambda: print('loaded:', sorted(heavy())))\n"
        "sys.argv = ['purify3d', '--help']\n"
        "from purify3d.cli import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "segment" in done.stdout
    assert done.stdout.splitlines()[-1] == "loaded: []"

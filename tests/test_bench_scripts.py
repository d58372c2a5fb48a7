"""The scripts in benchmarks/, run as commands: what is compared, and that they give what they say."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

SCRIPTS = Path(__file__).resolve().parents[1] / "benchmarks"


def run(script: str, *given: str | Path) -> tuple[int, str]:
    command = [sys.executable, SCRIPTS / script, *map(str, given)]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def measurement(**ours: float) -> dict[str, Any]:
    """As purify_vs_released.py writes it."""
    about = {"processor": "A", "cores": 2, "threads": 2, "system": "s", "python": "3.11", "versions": {}}
    row = {"seconds": {"neighbours": 0.25, "labels": 0.003}, "total": 0.6, "peak_gb_less_imports": 0.8} | ours
    baseline = {"seconds": {"neighbours": 25.0}, "total": 42.0}
    compared = [{"voxels": 131070, "width": 6, "ours": row, "released": baseline, "ratio": {"total": 67.0}}]
    return {"about": about, "settings": {"rounds": 19}, "compared": compared}


def compared(tmp_path: Path, old: dict[str, Any], new: dict[str, Any], *flags: str) -> tuple[int, list[str]]:
    """Exit code and lines of compare.py."""
    files = [tmp_path / "old.json", tmp_path / "new.json"]
    for file, value in zip(files, (old, new), strict=True):
        file.write_text(json.dumps(value))
    code, said = run("compare.py", *files, *flags)
    return code, said.splitlines()


def test_what_became_slower_or_smaller_is_named_with_its_row(tmp_path: Path) -> None:
    old, new = measurement(), measurement(total=0.9, peak_gb_less_imports=0.5)
    row = "compared / voxels 131070, width 6 / ours"
    assert compared(tmp_path, old, new, "--fail") == (
        1,
        [
            f"smaller  {row} / peak_gb_less_imports: 0.8 -> 0.5 GB, 0.62 times",
            f"slower   {row} / total: 0.6 -> 0.9 s, 1.50 times",
        ],
    )
    assert compared(tmp_path, measurement(total=0.9), old, "--fail")[0] == 0, "faster is no harm"
    assert compared(tmp_path, old, new, "--fail", "--share", "0.6")[0] == 0


def test_what_counts_as_a_change(tmp_path: Path) -> None:
    """20 % and 10 ms; rows go by what they measure, a name says its unit, and ratios are no measurement."""
    row = {"voxels": 50, "total": 1.0, "ms": {"lift": 100}, "bytes_per_voxel": 1254}
    few, fewer = {"voxels": 70, "total": 0.002}, {"voxels": 80, "total": 0.002}
    old = {"scaling": [row | {"occupied": 9, "ratio": 1}, {"voxels": 500, "total": 3.0}, few, fewer]}
    row |= {"total": 0.83, "ms": {"lift": 119}, "bytes_per_voxel": 1900}
    new = {"scaling": [fewer | {"total": 0.009}, few | {"total": 0.011}, row | {"occupied": 99, "ratio": 9}]}
    assert compared(tmp_path, old, new)[1] == [
        "slower   scaling / voxels 70 / total: 0.002 -> 0.011 s, 5.50 times",
        "larger   scaling / voxels 50 / bytes_per_voxel: 1254 -> 1900 bytes, 1.52 times",
        "faster   scaling / voxels 50 / total: 1 -> 0.83 s, 0.83 times",
        "comparison: only in OLD: scaling / voxels 500 / total",
    ]


def test_two_folders_of_two_machines(tmp_path: Path) -> None:
    slow = measurement()
    slow["compared"][0]["released"]["total"] = 84.0
    slow["about"]["cores"], slow["settings"] = 64, {"rounds": 3}
    for folder, files in {"old": {"a": measurement(), "b": {}}, "new": {"a": slow, "c": {}}}.items():
        (tmp_path / folder).mkdir()
        for name, value in files.items():
            (tmp_path / folder / f"{name}.json").write_text(json.dumps(value))
    code, said = run("compare.py", tmp_path / "old", tmp_path / "new", "--fail")
    assert code == 0, "a slower baseline is the machine's"
    assert said.splitlines() == [
        "a: not measured alike, cores: 2 -> 64",
        "a: not measured alike, settings: {'rounds': 19} -> {'rounds': 3}",
        "slower   a / compared / voxels 131070, width 6 / released / total (baseline): "
        "42 -> 84 s, 2.00 times",
        "only in OLD: b",
        "only in NEW: c",
    ]


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "no JSON files"), ("{", "cannot be read"), ("[1]", "holds no measurement")]
)
def test_what_is_no_measurement_is_refused(tmp_path: Path, content: str | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    code, said = run("compare.py", tmp_path, tmp_path)
    assert code == 2
    assert reason in said
    assert "Traceback" not in said


def test_beside_the_released_steps(tmp_path: Path) -> None:
    """The script holds the released steps against recorded values, and our labels against theirs."""
    file = tmp_path / "deep" / "small.json"
    code, said = run(
        "purify_vs_released.py", "--voxels", "1500", "--channels", "64", "--repeats", "1", "--json", file
    )
    assert code == 0, said
    found = json.loads(file.read_text())
    assert found["about"]["versions"]["torch"] == torch.__version__
    [row] = found["compared"]
    assert row["labels_alike"] == 1
    assert row["right"]["ours"] == row["right"]["released"] > row["right"]["as lifted"]
    assert row["ours"]["seconds"].keys() == row["released"]["seconds"].keys() < row["ratio"].keys()


def test_growth_is_drawn(tmp_path: Path) -> None:
    sizes = ((50_000, 0.27, 0.24), (500_000, 2.69, 0.96))
    rows = [{"voxels": v, "total": s, "peak_gb_less_imports": gb} for v, s, gb in sizes]
    (tmp_path / "scaling.json").write_text(json.dumps({"scaling": rows}))
    code, said = run("growth.py", tmp_path / "scaling.json", tmp_path / "growth.png")
    assert code == 0, said
    with Image.open(tmp_path / "growth.png") as image:
        assert image.size == (880, 396)


def test_startup_times_what_it_is_asked_for(tmp_path: Path) -> None:
    only = ["help", "segment, first line"]
    code, said = run("startup.py", "--only", *only, "--repeats", "1", "--json", tmp_path / "startup.json")
    assert code == 0, said
    seconds = json.loads((tmp_path / "startup.json").read_text())["seconds"]
    assert list(seconds) == only
    assert min(seconds.values()) > 0


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

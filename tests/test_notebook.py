"""A finished run in Python, and the notebook that shows it."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import purify3d
from purify3d.backbones import load_backbone
from purify3d.base.errors import RunError
from purify3d.pipeline import run_job
from purify3d.runs.job import changed

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def folder(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a label that a page could take for its own."""
    folder = Path(shutil.copytree(finished, tmp_path_factory.mktemp("notebook") / "run"))
    labels = ["wall", "floor", "<script>alert(1)</script>"]
    run_job(changed(purify3d.open_run(folder).job, {"labels": labels}), folder)
    return folder


def test_an_open_run_gives_points_and_labels(folder: Path) -> None:
    run = purify3d.open_run(folder)
    assert isinstance(run, purify3d.Run)
    labels, points = run.labels, run.points
    assert len(labels) == len(points)
    legend = json.loads((folder / "labels.json").read_text())
    assert [int((labels.label == entry["index"]).sum()) for entry in legend] == [e["points"] for e in legend]


def test_it_answers_and_reads_features_once(folder: Path) -> None:
    run = purify3d.open_run(folder, backbone=load_backbone("segmenter:lite"))
    one = run.query("floor")
    again = purify3d.query(folder, "floor")
    assert one.score.equal(again.score)
    assert one.heat.equal(again.heat)
    assert [region.center for region in one.regions] == [region.center for region in again.regions]
    assert one.found == again.found
    (folder / "purified.safetensors").rename(folder / "elsewhere")  # what is in memory is enough
    try:
        assert run.query("wall").text == "wall"
    finally:
        (folder / "elsewhere").rename(folder / "purified.safetensors")


def test_it_shows_its_picture(folder: Path) -> None:
    shown = purify3d.open_run(folder).show()
    with Image.open(folder / "picture.png") as stored:
        np.testing.assert_array_equal(np.asarray(shown), np.asarray(stored.convert("RGB")))


def test_notebooks_show_it_and_run_nothing(folder: Path) -> None:
    text = purify3d.open_run(folder)._repr_html_()
    assert "data:image/jpeg;base64," in text
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    counts = [int(n.replace(",", "")) for n in re.findall(r"<td>([\d,]+)</td>", text)]
    assert sum(counts) == len(purify3d.open_run(folder).labels)


def test_a_damaged_picture_is_said(folder: Path, tmp_path: Path) -> None:
    whole = (folder / "picture.png").read_bytes()
    try:
        (folder / "picture.png").write_bytes(whole[:100])
        with pytest.raises(RunError, match=r"picture\.png"):
            purify3d.open_run(folder).show()
    finally:
        (folder / "picture.png").write_bytes(whole)
    with pytest.raises(RunError, match="found no run"):
        purify3d.open_run(tmp_path)


def test_the_notebook_of_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cells one after the other, as Jupyter would run them, with smaller frames."""
    notebook = json.loads((ROOT / "docs" / "tour.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in cells)
    assert any("image/png" in out.get("data", {}) for cell in cells for out in cell["outputs"])
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for cell in cells:
        exec(re.sub(r"\?frames=\d+", r"\g<0>&width=160&height=120", "".join(cell["source"])), names)
    run = names["run"]
    assert isinstance(run, purify3d.Run)
    assert len(run.labels) == len(run.points)

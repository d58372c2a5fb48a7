"""The documentation is executed: what it shows works."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh

ROOT = Path(__file__).resolve().parents[1]


def code(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def test_readme_example(capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = code("README.md", "python")
    assert len(example.splitlines()) < 10
    shutil.move(capture, tmp_path / "my_scan")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(example, names)
    result, scene = names["result"], names["scene"]
    points = len(scene.points)  # type: ignore[attr-defined]
    assert tuple(result.label.shape) == tuple(result.score.shape) == (points,)  # type: ignore[attr-defined]
    assert names["chairs"].shape[1] == 3  # type: ignore[attr-defined]


def test_readme_commands(
    capture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    purify3d: Callable[..., tuple[int, str, str]],
) -> None:
    import shlex

    shutil.move(capture, tmp_path / "my_scan")
    monkeypatch.chdir(tmp_path)
    commands = [
        c for block in code("README.md", "sh") for c in block.splitlines() if c.startswith("purify3d ")
    ]
    assert [shlex.split(c)[1] for c in commands] == ["info", "segment", "query"]
    for command in commands:
        status, _, err = purify3d(*shlex.split(command, comments=True)[1:])
        assert status == 0, err


def test_a_backbone_of_your_own(capture: Path, tmp_path: Path) -> None:
    """The file and the entry point of docs/backbones.md, installed as a package would install them."""
    (source,) = code("docs/backbones.md", "python")
    assert len(source.splitlines()) <= 33
    (toml,) = code("docs/backbones.md", "toml")
    (entry,) = re.findall(r'(\w+) = "(.*)"', toml)
    (tmp_path / "site" / "mine-1.dist-info").mkdir(parents=True)
    (tmp_path / "site" / "my_backbone.py").write_text(source)
    (tmp_path / "site" / "mine-1.dist-info" / "entry_points.txt").write_text(
        f"[purify3d.backbones]\n{entry[0]} = {entry[1]}\n"
    )
    (tmp_path / "site" / "mine-1.dist-info" / "METADATA").write_text("Name: mine\nVersion: 1\n")
    command = [sys.executable, "-m", "purify3d.cli", "segment", str(capture), "--backbone", "colors:any"]
    command += [
        "--labels",
        "red, green, blue, white, black, gray",
        "-o",
        str(tmp_path / "run"),
        "--rounds",
        "0",
    ]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    subprocess.run(command, check=True, env=environment, capture_output=True)
    cloud = trimesh.load(tmp_path / "run" / "points.ply", process=False)
    label = trimesh.load(tmp_path / "run" / "labels.ply", process=False).metadata["_ply_raw"]["vertex"][
        "data"
    ]["label"]
    brightness = np.asarray(cloud.colors)[:, :3].mean(axis=1)
    assert brightness[label == 3].mean() > brightness[label == 4].mean() + 80


@pytest.mark.parametrize(
    "page", ["README.md", *sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", (ROOT / page).read_text()):
        assert ((ROOT / page).parent / target).exists(), target

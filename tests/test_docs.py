"""The documentation is executed: what it shows works."""

import ast
import inspect
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import click
import numpy as np
import pytest
import trimesh

from purify3d import fuse_labels, read_cloud, segment, with_points
from purify3d.base.settings import leaves
from purify3d.cli import program
from purify3d.runs.job import Job
from purify3d.types import Scene

ROOT = Path(__file__).resolve().parents[1]

PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]
FLAG = r"(?<![\w-])--[a-z][a-z-]*"


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def code(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page(name), re.DOTALL)


def test_readme_example(capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = code("README.md", "python")
    assert len(example.splitlines()) < 10
    shutil.move(capture, tmp_path / "my_scan")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(example, names)
    assert len(names["run"].labels) == len(names["run"].points)
    assert names["chairs"].shape[1] == 3
    assert all(len(region.center) == 3 for region in names["seats"])


@pytest.mark.parametrize(
    ("name", "verbs"),
    [
        ("README.md", ["check", "segment", "query"]),
        ("docs/own-scans.md", ["check", "segment", "objects", "query"]),
    ],
)
def test_commands_of_a_page(
    name: str,
    verbs: list[str],
    capture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    purify3d: Callable[..., tuple[int, str, str]],
) -> None:
    import shlex

    shutil.move(capture, tmp_path / "my_scan")
    monkeypatch.chdir(tmp_path)
    commands = [c for block in code(name, "sh") for c in block.splitlines() if c.startswith("purify3d ")]
    assert [shlex.split(c)[1] for c in commands] == verbs
    for command in commands:
        status, _, err = purify3d(*shlex.split(command, comments=True)[1:])
        assert status == 0, err


def test_the_library_page(
    capture: Path, room: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its blocks one after the other, on a small room whose frames and truth lie in memory."""
    shutil.move(capture, tmp_path / "my_scan")
    monkeypatch.chdir(tmp_path)
    camera = room.frames[0].camera
    cloud = with_points(room).cloud()
    names: dict[str, Any] = {
        "colors": [frame.color() for frame in room.frames],
        "depths": [frame.depth() for frame in room.frames],
        "poses": np.stack([frame.world_from_camera for frame in room.frames]),
        **{name: getattr(camera, name) for name in ("fx", "fy", "cx", "cy")},
        "xyz": cloud.xyz.numpy(),
        "rgb": cloud.rgb.numpy(),
        "truth": fuse_labels(room.frames, cloud).numpy(),
    }
    call, folder, stages, weights, own = code("docs/library.md", "python")
    exec(call, names)
    assert len(names["sofas"]) < len(names["run"].points)
    exec(folder, names)
    assert names["same"].labels.label.equal(names["run"].labels.label)
    assert names["file"].is_file()
    exec(stages, names)
    assert read_cloud("labels.ply").xyz.equal(names["points"].xyz)
    assert names["answer"].heat.shape == (len(names["points"]),)
    exec(weights, names)
    assert names["affinity"].weight.sum(1).sub(1).abs().max() < 1e-5
    exec(own, names)
    assert names["scores"].miou > 0.3


def test_the_objects_page(capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    segment(capture, "chair, table, wall, floor", output="runs/office", affinity="uniform", rounds=1)
    (example,) = code("docs/objects.md", "python")
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["found"]
    assert names["placed"].keys() == {one.id for one in names["found"]}


def test_every_flag_of_segment_is_explained() -> None:
    (table,) = re.findall(r"## Flags of segment\n(.*?)(?=\n## |\Z)", page("docs/conventions.md"), re.DOTALL)
    ours = {option for option in _flags("segment") if option.startswith("--")}
    assert ours - {"--help"} <= set(re.findall(r"--[a-z-]+", table))


def _flags(command: str) -> set[str]:
    return {
        option
        for parameter in program.commands[command].get_params(click.Context(program))
        for option in (*parameter.opts, *parameter.secondary_opts)
    }


def test_every_flag_named_exists_on_the_command_it_is_named_with() -> None:
    known = set().union(*map(_flags, program.commands))
    for name in PAGES:
        # Other programs have flags of their own, and arrows are no flags.
        whole = re.sub(r"\\\n\s*", " ", page(name))
        ours = [
            line for line in whole.splitlines() if not re.search(r"python3? |pip |torchrun |ssh |-->", line)
        ]
        for line in ours:
            for flag in re.findall(FLAG, line):
                assert flag in known, (name, flag)
            for command, rest in re.findall(r"purify3d ([a-z]+)\b([^`#]*)", line):
                if command in program.commands:
                    for flag in re.findall(FLAG, rest):
                        assert flag in _flags(command), (name, command, flag)


def _calls(name: str) -> Iterator[ast.Call]:
    """Calls of this package in the code of a page, in blocks and within lines."""
    blocks = code(name, "python")
    inline = re.findall(r"(?<!`)`(?:[a-z_]+ = )?(purify3d\.[^`]*\))`", page(name))
    for source in [*blocks, *inline]:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("purify3d."):
                yield node


@pytest.mark.parametrize("name", PAGES)
def test_calls_fit_their_functions(name: str) -> None:
    for call in _calls(name):
        function = resolve_name(ast.unparse(call.func))
        given = {word.arg: word.value for word in call.keywords if word.arg is not None}
        inspect.signature(function).bind(*call.args, **given)
        if function is segment:
            settings = given.keys() - inspect.signature(segment).parameters.keys()
            assert settings <= {leaf.name for leaf in leaves(Job)}, ast.unparse(call)


@pytest.mark.parametrize("name", PAGES)
def test_names_of_the_package_exist(name: str) -> None:
    """`purify3d.NAME`, in modules too; files and addresses have another ending."""
    for dotted in re.findall(r"(?<![\w./-])purify3d((?:\.[A-Za-z_]\w*)+)(?![\w/-])", page(name)):
        resolve_name(f"purify3d{dotted}")


def test_every_extra_is_listed() -> None:
    extras = tomllib.loads(page("pyproject.toml"))["project"]["optional-dependencies"]
    (table,) = re.findall(r"## Extras\n(.*?)\n## ", page("docs/backbones.md"), re.DOTALL)
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == set(extras)


def test_every_room_of_the_house_has_a_sign() -> None:
    source = ROOT / "src" / "purify3d"
    rooms = {f"{path.name}/" for path in source.iterdir() if (path / "__init__.py").is_file()}
    rooms |= {path.name for path in source.glob("[!_]*.py")}
    signs = set(re.findall(r"`([a-z0-9]+(?:/|\.py))`", page("docs/architecture.md")))
    assert rooms - {"data/"} <= signs


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
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    cloud = trimesh.load(tmp_path / "run" / "points.ply", process=False)
    label = trimesh.load(tmp_path / "run" / "labels.ply", process=False).metadata["_ply_raw"]["vertex"][
        "data"
    ]["label"]
    brightness = np.asarray(cloud.colors)[:, :3].mean(axis=1)
    assert brightness[label == 3].mean() > brightness[label == 4].mean() + 80


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    for target, anchor in re.findall(r"\]\((?!https?://)([^)#]*)#?([^)]*)\)", page(name)):
        file = (ROOT / name).parent / target if target else ROOT / name
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings], anchor


@pytest.mark.parametrize("name", [*PAGES, "CHANGELOG.md"])
def test_files_named_are_there(name: str) -> None:
    for file in re.findall(r"`(?:python )?([\w/]+/\w+\.py)", page(name)):
        assert (ROOT / file).is_file() or (ROOT / "src" / "purify3d" / file).is_file(), file


@pytest.mark.parametrize("name", [*PAGES, "CHANGELOG.md"])
def test_tables_are_whole(name: str) -> None:
    """Every run of table rows starts with a head and its rule."""
    for block in re.findall(r"(?:^\|.*\n?)+", page(name), re.MULTILINE):
        head, rule, *_ = [*block.splitlines(), ""]
        assert re.fullmatch(r"[|:\s-]+", rule), head

"""Rules of the house that no import contract can see."""

import ast
import re
import tomllib
from pathlib import Path

import purify3d

SOURCE = Path(purify3d.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))


def test_every_optional_package_has_one_home() -> None:
    homes: dict[str, set[str]] = {}
    for file in FILES:
        for package in re.findall(r'require\("([a-z_0-9]+)', file.read_text()):
            homes.setdefault(package, set()).add(str(file.relative_to(SOURCE)))
    assert homes.keys() >= {"transformers", "sentence_transformers", "ai_edge_litert", "embreex", "laspy"}
    assert {package: files for package, files in homes.items() if len(files) > 1} == {}


def test_only_the_command_line_prints_and_exits() -> None:
    speaking = r"^\s*(print\(|click\.echo\(|sys\.exit)"
    files = [f for f in FILES if re.search(speaking, f.read_text(), re.MULTILINE)]
    assert {f.parent.name for f in files} == {"cli"}


def test_pickles_are_read_as_weights_only() -> None:
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert "weights_only=True" in ast.unparse(node), file


def test_files_stay_small() -> None:
    lengths = sorted(len(file.read_text().splitlines()) for file in FILES)
    assert lengths[-1] <= 420
    assert lengths[len(lengths) // 2] <= 150


def test_the_listing_is_the_data_flow() -> None:
    """A newcomer knows from the listing which room a line belongs to: few rooms, nothing loose at the root,
    and a contract of layers that names them all."""
    rooms = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").is_file()}
    assert len(rooms) <= 22
    assert {path.name for path in SOURCE.glob("*.py")} == {"__init__.py", "pipeline.py"}
    contract = tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = contract["contracts"][0]["layers"]
    assert len(layers) <= 12
    assert {name.strip() for layer in layers for name in re.split(r"[|:]", layer)} == rooms - {"data"} | {
        "pipeline"
    }

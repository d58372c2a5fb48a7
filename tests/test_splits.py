"""Rooms that only measure: nothing that chooses, trains or calibrates reads them."""

import ast
import json
import re
from pathlib import Path

import pytest

from purify3d.benchmarking.datasets.listing import ROOMS, expanded

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "src" / "purify3d" / "data"
#: Prints one table of all named sets, and chooses nothing.
REPORTS = {"benchmarks/synthetic.py"}
SCRIPTS = [file for folder in ("tools", "benchmarks") for file in sorted((ROOT / folder).rglob("*.py"))]
SETS = ("test", "stress")
MEASURES = {seed for name in SETS for seed in range(ROOMS[name][0], ROOMS[name][1] + 1)}
WIDTH = 320  # pixels of an image: no seed where it stands alone


def rooms_of(text: str) -> set[int]:
    """Seeds of the rooms that a text names as captures."""
    named = re.findall(rf"synthetic:(?:\d+\.\.\d+|\d+|{'|'.join(ROOMS)})", text)
    return {int(room.split("?")[0].removeprefix("synthetic:")) for room in expanded(named)}


def forbidden(source: str) -> set[int | str]:
    """What a script says of rooms that only measure: seeds in its texts, ranges and numbers, names of the
    sets, and rooms made for stress."""
    found: set[int | str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Constant(value=str(text)):
                found |= {text} & set(SETS) | rooms_of(text) & MEASURES
            case ast.Constant(value=int(number)) if number != WIDTH:
                found |= {number} & MEASURES
            case ast.Call(
                func=ast.Name(id="range"), args=[ast.Constant(value=int(a)), ast.Constant(value=int(b))]
            ):
                found |= set(range(a, min(b, 10_000))) & MEASURES
            case ast.keyword(arg="stress", value=value) if ast.unparse(value) != "False":
                found |= {"stress"}
    return found


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_script_that_chooses_reads_what_only_measures(script: Path) -> None:
    if str(script.relative_to(ROOT)) not in REPORTS:
        assert forbidden(script.read_text()) == set()


@pytest.mark.parametrize(
    "source",
    [
        'ROOMS = "synthetic:test"',
        'main("synthetic:300..330?frames=2")',
        'f"synthetic:{name}".format(name="stress")',
        "for seed in range(300, 321): synthetic_scene(seed)",
        "ROOMS = (330, 340)",
        "synthetic_scene(3, stress=True)",
    ],
)
def test_reading_them_would_be_seen(source: str) -> None:
    assert forbidden(source)


def test_what_ships_was_made_from_other_rooms() -> None:
    errors = json.loads((DATA / "errors.json").read_text())["measured"]
    assert rooms_of(errors) == set(range(400, 408))
    student = json.loads((DATA / "student" / "training.json").read_text())
    read = rooms_of(" ".join([*student["captures"], *student["held_out"]]))
    lite = json.loads((DATA / "lite.json").read_text())
    for name in ("training", "evaluation"):
        first, last = lite[name]["rooms"]
        read |= set(range(first, last + 1))
    assert len(read) > 900
    assert not read & MEASURES
    assert not read & set(range(ROOMS["val"][0], ROOMS["val"][1] + 1))

"""Help: in groups, in plain words, quick, with examples that work; the tables of flags say the same."""

import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest

from purify3d.affinities.config import COMPACT
from purify3d.base.settings import leaves
from purify3d.cli import flags, program
from purify3d.cli.training import SHAPE
from purify3d.labels.config import ObjectConfig
from purify3d.runs.job import PAPER, Job
from purify3d.training.config import TrainConfig

TOOLS = Path(__file__).resolve().parents[1] / "tools"
COMMANDS = sorted(program.commands)
#: Words that once stood for weights of neighbours, fingerprints, targets and text embeddings.
OLD_WORDS = r"heard|hears?|listens?|told|prints|bank|lessons?|apart|whom"


def context(command: str) -> click.Context:
    return click.Context(program.commands[command], info_name=command, parent=click.Context(program))


def helps(command: str) -> list[str]:
    """Short help, and the long one."""
    long = context(command)
    long.meta[flags.SHOWN_ALL] = True
    return [context(command).get_help(), long.get_help()]


def options(command: str) -> list[click.Option]:
    return [p for p in program.commands[command].params if isinstance(p, click.Option)]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_words_are_those_of_the_field(command: str) -> None:
    for text in helps(command):
        assert re.findall(rf"\b({OLD_WORDS})\b", text.lower()) == []
        assert "None" not in text
        assert max(map(len, text.partition("Examples:")[0].splitlines())) <= 100


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_examples_whose_flags_exist(command: str) -> None:
    examples = getattr(program.commands[command], "examples", ())
    assert len(examples) >= 2
    for example in examples:
        assert example in helps(command)[0]
        assert len(example) <= 100
        name, verb, *arguments = shlex.split(example)
        assert (name, verb) == ("purify3d", command)
        program.commands[command].make_context(verb, arguments, parent=click.Context(program))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_is_explained_and_booleans_take_no_value(command: str) -> None:
    for option in options(command):
        assert option.help, option.name
        assert option.is_flag == (option.type.name == "boolean"), option.name
        if option.is_flag and flags.group_of(option) != flags.OWN:
            assert option.secondary_opts, option.name


@pytest.mark.parametrize("command", COMMANDS)
def test_own_flags_come_first_and_rare_ones_are_shown_on_demand(command: str) -> None:
    short, long = helps(command)
    headings = re.findall(r"^(\S.*):$", long, re.MULTILINE)
    assert headings[0] == flags.OWN
    assert len(headings) == len(set(headings))
    for option in options(command):
        shown = re.search(rf"{option.opts[-1]}\b", short.partition("Options:")[2].partition("Examples:")[0])
        assert bool(shown) == getattr(option, "common", True), option.name
        assert f"{option.opts[-1]} " in long


@pytest.mark.parametrize(
    ("command", "kind", "but"),
    [
        ("segment", Job, {"path"}),
        ("objects", ObjectConfig, set()),
        ("train", TrainConfig, set()),
        ("train", COMPACT, set(SHAPE)),
    ],
)
def test_each_setting_is_one_flag_of_one_group(command: str, kind: object, but: set[str]) -> None:
    for leaf in leaves(kind):
        found = [flags.group_of(option) for option in options(command) if option.name == leaf.name]
        assert found == ([] if leaf.name in but else [leaf.group])


def test_the_list_of_commands_says_each_in_a_whole_sentence() -> None:
    text = click.Context(program, info_name="purify3d", terminal_width=80).get_help()
    assert "..." not in text.partition("Commands:")[2]


def test_what_is_needed_first_is_about_a_dozen_settings() -> None:
    assert 10 <= sum(leaf.common for leaf in leaves(Job)) <= 14


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, click; from purify3d.cli import flags, program\n"
        "for name, command in program.commands.items():\n"
        "    ctx = click.Context(command, info_name=name)\n"
        "    ctx.meta[flags.SHOWN_ALL] = True\n"
        "    assert command.get_help(ctx)\n"
        "print([name for name in ('torch', 'numpy', 'scipy', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_the_tables_of_flags_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, TOOLS / "flag_tables.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_preset_sets_the_method_and_flags_beside_it_win(tmp_path: Path) -> None:
    from purify3d.runs.job import job

    asked = import_module("purify3d.cli.segment")._job
    made = asked("scan", "paper", None, {"labels": "chair", "rounds": 2, "fill": None})
    assert made == job("scan", "chair", fusion="consensus", confidence=0, fill=float("inf"), rounds=2)
    config = tmp_path / "config.json"
    config.write_text(job("scan", "chair", limit=3, confidence=9, threshold=0.1).to_json())
    again = asked(None, "paper", config, {})
    assert again.capture.limit == 3
    assert again.method == PAPER


def test_a_long_stage_says_about_every_minute_what_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from purify3d.cli import show

    clock = iter(range(0, 10_000, 40))
    monkeypatch.setattr("purify3d.cli.show.time.perf_counter", lambda: next(clock))
    assert list(show.progress("abcd", name="lift", total=4)) == list("abcd")
    assert list(show.progress("a", name="fuse", total=1)) == ["a"]
    assert capsys.readouterr().err.splitlines() == [
        "lift: step 1 of 4, 4.0 minutes left",
        "lift: step 3 of 4, 0.9 minutes left",
        "lift: 4 steps in 200.0 s (0.0/s)",
        "fuse: 1 step in 80.0 s (0.0/s)",
    ]

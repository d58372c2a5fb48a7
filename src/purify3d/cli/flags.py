"""Flags, and help that shows them in groups: those of the command itself first, rare ones only on demand.

The same name means the same everywhere. Flags of settings are made from their declarations: name, type,
default, words and group stand beside the code they belong to.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterable
from inspect import cleandoc
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from purify3d.base.settings import Group, Leaf, leaves
from purify3d.captures import CaptureConfig
from purify3d.runs.job import PRESETS, Job

T = TypeVar("T")

#: The group of what belongs to a command and to no setting.
OWN = "Options"
_ORDER = (OWN, *typing.get_args(Group))


class Flag(click.Option):
    """A flag that knows where help shows it.

    Attributes:
        group: the heading it stands under.
        common: short help shows it too.
    """

    def __init__(self, *args: Any, group: str = OWN, common: bool = True, **extra: Any) -> None:
        super().__init__(*args, **extra)
        self.group, self.common = group, common


class Command(click.Command):
    """A command whose help has groups and examples, and a long form if any of its flags is rare.

    Attributes:
        examples: whole commands that work; they stand at the end of the docstring.
    """

    def __init__(self, *, help: str, **extra: Any) -> None:
        text, _, examples = cleandoc(help).partition("\n\nExamples:\n")
        super().__init__(help=text, **extra)
        self.examples = [line.strip() for line in examples.splitlines()]
        if not all(getattr(param, "common", True) for param in self.params):
            self.params.append(_HELP_ALL)
        for param in self.params:
            if isinstance(param, click.Option) and not param.is_flag:
                param.show_default = isinstance(param.default, str | int | float)
        self.params.sort(key=lambda param: _ORDER.index(group_of(param)))

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> click.Context:
        if {group_of(param) for param in self.params} != {OWN} and not {"-h", "--help", "--help-all"} & set(
            args
        ):
            click.echo(f"purify3d {info_name}", err=True)  # before imports that take a second
        return super().make_context(info_name, args, *rest, **extra)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rare = ctx.meta.get(SHOWN_ALL, False)
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if not isinstance(param, click.Option) or not (rare or getattr(param, "common", True)):
                continue
            if record := param.get_help_record(ctx):
                groups.setdefault(group_of(param), []).append(record)
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records)
        if self.examples:
            formatter.write("\nExamples:\n")
            formatter.write("".join(f"  {line}\n" for line in self.examples))


def group_of(param: click.Parameter) -> str:
    """The heading that a flag stands under."""
    return getattr(param, "group", OWN)


def _help_all(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[SHOWN_ALL] = True
        click.echo(ctx.get_help())
        ctx.exit()


SHOWN_ALL = "purify3d.help-all"
_HELP_ALL = click.Option(
    ["--help-all"],
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_help_all,
    help="Show every flag and exit.",
)

output = click.option("-o", "--output", help="Folder for the results [default: runs/NAME].")
overwrite = click.option("--overwrite", is_flag=True, help="Do everything again; replace what is there.")
json = click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
beside = click.option("-o", "--output", help="Folder for the files, made anew there [default: RUN].")
device = click.option(
    "--device",
    default="auto",
    help="Where to compute: auto (cuda, else mps, else cpu), cpu, cuda, cuda:1, mps.",
)


def jobs(help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """How many processes work side by side; `help` says on what."""
    return click.option("--jobs", type=click.IntRange(1, 1024), default=1, help=help)


def seed(help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Of random draws; `help` says which."""
    return click.option("--seed", type=click.IntRange(0, 2**31), default=0, help=help)


no_check = click.option("--no-check", is_flag=True, help="Do not look first whether the frames agree.")
preset = click.option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    help="Settings of a method by name; flags beside it win. paper: those of the paper.",
)


class Numbers(click.ParamType):
    """Numbers with commas between them."""

    name = "n,n,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return tuple(float(number) for number in value.split(","))
        except ValueError:
            self.fail(f"found {value!r}; expected numbers with commas between them", param, ctx)


def of(
    kind: Any, *, only: Iterable[str] = (), but: Iterable[str] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that takes settings as flags; what is not given is None.

    Args:
        kind: the settings, or their class.
        only: names of settings, or of the groups of settings they are in; none: all.
        but: names of settings that are left out.
    """
    # What stands directly in the settings is asked for more often than what is nested in them.
    taken = [
        leaf
        for leaf in sorted(leaves(kind), key=lambda leaf: len(leaf.path))
        if leaf.name not in but and (not only or {leaf.path[0], leaf.name} & set(only))
    ]

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for leaf in reversed(taken):
            function = _flag(leaf)(function)
        return function

    return add


#: Flags of a capture, whose path is an argument, and of the 2D model.
capture = of(CaptureConfig, but=("path", "onto"))
model = of(Job, only=("backbone", "device"))


_TYPES: dict[Any, Any] = {int: click.INT, float: click.FLOAT, bool: None}


def _flag(leaf: Leaf) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    kind, name = leaf.kinds[0], f"--{leaf.name.replace('_', '-')}"
    words, default = described(leaf)
    names, type_ = name, _TYPES.get(kind, click.STRING)
    if kind is bool:  # a switch, and its opposite for what --config says
        opposite = name.replace("no-", "", 1) if name.startswith("--no-") else name.replace("--", "--no-", 1)
        names = f"{name}/{opposite}"
    elif typing.get_origin(kind) is Literal:
        type_ = click.Choice([str(choice) for choice in typing.get_args(kind)])
    elif typing.get_origin(kind) is tuple:
        type_ = Numbers()
    return click.option(
        names,
        leaf.name,
        cls=Flag,
        type=type_,
        default=None,
        help=f"{words} [default: {default}]" if default else words,
        group=leaf.group,
        common=leaf.common,
    )


def described(leaf: Leaf) -> tuple[str, str]:
    """What a setting does and what it is by default, "" if that goes without saying, as people read it."""
    words, _, default = leaf.help.partition("; none: ")
    words = words.rstrip(".") + "."
    if leaf.value is not None and not isinstance(leaf.value, bool):
        default = f"{leaf.value:g}" if isinstance(leaf.value, float) else str(leaf.value)
    elif leaf.value:
        default = "yes"
    first = words.split()[0]
    return words if "," in first else words[:1].upper() + words[1:], default.rstrip(".")


def within(low: float, high: float) -> Callable[..., float | None]:
    """A callback for flags that are numbers in a range, which nan is not."""

    def check(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
        if value is not None and not low <= value <= high:
            raise click.BadParameter(f"found {value}; expected a number from {low:g} to {high:g}")
        return value

    return check


def checked(make: Callable[[], T]) -> T:
    """A value that is out of range is wrong usage; the message names it as its flag does."""
    try:
        return make()
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def changed(config: T, given: dict[str, Any]) -> T:
    """The settings dataclass with those of its fields that were given as flags."""
    known = {field.name for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    values = {name: value for name, value in given.items() if name in known and value is not None}
    return checked(lambda: dataclasses.replace(config, **values))  # type: ignore[type-var]


def folder(text: str | None, otherwise: T) -> Path | T:
    """Where `--output` points to.

    Raises:
        click.BadParameter: it is empty.
    """
    if text is None:
        return otherwise
    if not text.strip():
        raise click.BadParameter("found an empty name; expected a folder", param_hint="--output")
    return Path(text)

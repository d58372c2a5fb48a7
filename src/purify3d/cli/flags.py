"""Flags that several commands share: the same name means the same everywhere.

Those of a job are made from its settings: name, type, default and words stand beside the code they belong to.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

Command = Callable[..., Any]
T = TypeVar("T")

output = click.option("-o", "--output", help="Folder for the results [default: runs/NAME].")
overwrite = click.option("--overwrite", is_flag=True, help="Do all stages again; replace another run.")
json = click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
device = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps.")


class Numbers(click.ParamType):
    """Numbers with commas between them."""

    name = "n,n,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return tuple(float(number) for number in value.split(","))
        except ValueError:
            self.fail(f"found {value!r}; expected numbers with commas between them", param, ctx)


class LazyOptions(click.Command):
    """A command whose settings of a job are looked up when it is used, so that help of others stays quick."""

    only: Iterable[str] | None = None
    but: Iterable[str] = ()

    @staticmethod
    def settings() -> list[Any]:
        from purify3d.runs.job import options

        return options()

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> click.Context:
        if not {"-h", "--help"} & set(args):
            click.echo(f"purify3d {info_name}", err=True)  # before the imports
        return super().make_context(info_name, args, *rest, **extra)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        if not any(getattr(p, "of_job", False) for p in self.params):
            for leaf in self.settings():
                wanted = self.only is None or leaf.path[0] in self.only or leaf.name in self.only
                if wanted and leaf.name not in self.but:
                    option = _option(leaf)
                    option.of_job = True  # type: ignore[attr-defined]
                    self.params.append(option)
        return super().get_params(ctx)


class TrainCommand(LazyOptions):
    """Takes the settings of a training and of its student as flags, but what `--student` decides."""

    but = ("feature_dim", "blocks", "out_channels", "voxel_size", "words")

    @staticmethod
    def settings() -> list[Any]:
        from purify3d.affinities.student import COMPACT
        from purify3d.base.settings import leaves
        from purify3d.training.config import TrainConfig

        return [*leaves(COMPACT), *leaves(TrainConfig())]


class JobCommand(LazyOptions):
    """Takes every setting of a job as a flag; the path is an argument."""

    but = ("path",)


class CaptureCommand(LazyOptions):
    """Takes the settings of a capture as flags."""

    only = ("capture",)
    but = ("path", "onto")


class ModelCommand(LazyOptions):
    """Takes the 2D model and its device as flags."""

    only = ("backbone", "device")


def _option(leaf: Any) -> click.Option:
    kind = leaf.kinds[0]
    if typing.get_origin(kind) is Literal:
        type_: Any = click.Choice([str(choice) for choice in typing.get_args(kind)])
    elif typing.get_origin(kind) is tuple:
        type_ = Numbers()
    else:
        type_ = {int: int, float: float, bool: bool}.get(kind, str)
    default = "" if leaf.value is None or leaf.name == "labels" else f" [default: {leaf.value}]"
    words = leaf.help if "," in leaf.help.split()[0] else leaf.help[:1].upper() + leaf.help[1:]
    flag, words = f"--{leaf.name.replace('_', '-')}", words + default
    if kind is bool and flag.startswith("--no-"):  # a switch, and its opposite for what --config says
        return click.Option([f"{flag}/{flag.replace('no-', '', 1)}", leaf.name], default=None, help=words)
    return click.Option([flag, leaf.name], type=type_, help=words)


def cosine(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """A callback for flags that are cosines."""
    if value is not None and not -1 <= value <= 1:
        raise click.BadParameter(f"found {value}; expected a cosine from -1 to 1")
    return value


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


def plain(settings: Any) -> dict[str, Any]:
    """Settings as JSON holds them."""
    from purify3d.base.settings import to_plain

    return to_plain(settings)


def folder(text: str | None, otherwise: Path) -> Path:
    """Where `--output` points to.

    Raises:
        click.BadParameter: it is empty.
    """
    if text is None:
        return otherwise
    if not text.strip():
        raise click.BadParameter("found an empty name; expected a folder", param_hint="--output")
    return Path(text)

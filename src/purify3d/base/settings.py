"""Settings: frozen dataclasses whose fields know their range, their words and what they change.

A setting is declared once. Where it enters - from Python, a flag or a file - it is checked; options of the
command line, config.json and fingerprints of stages are made from the declaration, so none can be forgotten.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import math
import re
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal, TypeVar

T = TypeVar("T")

_LONGEST = 200  # characters of a value that are shown
#: What settings are grouped by where people see them, in this order.
Group = Literal["Input", "2D model", "Pooling", "Output", "Computing", "Student", "Training", "Objects"]


def setting(
    default: Any = dataclasses.MISSING,
    *,
    stage: str | None = None,
    low: float = -math.inf,
    high: float = math.inf,
    above: float | None = None,
    infinite: bool = False,
    group: Group | None = None,
    common: bool = False,
) -> Any:
    """A field of a settings dataclass.

    Args:
        stage: the first stage whose result it can change; None: nothing, it is only recorded.
        low, high: allowed range, ends included; above: an end that is not included.
        infinite: inf is a value.
        group: where help shows it; None: with the others of its dataclass, whose `GROUP` is set.
        common: most people need it, so that short help shows it too.
    """
    metadata = {"stage": stage, "low": low, "high": high, "above": above, "infinite": infinite}
    metadata |= {"group": group, "common": common}
    return dataclasses.field(default=default, metadata=metadata)


def check(settings: Any) -> None:
    """Check every number of a settings dataclass; call it in `__post_init__`.

    Raises:
        ValueError: a value of another kind, not finite, or out of range; the message names the field.
    """
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if "stage" not in field.metadata:
            continue
        kinds, optional = _kinds(settings, field.name), _optional(settings, field.name)
        shown = repr(value)
        name = f"{field.name} = {shown if len(shown) <= _LONGEST else shown[:_LONGEST] + '...'}"
        if value is None and optional:
            continue
        if typing.get_origin(kinds[0]) is Literal:
            choices = typing.get_args(kinds[0])
            if value not in choices:
                raise ValueError(f"found {name}; expected one of {', '.join(map(str, choices))}")
        elif kinds[0] in (int, float):
            _check_number(name, value, kinds[0], field.metadata)
        elif not any(_is_a(value, kind) for kind in kinds):
            raise ValueError(f"found {name}; expected {' or '.join(_WORDS.get(k, str(k)) for k in kinds)}")


_WORDS: dict[Any, str] = {
    str: "text",
    bool: "true or false",
    tuple[str, ...]: "a list of texts",
    tuple[float, ...]: "a list of numbers",
}


def _is_a(value: Any, kind: Any) -> bool:
    if typing.get_origin(kind) is not tuple:
        return isinstance(value, kind)
    item = typing.get_args(kind)[0]
    if not isinstance(value, tuple):
        return False
    if item is str:
        return all(isinstance(entry, str) for entry in value)
    return all(isinstance(entry, int | float) and math.isfinite(entry) for entry in value)


def _check_number(name: str, value: Any, kind: type, rule: Any) -> None:
    low, high, above = rule["low"], rule["high"], rule["above"]
    wanted = "a whole number" if kind is int else "a number"
    if above is not None:
        wanted += f" above {above:g}"
    elif math.isfinite(low):
        wanted += f" of at least {low:g}"
    if math.isfinite(high):
        wanted += f" and at most {high:g}"
    if rule["infinite"]:
        wanted += ", or inf"
    good = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    good = good and (
        isinstance(value, int) or math.isfinite(value) or (rule["infinite"] and value == math.inf)
    )
    if not good or not low <= value <= (math.inf if rule["infinite"] else high):
        raise ValueError(f"found {name}; expected {wanted}")
    if above is not None and not value > above:
        raise ValueError(f"found {name}; expected {wanted}")


def _optional(settings: Any, name: str) -> bool:
    """Whether a field may be None, which a file writes as null."""
    return type(None) in typing.get_args(_hints(type(settings))[name])  # type: ignore[arg-type]


def _kinds(settings: Any, name: str) -> tuple[Any, ...]:
    """The types a field may have, without None."""
    hint = _hints(type(settings) if not isinstance(settings, type) else settings)[name]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(kind for kind in typing.get_args(hint) if kind is not type(None))
    return (hint,)


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One setting among nested ones.

    Attributes:
        path: names from the root, such as ("method", "purify", "rounds").
        kinds: types it may have beside None.
        help: its words in the docstring of its dataclass.
        stage: see `setting`.
        group, common: see `setting`.
        value: of the settings it was found in; of a class the default, None where there is none.
    """

    path: tuple[str, ...]
    kinds: tuple[Any, ...]
    help: str
    stage: str | None
    group: Group
    common: bool
    value: Any

    @property
    def name(self) -> str:
        return self.path[-1]


def leaves(settings: Any, *, path: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """Every setting of nested dataclasses, in the order of their fields; of a class its defaults."""
    kind: Any = settings if isinstance(settings, type) else type(settings)
    words = documented(kind)
    for field in dataclasses.fields(kind):
        nested = _hints(kind)[field.name]
        if settings is kind:
            value = None if field.default is dataclasses.MISSING else field.default
        else:
            value = getattr(settings, field.name)
        if dataclasses.is_dataclass(nested):
            yield from leaves(nested if settings is kind else value, path=(*path, field.name))
            continue
        rule = field.metadata  # a field that does not say what it changes is an error
        group = rule["group"] or kind.GROUP
        found = words.get(field.name, ""), rule["stage"], group, rule["common"], value
        yield Leaf((*path, field.name), _kinds(kind, field.name), *found)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    """Types of the fields of a dataclass; working them out takes longer than all else here."""
    return typing.get_type_hints(kind)


def documented(kind: type) -> dict[str, str]:
    """The words of each attribute in the section "Attributes" of a class and of those it extends, on one
    line each."""
    return {name: words for base in reversed(kind.__mro__) for name, words in _documented(base).items()}


@functools.cache
def _documented(kind: type) -> dict[str, str]:
    text = inspect.cleandoc(kind.__doc__ or "")
    section = re.search(r"^Attributes:\n(.*?)(?=^\S|\Z)", text, re.DOTALL | re.MULTILINE)
    found: dict[str, str] = {}
    name = ""
    for line in section[1].splitlines() if section else ():
        if entry := re.match(r" {4}(\w[\w, ]*): (.*)", line):
            name = entry[1]
            found[name] = entry[2].strip()
        elif name and line.strip():
            found[name] += f" {line.strip()}"
    return {single: words for names, words in found.items() for single in names.split(", ")}


def to_plain(settings: Any) -> dict[str, Any]:
    """Nested settings as what JSON holds; inf becomes the text "inf"."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(settings)), parse_constant=_word)
    return plain


def _word(constant: str) -> str:
    return {"Infinity": "inf"}.get(constant, constant)


def from_plain(kind: type[T], plain: Any, *, where: str = "") -> T:
    """Settings from what `to_plain` gave. What is not there takes its default.

    Raises:
        ValueError: something that is no such setting, or a value it cannot have; the message says which.
    """
    if not isinstance(plain, dict):
        raise ValueError(f"found {plain!r} for {where or 'the settings'}; expected an object")
    known = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(plain) - set(known)):
        raise ValueError(f"found {', '.join(unknown)}; expected only {', '.join(known)}")
    hints = _hints(kind)  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, value in plain.items():
        hint = hints[name]
        if dataclasses.is_dataclass(hint):
            values[name] = from_plain(hint, value, where=name)  # type: ignore[arg-type]
        elif isinstance(value, str) and value == "inf" and float in (*typing.get_args(hint), hint):
            values[name] = math.inf
        else:
            values[name] = tuple(value) if isinstance(value, list) else value
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{error}; expected {', '.join(known)}") from error

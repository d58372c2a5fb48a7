"""Label sets of the benchmarks, by name."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

from purify3d.base.errors import LabelError
from purify3d.types import Labels, Vocabulary
from purify3d.types.labelfiles import spelled_out


@dataclass(frozen=True)
class LabelSet:
    """Classes of a benchmark, those that are evaluated.

    Attributes:
        vocabulary: C labels in the benchmark's order.
        dataset_ids: (C,) the data set's own ids; None where it has none.
        base, novel: indices of the released base/novel split; None where there is none.
        head, common, tail: indices of the classes by how often they occur (ScanNet200), or None.
    """

    vocabulary: Vocabulary
    dataset_ids: tuple[int, ...] | None
    base: tuple[int, ...] | None
    novel: tuple[int, ...] | None
    head: tuple[int, ...] | None
    common: tuple[int, ...] | None
    tail: tuple[int, ...] | None


def label_set_names() -> list[str]:
    """Names that `load_label_set` knows."""
    known = [entry.name.removesuffix(".json") for entry in files("purify3d.data").iterdir()]
    return sorted(name for name in known if name.startswith(("scannet", "matterport")))


@cache
def load_label_set(name: str) -> LabelSet:
    """`scannet20`, `scannet200`, `matterport21`, ...

    Raises:
        LabelError: no such set.
    """
    if name not in label_set_names():
        raise LabelError(f"found label set {name!r}; expected one of {', '.join(label_set_names())}")
    data = json.loads((files("purify3d.data") / f"{name}.json").read_text())
    count = data["evaluated_classes"]
    ids = data.get("dataset_ids")

    def indices(key: str) -> tuple[int, ...] | None:
        return tuple(i for i in data[key] if i < count) if data.get(key) else None

    return LabelSet(
        vocabulary=Vocabulary.parse([name.replace("|", " ") for name in data["names"][:count]]),
        dataset_ids=tuple(ids[:count]) if ids else None,
        base=indices("base"),
        novel=indices("novel"),
        head=indices("head"),
        common=indices("common"),
        tail=indices("tail"),
    )


def read_labels(labels: Labels) -> Vocabulary:
    """The name of a label set, names such as "sofa|couch, table", or a file of them.

    Raises:
        LabelError: an empty or duplicate label, a name like those of the sets that is none, or a file that
            cannot be read.
    """
    try:
        labels = spelled_out(labels) if isinstance(labels, str) else labels
        return _read(labels if isinstance(labels, str | Vocabulary) else tuple(labels))
    except TypeError:  # no text at all: the parser says so
        return Vocabulary.parse(labels)


@lru_cache(maxsize=64)
def _read(labels: Labels) -> Vocabulary:
    """Read once, however often it is asked for."""
    name = set_name(labels)
    return Vocabulary.parse(labels) if name is None else load_label_set(name).vocabulary


def set_name(labels: Labels) -> str | None:
    """The label set that a single word names; None for labels of one's own.

    Raises:
        LabelError: the word looks like the name of a set and is none ("scanet20").
    """
    if not isinstance(labels, str):
        return None
    name, known = labels.strip(), label_set_names()
    if mixed := [item.strip() for item in labels.split(",") if item.strip() in known and "," in labels]:
        raise LabelError(
            f"found the label set {mixed[0]} among other labels; expected the set alone, or names alone"
        )
    if not re.fullmatch(r"[A-Za-z]+[-_ ]?\d+|scannet|matterport", name, re.IGNORECASE):
        return None
    if name not in known:
        raise LabelError(
            f"found {name!r}, which looks like a label set; expected one of {', '.join(known)}. If it is a "
            f'label of your own, say so with a synonym: "{name}|{name} thing"'
        )
    return name

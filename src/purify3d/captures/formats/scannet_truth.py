"""Truth of ScanNet's meshes: a class and an object for each vertex of NAME_vh_clean_2.ply.

| file | content |
|---|---|
| `NAME_vh_clean_2.labels.ply` | `label`, an NYU40 id per vertex, 0 = none: what scannet20 is measured by |
| `NAME_vh_clean_2.0.010000.segs.json` | `segIndices`, a segment per vertex |
| `NAME.aggregation.json` | `segGroups`: `objectId`, the raw `label`, and the `segments` of an object |
| `scannetv2-labels.combined.tsv` | columns `id` and `raw_category`: ids of ScanNet200 by raw label |

Reference: the description of the data in the ScanNet release.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.captures.formats.nyu40 import NYU40
from purify3d.captures.reading.keys import read_json, shown
from purify3d.captures.reading.tables import read_table
from purify3d.clouds import read_cloud
from purify3d.types import NO_LABEL, PointCloud

#: The table of raw labels, in the folder of a scene or up to three above.
TABLE = "scannetv2-labels.combined.tsv"
#: Benchmarks that can be asked for.
BENCHMARKS = ("scannet20", "scannet200")

_ABOVE = 3
_NAMED = 3


def read(
    folder: Path, name: str, points: PointCloud, labels: str | None = None
) -> tuple[PointCloud, dict[int, str], tuple[Path, ...]]:
    """The points with truth, the names of its ids, and the files it was read from.

    Args:
        folder, name: of the scene.
        points: the vertices of its mesh, in its order.
        labels: `scannet20`: NYU40 ids; `scannet200`: ids of ScanNet200. None: the latter if `TABLE` lies in
            the scene's own folder or there is no labels.ply, else the former.

    Returns:
        Objects keep their `objectId`. Names cover all 40 NYU classes, or all ids that the scene has. Nothing
        is changed and there are no names where the scene has no truth.

    Raises:
        CaptureError: damaged truth, or truth of another mesh; or `labels` names one that is not there.

    Warns:
        PurifyWarning: ids or raw labels that mean nothing, or files that lack the one they belong to.
    """
    classes = folder / f"{name}_vh_clean_2.labels.ply"
    objects = folder / f"{name}.aggregation.json"
    segments = folder / f"{name}_vh_clean_2.0.010000.segs.json"
    homes = (folder, *folder.resolve().parents[:_ABOVE])
    table = next((home / TABLE for home in homes if (home / TABLE).is_file()), None)
    whole = objects.is_file() and segments.is_file()
    if labels is not None:
        if labels not in BENCHMARKS:
            raise CaptureError(f"found labels {labels!r}; expected one of {', '.join(BENCHMARKS)}")
        needed = [classes] if labels == "scannet20" else [objects, segments]
        missing = [file.name for file in needed if not file.is_file()]
        if labels == "scannet200" and table is None:
            missing.append(f"{TABLE} (here, or up to {_ABOVE} folders above)")
        if missing:
            raise CaptureError(
                f"{folder}: found no {' and no '.join(missing)}; expected the truth of {labels}. Download "
                "them, or choose another benchmark"
            )
    elif objects.is_file() != segments.is_file():
        there, lacks = (objects, segments) if objects.is_file() else (segments, objects)
        warnings.warn(
            f"{there} is left out: {lacks.name}, which it needs, is missing. Download it too",
            PurifyWarning,
            stacklevel=3,
        )
    own = table is not None and table.parent == folder
    by_raw = labels == "scannet200" or (
        labels is None and whole and table is not None and (own or not classes.is_file())
    )
    used: list[Path] = []
    names: dict[int, str] = {}
    if whole:
        used += [objects, segments]
        object_of, raw = _objects(objects, segments, len(points))
        points = replace(points, instance=torch.from_numpy(object_of))
        if by_raw and table is not None:
            used.append(table)
            label, names = _raw_labels(objects, table, object_of, raw)
            points = replace(points, label=torch.from_numpy(label))
    if not by_raw and classes.is_file():
        used.append(classes)
        points = replace(points, label=torch.from_numpy(_nyu40(classes, len(points))))
        names = dict(NYU40)
    return points, names, tuple(used)


def _nyu40(file: Path, count: int) -> np.ndarray:
    cloud = read_cloud(file)
    if len(cloud) != count:
        raise _unequal(file, len(cloud), count)
    ids = cloud.label.numpy()
    unknown = (ids < 0) | (ids > max(NYU40))
    if unknown.any():
        warnings.warn(
            f"{file}: {int(unknown.sum())} vertices have ids such as {int(ids[unknown][0])}, expected 0 to "
            f"{max(NYU40)}; they count as without truth",
            PurifyWarning,
            stacklevel=4,
        )
    return np.where(unknown | (ids == 0), NO_LABEL, ids).astype(np.int32)


def _unequal(file: Path, found: int, count: int) -> CaptureError:
    return CaptureError(
        f"{file}: found {found} vertices; the mesh has {count}. They belong to different meshes: download "
        "both again"
    )


def _objects(objects: Path, segments: Path, count: int) -> tuple[np.ndarray, dict[int, str]]:
    """(N,) int32 object of each vertex, -1 = none, and the raw label of each object."""
    meta = read_json(segments)
    listed = meta.get("segIndices") if isinstance(meta, dict) else None
    if not isinstance(listed, list) or not all(type(i) is int and abs(i) < 2**62 for i in listed):
        raise CaptureError(f"{segments}: found no list segIndices of whole numbers; download it again")
    if len(listed) != count:
        raise _unequal(segments, len(listed), count)
    groups = read_json(objects)
    groups = groups.get("segGroups") if isinstance(groups, dict) else None
    if not isinstance(groups, list):
        raise CaptureError(f"{objects}: found no list segGroups; download it again")
    object_of_segment: dict[int, int] = {}
    raw: dict[int, str] = {}
    for group in groups:
        number, label, parts = _group(group, objects)
        raw[number] = label
        object_of_segment |= dict.fromkeys(parts, number)
    different, of_vertex = np.unique(np.array(listed, dtype=np.int64), return_inverse=True)
    found = np.array([object_of_segment.get(int(s), NO_LABEL) for s in different], dtype=np.int32)
    return found[of_vertex.reshape(-1)], raw


def _group(group: Any, file: Path) -> tuple[int, str, list[int]]:
    keys: Mapping[str, Any] = group if isinstance(group, dict) else {}
    number, label, parts = keys.get("objectId"), keys.get("label"), keys.get("segments")
    whole = type(number) is int and 0 <= number < 2**31 and isinstance(label, str) and isinstance(parts, list)
    if not whole or not all(type(part) is int for part in parts):  # type: ignore[union-attr]
        raise CaptureError(
            f"{file}: found the object {shown(group)}; expected objectId, label and segments. "
            "Download it again"
        )
    return number, label, parts  # type: ignore[return-value]


def _raw_labels(
    objects: Path, table: Path, object_of: np.ndarray, raw: Mapping[int, str]
) -> tuple[np.ndarray, dict[int, str]]:
    """(N,) int32 ids of ScanNet200, and names of those that occur."""
    ids: dict[str, int] = {}
    names: dict[int, str] = {}
    for number, row in enumerate(read_table(table, ("id", "raw_category")), start=2):
        if not (row["id"].isdecimal() and int(row["id"]) < 2**31):
            raise CaptureError(
                f"{table}: line {number} has the id {row['id'][:40]!r}; expected a whole number. "
                "Download it again"
            )
        ids.setdefault(row["raw_category"], int(row["id"]))
        names.setdefault(int(row["id"]), row["raw_category"])
    names |= {i: name for i, name in _benchmark_names().items() if i in names}
    unknown = Counter(label for label in raw.values() if label not in ids)
    if unknown:
        some = ", ".join(repr(label) for label in list(unknown)[:_NAMED])
        warnings.warn(
            f"{objects}: {unknown.total()} objects have labels that {table.name} lacks ({some}); they "
            "count as without truth",
            PurifyWarning,
            stacklevel=4,
        )
    objects_here, of_vertex = np.unique(object_of, return_inverse=True)
    of_object = [ids.get(raw.get(int(number), ""), NO_LABEL) for number in objects_here]
    found = np.array(of_object, dtype=np.int32)[of_vertex.reshape(-1)]
    return found, {int(i): names[int(i)] for i in np.unique(found) if i >= 0}


@cache
def _benchmark_names() -> dict[int, str]:
    """ScanNet200's own name of each of its ids, which a table may spell otherwise."""
    data = json.loads((files("purify3d.data") / "scannet200.json").read_text())
    return dict(zip(data["dataset_ids"], data["names"], strict=True))

"""Truth of Matterport3D's regions: a class and an object for each vertex, from what is said of each face.

A region's mesh has for each face `category_id`, which is the column `index` of category_mapping.tsv (rows
from 1; -1 = none), and `segment_id`, the object; the description of the release calls them face_category and
face_segment. A face is of a class of the benchmark, or of none, before its vertices are asked: by the column
`nyu40id` for matterport21, by `nyuClass` for matterport40, 80 and 160. A vertex takes what most of its faces
say, none included; of equally many none, else the class that comes first. Reference, in scripts/preprocess of
OpenScene: preprocess_3d_matterport.py and preprocess_3d_matterport_K_num_classes.py.

For no benchmark all names of `nyuClass` but void and unknown are classes, in the order of the file.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.captures.formats.nyu40 import NYU40
from purify3d.captures.reading.tables import read_table
from purify3d.clouds.ply_format import Table, read_elements, read_header
from purify3d.types import NO_LABEL, PointCloud
from purify3d.types.labelsets import load_label_set

#: The table of categories, in one of the folders of a region or in `metadata` in one of them.
TABLE = "category_mapping.tsv"
#: Benchmarks that can be asked for.
BENCHMARKS = ("matterport21", "matterport40", "matterport80", "matterport160")

_ABOVE = 6
_NOTHING = ("", "void", "unknown")
_CORNERS = ("vertex_indices", "vertex_index")
_CATEGORY = ("category_id", "face_category")
_OBJECT = ("segment_id", "face_segment")


def find_table(path: Path) -> Path | None:
    """category_mapping.tsv in the folder of a file or up to six above; None: there is none."""
    homes = (home / inside for home in path.resolve().parents[:_ABOVE] for inside in ("", "metadata"))
    return next((home / TABLE for home in homes if (home / TABLE).is_file()), None)


def read(
    mesh: Path, points: PointCloud, table: Path, labels: str | None
) -> tuple[PointCloud, dict[int, str]]:
    """The vertices of a region with truth, and the names of its ids.

    Args:
        points: all vertices of the mesh, in its order.
        labels: one of `BENCHMARKS`, or None.

    Raises:
        CaptureError: faces without categories, of vertices that are not there, or a table that is none.

    Warns:
        PurifyWarning: faces have categories that the table lacks.
    """
    id_of, names = _mapping(table, labels)
    faces = read_elements(mesh, read_header(mesh), ["face"]).get("face", {})
    corners = next((faces[name] for name in _CORNERS if name in faces), None)
    if not isinstance(corners, np.ndarray) or corners.ndim != 2 or corners.shape[1] != 3:
        raise CaptureError(f"{mesh}: found no triangles; expected the mesh of a region. Download it again")
    corners = corners.astype(np.int64)
    if len(corners) and not (corners.min() >= 0 and corners.max() < len(points)):
        raise CaptureError(
            f"{mesh}: found faces of vertices {corners.min()} to {corners.max()} among {len(points)} "
            "vertices; download it again"
        )
    category, thing = (_column(mesh, faces, names_, len(corners)) for names_ in (_CATEGORY, _OBJECT))
    different, of_face = np.unique(category, return_inverse=True)
    unknown = [int(c) for c in different if c > 0 and int(c) not in id_of]
    if unknown:
        count = int(np.isin(category, unknown).sum())
        warnings.warn(
            f"{mesh}: {count} faces have categories that {table.name} lacks, such as {unknown[0]}; they "
            "count as without truth",
            PurifyWarning,
            stacklevel=3,
        )
    label = np.array([id_of.get(int(c), NO_LABEL) for c in different], dtype=np.int64)[of_face.reshape(-1)]
    return (
        replace(
            points,
            label=torch.from_numpy(_of_most(corners, label, len(points))),
            instance=torch.from_numpy(_of_most(corners, np.maximum(thing, NO_LABEL), len(points))),
        ),
        names,
    )


def _mapping(table: Path, labels: str | None) -> tuple[dict[int, int], dict[int, str]]:
    """Truth id of each category, -1 where it is of no class, and names of the truth ids, from 1 in order."""
    if labels is not None and labels not in BENCHMARKS:
        raise CaptureError(f"found labels {labels!r}; expected one of {', '.join(BENCHMARKS)}")
    names = [] if labels is None else list(load_label_set(labels).vocabulary.names)
    column = "nyu40id" if labels == "matterport21" else "nyuClass"
    id_of: dict[int, int] = {}
    of_name = {name: number for number, name in enumerate(names, start=1)}
    for line, row in enumerate(read_table(table, ("index", column)), start=2):
        value = row[column]
        if not row["index"].isdecimal() or (column == "nyu40id" and not (value or "0").isdecimal()):
            raise CaptureError(
                f"{table}: line {line} has index {row['index'][:20]!r} and {column} {value[:20]!r}; "
                "expected whole numbers. Download it again"
            )
        name = NYU40.get(int(value or 0), "") if column == "nyu40id" else value
        if labels is None and name.lower() not in _NOTHING:
            of_name.setdefault(name, len(of_name) + 1)
        id_of[int(row["index"])] = of_name.get(name, NO_LABEL)
    return id_of, {number: name for name, number in of_name.items()}


def _column(mesh: Path, faces: Table, names: tuple[str, ...], count: int) -> np.ndarray:
    """(F,) int64."""
    found = next((faces[name] for name in names if name in faces), None)
    if not isinstance(found, np.ndarray) or found.shape != (count,):
        held = ", ".join(faces) or "nothing"
        raise CaptureError(
            f"{mesh}: found faces with {held}; expected {names[0]}, as meshes in region_segmentations have "
            "it. Download it again"
        )
    return found.astype(np.int64)


def _of_most(corners: np.ndarray, of_face: np.ndarray, count: int) -> np.ndarray:
    """(N,) int32: what most faces of a vertex say, -1 included, of equally many the smaller; else -1."""
    vertex = corners.reshape(-1)
    different, value = np.unique(np.repeat(of_face, 3), return_inverse=True)
    votes, number = np.unique(vertex * max(len(different), 1) + value.reshape(-1), return_counts=True)
    of_vertex, choice = np.divmod(votes, max(len(different), 1))
    order = np.lexsort((-choice, number, of_vertex))  # of each vertex the last stays
    found = np.full(count, NO_LABEL, dtype=np.int64)
    found[of_vertex[order]] = different[choice[order]]
    return found.astype(np.int32)

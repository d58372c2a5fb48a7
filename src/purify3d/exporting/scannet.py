"""The submission format of the ScanNet benchmark: labels and object masks of the vertices, as text.

Format: "ScanNet Benchmark Documentation", 3D semantic label and 3D semantic instance.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from purify3d.exporting.content import Content
from purify3d.exporting.file_stems import file_stem


def write(path: Path, content: Content) -> None:
    """A folder of three things, rows in the order of the cloud's file.

    `labels.txt`: an id a row, 0 = none. `SCENE.txt`: a line for each object, "pred_mask/SCENE_NNN.txt id
    confidence", the best first; the confidence is its mean cosine. The mask has a 1 in the rows of the object
    and else 0. `classes.txt`: id, tab, name. Ids are those of the benchmark, or where labels are none of a
    benchmark their position from 1 on.
    """
    points, ids, names = content.run.points, content.ids, list(content.run.labels.names)
    rows = points.file_rows(ids[content.run.labels.numpy()], 0)
    np.savetxt(path / "labels.txt", rows, fmt="%d")
    words = "".join(f"{ids[i]}\t{' '.join(name.split())}\n" for i, name in enumerate(names))
    (path / "classes.txt").write_text(words, encoding="utf-8")
    scene = file_stem(content.run.scene.name)
    (path / "pred_mask").mkdir()
    lines = []
    for i, one in enumerate(sorted(content.run.objects(), key=lambda one: -one.thing.score)):
        mask = np.zeros(len(points), dtype=np.uint8)
        mask[one.thing.members] = 1
        name = f"pred_mask/{scene}_{i:03d}.txt"
        text = np.full((len(rows), 2), ord("\n"), dtype=np.uint8)
        text[:, 0] = points.file_rows(mask, 0) + ord("0")
        (path / name).write_bytes(text.tobytes())
        lines.append(f"{name} {ids[names.index(one.thing.label)]} {one.thing.score:.6f}\n")
    (path / f"{scene}.txt").write_text("".join(lines), encoding="utf-8")

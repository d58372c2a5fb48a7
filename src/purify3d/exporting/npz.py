"""NPZ: for numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from purify3d.exporting.content import Content


def write(path: Path, content: Content) -> None:
    """Arrays of N points in the order of the cloud's file.

    `xyz` (N, 3) float64 in the user's coordinates; `rgb` (N, 3) uint8 as wished; `label` (N,) int32, -1 =
    none; `score` (N,) float32; `views` (N,) int32; `names` (C,) str; `up` (3,); of words `heat` (N,) float32;
    where wished `features` (N, R) float16, and `basis` (R, D) where the features are `features @ basis`. Rows
    that are no points: nan, label -1, else 0.
    """
    points, result = content.run.points, content.run.labels
    columns: dict[str, tuple[np.ndarray, float]] = {
        "xyz": (points.xyz.numpy().astype(np.float64) + content.run.scene.origin, np.nan),
        "rgb": (content.rgb, 0),
        "label": (result.numpy(), -1),
        "score": (result.score.numpy(), 0),
        "views": (content.run.views.numpy(), 0),
    }
    if content.heat is not None:
        columns["heat"] = content.heat, 0
    arrays = {"names": np.array(result.names), "up": content.run.scene.up}
    if content.wishes.features:
        features = content.run.purified
        columns["features"] = features.values.half().numpy(), 0
        if features.basis is not None:
            arrays["basis"] = features.basis.numpy()
    arrays |= {name: points.file_rows(values, missing) for name, (values, missing) in columns.items()}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

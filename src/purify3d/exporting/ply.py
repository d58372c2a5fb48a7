"""PLY: for CloudCompare, MeshLab, Open3D."""

from __future__ import annotations

from pathlib import Path

from purify3d.clouds.ply import write_ply
from purify3d.exporting.content import Content


def write(path: Path, content: Content) -> None:
    """Position, normal, colour as wished, label, score, views and, of words, heat; see `write_ply`."""
    result = content.run.labels
    write_ply(
        path,
        content.run.points,
        rgb=content.rgb,
        label=result.numpy(),
        score=result.score.numpy(),
        views=content.run.views.numpy(),
        heat=content.heat,
        names=result.names,
        origin=content.run.scene.origin,
    )

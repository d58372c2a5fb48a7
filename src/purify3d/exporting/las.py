"""LAS and LAZ: for programs of surveyors, such as QGIS, CloudCompare and PDAL."""

from __future__ import annotations

from pathlib import Path

from purify3d.clouds.las import new_las
from purify3d.exporting.content import Content


def write(path: Path, content: Content) -> None:
    """Position to the millimetre, colour as wished, extra dimensions `label` and `score`; see `new_las`.

    Rows of a cloud's file that are no points are left out: the format knows no nan.
    """
    result = content.run.labels
    xyz, origin = content.run.points.xyz.numpy(), content.run.scene.origin
    new_las(path, xyz, content.rgb, result.numpy(), result.score.numpy(), origin)

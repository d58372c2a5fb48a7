"""What memory a job will take, said before its work."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from purify3d.affinities.budget import affinity_bytes, tiled_bytes
from purify3d.affinities.embeddings import Embedding, Learned
from purify3d.backbones import Backbone
from purify3d.base.errors import PurifyError, PurifyWarning
from purify3d.features.config import LiftConfig
from purify3d.grid.cells import pack_cells
from purify3d.grid.projection import backproject
from purify3d.grid.voxels import voxelize
from purify3d.labels.config import SegmentConfig
from purify3d.types import Scene

#: Bytes that are there whatever the scene: the program, its libraries, the 2D model that ships.
PROGRAM = 500e6
#: Bytes a point while neighbours are pooled: the cloud and its features in their stored channels.
POINT = 320
#: Bytes a point while features are lifted, beside 4 for each channel.
_LIFTED = 200
#: Points that a frame sees, whose features are there once more while they are added up.
_IN_VIEW = 100_000
_FRAMES = 8  # that are looked at where there is no cloud yet
_COARSE = 4  # edge in voxels of the cells that they are counted in
_FILLED = 20  # voxels of such a cell: more than the 16 of a plane, since depth is noisy
_HALF_GRID = 1 << 20  # cells are counted from the world's origin


@dataclass(frozen=True)
class Forecast:
    """Memory that a segmentation will take, in bytes at the peak.

    Attributes:
        memory: all in all.
        tiled: where neighbours lie in tiles.
        lifting: while features are lifted, which tiles do not change.
    """

    memory: float
    tiled: float
    lifting: float

    def line(self, available: float | None) -> str:
        """One line for people, with what to do where it does not fit.

        Args:
            available: bytes that may be taken; None: nobody knows.
        """
        said = f"about {self.memory / 1e9:.1f} GB"
        if available is None or self.memory <= available:
            return said
        said, tiled = f"{said}; {available / 1e9:.1f} GB are free", f"{self.tiled / 1e9:.1f} GB"
        if self.lifting > available:
            return (
                f"{said}, and features of so many points take {self.lifting / 1e9:.1f} GB while frames are "
                "looked at: give fewer points (a larger --voxel; with --onto, a thinner cloud)"
            )
        if self.tiled <= available:
            return f"{said}, so neighbours are kept in tiles on disk, which takes {tiled}"
        return f"{said}, and {tiled} in tiles do not fit either: give a larger --voxel"


def forecast(
    scene: Scene, method: SegmentConfig, backbone: Backbone, embedding: Embedding, *, lifted: bool = False
) -> Forecast:
    """What memory a job will take.

    Points are counted, or guessed from the depth of a few frames where they have not been fused yet; that is
    within a factor of two as a rule, and more frames see more.

    Args:
        lifted: the features are there already.
    """
    if scene.points is None:
        points = voxels = _guessed(scene, method.purify.voxel)
    else:
        points, voxels = len(scene.points), len(voxelize(scene.points.xyz, method.purify.voxel))
    floats = 0 if lifted else lifted_floats(backbone, method.lift)
    student = isinstance(embedding, Learned) and embedding.knows(method.purify.voxel)
    return of_segmentation(points, voxels, method, floats=floats, student=student)


def of_segmentation(
    points: int, voxels: int, method: SegmentConfig, *, floats: int, student: bool = False
) -> Forecast:
    """What a segmentation of so many points in so many voxels will take.

    Args:
        floats: that a point takes while features are lifted, see `lifted_floats`; 0: they are there already.
        student: one embeds the voxels.
    """
    config = method.purify
    held = points * _LIFTED + 4.0 * floats * (points + min(points, _IN_VIEW))
    lifting = PROGRAM + held if floats else 0.0
    base = PROGRAM + points * POINT
    whole = affinity_bytes(voxels, config.neighbors, student=student) if config.rounds else 0.0
    least = tiled_bytes(voxels, config.neighbors)
    if config.memory is not None and whole > config.memory * 1e9:
        whole = max(config.memory * 1e9, least)
    tiled = base + min(whole, least)
    return Forecast(max(lifting, base + whole), max(lifting, tiled), lifting)


def lifted_floats(backbone: Backbone, lifting: LiftConfig) -> int:
    """Floats that a point takes while features are lifted: masks share theirs, points in view have their own,
    and consensus keeps the best `top_views` views of each until the end."""
    facts = backbone.facts
    channels = facts.channels or backbone.space.dim
    return channels * (
        1 + lifting.top_views if lifting.fusion == "consensus" and facts.kind == "dense" else 1
    )


def _guessed(scene: Scene, voxel: float) -> int:
    """Voxels that the frames will be fused to; 0 where none of those looked at can be read."""
    cells, pixels = [], 0
    some = np.unique(np.linspace(0, len(scene.frames) - 1, _FRAMES).round().astype(int))
    for frame in (scene.frames[i] for i in some[: len(scene.frames)]):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PurifyWarning)  # said when the frame is used
                depth = frame.depth()
        except (PurifyError, OSError):
            continue
        there = depth > 0
        pixels += int(there.sum())
        xyz = np.asarray(backproject(depth, frame.depth_camera))[there]
        pose = frame.world_from_camera
        cell = np.floor((xyz @ pose[:3, :3].T + pose[:3, 3]) / (_COARSE * voxel))
        fits = (np.abs(cell) < _HALF_GRID).all(axis=1)  # what does not is said when frames are fused
        cells.append(np.unique(pack_cells(cell[fits].astype(np.int64) + _HALF_GRID)))
    if not cells:
        return 0
    most = pixels * len(scene.frames) // len(cells)  # a voxel that is fused has one at least
    return min(_FILLED * len(np.unique(np.concatenate(cells))), most)

"""What a job will take, said before its work."""

from __future__ import annotations

import warnings

import numpy as np

from purify3d.affinities.budget import Estimate, free_memory, lifted_floats, of_segmentation
from purify3d.affinities.embeddings import PurifyConfig
from purify3d.affinities.student import StudentConfig
from purify3d.backbones import Backbone
from purify3d.base.devices import find_device
from purify3d.base.errors import PurifyError, PurifyWarning
from purify3d.grid.cells import pack_cells
from purify3d.grid.projection import backproject
from purify3d.grid.voxels import voxelize
from purify3d.runs.job import Job
from purify3d.types import Scene

_FRAMES = 8  # that are looked at where there is no cloud yet
_COARSE = 4  # edge in voxels of the cells that they are counted in
_FILLED = 20  # voxels of such a cell: more than the 16 of a plane, since depth is noisy
_HALF_GRID = 1 << 20  # cells are counted from the world's origin


def forecast(scene: Scene, job: Job, backbone: Backbone, *, lifted: bool = False) -> tuple[Estimate, str]:
    """The estimate and its line: memory, time, and what to do where it does not fit.

    Points are counted, or guessed from the depth of a few frames where they have not been fused yet; that is
    within a factor of two as a rule, and more frames see more.

    Args:
        backbone: the 2D model that the job names.
        lifted: its features are there already.
    """
    method, device = job.method.purify, find_device(job.device)
    if scene.points is None:
        points = voxels = _guessed(scene, method.voxel)
    else:
        points, voxels = len(scene.points), len(voxelize(scene.points.xyz, method.voxel))
    made = of_segmentation(
        points,
        voxels,
        len(scene.frames),
        neighbors=method.neighbors,
        rounds=method.rounds,
        backbone=job.backbone,
        floats=0 if lifted else _floats(job, backbone),
        student=_asks_student(method),
        memory=None if method.memory is None else method.memory * 1e9,
        device=str(device),
    )
    free = free_memory()  # where points and features lie, whatever the device
    return made, f"estimate: {made.line(free)}"


def _floats(job: Job, backbone: Backbone) -> int:
    lifting = job.method.lift
    return lifted_floats(
        job.backbone,
        backbone.space.dim,
        masks=backbone.facts.kind == "mask-type",
        consensus=lifting.fusion == "consensus" and backbone.facts.kind != "points",
        top_views=lifting.top_views,
    )


def _asks_student(method: PurifyConfig) -> bool:
    """Whether a student embeds the voxels; the one that ships is not asked at others than its own."""
    if method.affinity == "student":
        return abs(method.voxel / StudentConfig().voxel_size - 1) < 1e-6
    return method.affinity not in ("geometric", "uniform")


def _guessed(scene: Scene, voxel: float) -> int:
    """Voxels that the frames will be fused to; 0 where none of those looked at can be read."""
    cells = []
    some = np.unique(np.linspace(0, len(scene.frames) - 1, _FRAMES).round().astype(int))
    for frame in (scene.frames[i] for i in some[: len(scene.frames)]):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PurifyWarning)  # said when the frame is used
                depth = frame.depth()
        except (PurifyError, OSError):
            continue
        there = depth > 0
        xyz = np.asarray(backproject(depth, frame.depth_camera))[there]
        pose = frame.world_from_camera
        cell = np.floor((xyz @ pose[:3, :3].T + pose[:3, 3]) / (_COARSE * voxel))
        fits = (np.abs(cell) < _HALF_GRID).all(axis=1)  # what does not is said when frames are fused
        cells.append(np.unique(pack_cells(cell[fits].astype(np.int64) + _HALF_GRID)))
    return _FILLED * len(np.unique(np.concatenate(cells))) if cells else 0

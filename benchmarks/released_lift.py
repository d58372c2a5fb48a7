"""Lifting and fusion of mask-type features as the authors' released code does it (`lift_xdecoder_features`),
in our own words.

Every point is projected in double precision. Masks are resized to the whole image, and each mask's own pixels
are found one after the other; its feature is added to its points, for which the rows of all views are
searched. Points on no mask copy the nearest of the view. What a view says of a point is noted point by point
in Python; then points are padded to the same number of views, 50,000 at a time, and the three views that
agree best are averaged. (Its mean fusion is for dense features.) One thing is faster than released: SciPy's
tree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from purify3d.base.stopwatch import Stopwatch
from purify3d.features.config import LiftConfig
from purify3d.grid.projection import inverse
from purify3d.types import Camera, Frame, MaskFeatures, Scene, TextEmbeddings

TOP = LiftConfig.top_views
_CHUNK = 50_000  # points whose views are padded at a time


def projected(xyz: np.ndarray, frame: Frame, config: LiftConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Visible (N,) bool, column and row (N,) of all points in double precision."""
    camera = frame.depth_camera
    points = np.concatenate([xyz, np.ones((len(xyz), 1))], axis=1).T
    x, y, z, _ = inverse(frame.world_from_camera) @ points
    with np.errstate(divide="ignore", invalid="ignore"):
        column = np.round(x * camera.fx / z + camera.cx).astype(int)
        row = np.round(y * camera.fy / z + camera.cy).astype(int)
    seen = (column >= config.margin) & (row >= config.margin)
    seen &= (column < camera.width - config.margin) & (row < camera.height - config.margin)
    measured_depth = frame.depth()[row[seen], column[seen]]
    seen[seen] = np.abs(measured_depth - z[seen]) <= config.tolerance * measured_depth
    return seen, column, row


def features_of_view(said: MaskFeatures, camera: Camera, column: Tensor, row: Tensor, xyz: Tensor) -> Tensor:
    """(n, D) what the masks of a view say of its points, mask by mask."""
    size = (camera.height, camera.width)
    mask = interpolate(said.logits[None], size, mode="bicubic", antialias=True)[0].sigmoid()
    winner = (said.score[:, None, None] * mask).argmax(0)
    kept, region = [], []
    for number in range(len(mask)):
        area = (winner == number).sum().item()
        own = (mask[number] >= 0.5).sum().item()
        both = (winner == number) & (mask[number] >= 0.5)
        if area > 0 and own > 0 and both.sum().item() > 0:
            kept.append(number)
            region.append(both)
    values = torch.zeros(len(xyz), said.embedding.shape[1])
    count = torch.zeros(len(xyz), 1)
    for number, on in zip(kept, torch.stack(region)[:, row, column], strict=True):
        values[on] += said.embedding[number]
        count[on] += 1
    count[count == 0] = 1e-5
    values = values / count
    silent = values.sum(1) == 0
    if silent.any():
        speaks = torch.where(~silent)[0]
        _, near = cKDTree(xyz[speaks].numpy()).query(xyz[silent].numpy())
        values[silent] = values[speaks[torch.from_numpy(near)]]
    return values


def released(
    scene: Scene,
    said: Sequence[MaskFeatures],
    text_embeddings: TextEmbeddings,
    config: LiftConfig,
    watch: Stopwatch,
) -> Tensor:
    """(N, D) consensus features by the released steps."""
    xyz = scene.cloud().xyz
    count, frames = len(xyz), scene.frames
    with watch("visibility"):
        parts = [projected(xyz.numpy(), frame, config) for frame in frames]
        visible = torch.from_numpy(np.concatenate([seen for seen, _, _ in parts]))
        column = torch.from_numpy(np.concatenate([c[seen] for seen, c, _ in parts]))
        line = torch.from_numpy(np.concatenate([r[seen] for seen, _, r in parts]))
        view = torch.arange(len(frames)).repeat_interleave(count)
        of_pixel = view[visible]
        del parts
    found: dict[int, list[tuple[Tensor, Tensor]]] = defaultdict(list)
    seen_by = torch.zeros(count)
    with watch("views"):
        for number, frame in enumerate(frames):
            seen, mine = visible[view == number], of_pixel == number
            point = torch.where(seen)[0]
            values = features_of_view(said[number], frame.camera, column[mine], line[mine], xyz[point])
            values = normalize(values, dim=1)
            logit = text_embeddings.space.logit_scale * (values @ text_embeddings.embedding.T)
            for i, index in enumerate(point):
                found[index.item()].append((values[i], logit[i]))
            seen_by[seen] += 1
    fused = torch.zeros(count, said[0].embedding.shape[1])
    with watch("fusion"):
        points = torch.tensor(list(found))
        for some in points.split(_CHUNK):
            most = max(len(found[index.item()]) for index in some)
            feature = torch.zeros(len(some), most, fused.shape[1])
            logits = torch.zeros(len(some), most, len(text_embeddings.embedding))
            there = torch.zeros(len(some), most, dtype=torch.bool)
            for i, index in enumerate(some):
                views = found[index.item()]
                there[i, : len(views)] = True
                for j, (value, logit) in enumerate(views):
                    feature[i, j], logits[i, j] = value, logit
            fused[some] = agreed(feature, logits, there)
    with watch("copies"):
        return copied(fused, seen_by > 0, xyz)


def agreed(feature: Tensor, logits: Tensor, there: Tensor) -> Tensor:
    """(n, D) the best three of padded (n, V, D) views averaged, by (n, V, C) logits and which there are."""
    label = (logits.sum(1) / there.sum(1, keepdim=True).clamp_min(1)).argmax(1)
    agreement = logits.gather(2, label[:, None, None].expand(-1, logits.shape[1], 1))[..., 0]
    best = agreement.masked_fill(~there, -torch.inf).topk(min(TOP, logits.shape[1]), dim=1)
    chosen = feature.gather(1, best.indices[..., None].expand(-1, -1, feature.shape[2]))
    return (chosen * best.values.softmax(1)[..., None]).sum(1)


def copied(values: Tensor, seen: Tensor, xyz: Tensor) -> Tensor:
    """(N, D) values; those of points that are not seen are copies of the nearest seen."""
    if not seen.all():
        _, near = cKDTree(xyz[seen].numpy()).query(xyz[~seen].numpy())
        values[~seen] = values[seen][torch.from_numpy(near)]
    return values

"""The affinity of voxels: neighbours on the grid and their weights (GeoPurify, section 3.3)."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from purify3d.affinities.budget import tile_size
from purify3d.affinities.config import AffinityConfig
from purify3d.affinities.embeddings import Embedding, Learned, load_embedding
from purify3d.affinities.softmax import exponent_key, softmax_weights
from purify3d.affinities.tiles import TiledAffinity, part_of, tiled_affinity
from purify3d.backbones import TextEncoder
from purify3d.base.memory import free_memory
from purify3d.base.progress import Progress, silent
from purify3d.grid.neighbors import grid_neighbors
from purify3d.grid.voxels import voxelize
from purify3d.types import Affinity, PointCloud, PointFeatures, Voxels


def affinity(
    points: PointCloud,
    features: PointFeatures,
    config: AffinityConfig | None = None,
    *,
    embedding: Embedding | None = None,
    backbone: TextEncoder | None = None,
    neighbor: Tensor | None = None,
    progress: Progress = silent,
) -> tuple[Voxels, Affinity | TiledAffinity]:
    """The voxels of a cloud, the neighbours of each, and their weights.

    Where neighbours and weights of all voxels do not fit into `config.memory`, they are made and kept in
    tiles.

    Args:
        features: of the N points; a student may read them, and agreement of views weighs neighbours where
            the features' length tells it.
        embedding: what voxels are compared by; None: the one that `config.affinity` names.
        backbone: the features' 2D model, for students that read words; see `load_embedding`.
        neighbor: (V, K) of `grid_neighbors`, if they have been searched already; its K counts.

    Raises:
        CheckpointError: no such affinity, or a student that was trained for other voxels or features.
    """
    config = config or AffinityConfig()
    voxels = voxelize(points.xyz, config.voxel)
    embedding = embedding or load_embedding(config.affinity, backbone, device=points.xyz.device)
    if isinstance(embedding, Learned):
        embedding = embedding.at(config.voxel)
    sharpness = embedding.sharpness if config.sharpness is None else config.sharpness

    def keyed(points: PointCloud, voxels: Voxels, features: PointFeatures) -> Tensor:
        bias = None
        if config.confidence > 0 and features.space.length_is_confidence:
            bias = agreement(features, voxels, config.confidence)
        vectors = embedding(points, voxels, features).to(voxels.index.device)  # a student may lie elsewhere
        return exponent_key(vectors, sharpness, bias)

    reach, limit = getattr(embedding, "reach", 0), None
    if neighbor is None and len(voxels) > 1:  # a single one has no neighbour
        free = free_memory(voxels.index.device) if config.memory is None else config.memory * 1e9
        limit = tile_size(len(voxels), config.neighbors, free, student=reach > 0)
    if limit is None:
        key = keyed(points, voxels, features)  # first: a student's layers need not lie beside neighbours
        if neighbor is None:
            neighbor = grid_neighbors(voxels.index, config.neighbors, progress=progress)
        return voxels, Affinity(neighbor, softmax_weights(key, neighbor, progress=progress))

    def weigh_tile(seen: np.ndarray, own: Tensor, near: Tensor) -> Tensor:
        key = keyed(*part_of(points, voxels, features, seen))
        return softmax_weights(key, near.to(key.device), own.to(key.device))

    cells = voxels.index.cpu().numpy()
    k = config.neighbors
    return voxels, tiled_affinity(cells, k, weigh_tile, limit=limit, reach=reach, progress=progress)


def agreement(features: PointFeatures, voxels: Voxels, exponent: float) -> Tensor:
    """(V,) bias of each voxel as a neighbour: weights are multiplied with its confidence to the power of
    `exponent`.

    Confidence is the length of a voxel's fused values: an average of views (for a segmenter: of posteriors)
    is long where views are sure and agree, and short where they contradict each other. Small objects in front
    of a dominant surface, a poster on its wall, keep their own when the wall's points around them waver.
    """
    return exponent * voxels.mean(features.sure()).clamp_min(1e-6).log()

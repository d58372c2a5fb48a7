"""Pool features along the affinities of neighbouring voxels (GeoPurify, section 3.3).

The affinity is a row-stochastic matrix A; pooling is F <- A F, `rounds` times. It is linear, so whatever is
linear in the features may be pooled in their place: the scores F t of a fixed vocabulary give the same labels
as pooled features for a fraction of the work.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from purify3d.spatial import weighted_rows
from purify3d.types import Affinity, PointCloud, PointFeatures, Voxels


@dataclass(frozen=True)
class PurifyConfig:
    """How far and how sharply features are pooled.

    Attributes:
        voxel: edge of the voxels that talk to each other, metres.
        neighbors: K nearest voxels each of them listens to.
        sharpness: of the softmax over neighbours, for unit embeddings the factor of the cosine.
        rounds: products with the affinity (the paper's T = 18 is 19 products); 0 leaves features as lifted.
        confidence: how much more is heard from neighbours whose views agree, see `trust`; 0 is the paper's
            configuration.
    """

    voxel: float = 0.02
    neighbors: int = 96
    sharpness: float = 20.0
    rounds: int = 19
    confidence: float = 4.0


@dataclass(frozen=True)
class GeometricConfig:
    """Scales of the weights-free embedding: neighbours one scale apart are e times less heard.

    Attributes:
        normal: difference of unit normals; 0.2 is about 11 degrees.
        color: difference of CIE L*a*b* colours, lightness halved because shade and light change it most.
    """

    normal: float = 0.2
    color: float = 3.0


def affinity(embedding: Tensor, neighbor: Tensor, sharpness: float = 20.0, *, chunk: int = 16384) -> Affinity:
    """Softmax over neighbours of -sharpness/2 |e_i - e_j|^2.

    For unit embeddings this is the paper's softmax of sharpness * cosine (the two differ by a constant per
    row); embeddings of any length are welcome.

    Args:
        embedding: (V, E) float.
        neighbor: (V, K) int64 voxel indices.
        chunk: voxels at a time; memory is chunk x K x E.
    """
    half_square = embedding.square().sum(1) / 2
    weight = torch.empty(neighbor.shape, dtype=torch.float32, device=embedding.device)
    for start in range(0, len(neighbor), chunk):
        rows = neighbor[start : start + chunk]
        dot = (embedding[rows] @ embedding[start : start + chunk, :, None]).squeeze(2)
        weight[start : start + chunk] = (sharpness * (dot - half_square[rows])).softmax(1)
    return Affinity(neighbor, weight)


def trust(affinity: Affinity, features: PointFeatures, voxels: Voxels, exponent: float) -> Affinity:
    """Weights times the neighbour's confidence to the power of `exponent`, rows again summing to 1.

    Confidence is the length of a voxel's fused values: an average of views (for a segmenter: of posteriors)
    is long where views are sure and agree, and short where they contradict each other. Small objects in front
    of a dominant surface, a poster on its wall, keep their own when the wall's points around them waver.
    """
    if exponent == 0:
        return affinity
    confidence = voxels.mean(features.values.norm(dim=1)).clamp_min(1e-6) ** exponent
    weight = affinity.weight * confidence[affinity.neighbor]
    return Affinity(affinity.neighbor, weight / weight.sum(1, keepdim=True))


def pool(affinity: Affinity, values: Tensor, rounds: int) -> Tensor:
    """Multiply (V, C) values with the affinity `rounds` times; any C, float32."""
    if rounds == 0 or affinity.neighbor.shape[1] == 0:
        return values
    matrix = weighted_rows(affinity.neighbor, affinity.weight, len(affinity.neighbor))
    for _ in range(rounds):
        values = matrix @ values
    return values


def pool_plain(affinity: Affinity, values: Tensor, rounds: int) -> Tensor:
    """What `pool` computes, as one would write it down: the oracle of its tests."""
    for _ in range(rounds):
        values = (affinity.weight[:, :, None] * values[affinity.neighbor]).sum(1)
    return values


def purify(features: PointFeatures, voxels: Voxels, affinity: Affinity, rounds: int) -> PointFeatures:
    """Features of N points pooled over their voxels' neighbours; `length` is pooled along with them."""
    if rounds == 0:
        return features
    columns = torch.cat([features.values, features.norm()[:, None]], dim=1)
    pooled = voxels.spread(pool(affinity, voxels.mean(columns), rounds))
    return replace(features, values=pooled[:, :-1], length=pooled[:, -1])


def geometric_embedding(points: PointCloud, voxels: Voxels, config: GeometricConfig | None = None) -> Tensor:
    """(V, 6) embedding from normals and colours alone, for `affinity` at its default sharpness."""
    config = config or GeometricConfig()
    normal = normalize(voxels.mean(points.normal), dim=1)
    lab = rgb_to_lab(voxels.mean(points.rgb) / 255) * torch.tensor([0.5, 1.0, 1.0])
    unit = (2 / PurifyConfig.sharpness) ** 0.5
    return torch.cat([normal / config.normal, lab / config.color], dim=1) * unit


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """(M, 3) sRGB in 0..1 -> CIE L*a*b* under D65 (IEC 61966-2-1, CIE 15): L* 0..100."""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = rgb.new_tensor(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    xyz = linear @ to_xyz.T / rgb.new_tensor([0.95047, 1.0, 1.08883])
    f = torch.where(xyz > (6 / 29) ** 3, xyz.clamp_min(1e-9) ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)

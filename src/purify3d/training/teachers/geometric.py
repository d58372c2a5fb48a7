"""A teacher without weights: regions of like normals and colours, from fine to coarse.

What it knows, measured on the procedural rooms 2000 to 2004 (32 frames, 2 cm) against their objects. Purity
is the share of voxels that belong to the main object of their region. The other two columns are the share of
pairs that are together, among pairs of one object and of two, of a voxel and one of its 96 nearest. Means of
five rooms.

| price | regions | purity | one object | two objects |
|------:|--------:|-------:|-----------:|------------:|
|  0.25 |  52,000 |  0.991 |       0.54 |        0.06 |
|  1    |  10,100 |  0.979 |       0.80 |        0.13 |
|  4    |   1,650 |  0.958 |       0.91 |        0.21 |
| 16    |     380 |  0.930 |       0.96 |        0.33 |

The share of scales tells the two kinds of pairs apart with an area under the ROC curve of 0.902; the distance
of normals and colours, which `affinities.geometric_embedding` compares, has 0.889. Dearer scales (32 and up)
join objects more than they complete them. Units and discount were chosen on rooms 2000 and 2002: a discount
of 0.5, and 0.3 for normals, leave less between the two kinds of pairs, 4 for colours a smaller area; 0.15 for
normals is as good.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import normalize

from purify3d.base.colors import rgb_to_lab
from purify3d.grid.voxels import voxelize
from purify3d.training.teachers.oversegment import link, merge_regions
from purify3d.training.teachers.targets import Targets
from purify3d.types import PointCloud

_VERSION = 1  # of what these settings mean


@dataclass(frozen=True)
class GeometricTeacherConfig:
    """How regions merge.

    Attributes:
        voxel: edge in metres of the voxels that are merged.
        normal: difference of unit normals that is notable; 0.2 is about 11 degrees.
        color: notable difference of CIE L*a*b* colours, lightness halved because shade and light change it
            most.
        prices: of a unit of boundary, one for each scale, ascending.
        convex_discount: what a difference of normals across a convex edge counts, 0..1.
        gap: metres across which surfaces still touch.
        seed: of the order in which regions merge.
    """

    voxel: float = 0.02
    normal: float = 0.2
    color: float = 3.0
    prices: tuple[float, ...] = (0.25, 1.0, 4.0, 16.0)
    convex_discount: float = 0.2
    gap: float = 0.08
    seed: int = 0

    def __post_init__(self) -> None:
        positive = min(self.voxel, self.normal, self.color, *self.prices) > 0
        if not (positive and 0 <= self.convex_discount <= 1 and self.gap >= 0 and len(self.prices) > 0):
            raise ValueError(
                f"found {self}; expected positive sizes and prices, and a convex_discount of 0 to 1"
            )


class GeometricTeacher:
    """Regions at several scales; two points are as alike as the share of scales that put them together."""

    name = "geometric"
    licence = "Apache-2.0"

    def __init__(self, config: GeometricTeacherConfig | None = None) -> None:
        self.config = config or GeometricTeacherConfig()

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"geometric {_VERSION} {self.config}".encode()).hexdigest()[:12]

    @torch.no_grad()
    def teach(self, points: PointCloud, *, up: np.ndarray) -> Targets:
        """Groups of every point at each scale, finest first; every point has one at each.

        Args:
            points: N points of one scene, with normals.
            up: not needed.

        Raises:
            ValueError: no points.
        """
        config = self.config
        voxels = voxelize(points.xyz, config.voxel)
        normal = normalize(voxels.mean(points.normal), dim=1).numpy().astype(np.float64)
        lab = rgb_to_lab(voxels.mean(points.rgb) / 255)
        lab = lab * lab.new_tensor([0.5, 1.0, 1.0])
        links = link(voxels.index.numpy(), config.gap / config.voxel)
        a, b = links.pairs.T
        place = voxels.mean(points.xyz - points.xyz.amin(0)).numpy().astype(np.float64)
        bend = ((normal[b] - normal[a]) * (place[b] - place[a])).sum(1)
        region = merge_regions(
            normal / config.normal,
            lab.numpy() / config.color,
            links,
            bend * links.length,
            config.prices,
            convex_discount=config.convex_discount,
            seed=config.seed,
        )
        return Targets(voxels.to_points(torch.from_numpy(region)))

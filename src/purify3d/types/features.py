"""Features of pixels, masks, points and voxels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from purify3d.base.devices import Movable, crossing, falling_back
from purify3d.base.sorting import stable_order
from purify3d.types.checks import check

_ROWS = 1 << 16  # at a time, so that no second array of all of them exists
_VOXELS = 1 << 12  # whose points are looked at at a time: what is made for these stays in the cache


@dataclass(frozen=True)
class FeatureSpace:
    """Where features live. Features may be compared only if their ids agree.

    Attributes:
        id: names the model, its weights and its text encoder.
        dim: D.
        logit_scale: the model's own factor from cosine to logit.
        length_is_confidence: an average of this model's features is long where views are sure and agree;
            only then neighbours are weighed by it (`confidence`). Of any model a longer view counts more in
            mean fusion, and a longer feature in pooling, as in the paper.
    """

    id: str
    dim: int
    logit_scale: float
    length_is_confidence: bool = False

    def __post_init__(self) -> None:
        check(self.dim > 0, f"a space has at least one channel, found {self.dim}")
        check(0 < self.logit_scale < np.inf, f"logit_scale must be positive, found {self.logit_scale}")


@dataclass(frozen=True, eq=False, repr=False)
class DenseFeatures(Movable):
    """What a dense 2D model saw in one image.

    Attributes:
        values: (R, h, w) float; covers the whole image at any resolution.
        basis: (R, D) such that a pixel's feature is `values[:, y, x] @ basis`; None where R = D. A closed-set
            segmenter needs R = its number of classes only.
    """

    values: Tensor
    basis: Tensor | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.values.shape)
        check(len(shape) == 3 and 0 not in shape[1:], f"values must be (R, h, w), found {shape}")
        if self.basis is not None:
            check(
                len(self.basis) == shape[0], f"{shape[0]} channels, but {len(self.basis)} rows in the basis"
            )


@dataclass(frozen=True, eq=False, repr=False)
class MaskFeatures(Movable):
    """What a mask-type 2D model saw in one image.

    Attributes:
        logits: (Q, h, w) float mask logits; cover the whole image at any resolution.
        score: (Q,) how sure each mask is of its best label, 0..1.
        embedding: (Q, D) one feature per mask.
    """

    logits: Tensor
    score: Tensor
    embedding: Tensor

    def __post_init__(self) -> None:
        count = len(self.logits)
        check(self.logits.dim() == 3, f"logits must be (Q, h, w), found {tuple(self.logits.shape)}")
        check(
            self.score.shape == (count,) and self.embedding.dim() == 2 and len(self.embedding) == count,
            f"{count} masks need as many scores and embeddings, found {tuple(self.score.shape)} and "
            f"{tuple(self.embedding.shape)}",
        )


@dataclass(frozen=True, eq=False, repr=False)
class PointFeatures(Movable):
    """One feature per point, as fused or pooled: not renormalised.

    Attributes:
        values: (N, R) float32.
        views: (N,) int32, how many frames saw the point; 0 = copied from the nearest point that was seen.
        space: what the features may be compared with.
        basis: (R, D), the features are `values @ basis`; None where R = D. Averaging and pooling are linear
            and work on `values`; only lengths and dot products look at the basis.
        length: (N,) what dot products are divided by; None: each feature's own length. Pooled features carry
            the mean length of what was pooled, so that their scores are mean cosines.
        gap: (N,) float32, metres to the seen point that the feature was copied from, 0 where the point was
            seen itself; inf = says nothing, see `within`. None: 0 everywhere.
        agreement: (N,) how long the fused values were, by which neighbours are weighed where lengths tell how
            much views agree; None: the length of `values`.
    """

    values: Tensor
    views: Tensor
    space: FeatureSpace
    basis: Tensor | None = None
    length: Tensor | None = None
    gap: Tensor | None = None
    agreement: Tensor | None = None

    def __post_init__(self) -> None:
        channels = self.values.shape[1] if self.basis is None else self.basis.shape[1]
        check(channels == self.space.dim, f"features have {channels} channels, their space {self.space.dim}")
        for name in ("views", "length", "gap", "agreement"):
            each = getattr(self, name)
            check(each is None or each.shape == self.values.shape[:1], f"{name} must have a value per point")

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        stored = self.values.shape[1]
        seen = float((self.views > 0).float().mean()) if len(self) else 0.0
        return (
            f"PointFeatures({len(self):,} points, {stored} of {self.space.dim} channels of "
            f"{self.space.id!r}, {seen:.0%} seen)"
        )

    @property
    def known(self) -> Tensor:
        """(N,) bool: the points whose features say something."""
        return torch.ones_like(self.views, dtype=torch.bool) if self.gap is None else self.gap.isfinite()

    def within(self, fill: float) -> PointFeatures:
        """The features without copies from farther than `fill` metres: those are 0 and say nothing.

        0 keeps what cameras saw, inf keeps all.
        """
        if self.gap is None or bool((self.gap <= fill).all()):
            return self
        known = self.gap <= fill
        return replace(
            self,
            values=torch.where(known[:, None], self.values, 0),
            length=None if self.length is None else torch.where(known, self.length, 0),
            agreement=None if self.agreement is None else torch.where(known, self.agreement, 0),
            gap=torch.where(known, self.gap, torch.inf),
        )

    def at(self, rows: Tensor | slice) -> PointFeatures:
        """The features of some of the points."""
        single = {name: getattr(self, name) for name in ("length", "gap", "agreement")}
        single = {name: None if each is None else each[rows] for name, each in single.items()}
        return replace(self, values=self.values[rows], views=self.views[rows], **single)

    def sure(self) -> Tensor:
        """(N,) `agreement`, or the length of the values."""
        return self.values.norm(dim=1) if self.agreement is None else self.agreement

    def dense(self) -> Tensor:
        """(N, D) features."""
        return self.values if self.basis is None else self.values @ self.basis

    def norm(self) -> Tensor:
        """(N,) `length`, or the Euclidean length of every feature without forming (N, D)."""
        return factored_norm(self.values, self.basis) if self.length is None else self.length

    def dot(self, text: Tensor) -> Tensor:
        """(N, T) dot products with (T, D) rows, without forming (N, D)."""
        rows = text if self.basis is None else text @ self.basis.T
        if len(rows) > 1:
            return self.values @ rows.T
        # With a single row BLAS goes another way, which took 10 ms a million points in place of 6.
        return (self.values @ torch.cat([rows, rows]).T)[:, :1]


def factored_norm(values: Tensor, basis: Tensor | None) -> Tensor:
    """(N,) lengths of (N, R) `values @ basis`: sqrt(v G v) with the (R, R) Gram matrix G."""
    if basis is None:
        return values.norm(dim=-1)
    gram = basis @ basis.T
    return torch.cat([((some @ gram) * some).sum(-1) for some in values.split(_ROWS)]).clamp_min(0).sqrt()


@falling_back
def _means(values: Tensor, start: Tensor) -> Tensor:
    """(M, C) means of groups of (n, C) rows that lie together and start at (M,); 0 of an empty one."""
    row = torch.arange(len(values), device=values.device)
    return embedding_bag(row, values, start, mode="mean")


@dataclass(frozen=True, eq=False, repr=False)
class Voxels(Movable):
    """Occupied cells of a regular grid over a cloud.

    Attributes:
        index: (V, 3) int32 cell coordinates, in lexicographic order.
        size: edge in metres.
        origin: (3,) float64 world position of the corner of cell (0, 0, 0), always on the CPU.
        of_point: (N,) int64 the voxel of each point.
    """

    index: Tensor
    size: float
    origin: Tensor
    of_point: Tensor

    def __post_init__(self) -> None:
        check(self.index.shape[1:] == (3,), f"index must be (V, 3), found {tuple(self.index.shape)}")

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        return f"Voxels({len(self):,} of {self.size:g} m, for {len(self.of_point):,} points)"

    def to(self, device: torch.device | str) -> Voxels:
        """The same with all tensors but the origin on a device."""
        return replace(self, index=self.index.to(device), of_point=self.of_point.to(device))

    def mean(self, values: Tensor) -> Tensor:
        """(N, ...) per point -> (V, ...) mean over the points of each voxel, float32."""
        check(
            len(values) == len(self.of_point),
            f"found values of {len(values)} points and voxels of {len(self.of_point)}; expected the same",
        )
        flat = values.reshape(len(values), -1)
        return self.mean_of(lambda point: flat[point], flat.shape[1]).reshape(len(self), *values.shape[1:])

    def mean_of(self, channels: Callable[[Tensor], Tensor], count: int) -> Tensor:
        """The mean over the points of each voxel of channels that are made for some points at a time.

        Args:
            channels: gives (n, C) for points (n,) int64.
            count: C.

        Returns:
            (V, C) float32; no array of all points and channels is made for it.
        """
        point, start = self.grouped
        total = torch.empty(len(self), count, device=point.device)
        for first in range(0, len(self), _VOXELS):
            some = start[first : first + _VOXELS + 1]
            begin, end = int(some[0]), int(some[-1])
            total[first : first + _VOXELS] = _means(
                channels(point[begin:end]).to(torch.float32), some[:-1] - begin
            )
        return total

    @cached_property
    def grouped(self) -> tuple[Tensor, Tensor]:
        """(N,) int64 the points, voxel after voxel, and (V + 1,) where each voxel's start."""

        def look_up(of_point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            size = np.bincount(of_point, minlength=len(self))
            return stable_order(of_point), np.append(0, size.cumsum())

        point, start = crossing(look_up, self.of_point)
        return point, start

    def to_points(self, values: Tensor) -> Tensor:
        """(V, ...) per voxel -> (N, ...): each point takes the value of its voxel."""
        return values[self.of_point]


@dataclass(frozen=True, eq=False, repr=False)
class Affinity(Movable):
    """The neighbours of each voxel and their weights.

    Attributes:
        neighbor: (V, K) int voxel indices, self excluded.
        weight: (V, K) float32, rows sum to 1.
    """

    neighbor: Tensor
    weight: Tensor

    def __post_init__(self) -> None:
        check(self.neighbor.shape == self.weight.shape, "one weight per neighbour")

    def __repr__(self) -> str:
        return f"Affinity({len(self.neighbor):,} voxels, {self.neighbor.shape[1]} neighbours each)"

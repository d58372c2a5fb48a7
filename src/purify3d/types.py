"""Every noun of the package: frozen, validated when made, with shapes and units in the docstring.

numpy on the disk side (Camera, Frame), torch from PointCloud on. Letters used everywhere: N points,
V voxels, K neighbours, D feature channels, R stored channels, C labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from purify3d.errors import LabelError, SpaceMismatchError

#: Label of a point that has none.
NO_LABEL = -1


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without lens distortion.

    Attributes:
        fx, fy, cx, cy: focal lengths and principal point in pixels; integer coordinates are pixel centres.
        width, height: image size in pixels.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def __post_init__(self) -> None:
        finite = np.isfinite([self.fx, self.fy, self.cx, self.cy]).all()
        _check(bool(finite) and self.fx > 0 and self.fy > 0, f"focal lengths must be positive, found {self}")
        _check(self.width > 0 and self.height > 0, f"an image has at least one pixel, found {self}")


@dataclass(frozen=True)
class Frame:
    """One posed RGB-D view. Images are read when asked for, so a capture of any length costs no memory.

    Attributes:
        name: what the frame is called in its capture.
        camera, depth_camera: of the colour and of the depth image; sizes may differ, the pose is shared.
        world_from_camera: (4, 4) float64, OpenCV axes (x right, y down, z forward), metres.
        color: () -> (H, W, 3) uint8 RGB.
        depth: () -> (h, w) float32, metres along z, 0 = none.
        label: () -> (h, w) int32 truth ids in the depth camera, -1 = none; None: the capture has no truth.
        turns: quarter turns counter-clockwise, already in everything above, since the capture's own files.
    """

    name: str
    camera: Camera
    depth_camera: Camera
    world_from_camera: np.ndarray
    color: Callable[[], np.ndarray]
    depth: Callable[[], np.ndarray]
    label: Callable[[], np.ndarray] | None = None
    turns: int = 0

    def __post_init__(self) -> None:
        pose = self.world_from_camera
        _check(pose.shape == (4, 4), f"world_from_camera must be (4, 4), found {pose.shape}")
        _check(bool(np.isfinite(pose).all()), f"frame {self.name}: the pose is not finite")


@dataclass(frozen=True)
class PointCloud:
    """Points of a scan in world coordinates.

    Attributes:
        xyz: (N, 3) float32, metres.
        rgb: (N, 3) uint8.
        normal: (N, 3) float32, unit length, towards the side the cameras were on; zero where unknown.
        label: (N,) int32 truth ids, -1 = none.
    """

    xyz: Tensor
    rgb: Tensor
    normal: Tensor
    label: Tensor

    def __post_init__(self) -> None:
        n = len(self.xyz)
        for name, shape, dtype in (
            ("xyz", (n, 3), torch.float32),
            ("rgb", (n, 3), torch.uint8),
            ("normal", (n, 3), torch.float32),
            ("label", (n,), torch.int32),
        ):
            value: Tensor = getattr(self, name)
            _check(
                tuple(value.shape) == shape and value.dtype == dtype,
                f"{name} must be {shape} {dtype}, found {tuple(value.shape)} {value.dtype}",
            )

    def __len__(self) -> int:
        return len(self.xyz)


@dataclass(frozen=True)
class Scene:
    """A capture: posed frames, and the points they see.

    Attributes:
        name: for people.
        frames: in capture order.
        up: (3,) float64 unit vector in the world, against gravity.
        points: the cloud to label; None until `surface.with_points` has made or read one.
        truth: names of the truth label ids, empty where the capture has no truth.
        skipped: frames left out because their pose was not finite.
    """

    name: str
    frames: tuple[Frame, ...]
    up: np.ndarray
    points: PointCloud | None = None
    truth: Mapping[int, str] = field(default_factory=dict)
    skipped: int = 0

    def cloud(self) -> PointCloud:
        """The points.

        Raises:
            ValueError: the scene has none yet.
        """
        if self.points is None:
            raise ValueError("the scene has no points yet; call with_points(scene) first")
        return self.points


@dataclass(frozen=True)
class FeatureSpace:
    """Where features live. Features may be compared only if their ids agree.

    Attributes:
        id: names the model, its weights and its text encoder.
        dim: D.
        logit_scale: the model's own factor from cosine to logit.
        length_is_confidence: an average of this model's features is long where views are sure and agree;
            otherwise lengths say nothing and weigh nothing.
    """

    id: str
    dim: int
    logit_scale: float
    length_is_confidence: bool = False


@dataclass(frozen=True)
class DenseFeatures:
    """What a dense 2D model saw in one image.

    Attributes:
        values: (R, h, w) float; covers the whole image at any resolution.
        basis: (R, D) such that a pixel's feature is `values[:, y, x] @ basis`; None where R = D. A closed-set
            segmenter needs R = its number of classes only.
    """

    values: Tensor
    basis: Tensor | None = None


@dataclass(frozen=True)
class MaskFeatures:
    """What a mask-type 2D model saw in one image.

    Attributes:
        logits: (Q, h, w) float mask logits; cover the whole image at any resolution.
        score: (Q,) how sure each mask is of its best label, 0..1.
        embedding: (Q, D) one feature per mask.
    """

    logits: Tensor
    score: Tensor
    embedding: Tensor


@dataclass(frozen=True)
class PointFeatures:
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
    """

    values: Tensor
    views: Tensor
    space: FeatureSpace
    basis: Tensor | None = None
    length: Tensor | None = None
    gap: Tensor | None = None

    def __post_init__(self) -> None:
        channels = self.values.shape[1] if self.basis is None else self.basis.shape[1]
        _check(channels == self.space.dim, f"features have {channels} channels, their space {self.space.dim}")
        _check(self.views.shape == self.values.shape[:1], "one view count per point")

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
            gap=torch.where(known, self.gap, torch.inf),
        )

    def dense(self) -> Tensor:
        """(N, D) features."""
        return self.values if self.basis is None else self.values @ self.basis

    def norm(self) -> Tensor:
        """(N,) `length`, or the Euclidean length of every feature without forming (N, D)."""
        return factored_norm(self.values, self.basis) if self.length is None else self.length

    def dot(self, text: Tensor) -> Tensor:
        """(N, T) dot products with (T, D) rows, without forming (N, D)."""
        return self.values @ (text if self.basis is None else text @ self.basis.T).T


def factored_norm(values: Tensor, basis: Tensor | None) -> Tensor:
    """Length of `values @ basis` over the last axis: sqrt(v G v) with the (R, R) Gram matrix G."""
    if basis is None:
        return values.norm(dim=-1)
    return ((values @ (basis @ basis.T)) * values).sum(-1).clamp_min(0).sqrt()


@dataclass(frozen=True)
class Voxels:
    """Occupied cells of a regular grid over a cloud.

    Attributes:
        index: (V, 3) int32 cell coordinates, in lexicographic order.
        size: edge in metres.
        origin: (3,) float64 world position of the corner of cell (0, 0, 0).
        of_point: (N,) int64 the voxel of each point.
    """

    index: Tensor
    size: float
    origin: Tensor
    of_point: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def mean(self, values: Tensor) -> Tensor:
        """(N, ...) per point -> (V, ...) mean over the points of each voxel, float32."""
        flat = values.reshape(len(values), -1).to(torch.float32)
        total = flat.new_zeros(len(self), flat.shape[1]).index_add_(0, self.of_point, flat)
        count = torch.bincount(self.of_point, minlength=len(self)).clamp_min(1).to(flat.dtype)
        return (total / count[:, None]).reshape(len(self), *values.shape[1:])

    def to_points(self, values: Tensor) -> Tensor:
        """(V, ...) per voxel -> (N, ...): each point takes the value of its voxel."""
        return values[self.of_point]


@dataclass(frozen=True)
class Affinity:
    """How much each voxel listens to each of its neighbours.

    Attributes:
        neighbor: (V, K) int voxel indices, self excluded.
        weight: (V, K) float32, rows sum to 1.
    """

    neighbor: Tensor
    weight: Tensor

    def __post_init__(self) -> None:
        _check(self.neighbor.shape == self.weight.shape, "one weight per neighbour")


@dataclass(frozen=True)
class Vocabulary:
    """The labels that were asked for.

    Attributes:
        names: (C,) what each label is called; the position is the label's index everywhere.
        synonyms: (C,) all wordings of each label, its name first.
    """

    names: tuple[str, ...]
    synonyms: tuple[tuple[str, ...], ...]

    @classmethod
    def parse(cls, labels: Labels) -> Vocabulary:
        """From `"sofa|couch, table"` or `["sofa|couch", "table"]`; a bar joins synonyms of one label.

        Raises:
            LabelError: no label, an empty one, or a wording given twice.
        """
        if isinstance(labels, Vocabulary):
            return labels
        items = labels.split(",") if isinstance(labels, str) else list(labels)
        if not "".join(items).strip():
            raise LabelError('found no label; expected names such as "chair, table, sofa|couch"')
        synonyms = tuple(tuple(" ".join(word.split()) for word in item.split("|")) for item in items)
        seen: set[str] = set()
        for position, words in enumerate(synonyms):
            for word in words:
                if not word:
                    raise LabelError(
                        f"label {position + 1} of {len(items)} is empty (found {items[position]!r}); "
                        "remove the extra comma or bar"
                    )
                if word.lower() in seen:
                    raise LabelError(f"label {word!r} was given twice; every wording may stand once")
                seen.add(word.lower())
        return cls(tuple(words[0] for words in synonyms), synonyms)

    def __len__(self) -> int:
        return len(self.names)


#: What a list of labels may be given as.
Labels = str | Sequence[str] | Vocabulary


@dataclass(frozen=True)
class TextBank:
    """A vocabulary in the words of one model.

    Attributes:
        vocabulary: C labels.
        embedding: (T, D) float32, unit rows, one per wording.
        owner: (T,) int64, the label of each wording.
        space: what the embeddings may be compared with.
    """

    vocabulary: Vocabulary
    embedding: Tensor
    owner: Tensor
    space: FeatureSpace

    def check_space(self, space: FeatureSpace) -> None:
        """
        Raises:
            SpaceMismatchError: features of this space cannot be compared with these words.
        """
        if space.id != self.space.id:
            raise SpaceMismatchError(
                f"found features of {space.id!r} and text embeddings of {self.space.id!r}, expected one "
                "model for both; use the backbone that the features were lifted with, or lift again"
            )

    def best(self, scores: Tensor) -> Tensor:
        """(..., T) scores per wording -> (..., C): a label is as good as its best wording."""
        if len(self.owner) == len(self.vocabulary):
            return scores
        columns = [scores[..., self.owner == c].amax(-1) for c in range(len(self.vocabulary))]
        return torch.stack(columns, -1)


@dataclass(frozen=True)
class Segmentation:
    """A label for every point.

    Attributes:
        label: (N,) int32 index into the vocabulary, -1 = none of these.
        score: (N,) float32 mean cosine of the pooled features to the label, -1..1.
        vocabulary: what was asked.
    """

    label: Tensor
    score: Tensor
    vocabulary: Vocabulary

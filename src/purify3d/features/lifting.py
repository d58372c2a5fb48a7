"""From posed images to one feature per point (GeoPurify, section 3.1): what each image says of which points.

How views of a point become one feature is in `fusing`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import embedding_bag, grid_sample

from purify3d.backbones import (
    Backbone,
    ImageBackbone,
    PointBackbone,
    embed_vocabulary,
    failures_named,
    no_words,
)
from purify3d.base.devices import crossing, falling_back
from purify3d.base.errors import BackboneError, CaptureError, LabelError, PurifyWarning
from purify3d.base.progress import Progress, silent
from purify3d.features.codec import only_words, words_basis
from purify3d.features.config import LiftConfig
from purify3d.features.frustum import FrustumIndex
from purify3d.features.fusing import Finish, View, fuse_consensus, fuse_mean
from purify3d.grid.neighbors import nearest_known
from purify3d.grid.projection import map_pixels, project
from purify3d.types import (
    Camera,
    DenseFeatures,
    FeatureSpace,
    Frame,
    Labels,
    MaskFeatures,
    PointCloud,
    PointFeatures,
    Scene,
    TextEmbeddings,
    factored_norm,
)

_COPIED = 1 << 16  # points that no frame saw whose features are copied at a time
_AT_ONCE = 1 << 19  # values of masks at pixels that are compared at a time: 2 MB


def visible_points(xyz: Tensor | FrustumIndex, frame: Frame, config: LiftConfig) -> tuple[Tensor, Tensor]:
    """Which of (N, 3) points a frame sees, and where.

    Visibility is decided at the nearest pixel of the depth image; the feature will be sampled at the nearest
    pixel of the colour image. The margin holds in both.

    Args:
        xyz: where many frames look at the same points, `FrustumIndex.of(xyz)`: each then looks only at those
            before it. The result is the same.

    Returns:
        point (n,) int64, ascending, and pixel (n, 2) int64 (column, row) in the colour image.
    """
    margin = round(config.margin * frame.depth_camera.width / frame.camera.width)
    point, uv = measured_points(xyz, frame, config.tolerance, margin)
    inside, pixel = _nearest_pixel(
        map_pixels(uv, frame.depth_camera, frame.camera), frame.camera, config.margin
    )
    return point[inside], pixel[inside]


def measured_points(
    xyz: Tensor | FrustumIndex, frame: Frame, tolerance: float, margin: int
) -> tuple[Tensor, Tensor]:
    """Which of (N, 3) points lie at the depth that a frame measured there.

    Args:
        xyz: the points, or `FrustumIndex` of them.
        tolerance: share of the measured depth; margin: pixels at the border of the depth image not used.

    Returns:
        point (n,) int64, ascending, and uv (n, 2) float in the depth image, inside it also when rounded.
    """
    camera, depth, number = frame.depth_camera, frame.depth(), None
    if isinstance(xyz, FrustumIndex):
        farthest = float(np.fmax.reduce(depth, axis=None)) * (1 + tolerance)  # passes over nan
        number, xyz = xyz.before(camera, frame.world_from_camera, farthest)
    uv, z = project(xyz, camera, frame.world_from_camera)
    # Most points of a scene are out of sight: a coarse test first keeps the exact one small.
    u, v = uv.unbind(1)
    point = torch.nonzero((z > 0) & (u > -1) & (u < camera.width) & (v > -1) & (v < camera.height)).squeeze(1)
    uv, z = uv[point], z[point]
    inside, pixel = _nearest_pixel(uv, camera, margin)
    measured = torch.from_numpy(depth).to(xyz.device)[pixel[:, 1], pixel[:, 0]]
    seen = inside & ((measured - z).abs() <= tolerance * measured)
    point, uv = point[seen], uv[seen]
    if number is None:
        return point, uv
    point, order = number[point].sort()
    return point, uv[order]


def _nearest_pixel(uv: Tensor, camera: Camera, margin: int) -> tuple[Tensor, Tensor]:
    """Round uv to pixels; which lie at least `margin` inside the image. Outside, the pixel is the first."""
    limit = uv.new_tensor([camera.width - margin, camera.height - margin])
    rounded = uv.round()
    inside = ((rounded >= margin) & (rounded < limit)).all(1)
    return inside, torch.where(inside[:, None], rounded, 0).long()


@falling_back
def sample(maps: Tensor, pixel: Tensor, camera: Camera) -> Tensor:
    """Values of (R, h, w) maps at pixels (n, 2) of an image they cover, bilinear: (n, R)."""
    size = pixel.new_tensor([camera.width, camera.height])
    grid = (pixel.to(maps.dtype) + 0.5) / size * 2 - 1
    return grid_sample(maps[None], grid[None, None], padding_mode="border", align_corners=False)[0, :, 0].T


def bicubic(table: Tensor, column: Tensor, row: Tensor, wx: Tensor, wy: Tensor, pixel: Tensor) -> Tensor:
    """(n, Q) values of maps at pixels (n, 2) of a larger image they cover, bicubic.

    Equal to resizing the maps to the image with `interpolate(mode="bicubic", antialias=True)`, as mask-type
    models do, and reading the pixels; without making Q full-size images. A value is a weighted sum of 16.

    Args:
        table: (h w, Q); the others: cells and weights of `cubic_weights`.
    """
    u, v = pixel.unbind(1)
    cell = (row[v][:, :, None] + column[u][:, None, :]).flatten(1)
    weight = (wy[v][:, :, None] * wx[u][:, None, :]).flatten(1)
    return embedding_bag(cell, table, mode="sum", per_sample_weights=weight)


def cubic_weights(maps: Tensor, camera: Camera) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cells of (Q, h, w) maps, counted row by row, and weights for each column and row of an image.

    Returns:
        column (W, 4) and row (H, 4) int32, whose sums are cells, and their weights, as float as the maps.
    """
    height, width = maps.shape[1:]
    column, wx = _cubic_taps(torch.arange(camera.width, device=maps.device), width, camera.width)
    row, wy = _cubic_taps(torch.arange(camera.height, device=maps.device), height, camera.height)
    return column.int(), row.int() * width, wx.to(maps.dtype), wy.to(maps.dtype)


def _cubic_taps(position: Tensor, source: int, target: int) -> tuple[Tensor, Tensor]:
    """The four source cells around each target pixel and their cubic weights (Keys' kernel, a = -0.5).

    Cells outside the map get no weight and the others are renormalised, as antialiased resizing does.
    """
    center = (position.double() + 0.5) * (source / target) - 0.5
    cell = center.floor().long()[:, None] + torch.arange(-1, 3, device=position.device)
    d = (center[:, None] - cell).abs()
    weight = torch.where(d < 1, (1.5 * d - 2.5) * d * d + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2)
    weight = torch.where((cell >= 0) & (cell < source), weight, 0)
    return cell.clamp(0, source - 1), weight / weight.sum(1, keepdim=True)


@falling_back
def _winners(seen: MaskFeatures, pixel: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Of pixels (n, 2) the likeliest mask (n,) int64, and whether they lie on it (n,) bool."""
    table, weights = seen.logits.flatten(1).T.contiguous(), cubic_weights(seen.logits, camera)
    rows, on = [], []
    # Some pixels at a time, so that what is computed for them stays in the cache.
    for some in pixel.split(max(1, _AT_ONCE // table.shape[1])):
        logit = bicubic(table, *weights, some)
        row = logit.sigmoid().mul_(seen.score).argmax(1)
        rows.append(row)
        on.append(logit.gather(1, row[:, None])[:, 0].sigmoid() >= 0.5)
    return torch.cat(rows), torch.cat(on)


def view_of(
    point: Tensor, pixel: Tensor, camera: Camera, seen: DenseFeatures | MaskFeatures, xyz: Tensor
) -> View:
    """What one image says about the points it sees; pixels as from `visible_points`."""
    if isinstance(seen, DenseFeatures):
        return View(
            point,
            torch.arange(len(point), device=point.device),
            sample(seen.values, pixel, camera),
            seen.basis,
        )
    row, on_region = _winners(seen, pixel, camera)
    if not on_region.any():
        return View(point[:0], row[:0], seen.embedding, None)
    if not on_region.all():
        row[~on_region] = row[on_region][_nearest(xyz[point[~on_region]], xyz[point[on_region]])]
    return View(point, row, seen.embedding, None)


def _nearest(query: Tensor, points: Tensor) -> Tensor:
    """For each of (M, 3) positions the nearest of (N, 3) points, (M,) int64, from a tree that is asked once.

    Balancing a tree takes longer than a single look saves.
    """

    def look_up(query: np.ndarray, points: np.ndarray) -> tuple[np.ndarray]:
        return (cKDTree(points, balanced_tree=False).query(query)[1].astype(np.int64),)

    return crossing(look_up, query, points)[0]


def lift(
    scene: Scene,
    backbone: Backbone,
    labels: Labels | TextEmbeddings | None = None,
    config: LiftConfig | None = None,
    *,
    keep: Sequence[TextEmbeddings] = (),
    progress: Progress = silent,
) -> PointFeatures:
    """Look at every frame with a 2D model and give each point of the scene one feature.

    The features lie where the points do; the 2D model has a device of its own.

    Points that no frame saw take the feature of the nearest point that was seen (`views` is 0 there and
    `gap` says how far it came). A backbone that brings features of points is asked for them instead.

    Args:
        scene: with points, as from `with_points`.
        labels: needed only where the words shape the features: for consensus fusion, and for backbones that
            read words (mask-type models).
        keep: of the features nothing is kept but what these wordings see of them, see `only_words`; with
            consensus fusion of masks the features of all points then never exist. Empty: all is kept.

    Raises:
        ValueError: the scene has no points.
        CaptureError: no frame sees any point, or the margin leaves nothing of the images.
        LabelError: labels are needed and there are none.
        BackboneError: the 2D model failed.
    """
    config = config or LiftConfig()
    points = scene.cloud()
    device = points.xyz.device
    keep = [text_embeddings.to(device) for text_embeddings in keep]
    if isinstance(backbone, PointBackbone):
        with failures_named(backbone, f"at the scene {scene.name}"):
            found = backbone.point_features(points, scene.name).to(device)
        if len(found) != len(points) or not found.norm().isfinite().all():
            raise BackboneError(
                f"the 2D model {backbone.space.id} gave {len(found)} features for {len(points)} points, or "
                "some that are not finite; expected a finite one for each"
            )
        return only_words(found, *keep) if keep else found
    if labels is None and (backbone.reads_words or config.fusion == "consensus"):
        raise LabelError("this 2D model or fusion looks for words while lifting, found none; give the labels")
    text_embeddings = no_words(backbone) if labels is None else embed_vocabulary(backbone, labels)
    _check_margin(scene.frames, config.margin)
    views = _Views(scene.frames, points, backbone, text_embeddings, config, progress)
    finish = _seen_by(backbone.space, keep) if keep else None
    if config.fusion == "consensus":
        values, seen, basis = fuse_consensus(
            views, len(points), text_embeddings.to(device), config.top_views, finish
        )
    else:
        values, seen, basis = fuse_mean(views(), len(points), finish)
    if not seen.any():
        raise CaptureError(
            f"none of the {len(points)} points is visible in any of the {len(scene.frames)} frames; expected "
            f"points within {config.tolerance:.0%} of the measured depth. The points, the poses and "
            "the depth must share one world and metres: check the cloud given with --onto, the pose axes and "
            "the depth scale"
        )
    length = values[:, -2] if keep else factored_norm(values, basis)
    if not length.isfinite().all():
        raise BackboneError(
            f"the 2D model {backbone.space.id} gave features that are not finite, or too long for 32-bit "
            "numbers; expected finite ones everywhere. Correct the model, or what it was given"
        )
    source, gap = nearest_known(seen > 0, points.xyz)
    for some in torch.nonzero(seen == 0).squeeze(1).split(_COPIED):
        values[some] = values[source[some]]
    if not keep:
        return PointFeatures(values, seen, backbone.space, basis, gap=gap)
    dots, length, agreement = values[:, :-2], values[:, -2], values[:, -1]
    basis = words_basis(*keep).to(device)
    return PointFeatures(dots, seen, backbone.space, basis, length, gap, agreement)


def _check_margin(frames: Sequence[Frame], margin: int) -> None:
    """
    Raises:
        CaptureError: the margin leaves nothing of any image.

    Warns:
        PurifyWarning: it leaves nothing of some.
    """
    gone = [f for f in frames if 2 * margin >= min(f.camera.width, f.camera.height)]
    if not gone:
        return
    camera = gone[0].camera
    said = (
        f"found --margin {margin}, pixels not used at each border, which leaves nothing of images of "
        f"{camera.width}x{camera.height} ({len(gone)} of {len(frames)} frames); expected less than half "
        "of the shorter side. Give a smaller one"
    )
    if len(gone) == len(frames):
        raise CaptureError(said)
    warnings.warn(said, PurifyWarning, stacklevel=3)


def _seen_by(space: FeatureSpace, words: Sequence[TextEmbeddings]) -> Finish:
    """Makes (n, T + 2) of features: their dot products with T wordings, their lengths and agreement."""

    def finish(values: Tensor, basis: Tensor | None) -> Tensor:
        views = torch.ones(len(values), dtype=torch.int32, device=values.device)
        kept = only_words(PointFeatures(values, views, space, basis), *words)
        return torch.cat([kept.values, kept.norm()[:, None], kept.sure()[:, None]], dim=1)

    return finish


class _Views:
    """All views of a scene, in order, as often as they are called for.

    Mask views are a few hundred rows each and are kept for a second reading; dense ones are as large as the
    cloud and are made again.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        points: PointCloud,
        backbone: ImageBackbone,
        text_embeddings: TextEmbeddings,
        config: LiftConfig,
        progress: Progress,
    ) -> None:
        self._frames, self._points, self._backbone, self._bank = frames, points, backbone, text_embeddings
        self._config, self._progress = config, progress
        self._index = FrustumIndex.of(points.xyz)
        self._kept: dict[int, View] = {}

    def __call__(self) -> Iterator[View]:
        starts = range(0, len(self._frames), self._config.batch)
        for start in self._progress(starts, name="lift", total=len(starts)):
            chosen = range(start, min(start + self._config.batch, len(self._frames)))
            if all(number in self._kept for number in chosen):
                yield from (_unpacked(self._kept[number]) for number in chosen)
                continue
            batch = [self._frames[number] for number in chosen]
            for number, frame, seen in zip(chosen, batch, self._observe(batch), strict=True):
                point, pixel = visible_points(self._index, frame, self._config)
                view = view_of(point, pixel, frame.camera, seen.to(self._points.xyz.device), self._points.xyz)
                if isinstance(seen, MaskFeatures) and self._config.fusion == "consensus":
                    self._kept[number] = _packed(view)
                yield view

    def _observe(self, batch: Sequence[Frame]) -> Sequence[DenseFeatures | MaskFeatures]:
        with failures_named(self._backbone, f"at frame {batch[0].name}"):
            seen = list(self._backbone.observe(batch, self._bank))
        strange = {type(s).__name__ for s in seen if not isinstance(s, DenseFeatures | MaskFeatures)}
        if strange or len(seen) != len(batch):
            what = f"{', '.join(sorted(strange))} among " if strange else ""
            raise BackboneError(
                f"the 2D model {self._backbone.space.id} gave {what}{len(seen)} results for {len(batch)} "
                "frames; expected a DenseFeatures or MaskFeatures for each, as in docs/backbones.md"
            )
        return seen


def _packed(view: View) -> View:
    """Numbers in 6 bytes a point instead of 16."""
    row = view.row.to(torch.int16 if len(view.table) < 2**15 else torch.int32)
    return replace(view, point=view.point.int(), row=row)


def _unpacked(view: View) -> View:
    return replace(view, point=view.point.long(), row=view.row.long())

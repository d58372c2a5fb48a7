"""Pictures of each stage for docs/how-it-works.md: one procedural room, the bundled 2D model.

    python tools/stage_pictures.py [--output docs/images]

Takes about a minute. Run it again when a stage or the drawing changes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from purify3d import affinity, answer, embed_vocabulary, lift, load_backbone, purify, scores, with_points
from purify3d.affinities.config import PurifyConfig
from purify3d.grid.neighbors import spacing
from purify3d.labels.questions import classify
from purify3d.pictures.drawing import paint, shading, visible
from purify3d.pictures.fonts import lettering
from purify3d.pictures.palettes import colors_of_labels, heat_colors
from purify3d.pictures.viewpoints import fit_camera, inside_views
from purify3d.rooms import CLASSES, synthetic_scene
from purify3d.types import Affinity, Camera, DenseFeatures, Frame, PointCloud

ROOM, FRAMES = 7, 32
SIZE = (400, 300)  # of a panel, pixels
HEAD = 28
AFFINITIES = ("uniform", "geometric", "student")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("docs/images"))
    args = parser.parse_args()
    backbone = load_backbone("segmenter:lite")
    text_embeddings = embed_vocabulary(backbone, list(CLASSES))
    scene = with_points(synthetic_scene(ROOM, frames=FRAMES))
    points = scene.cloud()
    features = lift(scene, backbone, text_embeddings)
    said = features.within(0)
    voxels, weights = affinity(points, said, backbone=backbone)
    assert isinstance(weights, Affinity)
    pooled = purify(points, features, backbone=backbone)
    raw, purified = (classify(scores(f, text_embeddings), text_embeddings) for f in (said, pooled))
    (frame,) = inside_views(
        scene.frames, points, purified.colors(), spacing(points.xyz), count=1,
        changed=(raw.label != purified.label).numpy(),
    )  # fmt: skip

    (seen,) = backbone.observe([frame], text_embeddings)  # type: ignore[union-attr]
    assert isinstance(seen, DenseFeatures)
    sheet(
        args.output / "stage-lift.png",
        [
            ("a frame", np.asarray(Image.fromarray(frame.color()).resize(SIZE))),
            ("its depth", heat_colors(depth_shown(frame)).reshape(SIZE[1], SIZE[0], 3)),
            (
                "what the 2D model says",
                labels_of(seen, text_embeddings.embedding, text_embeddings.vocabulary.names),
            ),
            ("fused over all frames: raw", drawn(points, frame, raw.colors(), True)),
        ],
    )
    center = border_voxel(points, voxels.of_point, said.values, frame)
    near = zoomed(frame, points.xyz[voxels.of_point == center].mean(0))
    panels = [("one voxel, marked", marked(points, near, voxels.of_point == center))]
    for name in AFFINITIES:
        config = PurifyConfig(affinity=name, confidence=0.0)
        _, weights = affinity(points, said, config, backbone=backbone)
        assert isinstance(weights, Affinity)
        panels.append(
            (f"its neighbours by weight: {name}", neighbours(points, near, voxels.of_point, weights, center))
        )
    sheet(args.output / "stage-affinity.png", panels)
    found = answer(points, pooled, "somewhere to sit", backbone)
    sheet(
        args.output / "stage-purify.png",
        [
            ("raw", drawn(points, frame, raw.colors(), True)),
            ("purified", drawn(points, frame, purified.colors(), True)),
            (f'asked: "{found.text}"', drawn(points, frame, heat_colors(found.heat.numpy()), True)),
        ],
    )


def sheet(path: Path, panels: Sequence[tuple[str, np.ndarray]]) -> None:
    """Panels side by side, each with a title."""
    image = Image.new("RGB", (len(panels) * SIZE[0], SIZE[1] + HEAD), "white")
    draw = ImageDraw.Draw(image)
    for number, (title, pixels) in enumerate(panels):
        text, font = lettering(title, 16)
        draw.text((number * SIZE[0] + 6, 4), text, fill="black", font=font)
        image.paste(Image.fromarray(pixels), (number * SIZE[0], HEAD))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"wrote {path}")


def drawn(points: PointCloud, frame: Frame, colors: np.ndarray, shaded: bool) -> np.ndarray:
    """The cloud in (N, 3) colours as the frame sees it."""
    camera = fit_camera(frame.camera, *SIZE)
    shown, _ = visible(points, camera, frame.world_from_camera, cull=False)
    image = paint(shown, colors)
    if shaded:
        image = (image * shading(points, shown, frame.world_from_camera)[:, :, None]).round().astype(np.uint8)
    canvas = np.full((SIZE[1], SIZE[0], 3), 255, np.uint8)
    canvas[: image.shape[0], : image.shape[1]] = image
    return canvas


def zoomed(frame: Frame, place: torch.Tensor) -> Frame:
    """The frame with a lens that shows half a metre around a place in the world."""
    pose = frame.world_from_camera
    x, y, z = (place.double().numpy() - pose[:3, 3]) @ pose[:3, :3]
    focal = SIZE[0] / 0.5 * z
    camera = Camera(focal, focal, SIZE[0] / 2 - x / z * focal, SIZE[1] / 2 - y / z * focal, SIZE[0], SIZE[1])
    return replace(frame, camera=camera)


def depth_shown(frame: Frame) -> np.ndarray:
    """(pixels,) depth from 0 (nearest) to 1, at the size of a panel."""
    depth = np.asarray(Image.fromarray(frame.depth()).resize(SIZE, Image.Resampling.NEAREST))
    return (depth / max(float(np.quantile(depth, 0.98)), 1e-6)).clip(0, 1).ravel()


def labels_of(seen: DenseFeatures, embedding: torch.Tensor, names: Sequence[str]) -> np.ndarray:
    """The label that fits each pixel best, as a picture."""
    values = seen.values if seen.basis is None else torch.einsum("rhw,rd->dhw", seen.values, seen.basis)
    best = torch.einsum("dhw,cd->chw", values, embedding).argmax(0).numpy()
    colors = colors_of_labels(best.ravel(), names).reshape(*best.shape, 3)
    return np.asarray(Image.fromarray(colors).resize(SIZE, Image.Resampling.NEAREST))


def border_voxel(points: PointCloud, of_point: torch.Tensor, values: torch.Tensor, frame: Frame) -> int:
    """A voxel in the picture at the border of two things: where what was lifted changes most nearby."""
    camera = fit_camera(frame.camera, *SIZE)
    shown, depth = visible(points, camera, frame.world_from_camera, cull=False)
    best, found = -1.0, 0
    for row in range(SIZE[1] // 2, SIZE[1] - 40, 6):
        for column in range(40, SIZE[0] - 40, 6):
            here, there = shown[row, column], shown[row, column + 8]
            if here < 0 or there < 0 or abs(depth[row, column] - depth[row, column + 8]) > 0.03:
                continue
            a, b = values[here], values[there]
            change = float((a - b).norm() * (a.norm() * b.norm()).sqrt())
            if change > best:
                best, found = change, int(of_point[here])
    return found


def marked(points: PointCloud, frame: Frame, chosen: torch.Tensor) -> np.ndarray:
    """The photo colours with the points near the chosen voxel in pink."""
    colors = points.rgb.numpy().copy()
    center = points.xyz[chosen].mean(0)
    colors[((points.xyz - center).norm(dim=1) < 0.012).numpy()] = (255, 0, 200)
    return drawn(points, frame, colors, False)


def neighbours(
    points: PointCloud, frame: Frame, of_point: torch.Tensor, weights: Affinity, center: int
) -> np.ndarray:
    """Weights of one voxel's neighbours as heat over a pale photo."""
    per_voxel = torch.zeros(int(of_point.max()) + 1)
    per_voxel[weights.neighbor[center].long()] = weights.weight[center]
    weight = per_voxel[of_point]
    colors = (points.rgb.numpy() // 3 + 150).astype(np.uint8)
    counted = (weight > 0).numpy()
    colors[counted] = heat_colors((weight / weight.max()).sqrt().numpy())[counted]
    return drawn(points, frame, colors, False)


if __name__ == "__main__":
    main()

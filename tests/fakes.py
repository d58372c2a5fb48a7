"""What stands in for the real thing where a test looks at something else: 2D models, clouds, frames."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from purify3d.affinities import softmax
from purify3d.backbones.facts import Facts
from purify3d.types import (
    Affinity,
    Camera,
    DenseFeatures,
    FeatureSpace,
    Frame,
    MaskFeatures,
    PointCloud,
    Scene,
    TextEmbeddings,
)

#: Labels of the finished run that tests share, and their names.
LABELS = "wall, floor, chair|stool, table, sofa, cabinet, bed|mattress"
NAMES = ["wall", "floor", "chair", "table", "sofa", "cabinet", "bed"]


def write_scannet(scene: Scene, folder: Path) -> Path:
    """A scene with truth in the layout of ScanNet; ids of truth are counted from 1."""
    for name in ("color", "depth", "label", "pose", "intrinsic"):
        (folder / name).mkdir(parents=True)
    camera = scene.frames[0].camera
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    for kind in ("color", "depth"):
        np.savetxt(folder / "intrinsic" / f"intrinsic_{kind}.txt", matrix)
    for i, frame in enumerate(scene.frames):
        assert frame.label is not None
        Image.fromarray(frame.color()).save(folder / "color" / f"{i}.jpg", quality=95)
        Image.fromarray((frame.depth() * 1000).round().astype(np.uint16)).save(folder / "depth" / f"{i}.png")
        Image.fromarray((frame.label() + 1).astype(np.uint16)).save(folder / "label" / f"{i}.png")
        np.savetxt(folder / "pose" / f"{i}.txt", frame.world_from_camera)
    names = {"0": "unlabeled"} | {str(i + 1): name for i, name in scene.truth.items()}
    (folder / "labels.json").write_text(json.dumps(names))
    return folder


def cloud_of(xyz: Tensor) -> PointCloud:
    """Points (N, 3) of a black cloud without normals and labels."""
    n = len(xyz)
    return PointCloud(xyz, torch.zeros(n, 3).byte(), torch.zeros(n, 3), torch.full((n,), -1).int())


def frames_of(*images: np.ndarray) -> list[Frame]:
    """A frame for each (H, W, 3) uint8 image, at the origin and with empty depth."""
    frames = []
    for number, image in enumerate(images):
        height, width = image.shape[:2]
        camera = Camera(50.0, 50.0, width / 2, height / 2, width, height)
        frames.append(
            Frame(
                name=str(number),
                camera=camera,
                depth_camera=camera,
                world_from_camera=np.eye(4),
                color=lambda image=image: image,
                depth=lambda shape=(height, width): np.zeros(shape, np.float32),
            )
        )
    return frames


def softmax_affinity(
    embedding: Tensor, neighbor: Tensor, sharpness: float = 20.0, *, bias: Tensor | None = None
) -> Affinity:
    """Weights of the neighbours (V, K) of all voxels, at the paper's sharpness."""
    key = softmax.exponent_key(embedding, sharpness, bias)  # by the module, where mutants put another
    return Affinity(neighbor, softmax.softmax_weights(key, neighbor))


class FakeModel:
    """A 2D model that sees in a frame what it is told to, and whose words lie somewhere, always the same.

    Args:
        space: of its features.
        see: what it finds in a frame; None: it is not to be asked.
        words: texts -> (T, D) embeddings; None: unit rows that differ.
    """

    device, dtype = torch.device("cpu"), torch.float32
    facts, reads_words = Facts("dense", "none", 0, "any", "made up"), False

    def __init__(
        self,
        space: FeatureSpace,
        see: Callable[[Frame], DenseFeatures | MaskFeatures] | None = None,
        words: Callable[[Sequence[str]], Tensor] | None = None,
    ) -> None:
        self.space, self._see, self._words = space, see, words

    def encode(self, texts: Sequence[str]) -> Tensor:
        if self._words is not None:
            return self._words(texts)
        dim = self.space.dim
        rows = torch.arange(float(dim * len(texts)), device="cpu").reshape(-1, dim)
        return normalize(rows.cos(), dim=1)

    def observe(
        self, frames: Sequence[Frame], text_embeddings: TextEmbeddings
    ) -> list[DenseFeatures | MaskFeatures]:
        assert self._see is not None, "no frame was to be looked at"
        return [self._see(frame) for frame in frames]

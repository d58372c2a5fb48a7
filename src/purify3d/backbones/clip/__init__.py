"""CLIP and SigLIP of the transformers library as dense models: a text-aligned feature for each patch.

Any checkpoint of type `clip` (Radford et al., 2021; also the conversions of OpenCLIP, MetaCLIP and DFN) or
`siglip` (Zhai et al., "Sigmoid Loss for Language Image Pre-Training", ICCV 2023; the SigLIP 2 of fixed
resolution, arXiv 2502.14786, have this type too). How patches are read is told in readout.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize, pad

from purify3d.backbones.clip.checkpoint import Checkpoint, Family, load_checkpoint
from purify3d.backbones.clip.readout import Attention, clip_patches, siglip_patches
from purify3d.backbones.clip.windows import Grid, blend, corners, patch_grid
from purify3d.backbones.precision import autocast, product_dtype
from purify3d.backbones.pretrained import pretrained_facts
from purify3d.types import DenseFeatures, FeatureSpace, Frame, TextEmbeddings

#: The sentences a name is put into; their mean stands for it. The first is CLIP's, the last OpenScene's.
TEMPLATES = ("a photo of a {}.", "a photo of the {}.", "a {} in a scene.")

_TEXTS = 64  # names encoded at once


@dataclass(frozen=True)
class ClipConfig:
    """How images are looked at.

    Attributes:
        attention: the last attention layer of CLIP, `query` or `self`; without meaning for SigLIP.
        zoom: shorter side of an image over that of the model's input; at 1 it is seen whole in one window.
            More gives a finer grid of patches, in quadratic time.
        batch: windows seen at once.
    """

    attention: Attention = "query"
    zoom: float = 1.0
    batch: int = 16


class Clip:
    """A CLIP or SigLIP as a backbone.

    Images are resized to whole patches, as near to their aspect as those allow, and seen through windows of
    the model's own input size that overlap by half.

    Attributes:
        space: its features; the id has the digest of the weights and how patches are read.
        config: how images are looked at.
        facts: about the model.

    Args:
        dtype: of the image side's products, see `autocast`. Words are always float32.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        family: Family,
        config: ClipConfig,
        *,
        device: str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> None:
        self.config = config
        self._family = family
        self.device = torch.device(device)
        self.dtype = product_dtype(self.device, dtype)
        self._model = checkpoint.model.to(self.device)
        self._tokenizer = checkpoint.tokenizer
        self._resample = Image.Resampling(checkpoint.resample)
        self._mean, self._std = (
            value.to(self.device)[:, None, None] for value in (checkpoint.mean, checkpoint.std)
        )
        vision = self._model.config.vision_config
        self._input, self._patch = int(vision.image_size), int(vision.patch_size)
        self._side = self._input // self._patch
        dim = self._model.config.projection_dim if family == "clip" else vision.hidden_size
        readout = config.attention if family == "clip" else "probe"
        self.space = FeatureSpace(
            f"{family}-{self._patch}-{self._input}-{checkpoint.digest}-{readout}-{config.zoom:g}",
            int(dim),
            float(self._model.logit_scale.exp()),
            length_is_confidence=True,
        )
        self.reads_words = False
        self._shorter = max(self._side, round(self._side * config.zoom))
        size = f"shorter side of the image {self._shorter * self._patch} px"
        self.facts = pretrained_facts(checkpoint.name, f"windows of {self._input}x{self._input}, {size}")
        self._encoded: dict[str, Tensor] = {}

    def observe(self, frames: Sequence[Frame], text_embeddings: TextEmbeddings) -> list[DenseFeatures]:
        """Features (D, h, w) float32 on the CPU of each frame's image, on its grid of patches.

        Each is the mean of unit features, one of every window that sees the patch, so at most 1 long.
        `text_embeddings` are not used.
        """
        images = [frame.color() for frame in frames]
        grids = [patch_grid(image.shape[0], image.shape[1], self._shorter) for image in images]
        pixels = [self._pixels(image, grid) for image, grid in zip(images, grids, strict=True)]
        windows = [(i, corner) for i, grid in enumerate(grids) for corner in corners(grid, self._side)]
        seen: list[list[tuple[Grid, Tensor]]] = [[] for _ in images]
        for start in range(0, len(windows), self.config.batch):
            some = windows[start : start + self.config.batch]
            features = self._features(torch.stack([self._window(pixels[i], corner) for i, corner in some]))
            for (i, corner), values in zip(some, features, strict=True):
                seen[i].append((corner, values))
        return [DenseFeatures(blend(parts, grid)) for parts, grid in zip(seen, grids, strict=True)]

    def _pixels(self, image: np.ndarray, grid: Grid) -> Tensor:
        """(H, W, 3) uint8 -> (3, rows x patch, columns x patch) as the model wants them."""
        rows, columns = grid
        resized = Image.fromarray(image).resize((columns * self._patch, rows * self._patch), self._resample)
        pixels = torch.from_numpy(np.array(resized)).to(self.device).permute(2, 0, 1)
        return (pixels.float() / 255 - self._mean) / self._std

    def _window(self, pixels: Tensor, corner: Grid) -> Tensor:
        """The (3, S, S) input at a corner. An input of 384 pixels in patches of 14 ends in 6 pixels that the
        model does not look at: they are filled with zeros."""
        top, left = (start * self._patch for start in corner)
        length = self._side * self._patch
        rest = self._input - length
        return pad(pixels[:, top : top + length, left : left + length], (0, rest, 0, rest))

    def _features(self, windows: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, D, side, side) float32 unit features on the CPU."""
        with torch.inference_mode(), autocast(self.device, self.dtype):
            if self._family == "clip":
                patches = clip_patches(self._model, windows, self.config.attention)
            else:
                patches = siglip_patches(self._model, windows)
        return normalize(patches.float(), dim=2).mT.unflatten(2, (self._side, self._side)).cpu()

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(T,) names -> (T, D) float32 unit rows on the CPU, the mean over `TEMPLATES`."""
        new = [text for text in dict.fromkeys(texts) if text not in self._encoded]
        for start in range(0, len(new), _TEXTS):
            some = new[start : start + _TEXTS]
            rows = self._sentences([template.format(text) for text, template in product(some, TEMPLATES)])
            means = normalize(rows.unflatten(0, (len(some), -1)).mean(1), dim=1)
            self._encoded.update(zip(some, means, strict=True))
        kept = [self._encoded[text] for text in texts]
        return torch.stack(kept) if kept else torch.empty(0, self.space.dim)

    def _sentences(self, sentences: list[str]) -> Tensor:
        """(S,) sentences -> (S, D) float32 unit rows on the CPU, in float32 throughout."""
        longest = self._model.config.text_config.max_position_embeddings
        options = {"truncation": True, "max_length": longest, "return_tensors": "pt"}
        if self._family == "siglip":
            # Trained on lower-case text without a closing stop, always padded on the right to the full
            # length and without a mask: its text vector is read at the last position, padding or not.
            sentences = [sentence.lower().removesuffix(".") for sentence in sentences]
            options |= {"padding": "max_length", "padding_side": "right"}
        else:
            options |= {"padding": True}
        ids = self._tokenizer(sentences, **options)["input_ids"].to(self.device)
        with torch.inference_mode():
            pooled = self._model.text_model(input_ids=ids).pooler_output
            rows = self._model.text_projection(pooled) if self._family == "clip" else pooled
        return normalize(rows.float(), dim=1).cpu()


def _load(
    family: Family,
    argument: str,
    *,
    device: str = "cpu",
    config: ClipConfig | None = None,
    dtype: torch.dtype | None = None,
) -> Clip:
    """`clip:NAME` or `siglip:NAME`, NAME a folder or a hub id.

    Raises:
        BackboneError, CheckpointError, MissingPackageError: see `load_checkpoint`.
    """
    return Clip(load_checkpoint(argument, family), family, config or ClipConfig(), device=device, dtype=dtype)


#: A folder or hub id such as `openai/clip-vit-large-patch14-336` -> the model, see `_load`.
load_clip = partial(_load, "clip")
#: The same of such as `google/siglip2-large-patch16-384`.
load_siglip = partial(_load, "siglip")

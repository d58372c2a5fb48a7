"""LSeg, a dense model: one feature per pixel (Li et al., "Language-driven Semantic Segmentation", ICLR 2022).

Images are fed as OpenScene's feature extraction does (Peng et al., CVPR 2023), which GeoPurify follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from purify3d.backbones.facts import Facts
from purify3d.backbones.lseg.network import LSegConfig, LSegNetwork
from purify3d.backbones.lseg.weights import load_network
from purify3d.backbones.precision import autocast, product_dtype
from purify3d.backbones.tokenizer import ClipTokenizer, clip_tokenizer
from purify3d.base.checkpoints import file_digest
from purify3d.base.errors import BackboneError
from purify3d.types import DenseFeatures, FeatureSpace, Frame, TextEmbeddings

#: From cosine to logit: a constant in LSeg, not learned.
LOGIT_SCALE = 1 / 0.07

#: Texts encoded at once.
_TEXTS = 256


class LSeg:
    """LSeg as a backbone.

    Attributes:
        space: its features; the id has the digest of the weights.
        window: side in pixels of the square the network sees. The longer side of an image is brought to half
            of it, then doubled, so that the network's maps, of half its input's size, fit the image.
        facts: about the checkpoint.

    Args:
        path: of the checkpoint that the network was loaded from.
        dtype: of the image side's products, see `autocast`. Words are always float32.
    """

    def __init__(
        self,
        network: LSegNetwork,
        tokenizer: ClipTokenizer,
        space: FeatureSpace,
        path: Path,
        *,
        device: str = "cpu",
        window: int = 640,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.reads_words = False
        self.space = space
        self.window = window
        licence = "not stated for the weights (the code is MIT, the training data ADE20K); ask the authors"
        size = f"{window}x{window}, the image's longer side brought to {window} px"
        self.facts = Facts.of_files("dense", licence, size, path)
        self.device = torch.device(device)
        self.dtype = product_dtype(self.device, dtype)
        self._network = network.to(self.device)
        self._tokenizer = tokenizer
        self._encoded: dict[str, Tensor] = {}

    def observe(self, frames: Sequence[Frame], text_embeddings: TextEmbeddings) -> list[DenseFeatures]:
        """Features (512, h, w) float32 on the CPU of each frame's image, max(h, w) = 320.

        They are the sum of the unit features of the image and of its mirror image, so 0 to 2 long, as in
        OpenScene. GeoPurify squeezes every image to 320 x 240; here it keeps its aspect, the same for 4:3.
        """
        return [DenseFeatures(self._features(frame.color())) for frame in frames]

    def _features(self, image: np.ndarray) -> Tensor:
        x = torch.from_numpy(np.array(image, order="C")).to(self.device).permute(2, 0, 1)[None].float()
        half = self.window // 2
        height, width = (max(1, int(side * half / max(image.shape[:2]) + 0.5)) for side in image.shape[:2])
        # In two steps, as officially: what is finer than the final features is not seen.
        for size in ((height, width), (2 * height, 2 * width)):
            x = interpolate(x, size=size, mode="bilinear", align_corners=True)
        x = x / 127.5 - 1
        x = pad(x, (0, self.window - 2 * width, 0, self.window - 2 * height), value=-1.0)  # black
        with autocast(self.device, self.dtype):
            straight, mirrored = self._network(torch.cat([x, x.flip(3)]))
        return (straight + mirrored.flip(2))[:, :height, :width].cpu()

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(T,) names -> (T, 512) float32 unit rows on the CPU. LSeg has no prompt: names are used as is."""
        new = [text for text in dict.fromkeys(texts) if text not in self._encoded]
        for start in range(0, len(new), _TEXTS):
            some = new[start : start + _TEXTS]
            ids = self._tokenizer(some, pad=0).to(self.device)
            self._encoded.update(zip(some, self._network.encode_text(ids).cpu(), strict=True))
        kept = [self._encoded[text] for text in texts]
        return torch.stack(kept) if kept else torch.empty(0, self.space.dim)


def load(argument: str, *, device: str = "cpu", dtype: torch.dtype | None = None) -> LSeg:
    """LSeg from the official Lightning checkpoint.

    Args:
        argument: path of the checkpoint (`demo_e200.ckpt`).
        dtype: see `LSeg`.

    Raises:
        BackboneError: no such file, or no CLIP vocabulary.
        CheckpointError: the file is not this model's checkpoint.
        MissingPackageError: the package `tokenizers` is not installed.
    """
    path = Path(argument).expanduser()
    if not path.is_file():
        raise BackboneError(
            f"found no file {path}; expected lseg:PATH with the path of the official LSeg checkpoint "
            "(demo_e200.ckpt, from the repository isl-org/lang-seg)"
        )
    tokenizer = clip_tokenizer()
    config = LSegConfig()
    network = load_network(path, config)
    space = FeatureSpace(
        f"lseg-vitl16-{file_digest(path)}", config.dim, LOGIT_SCALE, length_is_confidence=True
    )
    return LSeg(network, tokenizer, space, path, device=device, dtype=dtype)

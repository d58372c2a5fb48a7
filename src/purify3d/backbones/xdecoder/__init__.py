"""X-Decoder (Zou et al., "Generalized Decoding for Pixel, Image, and Language", CVPR 2023), mask-type.

`xdecoder:PATH`, where PATH is the published checkpoint `xdecoder_focall_last.pt`. Written anew in plain
PyTorch; the numbers agree with the published implementation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from purify3d.backbones.facts import Facts
from purify3d.backbones.precision import autocast, product_dtype
from purify3d.backbones.tokenizer import END, clip_tokenizer
from purify3d.backbones.xdecoder.checkpoint import read_network
from purify3d.backbones.xdecoder.config import XDecoderConfig
from purify3d.backbones.xdecoder.layers import unit
from purify3d.backbones.xdecoder.network import STRIDE, XDecoder, padded_batch, padded_size
from purify3d.backbones.xdecoder.prompts import BACKGROUND, class_text, sentences
from purify3d.types import FeatureSpace, Frame, MaskFeatures, TextEmbeddings

_LONG_SIDE = 640  # pixels; about what GeoPurify shows the network


def load(argument: str, *, device: str = "cpu", dtype: torch.dtype | None = None) -> XDecoderBackbone:
    """The model in a checkpoint file; see `XDecoderBackbone` for the dtype.

    Raises:
        BackboneError: there is no such file, or no CLIP vocabulary.
        CheckpointError: the file is not the whole of X-Decoder Focal-L.
        MissingPackageError: the tokeniser's package is not installed.
    """
    path = Path(argument).expanduser()
    return XDecoderBackbone(read_network(path, XDecoderConfig()), path, device=device, dtype=dtype)


class XDecoderBackbone:
    """Masks with an embedding each. Whatever the device, what comes out is float32 on the CPU.

    Attributes:
        space: its features; the id has a digest of the weights.
        facts: about the checkpoint.

    Args:
        path: of the checkpoint that the network was loaded from.
        dtype: of the image side's products, see `autocast`. Words are always float32.
    """

    def __init__(
        self, network: XDecoder, path: Path, *, device: str = "cpu", dtype: torch.dtype | None = None
    ) -> None:
        size = f"longer side about {_LONG_SIDE} px"
        self.facts = Facts.of_files("mask-type", "Apache-2.0", size, path)
        self.reads_words = True
        self.device = torch.device(device)
        self.dtype = product_dtype(self.device, dtype)
        self._network = network.to(self.device).eval()
        self._tokenize = clip_tokenizer()
        self._known: dict[str, Tensor] = {}
        predictor = network.sem_seg_head.predictor
        # The two matrices that lead into the shared space tell one set of weights from another.
        digest = hashlib.sha256()
        for weight in (predictor.class_embed, predictor.lang_encoder.lang_proj):
            digest.update(weight.detach().cpu().numpy().tobytes())
        self.space = FeatureSpace(
            id=f"xdecoder:{digest.hexdigest()[:12]}",
            dim=network.config.embedding_dim,
            logit_scale=float(predictor.lang_encoder.logit_scale.detach().exp()),
        )

    @torch.no_grad()
    def observe(self, frames: Sequence[Frame], text_embeddings: TextEmbeddings) -> list[MaskFeatures]:
        """All object queries of every frame, whose masks cover exactly its image at a quarter of `resize`d.

        A mask's score is its best probability among the labels and "background", for which there is
        no score. Images are batched only with others of their padded size, so that an image's features do not
        depend on its company (the network sees its padding).

        Raises:
            SpaceMismatchError: the text_embeddings was embedded by another model.
        """
        text_embeddings.check_space(self.space)
        pixels = [resize(frame.color()) for frame in frames]
        groups: dict[tuple[int, int], list[int]] = {}
        for number, image in enumerate(pixels):
            groups.setdefault(padded_size(*image.shape[1:]), []).append(number)
        words = torch.cat([text_embeddings.embedding, self._embed(BACKGROUND)[None]])
        result: dict[int, MaskFeatures] = {}
        for numbers in groups.values():
            batch = padded_batch([pixels[number].to(self.device) for number in numbers])
            with autocast(self.device, self.dtype):
                prediction = self._network(batch)
            for number, embedding, masks in zip(numbers, *prediction, strict=True):
                height, width = pixels[number].shape[1:]
                objects = embedding[:-1].float().cpu()  # the last query is the class token
                logits = masks[:-1, : height // STRIDE, : width // STRIDE].float().cpu()
                result[number] = MaskFeatures(logits, self._score(objects, words, text_embeddings), objects)
        return [result[number] for number in range(len(frames))]

    def _score(self, objects: Tensor, words: Tensor, text_embeddings: TextEmbeddings) -> Tensor:
        """Best label probability (Q,) of embeddings (Q, D); the last of the words is the background."""
        logits = self.space.logit_scale * (unit(objects) @ words.T)
        classes = torch.cat([text_embeddings.best(logits[:, :-1]), logits[:, -1:]], dim=1)
        return classes.softmax(1)[:, :-1].amax(1)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(T,) labels -> (T, D) float32 unit rows: the mean over 81 sentences about "a LABEL in a scene"."""
        return torch.stack([self._embed(class_text(text)) for text in texts])

    @torch.no_grad()
    def _embed(self, text: str) -> Tensor:
        """(D,) of a class text, kept for the next time."""
        if text not in self._known:
            ids = self._tokenize(sentences(text), pad=END).to(self.device)
            rows = unit(self._network.sem_seg_head.predictor.lang_encoder(ids))
            self._known[text] = normalize(rows.mean(0), dim=0).cpu()
        return self._known[text]


def resize(image: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (3, h, w) float32 of whole values 0..255, at the size the network sees.

    Sides are divided by the whole number that brings the longer one closest to 640 pixels, and rounded to
    multiples of 4, so that mask cells tile the image exactly: ScanNet's 1296x968 become GeoPurify's 648x484,
    Matterport3D's 1280x1024 its 640x512. Smaller images keep their size. Bilinear as in GeoPurify's loader;
    beyond a half, where that would skip pixels, all pixels under a new one are weighed.
    """
    factor = max(1, round(max(image.shape[:2]) / _LONG_SIDE))
    size = [max(1, round(side / factor / STRIDE)) * STRIDE for side in image.shape[:2]]
    # A copy, because turned images have negative strides and images of files may be read-only.
    pixels = torch.tensor(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    small = interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=factor > 2)
    return (small[0] + 0.5).floor()  # the loader rounds a half up

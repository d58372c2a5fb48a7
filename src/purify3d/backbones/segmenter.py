"""Any closed-set segmenter, opened to any words by a sentence encoder.

A pixel's feature is the posterior-weighted sum of the sentence embeddings of its likeliest class names
(ConSE, Norouzi et al., ICLR 2014). "couch" then finds what the segmenter calls "sofa", and "somewhere to
sleep" leans to the bed, though the segmenter knows neither wording.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from purify3d.backbones.facts import Facts
from purify3d.backbones.sentences import BUNDLED, load_sentence_encoder
from purify3d.base.checkpoints import file_digest
from purify3d.base.errors import BackboneError
from purify3d.types import DenseFeatures, FeatureSpace, Frame, TextEmbeddings

_LIKELIEST = 5  # classes that speak for a pixel
# Class names that say nothing: their share of the posterior makes a feature shorter, not wrong.
_NOTHING = {"other", "others", "background", "unlabeled", "unlabelled", "unknown", "void", "ignore"}

Logits = Callable[[Sequence[np.ndarray]], Sequence[Tensor]]


def load(argument: str, *, device: str = "cpu", sentences: str = BUNDLED) -> Segmenter:
    """`lite`, `FILE.tflite`, a folder, or a hub id, which `@REVISION` may follow.

    Args:
        sentences: the encoder of names and words, see `load_sentence_encoder`.

    Raises:
        BackboneError, CheckpointError, MissingPackageError: as the provider or the sentence encoder says.
    """
    logits: Logits
    if argument == "lite":
        from purify3d.backbones.lite import CARD, TRAINED_SIZE, WEIGHTS, lite_logits

        logits, names = lite_logits(device)
        size = f"longer side {TRAINED_SIZE} px"
        facts = Facts.of_files("dense", "Apache-2.0", size, WEIGHTS, CARD)
        id = f"lite@{file_digest(WEIGHTS)}"
    elif argument.endswith(".tflite"):
        from purify3d.backbones.tflite import TfliteSegmenter

        path, device = Path(argument), "cpu"
        if not path.is_file():
            raise BackboneError(f"found no file {argument}; expected a TensorFlow Lite segmenter")
        logits = tflite = TfliteSegmenter(path)
        id, names, facts = f"{path.name}@{file_digest(path)}", tflite.names, tflite.facts
    else:
        from purify3d.backbones.hub import HubSegmenter

        logits = hub = HubSegmenter(argument, device=device)
        id, names, facts = hub.id, hub.names, hub.facts
    return Segmenter(id, logits, names, facts, sentences=sentences, device=device)


class Segmenter:
    """Dense features from class logits and class names.

    Attributes:
        space: of the sentence encoder, marked with the segmenter: features of two segmenters share the
            encoder's geometry, but their errors differ, and a run should not mix them unnoticed.
        names: (C,) the class names in the words of the encoder.
        facts: about the segmenter; the sentence encoder beside it is all-MiniLM-L6-v2 (Apache-2.0, 91 MB),
            unless another is named.

    Args:
        id: of the segmenter and its weights.
        logits: images -> (C, h, w) each, which cover exactly the whole image.
        sentences: the encoder of names and words, see `load_sentence_encoder`.
        device: where `logits` computes.
    """

    def __init__(
        self,
        id: str,
        logits: Logits,
        names: Sequence[str],
        facts: Facts,
        *,
        sentences: str = BUNDLED,
        device: str = "cpu",
    ) -> None:
        self.device, self.dtype = torch.device(device), torch.float32
        self.names = tuple(spoken(name) for name in names)
        self.facts = replace(facts, channels=len(self.names))
        self._logits = logits
        self.reads_words = False
        self._encode = load_sentence_encoder(sentences)
        self._speaking = [i for i, name in enumerate(self.names) if name not in _NOTHING]
        self._basis = self.encode([self.names[i] for i in self._speaking])
        self.space = FeatureSpace(
            f"segmenter:{id}+{self._encode.id}",
            self._basis.shape[1],
            logit_scale=20.0,
            length_is_confidence=True,
        )

    def observe(self, frames: Sequence[Frame], text_embeddings: TextEmbeddings) -> list[DenseFeatures]:
        """Features at the resolution of the segmenter's output, R = number of classes with a name that says
        something; `text_embeddings` is not used."""
        seen = self._logits([frame.color() for frame in frames])
        return [DenseFeatures(likeliest(logits.softmax(0))[self._speaking], self._basis) for logits in seen]

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(T, D) unit rows of "a NAME", the wording in which a sentence encoder places things best."""
        return self._encode([f"a {text}" for text in texts])


def spoken(name: str) -> str:
    """A data set's class name as one would say it: first synonym, spaces, lower case."""
    return name.split(";")[0].split(",")[0].replace("_", " ").replace("-", " ").strip().lower()


def likeliest(posterior: Tensor) -> Tensor:
    """(C, h, w) posterior -> the same with only the `_LIKELIEST` classes of each pixel, summing to 1."""
    count = min(_LIKELIEST, len(posterior))
    value, index = posterior.topk(count, dim=0)
    return torch.zeros_like(posterior).scatter_(0, index, value / value.sum(0, keepdim=True))

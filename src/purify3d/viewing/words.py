"""Words in the language of a model, for several clients at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from purify3d.backbones import Backbone, embed_vocabulary
from purify3d.types import TextEmbeddings

_KEPT = 256  # questions whose embeddings are kept


class Words:
    """A text encoder that is asked by one thread at a time and remembers what it said."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self.space, self.facts = backbone.space, backbone.facts
        self._lock = threading.RLock()
        self._embedded = lru_cache(maxsize=_KEPT)(lambda text: embed_vocabulary(self, [text]))

    def encode(self, words: Sequence[str]) -> Tensor:
        """(T, D) unit rows, as the model gives them.

        Raises:
            LabelError, BackboneError: as the model's own `encode`.
        """
        with self._lock, torch.no_grad():
            return self._backbone.encode(words)

    def embed(self, text: str, wanted: Callable[[], bool] = lambda: True) -> TextEmbeddings | None:
        """A question as words of the model; the same text gives the same text_embeddings.

        Args:
            wanted: asked when it is this text's turn; None is returned where it is wanted no longer.

        Raises:
            LabelError: no words, or none that the model knows.
            BackboneError: see `embed_vocabulary`.
        """
        with self._lock:
            return self._embedded(text) if wanted() else None

"""Words in the language of a model, for several clients at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from purify3d.backbones import Backbone, embed_vocabulary
from purify3d.types import TextEmbeddings

_KEPT = 256  # lists of words whose embeddings are kept


class Words:
    """A text encoder that is asked by one thread at a time and remembers what it said."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self.space, self.facts = backbone.space, backbone.facts
        self._lock = threading.RLock()
        self._known: OrderedDict[tuple[str, ...], Tensor] = OrderedDict()
        self._embedded: OrderedDict[str, TextEmbeddings] = OrderedDict()

    def encode(self, words: Sequence[str]) -> Tensor:
        """(T, D) unit rows, as the model gives them.

        Raises:
            LabelError, BackboneError: as the model's own `encode`.
        """
        key = tuple(words)
        with self._lock:
            if key not in self._known:
                with torch.no_grad():
                    self._known[key] = self._backbone.encode(list(words))
            self._known.move_to_end(key)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
            return self._known[key]

    def embed(self, text: str, wanted: Callable[[], bool] = lambda: True) -> TextEmbeddings | None:
        """A question as words of the model; the same text gives the same text_embeddings.

        Args:
            wanted: asked when it is this text's turn; None is returned where it is wanted no longer.

        Raises:
            LabelError: no words, or none that the model knows.
            BackboneError: see `embed_vocabulary`.
        """
        with self._lock:
            if not wanted():
                return None
            if text not in self._embedded:
                self._embedded[text] = embed_vocabulary(self, [text])
            self._embedded.move_to_end(text)
            while len(self._embedded) > _KEPT:
                self._embedded.popitem(last=False)
            return self._embedded[text]

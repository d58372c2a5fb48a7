"""Words in the space of stored features."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn.functional import normalize

from purify3d.backbones import Backbone, load_backbone
from purify3d.base.arrays import load_array
from purify3d.base.errors import BackboneError, CaptureError, LabelError

#: Files a table of words may lie in.
TABLES = ("text.npz", "text.safetensors")


class StoredText:
    """A table of words, and a text encoder for those that are not in it. Case and blanks do not matter.

    Args:
        table: name -> (D,) unit row.
        encoder: the backbone whose `encode` is used, loaded when it is needed; None: only the table.
    """

    def __init__(self, table: Mapping[str, Tensor], encoder: str | None, dim: int, device: str) -> None:
        self._rows = {_key(name): row for name, row in table.items()}
        self._names = tuple(table)
        self._encoder = encoder
        self._loaded: Backbone | None = None
        self._dim, self._device = dim, device

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(T,) names -> (T, D) float32 unit rows.

        Raises:
            LabelError: words that are not in the table, and no text encoder is named.
            BackboneError: the named text encoder cannot be loaded or is of another dimension.
        """
        missing = [text for text in dict.fromkeys(texts) if _key(text) not in self._rows]
        if missing:
            rows = self._encode(missing)
            self._rows.update(zip(map(_key, missing), rows, strict=True))
        return torch.stack([self._rows[_key(text)] for text in texts]) if texts else torch.empty(0, self._dim)

    def _encode(self, texts: Sequence[str]) -> Tensor:
        if self._encoder is None:
            known = ", ".join(self._names[:40]) + (", ..." if len(self._names) > 40 else "")
            raise LabelError(
                f"found no embedding of {', '.join(map(repr, texts))}; expected words among the "
                f"{len(self._names)} stored beside the features: {known}. Use these, add others to the "
                'table, or name a text encoder in space.json, as in "text": "clip:HUB_ID"'
            )
        if self._loaded is None:
            self._loaded = load_backbone(self._encoder, device=self._device)
        if self._loaded.space.dim != self._dim:
            raise BackboneError(
                f"the text encoder {self._encoder!r} has {self._loaded.space.dim} channels, the stored "
                f"features {self._dim}; expected the text side of the model that made the features"
            )
        return self._loaded.encode(texts)


def read_table(path: Path, dim: int) -> dict[str, Tensor]:
    """name -> (D,) float32 unit row, from one of `TABLES`.

    Raises:
        BackboneError: not such a table, or of another dimension.
    """
    try:
        if path.suffix == ".npz":
            names = load_array(path, "names").tolist()
            rows = torch.from_numpy(load_array(path, "embeddings"))
        else:
            with safe_open(path, framework="pt") as stored:
                names, rows = json.loads(stored.metadata()["names"]), stored.get_tensor("embeddings")
    except (CaptureError, OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise BackboneError(
            f"{path} cannot be read ({error!r}); expected 'embeddings' (T, {dim}) and 'names': in text.npz "
            "an array of T strings (not of objects), in text.safetensors metadata, a JSON list"
        ) from error
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise BackboneError(f"{path}: found names that are no list of texts; make it again")
    if rows.shape != (len(names), dim):
        raise BackboneError(
            f"{path}: found {len(names)} names and embeddings of {tuple(rows.shape)}; expected a row "
            f"of {dim} numbers for each name"
        )
    rows = rows.float()
    if not (rows.isfinite().all() and (rows.norm(dim=1) > 0).all()):
        raise BackboneError(f"{path} holds embeddings that are zero or not finite; make it again")
    return dict(zip(names, normalize(rows, dim=1), strict=True))


def _key(name: str) -> str:
    return " ".join(name.split()).lower()

"""Arrays from files of unknown origin, read without running what they may hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from purify3d.base.arrays import array_headers, load_array
from purify3d.base.checkpoints import read_checkpoint
from purify3d.base.errors import BackboneError, CaptureError, CheckpointError

_POINT_KEYS = {"feat", "mask_full"}


def read_array(path: Path) -> Tensor:
    """The one array of a .npy, .npz or .pt file, finite, as stored.

    Raises:
        BackboneError: not one array, or values that are not finite.
    """
    content = read_torch(path) if path.suffix == ".pt" else _read_numpy(path)
    if not isinstance(content, Tensor):
        raise BackboneError(f"{path} holds {_described(content)}; expected one array (D, h, w)")
    return _finite(content, path)


def read_points(path: Path) -> tuple[Tensor, Tensor]:
    """`feat` (M, D) and `mask_full` (N,) bool of a file in OpenScene's layout.

    Raises:
        BackboneError: it is not, or it has values that are not finite.
    """
    content = read_torch(path)
    if not isinstance(content, dict) or set(content) != _POINT_KEYS:
        raise BackboneError(
            f"{path} holds {_described(content)}; expected 'feat' (M, D) and 'mask_full' (N,) and "
            "nothing else, as OpenScene's fusion writes them"
        )
    feature, mask = (torch.as_tensor(content[key]) for key in ("feat", "mask_full"))
    if feature.ndim == 3 and feature.shape[2] == 1:
        feature = feature[..., 0]
    if mask.ndim != 1 or mask.dtype != torch.bool:
        raise BackboneError(f"{path}: found 'mask_full' {tuple(mask.shape)} {mask.dtype}; expected (N,) bool")
    return _finite(feature, path), mask


def read_torch(path: Path) -> Any:
    """What `torch.save` wrote: tensors, numpy arrays and plain containers only.

    Raises:
        BackboneError: anything else.
    """
    rebuild = np.empty(0).__reduce__()[0]
    allowed: list[Any] = [np.ndarray, np.dtype]
    allowed += [type(np.dtype(kind)) for kind in (bool, np.float16, np.float32)]
    # numpy 1 and 2 name the same function differently; its bytes are pickled as encoded text.
    allowed += [(rebuild, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]
    allowed += [(_encode, "_codecs.encode")]
    advice = (
        "Expected a tensor, or a dict of 'feat' and 'mask_full'; objects whose reading runs code are refused"
    )
    try:
        return read_checkpoint(path, advice=advice, allowed=allowed)
    except CheckpointError as error:
        raise BackboneError(str(error)) from error


def _encode(text: str, encoding: str) -> bytes:
    return text.encode(encoding)


def _read_numpy(path: Path) -> Any:
    """A tensor, or the names of what else is inside."""
    try:
        names = array_headers(path)
        return torch.from_numpy(load_array(path)) if len(names) == 1 else dict.fromkeys(names)
    except (CaptureError, OSError, ValueError, TypeError) as error:
        raise BackboneError(f"{path} cannot be read as a numeric array ({error}); write it again") from error


def _described(content: Any) -> str:
    if isinstance(content, dict):
        return ", ".join(map(repr, content)) or "nothing"
    return f"a {type(content).__name__}"


def _finite(values: Tensor, path: Path) -> Tensor:
    if not values.isfinite().all():
        raise BackboneError(f"{path} holds values that are not finite; expected a feature everywhere")
    return values

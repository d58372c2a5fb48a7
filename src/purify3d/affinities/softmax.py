"""Weights of neighbours: a softmax over how alike they are (GeoPurify, section 3.3)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from purify3d.base.progress import Progress, silent
from purify3d.base.threads import in_threads

SHARPNESS = 20.0  # of the paper
# Numbers gathered at a time: on a CPU they stay in the cache, elsewhere they keep the device busy.
_IN_CACHE, _ELSEWHERE = 1 << 20, 1 << 26


def exponent_key(embedding: Tensor, sharpness: float, bias: Tensor | None) -> Tensor:
    """What the weights of neighbours are made from: the softmax of -sharpness/2 |e_i - e_j|^2 + bias_j.

    For unit embeddings this is the paper's softmax of sharpness * cosine (the two differ by a constant per
    row); embeddings of any length are welcome.

    Args:
        embedding: (V, E) float32.
        bias: (V,) added for each neighbour, see `affinities.agreement`; None: nothing.

    Returns:
        (V, E + 1) k and b: up to a constant for each i, the exponent is (k_j, b_j) . (k_i, 1), where
        k = sqrt(s) e and the last column b = bias - |k|^2 / 2.
    """
    scaled = embedding * sharpness**0.5
    own = scaled.square().sum(1, keepdim=True) / -2
    return torch.cat([scaled, own if bias is None else own + bias[:, None]], dim=1)


def softmax_weights(
    key: Tensor, neighbor: Tensor, rows: Tensor | None = None, progress: Progress = silent
) -> Tensor:
    """(M, K) weights of those of `rows` (M,) int64, None: of all, for their neighbours (M, K)."""
    compute = _softmax_on_cpu if key.device.type == "cpu" else softmax_plain
    return compute(key, neighbor, rows, progress)


def softmax_plain(
    key: Tensor, neighbor: Tensor, rows: Tensor | None = None, progress: Progress = silent
) -> Tensor:
    """What other devices compute, and the oracle of `_softmax_on_cpu`: the softmax as one would write it.

    Args:
        key: (V, E + 1) of `exponent_key`; neighbor, rows: see `softmax_weights`.
    """
    count = max(1, _ELSEWHERE // max(1, neighbor.shape[1] * key.shape[1]))
    own = key[:, :-1] if rows is None else key[rows, :-1]
    parts = list(zip(neighbor.split(count), own.split(count), strict=True))
    weight = []
    for near, mine in progress(parts, name="affinity", total=len(parts)):
        others = key[near]
        exponent = (others[:, :, :-1] @ mine[:, :, None]).squeeze(2) + others[:, :, -1]
        weight.append(exponent.softmax(1))
    return torch.cat(weight)


def _softmax_on_cpu(key: Tensor, neighbor: Tensor, rows: Tensor | None, progress: Progress) -> Tensor:
    """`softmax_plain` in parts that stay in the cache, a thread for each at a time.

    Torch would spread every operation on every part over all threads, and these wait for each other after
    each; numpy's take and its product of many small matrices with vectors are faster than torch's here, too.
    """
    weight = np.empty(neighbor.shape, dtype=np.float32)
    keys, near = key.numpy(), neighbor.numpy()
    own = None if rows is None else rows.numpy()
    count = max(1, min(1024, _IN_CACHE // max(1, near.shape[1] * keys.shape[1])))

    def fill(start: int) -> None:
        some = slice(start, start + count)
        mine = keys[some] if own is None else keys[own[some]]
        others = keys.take(near[some], axis=0)
        exponent = np.matmul(others[:, :, :-1], mine[:, :-1, None])[:, :, 0]
        exponent += others[:, :, -1]
        exponent -= exponent.max(axis=1, keepdims=True)
        np.exp(exponent, out=exponent)
        np.divide(exponent, exponent.sum(axis=1, keepdims=True), out=weight[some])

    starts = range(0, len(near) if near.shape[1] else 0, count)
    for _ in progress(in_threads(fill, starts), name="affinity", total=len(starts)):
        pass
    return torch.from_numpy(weight)

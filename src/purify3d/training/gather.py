"""Rows gathered with the same gradient on every call."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor


def gather_rows(values: Tensor, index: Tensor) -> Tensor:
    """`values[index]` for (V, C) float and int64 of any shape, with the same gradient on every call.

    Plain indexing adds up gradients with several threads in any order, so that two trainings of the same seed
    drift apart.
    """
    return _Gather.apply(values, index)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.rows = len(values)
        return values[index]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        flat = index.flatten()
        # Row v of this sparse matrix holds a one for each place that v was taken to, in their order.
        count = torch.bincount(flat, minlength=ctx.rows)
        start = torch.cat([count.new_zeros(1), count.cumsum(0)]).to(torch.int32)
        ones = grad.new_ones(len(flat))
        column, shape = flat.argsort(stable=True).to(torch.int32), (ctx.rows, len(flat))
        with warnings.catch_warnings():
            # torch announces that CSR tensors are in beta, once; the products used here are tested.
            warnings.filterwarnings("ignore", message="Sparse (CSR|invariant)")
            takes = torch.sparse_csr_tensor(start, column, ones, shape, check_invariants=False)
        return takes @ grad.reshape(len(flat), -1), None

"""In what number type the image side of a model computes."""

from __future__ import annotations

import torch


def product_dtype(device: torch.device, dtype: torch.dtype | None = None) -> torch.dtype:
    """The number type of matrix products.

    Args:
        dtype: None: bfloat16 on a GPU that has it, float32 elsewhere. A CPU takes bfloat16 too, but was not
            faster for it where tried (AVX-512 BF16).
    """
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return dtype or (torch.bfloat16 if fast else torch.float32)


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """A context whose matrix products are taken in `dtype`."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)

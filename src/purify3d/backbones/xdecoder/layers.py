"""Parts that the pixel decoder, the query decoder and the text encoder share."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention


def unit(x: Tensor) -> Tensor:
    """Rows of (..., D) divided by their length plus 1e-7, as X-Decoder does it everywhere."""
    return x / (x.norm(dim=-1, keepdim=True) + 1e-7)


class Attention(nn.Module):
    """Multi-head attention with packed input weights (rows: queries, keys, values)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        blocked: Tensor | None = None,
        *,
        causal: bool = False,
    ) -> Tensor:
        """(B, M, C) queries look at (B, N, C) keys and values -> (B, M, C).

        Args:
            blocked: bool, broadcasts to (B, 1, M, N); True where a query may not look.
            causal: position i sees positions up to i only.
        """
        packed = zip(self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3), strict=True)
        q, k, v = (
            linear(x, weight, bias).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x, (weight, bias) in zip((query, key, value), packed, strict=True)
        )
        allowed = None if blocked is None else ~blocked
        mixed = scaled_dot_product_attention(q, k, v, attn_mask=allowed, is_causal=causal)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


def sine_positions(level: Tensor) -> Tensor:
    """Position code of the cells of a map (B, C, h, w), row by row: (h * w, C) float32.

    The first half of the channels tells y, the second x; positions run from 1/n to 1 of a full turn, times
    wavelengths from 1 to 10000, sine and cosine interleaved.
    """
    _, channels, height, width = level.shape
    half, device = channels // 2, level.device
    octave = torch.arange(half, device=device, dtype=torch.float32).div(2, rounding_mode="floor")
    wavelength = 10000 ** (2 * octave / half)

    def code(count: int) -> Tensor:
        turn = torch.arange(1, count + 1, device=device, dtype=torch.float32) / (count + 1e-6) * (2 * math.pi)
        angle = turn[:, None] / wavelength
        return torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], dim=2).flatten(1)

    y = code(height)[:, None].expand(height, width, half)
    x = code(width)[None].expand(height, width, half)
    return torch.cat([y, x], dim=2).flatten(0, 1)

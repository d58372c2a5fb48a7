"""CLIP-style causal text encoder of X-Decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from purify3d.backbones.xdecoder.config import XDecoderConfig
from purify3d.backbones.xdecoder.layers import Attention


class ResidualBlock(nn.Module):
    """Pre-norm transformer layer; a token sees itself and those before it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = Attention(width, heads)
        self.ln_1 = nn.LayerNorm(width, eps=1e-12)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})
        self.ln_2 = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, causal=True)
        y = self.mlp["c_fc"](self.ln_2(x))
        return x + self.mlp["c_proj"](y * torch.sigmoid(1.702 * y))  # "quick" GELU


class TextTransformer(nn.Module):
    def __init__(self, config: XDecoderConfig) -> None:
        super().__init__()
        width = config.text_width
        self.token_embedding = nn.Embedding(config.vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.randn(config.context, width) * 0.01)
        self.resblocks = nn.Sequential(
            *(ResidualBlock(width, config.text_heads) for _ in range(config.text_layers))
        )
        self.ln_final = nn.LayerNorm(width, eps=1e-12)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, L) token ids, L up to the context -> (B, L, width) hidden states."""
        x = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        return self.ln_final(self.resblocks(x))


class TextEncoder(nn.Module):
    """Token ids -> embeddings; `logit_scale` is the logarithm of the factor from cosine to logit."""

    def __init__(self, config: XDecoderConfig) -> None:
        super().__init__()
        self.lang_encoder = TextTransformer(config)
        self.lang_proj = nn.Parameter(torch.randn(config.text_width, config.embedding_dim) * 0.02)
        self.logit_scale = nn.Parameter(torch.ones(()))

    def forward(self, ids: Tensor) -> Tensor:
        """(B, L) token ids -> (B, D) embeddings, not unit length, read at the end token (the largest id)."""
        end = ids.argmax(1)  # the first of several: padding repeats the end token
        # No token sees what follows it, so what stands behind the longest text need not be computed.
        hidden = self.lang_encoder(ids[:, : int(end.max()) + 1])
        return hidden[torch.arange(len(ids), device=ids.device), end] @ self.lang_proj

"""Queries that look at the image in turns and become masks with an embedding each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from purify3d.backbones.xdecoder.config import XDecoderConfig
from purify3d.backbones.xdecoder.layers import Attention, sine_positions, unit
from purify3d.backbones.xdecoder.text import TextEncoder


class Prediction(NamedTuple):
    """What the queries say: embedding (B, Q, D), not unit length, to compare with words; masks (B, Q, h, w)
    logits at stride 4 of the padded image. The last query is the class token."""

    embedding: Tensor
    masks: Tensor


class CrossAttention(nn.Module):
    """Queries look at a map, each only inside its own mask; post-norm."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.multihead_attn = Attention(dim, heads)
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, x: Tensor, query_position: Tensor, source: Tensor, position: Tensor, blocked: Tensor
    ) -> Tensor:
        # A query whose mask is empty would see nothing: it looks everywhere instead.
        blocked = blocked & ~blocked.all(-1, keepdim=True)
        seen = self.multihead_attn(x + query_position, source + position, source, blocked[:, None])
        return self.norm(x + seen)


class SelfAttention(nn.Module):
    """Queries look at each other; post-norm."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.self_attn = Attention(dim, heads)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, query_position: Tensor, blocked: Tensor) -> Tensor:
        located = x + query_position
        return self.norm(x + self.self_attn(located, located, x, blocked))


class FeedForward(nn.Module):
    """Two linear layers; post-norm."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.linear2(relu(self.linear1(x))))


class MaskEmbed(nn.Module):
    """Three linear layers from a query to the vector whose dot product with the map is its mask."""

    def __init__(self, dim: int, output: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, output)])

    def forward(self, x: Tensor) -> Tensor:
        first, second, last = self.layers
        return last(relu(second(relu(first(x)))))


def blocked_cells(masks: Tensor, level: Tensor) -> Tensor:
    """Where queries may not look in a map: outside their masks (probability below a half).

    Mask logits (B, Q, h, w) and a map (B, C, H, W) -> (B, Q, H * W) bool.
    """
    size = level.shape[-2:]
    resized = interpolate(masks.float(), size, mode="bicubic", antialias=True, align_corners=False)
    return resized.flatten(2) < 0


class Decoder(nn.Module):
    """X-Decoder's query decoder (Zou et al., CVPR 2023), and the text encoder whose space it speaks."""

    self_attn_mask: Tensor

    def __init__(self, config: XDecoderConfig) -> None:
        super().__init__()
        dim, heads, layers = config.conv_dim, config.heads, range(config.decoder_layers)
        self.transformer_cross_attention_layers = nn.ModuleList(CrossAttention(dim, heads) for _ in layers)
        self.transformer_self_attention_layers = nn.ModuleList(SelfAttention(dim, heads) for _ in layers)
        self.transformer_ffn_layers = nn.ModuleList(FeedForward(dim, config.feedforward) for _ in layers)
        self.query_feat = nn.Embedding(config.queries, dim)
        self.query_embed = nn.Embedding(config.queries, dim)
        self.level_embed = nn.Embedding(3, dim)
        self.decoder_norm = nn.LayerNorm(dim)
        self.mask_embed = MaskEmbed(dim, config.mask_dim)
        self.class_embed = nn.Parameter(torch.randn(dim, config.embedding_dim) * dim**-0.5)
        self.lang_encoder = TextEncoder(config)
        # Objects do not see the class token, which sees only itself. The buffer has room for caption tokens,
        # which take no part here.
        size = config.queries + config.context
        blocked = torch.ones(1, size, size, dtype=torch.bool).triu(1)
        blocked[:, : config.queries, : config.queries] = False
        blocked[:, : config.queries - 1, config.queries - 1] = True
        blocked[:, config.queries - 1, : config.queries - 1] = True
        self.register_buffer("self_attn_mask", blocked)

    def forward(self, mask_features: Tensor, levels: Sequence[Tensor]) -> Prediction:
        """What the queries say after the last layer; arguments as `PixelDecoder.forward` returns them."""
        return deque(self.refine(mask_features, levels), maxlen=1).pop()

    def refine(self, mask_features: Tensor, levels: Sequence[Tensor]) -> Iterator[Prediction]:
        """Predictions of the untouched queries and after each layer; each guides the next layer's look."""
        position = [sine_positions(level) for level in levels]
        embedded = zip(levels, self.level_embed.weight, strict=True)
        source = [level.flatten(2).transpose(1, 2) + embed for level, embed in embedded]
        queries = len(self.query_feat.weight)
        alone = self.self_attn_mask[:, :queries, :queries]
        query_position = self.query_embed.weight
        x = self.query_feat.weight.expand(len(mask_features), -1, -1)
        prediction = self.predict(x, mask_features)
        yield prediction
        attention = self.transformer_cross_attention_layers, self.transformer_self_attention_layers
        layers = zip(*attention, self.transformer_ffn_layers, strict=True)
        for number, (cross, among, feedforward) in enumerate(layers):
            level = number % len(levels)
            blocked = blocked_cells(prediction.masks, levels[level])
            x = cross(x, query_position, source[level], position[level], blocked)
            x = feedforward(among(x, query_position, alone))
            prediction = self.predict(x, mask_features)
            yield prediction

    def predict(self, x: Tensor, mask_features: Tensor) -> Prediction:
        """Queries (B, Q, C) -> their embeddings and masks."""
        x = self.decoder_norm(x)
        objects, token = x[:, :-1], x[:, -1:]
        # Here, not in the running state, the class token becomes a blend of the objects that resemble it.
        likeness = (unit(token) @ unit(objects).transpose(1, 2)).softmax(-1)
        x = torch.cat([objects, likeness @ objects], dim=1)
        masks = torch.einsum("bqc,bchw->bqhw", self.mask_embed(x), mask_features)
        return Prediction(x @ self.class_embed, masks)

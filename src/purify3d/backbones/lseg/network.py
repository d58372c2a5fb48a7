"""The network of LSeg (Li et al., "Language-driven Semantic Segmentation", ICLR 2022), for inference.

Image side: a ViT-L/16 whose residual stream is tapped at four depths, and a DPT decoder (Ranftl et al.,
"Vision Transformers for Dense Prediction", ICCV 2021) that fuses the taps from coarse to fine. Text side: the
text tower of CLIP ViT-B/32. Parameters are named as in the official checkpoint. B images, P patches, T texts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, scaled_dot_product_attention


@dataclass(frozen=True)
class LSegConfig:
    """Sizes; the defaults are the published demo model's.

    Attributes:
        width, depth, heads, patch: of the image transformer.
        grid: side of the position table in patches.
        taps: the four blocks, counted from 0, whose output is decoded.
        reassembled: channels of the four reassembled maps, fine to coarse.
        decoder: channels of the decoder.
        dim: D, of pixel and text features.
        text_width, text_depth, text_heads: of the text transformer.
        tokens, context: size of the vocabulary and length of a text.
    """

    width: int = 1024
    depth: int = 24
    heads: int = 16
    patch: int = 16
    grid: int = 24
    taps: tuple[int, int, int, int] = (5, 11, 17, 23)
    reassembled: tuple[int, int, int, int] = (256, 512, 1024, 1024)
    decoder: int = 256
    dim: int = 512
    text_width: int = 512
    text_depth: int = 12
    text_heads: int = 8
    tokens: int = 49408
    context: int = 77


class Attention(nn.Module):
    """Self-attention with one packed projection, in the order query, key, value."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm transformer block of the image side. The epsilon is 1e-6 here and 1e-5 on the text side."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp["fc2"](nn.functional.gelu(self.mlp["fc1"](self.norm2(x))))


class VisionTransformer(nn.Module):
    """(B, 3, H, W) -> the tapped residual streams, each (B, 1 + P, C), class token first."""

    def __init__(self, config: LSegConfig) -> None:
        super().__init__()
        width, patch = config.width, config.patch
        self.grid, self.taps = config.grid, config.taps
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, stride=patch)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.grid**2, width))
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.depth))

    def forward(self, image: Tensor) -> list[Tensor]:
        patches = self.patch_embed["proj"](image)
        position = self.pos_embed[:, 1:].unflatten(1, (self.grid, self.grid)).permute(0, 3, 1, 2)
        position = interpolate(position, size=patches.shape[2:], mode="bilinear", align_corners=False)
        x = (patches + position).flatten(2).transpose(1, 2)
        x = torch.cat([(self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1), x], dim=1)
        tapped = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self.taps:
                tapped.append(x)
        return tapped


class Readout(nn.Module):
    """(B, 1 + P, C) -> (B, P, C): every patch token is told what the class token knows."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(2 * width, width), nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        return self.project(torch.cat([x[:, 1:], x[:, :1].expand(-1, x.shape[1] - 1, -1)], dim=2))


class Reassemble(nn.ModuleDict):
    """Tokens (B, 1 + P, C) of an (h, w) grid of patches -> a map (B, c, h', w') at its own resolution.

    Named by position in the official sequence, whose other members have no parameters.
    """

    def __init__(self, width: int, channels: int, resample: nn.Module | None) -> None:
        super().__init__({"0": Readout(width), "3": nn.Conv2d(width, channels, 1)})
        if resample is not None:
            self["4"] = resample

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        readout, *convolutions = self.values()
        x = readout(x).transpose(1, 2).unflatten(2, grid)
        for convolution in convolutions:
            x = convolution(x)
        return x


class ResidualUnit(nn.Module):
    """Two normalised 3x3 convolutions around an untouched skip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bn2(self.conv2(self.bn1(self.conv1(x.relu())).relu()))


class Fusion(nn.Module):
    """Adds the map of one resolution to the path from the coarser ones and doubles its resolution."""

    def __init__(self, channels: int, *, coarsest: bool) -> None:
        super().__init__()
        if not coarsest:
            self.resConfUnit1 = ResidualUnit(channels)
        self.resConfUnit2 = ResidualUnit(channels)
        self.out_conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, path: Tensor | None = None) -> Tensor:
        x = x if path is None else path + self.resConfUnit1(x)
        # Officially enlarged first. Both are linear and the weights of bilinear interpolation sum to 1, so
        # the result is the same, at a quarter of the work.
        x = self.out_conv(self.resConfUnit2(x))
        return interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class TextBlock(nn.Module):
    """Pre-norm transformer block of CLIP's text tower: causal, with the sigmoid form of GELU."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, attn_mask=mask, need_weights=False)[0]
        y = self.mlp["c_fc"](self.ln_2(x))
        return x + self.mlp["c_proj"](y * (1.702 * y).sigmoid())


class TextTransformer(nn.Module):
    """(T, context) token numbers -> (T, D) features, not normalised, read at the largest number: the end."""

    def __init__(self, config: LSegConfig) -> None:
        super().__init__()
        width = config.text_width
        self.token_embedding = nn.Embedding(config.tokens, width)
        self.positional_embedding = nn.Parameter(torch.zeros(config.context, width))
        blocks = (TextBlock(width, config.text_heads) for _ in range(config.text_depth))
        self.transformer = nn.ModuleDict({"resblocks": nn.ModuleList(blocks)})
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.zeros(width, config.dim))

    def forward(self, ids: Tensor) -> Tensor:
        end = ids.argmax(1)
        length = int(end.max()) + 1  # causal: the end token sees nothing that follows it
        x = self.token_embedding(ids[:, :length]) + self.positional_embedding[:length]
        mask = torch.ones(length, length, dtype=torch.bool, device=ids.device).triu(1)
        for block in self.transformer["resblocks"].children():
            x = block(x, mask)
        return self.ln_final(x[torch.arange(len(x), device=x.device), end]) @ self.text_projection


class LSegNetwork(nn.Module):
    """Pixel and text features in one space. Frozen, in evaluation mode: batch norms use stored statistics."""

    def __init__(self, config: LSegConfig) -> None:
        super().__init__()
        c, decoder = config.reassembled, config.decoder
        resample = (
            nn.ConvTranspose2d(c[0], c[0], 4, stride=4),
            nn.ConvTranspose2d(c[1], c[1], 2, stride=2),
            None,
            nn.Conv2d(c[3], c[3], 3, stride=2, padding=1),
        )
        self.patch = config.patch
        self.clip_pretrained = TextTransformer(config)
        self.pretrained = nn.ModuleDict({"model": VisionTransformer(config)})
        self.scratch = nn.ModuleDict({"head1": nn.Conv2d(decoder, config.dim, 1)})
        for i, level in enumerate("1234"):
            self.pretrained[f"act_postprocess{level}"] = Reassemble(config.width, c[i], resample[i])
            self.scratch[f"layer{level}_rn"] = nn.Conv2d(c[i], decoder, 3, padding=1, bias=False)
            self.scratch[f"refinenet{level}"] = Fusion(decoder, coarsest=level == "4")

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in -1..1, sides multiples of 32 -> (B, D, H/2, W/2) float32, unit length per pixel."""
        height, width = image.shape[2:]
        grid = height // self.patch, width // self.patch
        path = None
        # From coarse to fine: the last tap has the coarsest map.
        for level, tokens in reversed(list(enumerate(self.pretrained["model"](image), start=1))):
            x = self.pretrained[f"act_postprocess{level}"](tokens, grid)
            path = self.scratch[f"refinenet{level}"](self.scratch[f"layer{level}_rn"](x), path)
        features = self.scratch["head1"](path).float()
        return features / features.norm(dim=1, keepdim=True)

    def encode_text(self, ids: Tensor) -> Tensor:
        """(T, context) token numbers, zero padded -> (T, D) features, unit rows."""
        features = self.clip_pretrained(ids)
        return features / features.norm(dim=1, keepdim=True)

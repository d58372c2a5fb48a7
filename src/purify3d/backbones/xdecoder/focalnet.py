"""FocalNet image encoder (Yang et al., "Focal Modulation Networks", NeurIPS 2022), as X-Decoder uses it.

Maps are kept (B, H, W, C) between layers: seen as (B, C, H, W) they are in the channels-last layout that
convolutions like, so turning them costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

LEVELS = 4  # focal levels of every block; kernels 3, 5, 7, 9


class PatchEmbed(nn.Module):
    """A strided convolution and a layer norm: (B, C, H, W) -> (B, h, w, D)."""

    def __init__(self, channels: int, dim: int, *, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, kernel, stride, padding)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


class FocalModulation(nn.Module):
    """Each pixel's query is multiplied by a gated sum of ever wider depthwise contexts."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.f = nn.Linear(dim, 2 * dim + LEVELS + 1)
        self.h = nn.Conv2d(dim, dim, 1)
        self.proj = nn.Linear(dim, dim)
        self.focal_layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(dim, dim, k, padding=k // 2, groups=dim, bias=False), nn.GELU())
            for k in range(3, 3 + 2 * LEVELS, 2)
        )

    def forward(self, x: Tensor) -> Tensor:
        dim = x.shape[-1]
        query, context, gates = self.f(x).split([dim, dim, LEVELS + 1], dim=-1)
        context, gates = context.permute(0, 3, 1, 2), gates.permute(0, 3, 1, 2)
        total = torch.zeros_like(context)
        for level, layer in enumerate(self.focal_layers):
            context = layer(context)
            total = total + context * gates[:, level : level + 1]
        everywhere = gelu(context.mean((2, 3), keepdim=True))
        total = total + everywhere * gates[:, LEVELS:]
        modulator = self.h(total / (LEVELS + 1)).permute(0, 2, 3, 1)
        return self.proj(query * modulator)


class Block(nn.Module):
    """Modulation and MLP, each normalised and scaled after it has run (post-norm with layer scale)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.modulation = FocalModulation(dim)
        self.norm1 = nn.LayerNorm(dim)
        self.gamma_1 = nn.Parameter(torch.full((dim,), 1e-4))
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(dim, 4 * dim), "fc2": nn.Linear(4 * dim, dim)})
        self.norm2 = nn.LayerNorm(dim)
        self.gamma_2 = nn.Parameter(torch.full((dim,), 1e-4))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.gamma_1 * self.norm1(self.modulation(x))
        return x + self.gamma_2 * self.norm2(self.mlp["fc2"](gelu(self.mlp["fc1"](x))))


class Stage(nn.Module):
    """Blocks at one resolution; `downsample` leads to the next stage and is called by the network."""

    def __init__(self, dim: int, depth: int, *, last: bool) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block(dim) for _ in range(depth)))
        self.downsample = None if last else PatchEmbed(dim, 2 * dim, kernel=3, stride=2, padding=1)


class FocalNet(nn.Module):
    """Normalised images (B, 3, H, W), sides multiples of 32 -> four maps of strides 4, 8, 16 and 32."""

    def __init__(self, dims: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(3, dims[0], kernel=7, stride=4, padding=2)
        last = len(depths) - 1
        self.layers = nn.ModuleList(
            Stage(dim, depth, last=number == last)
            for number, (dim, depth) in enumerate(zip(dims, depths, strict=True))
        )
        for number, dim in enumerate(dims):
            self.add_module(f"norm{number}", nn.LayerNorm(dim))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Each map (B, C, h, w) is normalised for its reader; the next stage continues from the raw one."""
        x, maps = self.patch_embed(images), []
        for number, stage in enumerate(self.layers):
            assert isinstance(stage, Stage)
            x = stage.blocks(x)
            maps.append(self.get_submodule(f"norm{number}")(x).permute(0, 3, 1, 2))
            if stage.downsample is not None:
                x = stage.downsample(x.permute(0, 3, 1, 2))
        return maps

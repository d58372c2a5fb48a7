"""The network of Sonata: the encoder of Point Transformer V3 in plain torch.

Wu et al., "Sonata: Self-Supervised Learning of Reliable Point Representations" and "Point Transformer V3"
(CVPR 2025 and 2024). Five stages of voxels, each twice as coarse as the one before. A block is a sparse
convolution, attention among voxels that follow each other on a space-filling curve, and an MLP. Parameters
carry the names of the official checkpoint. One scene at a time: a batch would change the patches.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from purify3d.grid.cells import pack_cells, unpack_cells
from purify3d.grid.convolution import KernelMap, submanifold_conv
from purify3d.training.teachers.sonata.curves import CURVES, curve_depth, curve_key

#: x, y, z in metres, red, green, blue in 0..1, unit normal.
IN_CHANNELS = 9

#: Coarse stages appended to a finer one when features are brought back up.
JOINED = 2

_PATCHES = 16  # attended to at a time: bounds memory where torch has to form the attention matrix


@dataclass(frozen=True)
class SonataConfig:
    """Sizes of the network; the defaults are those of the published model, 108 M parameters.

    Attributes:
        depths, widths, heads: per stage its blocks, its channels and its attention heads.
        patch: voxels that attend to each other; a stage with fewer is one smaller patch.
        mlp_ratio: width of the hidden layer of an MLP over that of its stage.
    """

    depths: tuple[int, ...] = (3, 3, 3, 12, 3)
    widths: tuple[int, ...] = (48, 96, 192, 384, 512)
    heads: tuple[int, ...] = (3, 6, 12, 24, 32)
    patch: int = 1024
    mlp_ratio: int = 4

    def __post_init__(self) -> None:
        if not len(self.depths) == len(self.widths) == len(self.heads) > JOINED:
            raise ValueError(
                f"expected one depth, width and number of heads for each of at least {JOINED + 1} stages, "
                f"found {self}"
            )
        if any(width % heads for width, heads in zip(self.widths, self.heads, strict=True)):
            raise ValueError(f"every width must be a multiple of its number of heads, found {self}")


@dataclass(frozen=True)
class Stage:
    """What a stage of the network made of a scene.

    Attributes:
        features: (V, C) of its voxels.
        grid: (V, 3) int64 cells; from the second stage on in lexicographic order.
        of_finer: row here of each voxel of the stage before; of the first stage: of each of its own voxels.
    """

    features: Tensor
    grid: Tensor
    of_finer: Tensor


class SonataNetwork(nn.Module):
    """Features of voxels at several resolutions."""

    def __init__(self, config: SonataConfig) -> None:
        super().__init__()
        self.config = config
        width = config.widths[0]
        stem = OrderedDict(linear=nn.Linear(IN_CHANNELS, width), norm=nn.LayerNorm(width), act=nn.GELU())
        self.embedding = nn.ModuleDict({"stem": nn.Sequential(stem)})
        self.enc = nn.ModuleDict({f"enc{s}": _stage(config, s) for s in range(len(config.depths))})

    def forward(self, features: Tensor, grid: Tensor) -> list[Stage]:
        """Run all stages; the result does not depend on the order of the voxels.

        The blocks of a stage take the curves in turns. The released model draws four orders at random for
        every stage of every call.

        Args:
            features: (V, 9), see IN_CHANNELS.
            grid: (V, 3) integer cells of one scene, all different, 0 and up.

        Raises:
            ValueError: cells that occur twice or lie too far apart.
        """
        x, grid = self.embedding["stem"](features), grid.long()
        of_finer = torch.arange(len(grid), device=grid.device)
        stages = []
        for s, modules in enumerate(self.enc.values()):
            stage = cast(nn.ModuleDict, modules)
            if "down" in stage:
                grid, of_finer = _coarser(grid)
                x = stage["down"](x, of_finer, len(grid))
            # Flipped, because the weights of a kernel lie in memory with z fastest and KernelMap's with x.
            kernel_map = KernelMap.of(grid.flip(1))
            patches = cache(lambda curve, grid=grid: _patches(grid, curve, self.config.patch))
            for i in range(self.config.depths[s]):
                x = stage[f"block{i}"](x, kernel_map, patches(CURVES[i % len(CURVES)]))
            stages.append(Stage(x, grid, of_finer))
        return stages


def upcast(stages: Sequence[Stage]) -> tuple[Tensor, Tensor]:
    """The two coarsest stages appended to the third (as GeoPurify and Sonata's authors use them).

    Returns:
        (M, C) features of the M voxels of that third stage, its own channels first: 192 + 384 + 512 = 1088 in
        the published model, where they are 8 cm wide; and (V,) the row of each voxel of the first stage.
    """
    x = stages[-1].features
    for s in reversed(range(len(stages) - 1 - JOINED, len(stages) - 1)):
        x = torch.cat([stages[s].features, x[stages[s + 1].of_finer]], dim=1)
    row = stages[0].of_finer
    for stage in stages[1:-JOINED]:
        row = stage.of_finer[row]
    return x, row


def _coarser(grid: Tensor) -> tuple[Tensor, Tensor]:
    """Cells of twice the edge in lexicographic order (M, 3), and the row of each given cell (V,)."""
    keys, row = torch.unique(torch.from_numpy(pack_cells((grid // 2).cpu().numpy())), return_inverse=True)
    return torch.from_numpy(unpack_cells(keys.numpy())).to(grid.device), row.to(grid.device)


def _patches(grid: Tensor, curve: str, size: int) -> Tensor:
    """(P, K) rows of the grid, K = min(size, V): along the curve, K at a time.

    Where V is no multiple of K, the last patch is filled up with the same slots of the patch before it.
    """
    count = len(grid)
    size = min(size, count)
    order = curve_key(grid, curve, curve_depth(grid)).argsort()
    fill = -count % size
    return torch.cat([order, order[count - size : count - size + fill]]).reshape(-1, size)


def _stage(config: SonataConfig, s: int) -> nn.ModuleDict:
    modules: dict[str, nn.Module] = {f"block{i}": _Block(config, s) for i in range(config.depths[s])}
    if s:
        modules["down"] = _Pooling(config.widths[s - 1], config.widths[s])
    return nn.ModuleDict(modules)


class _Pooling(nn.Module):
    """To voxels of twice the edge: the largest value of each channel."""

    def __init__(self, in_width: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(in_width, width)
        self.norm = nn.Sequential(nn.LayerNorm(width))
        self.act = nn.GELU()

    def forward(self, x: Tensor, row: Tensor, count: int) -> Tensor:
        x = self.proj(x)
        pooled = x.new_full((count, x.shape[1]), -torch.inf)
        pooled.scatter_reduce_(0, row[:, None].expand_as(x), x, "amax")
        return cast(Tensor, self.act(self.norm(pooled)))


class _Block(nn.Module):
    def __init__(self, config: SonataConfig, s: int) -> None:
        super().__init__()
        width, hidden = config.widths[s], config.widths[s] * config.mlp_ratio
        self.cpe = nn.ModuleList([_Conv(width), nn.Linear(width, width), nn.LayerNorm(width)])
        self.norm1 = nn.Sequential(nn.LayerNorm(width))
        self.attn = _Attention(config, s)
        self.norm2 = nn.Sequential(nn.LayerNorm(width))
        layers = OrderedDict(fc1=nn.Linear(width, hidden), act=nn.GELU(), fc2=nn.Linear(hidden, width))
        self.mlp = nn.Sequential(nn.Sequential(layers))

    def forward(self, x: Tensor, kernel_map: KernelMap, patches: Tensor) -> Tensor:
        conv, linear, norm = self.cpe
        x = x + norm(linear(conv(x, kernel_map)))
        x = x + self.attn(self.norm1(x), patches)
        return cast(Tensor, x + self.mlp(self.norm2(x)))


class _Conv(nn.Module):
    """A 3x3x3 submanifold convolution with bias; weights (out, kx, ky, kz, in)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, 3, 3, 3, width))
        self.bias = nn.Parameter(torch.zeros(width))
        nn.init.normal_(self.weight, std=(27 * width) ** -0.5)

    def forward(self, x: Tensor, kernel_map: KernelMap) -> Tensor:
        return submanifold_conv(x, self.weight.flatten(1, 3).permute(1, 2, 0), kernel_map) + self.bias


class _Attention(nn.Module):
    """Every voxel of a patch attends to all of them."""

    def __init__(self, config: SonataConfig, s: int) -> None:
        super().__init__()
        width, self.heads = config.widths[s], config.heads[s]
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, patches: Tensor) -> Tensor:
        """(V, C) -> (V, C); patches: (P, K) rows of x."""
        qkv = self.qkv(x).unflatten(1, (3, self.heads, -1))
        attended = []
        for rows in patches.split(_PATCHES):
            q, k, v = qkv[rows].permute(2, 0, 3, 1, 4)  # each (patches, heads, K, channels of a head)
            attended.append(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        out = torch.empty_like(x)
        # What fills up the last patch lends its keys only; its own output comes from the patch before.
        out[patches.flatten()[: len(x)]] = torch.cat(attended).flatten(0, 1)[: len(x)]
        return cast(Tensor, self.proj(out))

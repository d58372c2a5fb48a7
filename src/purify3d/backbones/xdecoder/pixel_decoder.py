"""From the image encoder's maps to those that the queries read: attention on top of a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from purify3d.backbones.xdecoder.config import XDecoderConfig
from purify3d.backbones.xdecoder.layers import Attention, sine_positions


class ConvNorm(nn.Conv2d):
    """Convolution without bias, then group norm (32 groups)."""

    def __init__(self, channels: int, dim: int, kernel: int) -> None:
        super().__init__(channels, dim, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.GroupNorm(32, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(super().forward(x))


class EncoderLayer(nn.Module):
    """Post-norm transformer layer; positions are added to queries and keys only."""

    def __init__(self, dim: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.self_attn = Attention(dim, heads)
        self.linear1 = nn.Linear(dim, feedforward)
        self.linear2 = nn.Linear(feedforward, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        located = x + position
        x = self.norm1(x + self.self_attn(located, located, x))
        x = self.norm2(x + self.linear2(relu(self.linear1(x))))
        return x


class PixelDecoder(nn.Module):
    """Attention among the cells of the stride-32 map, then top-down fusion with the finer maps."""

    def __init__(self, config: XDecoderConfig) -> None:
        super().__init__()
        dim = config.conv_dim
        *finer, coarsest = config.stage_dims
        self.input_proj = nn.Conv2d(coarsest, dim, 1)
        layers = nn.ModuleList(
            EncoderLayer(dim, config.heads, config.feedforward) for _ in range(config.encoder_layers)
        )
        self.transformer = nn.ModuleDict({"encoder": nn.ModuleDict({"layers": layers})})
        for number, channels in enumerate(finer, start=1):
            self.add_module(f"adapter_{number}", ConvNorm(channels, dim, 1))
            self.add_module(f"layer_{number}", ConvNorm(dim, dim, 3))
        self.layer_4 = ConvNorm(dim, dim, 3)
        self.mask_features = nn.Conv2d(dim, config.mask_dim, 3, padding=1)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Maps of strides 4, 8, 16, 32 -> mask features (B, mask_dim, h, w) of stride 4, and what the queries
        look at, coarse to fine: (B, conv_dim, h, w) of strides 32, 16, 8.
        """
        y = relu(self.layer_4(self.attend(self.input_proj(maps[3]))))
        levels = [y]
        for number in (3, 2, 1):
            fine = self.get_submodule(f"adapter_{number}")(maps[number - 1])
            y = fine + interpolate(y, size=fine.shape[-2:], mode="nearest")
            y = relu(self.get_submodule(f"layer_{number}")(y))
            levels.append(y)
        return self.mask_features(y), levels[:3]

    def attend(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape, every cell having looked at all others."""
        tokens = x.flatten(2).transpose(1, 2)
        position = sine_positions(x)
        for layer in self.transformer.get_submodule("encoder.layers").children():
            tokens = layer(tokens, position)
        return tokens.transpose(1, 2).unflatten(2, x.shape[-2:])

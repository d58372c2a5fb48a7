"""The whole network, and how pixels enter it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from purify3d.backbones.xdecoder.config import XDecoderConfig
from purify3d.backbones.xdecoder.decoder import Decoder, Prediction
from purify3d.backbones.xdecoder.focalnet import FocalNet
from purify3d.backbones.xdecoder.pixel_decoder import PixelDecoder

MULTIPLE = 32  # the network's coarsest stride: sides are padded up to a multiple of it
STRIDE = 4  # of the masks
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


class SegmentationHead(nn.Module):
    def __init__(self, config: XDecoderConfig) -> None:
        super().__init__()
        self.pixel_decoder = PixelDecoder(config)
        self.predictor = Decoder(config)

    def forward(self, maps: Sequence[Tensor]) -> Prediction:
        return self.predictor(*self.pixel_decoder(maps))


class XDecoder(nn.Module):
    """Parameter names and shapes are those of the official checkpoint."""

    def __init__(self, config: XDecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = FocalNet(config.stage_dims, config.depths)
        self.sem_seg_head = SegmentationHead(config)

    def forward(self, pixels: Tensor) -> Prediction:
        """(B, 3, H, W) as `padded_batch` makes them -> what all queries say."""
        return self.sem_seg_head(self.backbone(pixels))


def padded_size(height: int, width: int) -> tuple[int, int]:
    """Both sides rounded up to a multiple of 32."""
    return -(-height // MULTIPLE) * MULTIPLE, -(-width // MULTIPLE) * MULTIPLE


def padded_batch(images: Sequence[Tensor]) -> Tensor:
    """(3, H, W) RGB images of values 0..255 -> (B, 3, Hp, Wp) float32, normalised, padded right and below.

    The padding is zero after normalisation, that is, the mean colour.
    """
    mean, std = (images[0].new_tensor(value, dtype=torch.float32)[:, None, None] for value in (MEAN, STD))
    height, width = padded_size(max(i.shape[1] for i in images), max(i.shape[2] for i in images))
    return torch.stack(
        [pad((i - mean) / std, (0, width - i.shape[2], 0, height - i.shape[1])) for i in images]
    )

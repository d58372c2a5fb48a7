"""The bundled small segmenter: 28 indoor classes, 1,895,232 parameters, trained from scratch on procedural
rooms (tools/train_lite.py). It lets demos and tests run without a download; it is no rival of the
vision-language models."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from purify3d.base.checkpoints import load_strictly, read_checkpoint
from purify3d.base.errors import CheckpointError

DATA = Path(__file__).resolve().parents[1] / "data"
#: Longer side of the images it was trained on, pixels.
TRAINED_SIZE = 320
#: Sides of what it sees are multiples of this, as those of its training images were: a stride that rounds up
#: would make a map that reaches beyond the image. At 16 all but the coarsest of its maps fit, as in training.
_FIT = 16
WEIGHTS, CARD = DATA / "lite.safetensors", DATA / "lite.json"


@dataclass(frozen=True)
class LiteConfig:
    """Shape of the network.

    Attributes:
        classes: output channels.
        stem: channels at half the image's size.
        widths, depths: channels and blocks at 1/4, 1/8, 1/16 and 1/32.
        head: channels of the decoder.
    """

    classes: int
    stem: int = 16
    widths: Sequence[int] = (40, 80, 144, 176)
    depths: Sequence[int] = (1, 3, 5, 3)
    head: int = 56


class _Block(nn.Module):
    """Look around, widen, look around again, narrow, add. Only 3x3 windows: depthwise convolutions with
    larger or dilated ones are many times slower to train on a CPU."""

    def __init__(self, width: int, factor: int = 3) -> None:
        super().__init__()
        wide = factor * width
        self.before = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.expand = nn.Conv2d(width, wide, 1)
        self.inside = nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False)
        self.wide_norm = nn.BatchNorm2d(wide)
        self.reduce = nn.Conv2d(wide, width, 1, bias=False)
        self.scale = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = F.hardswish(self.expand(self.norm(self.before(x))))
        y = self.reduce(F.hardswish(self.wide_norm(self.inside(y))))
        return x + self.scale(y)


def _down(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after))


class _Context(nn.Module):
    """What the whole image and its quarters look like, given to every pixel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.grids = (1, 2, 4)
        self.squeeze = nn.ModuleList(nn.Conv2d(width, width // 4, 1) for _ in self.grids)
        self.mix = nn.Sequential(
            nn.Conv2d(width + 3 * (width // 4), width, 1, bias=False), nn.BatchNorm2d(width), nn.Hardswish()
        )

    def forward(self, x: Tensor) -> Tensor:
        context = [
            _resize(F.hardswish(squeeze(F.adaptive_avg_pool2d(x, grid))), x)
            for grid, squeeze in zip(self.grids, self.squeeze, strict=True)
        ]
        return self.mix(torch.cat([x, *context], dim=1))


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


class LiteSegmenter(nn.Module):
    """(B, 3, H, W) float RGB 0..255, any size of at least 32 pixels -> (B, C, h, w) class logits at a quarter
    of the size, rounded up. A cell stands for 4x4 pixels, so where a side is no multiple of 4 the map reaches
    beyond the image."""

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        self.stem = nn.Sequential(_down(3, config.stem), nn.Hardswish())
        before = (config.stem, *config.widths[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(_down(a, b), *(_Block(b) for _ in range(depth)))
            for a, b, depth in zip(before, config.widths, config.depths, strict=True)
        )
        self.context = _Context(config.widths[-1])
        self.lateral = nn.ModuleList(nn.Conv2d(width, config.head, 1) for width in config.widths)
        self.refine = nn.ModuleList(_Block(config.head, 2) for _ in config.widths[:-1])
        self.classify = nn.Conv2d(config.head, config.classes, 1)

    def forward(self, rgb: Tensor) -> Tensor:
        x = self.stem((rgb - 127.5) / 64)
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        levels[-1] = self.context(x)
        seen = [lateral(level) for lateral, level in zip(self.lateral, levels, strict=True)]
        x = seen.pop()
        for refine in self.refine:
            finer = seen.pop()
            x = refine(finer + _resize(x, finer))
        return self.classify(x)


def load_lite(weights: Path = WEIGHTS, card: Path = CARD) -> tuple[LiteSegmenter, tuple[str, ...]]:
    """The bundled network in eval mode, and the names of its C classes.

    Raises:
        CheckpointError: the files are missing, or the weights do not fit the network they describe.
    """
    if not weights.is_file() or not card.is_file():
        raise CheckpointError(
            f"found no bundled segmenter ({weights.name}, {card.name}) in {weights.parent}; "
            "reinstall purify3d, or make it with: python tools/train_lite.py"
        )
    try:
        facts = json.loads(card.read_text(encoding="utf-8"))
        config, names = LiteConfig(**facts["config"]), tuple(facts["names"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{card} does not describe the bundled segmenter ({type(error).__name__}: {error}); expected a "
            "JSON object with 'config' and 'names'. Reinstall purify3d"
        ) from error
    advice = "Reinstall purify3d; of your own, both files must come from one run of tools/train_lite.py"
    state = read_checkpoint(weights, advice=advice)
    model = f"the network described by {card.name}"
    return load_strictly(partial(LiteSegmenter, config), state, weights, model=model, advice=advice), names


def seen_size(height: int, width: int) -> tuple[int, int]:
    """The size that an image is shown to the network at: 320 pixels on the longer side, and what keeps the
    aspect best on the other, multiples of 16 from 32 on."""
    scale = TRAINED_SIZE / max(height, width) / _FIT
    rows, columns = (_FIT * max(2, round(side * scale)) for side in (height, width))
    return rows, columns


def lite_logits(
    device: str = "cpu",
) -> tuple[Callable[[Sequence[np.ndarray]], list[Tensor]], tuple[str, ...]]:
    """What a segmenter backbone needs: images (H, W, 3) uint8 -> (C, h, w) logits each, and the class names.

    Images are resized to the size that the network was trained at, see `seen_size`, so that a map covers
    exactly its image.
    """
    network, names = load_lite()
    network.to(device)

    @torch.inference_mode()
    def logits(images: Sequence[np.ndarray]) -> list[Tensor]:
        results = []
        for image in images:
            rgb = torch.from_numpy(image).to(device).permute(2, 0, 1)[None].float()
            size = seen_size(*image.shape[:2])
            if size != image.shape[:2]:
                rgb = F.interpolate(rgb, size=size, mode="bilinear", antialias=True)
            results.append(network(rgb)[0].float().cpu())
        return results

    return logits, names

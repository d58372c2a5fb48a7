"""A 2D model of your own: here one that knows colours by name, in place of a network."""

import torch
from PIL import ImageColor
from torch import Tensor

import purify3d
from purify3d.backbones.facts import Facts
from purify3d.types import DenseFeatures, FeatureSpace


class Colors:
    """A feature of 4 channels for each pixel, and for each name of a colour."""

    space = FeatureSpace("colors", dim=4, logit_scale=10.0)
    facts = Facts(kind="dense", licence="mine", disk_bytes=0, input_size="any", source=__file__)
    reads_words, dtype, device = False, torch.float32, torch.device("cpu")

    def observe(self, frames, text_embeddings):
        images = [torch.from_numpy(frame.color()) for frame in frames]
        return [DenseFeatures(unit(image.permute(2, 0, 1) / 255)) for image in images]

    def encode(self, texts):
        return unit(torch.tensor([ImageColor.getrgb(text) for text in texts]).T / 255).T


def unit(rgb: Tensor) -> Tensor:
    """(3, ...) colours in 0..1 -> (4, ...) unit vectors: how they differ from grey, and one constant."""
    x = torch.cat([rgb - 0.5, torch.full_like(rgb[:1], 0.2)])
    return x / x.norm(dim=0)


labels = ["white", "gray", "black", "saddlebrown", "steelblue", "darkgreen"]
run = purify3d.segment("synthetic:7?frames=12", labels, backbone=Colors(), affinity="geometric", rounds=2)
for name in run.labels.names:
    seen = run.points.rgb[run.labels.mask(name)].float()
    print(f"{name:<12}{len(seen):>8,} points, mean colour {seen.mean(0).round().tolist()}")

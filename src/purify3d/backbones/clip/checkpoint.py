"""CLIP and SigLIP checkpoints of the transformers library: hub ids or folders, loaded strictly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from purify3d.backbones.pretrained import failures_told, load_model, source_of, transformers, weights_digest
from purify3d.base.errors import BackboneError

Family = Literal["clip", "siglip"]

_CLASSES = {"clip": "CLIPModel", "siglip": "SiglipModel"}
_HINTS = {
    "clip": "it is a CLIP: name it clip:{name}",
    "siglip": "it is a SigLIP: name it siglip:{name}",
    "siglip2": "SigLIP 2 with patches of variable number (NaFlex) is not supported; take a SigLIP 2 of fixed "
    "resolution, such as siglip:google/siglip2-base-patch16-256",
}


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model and what belongs to it.

    Attributes:
        name: folder or hub id, as it was asked for.
        model: CLIPModel or SiglipModel, float32 on the CPU, in evaluation mode.
        tokenizer: of its text side.
        mean, std: (3,) normalisation of RGB in 0..1.
        resample: how PIL resizes images for it.
        digest: 12 hex digits that tell these weights from others.
    """

    name: str
    model: Any
    tokenizer: Any
    mean: Tensor
    std: Tensor
    resample: int
    digest: str


def load_checkpoint(name: str, family: Family) -> Checkpoint:
    """
    Args:
        name: a folder, or a hub id, which `@REVISION` may follow.

    Raises:
        BackboneError: nothing of that name, or a model of another type.
        CheckpointError: its weights are not all there, or are not that model's.
        MissingPackageError: the extra `hub` is not installed.
    """
    library = transformers()
    wanted = f"a folder or hub id of a model of type '{family}' ({_CLASSES[family]} of transformers)"
    source, options = source_of(name)
    with failures_told(f"found no model {name!r}", wanted):
        config = library.AutoConfig.from_pretrained(source, **options)
    if config.model_type != family:
        hint = _HINTS.get(config.model_type, "choose one with an image and a text side").format(name=name)
        raise BackboneError(
            f"found a model of type {config.model_type!r} in {name!r}; expected {wanted}; {hint}"
        )
    if family == "siglip" and not config.vision_config.vision_use_head:
        raise BackboneError(
            f"{name!r} has no pooling head (vision_use_head is false), so its patches cannot be compared "
            "with text; expected a SigLIP with its head"
        )
    needed = "them beside the weights; the first SigLIP's tokenizer also needs: pip install sentencepiece"
    with failures_told(f"cannot load the tokenizer and image processor of {name!r}", needed):
        tokenizer = library.AutoTokenizer.from_pretrained(source, **options)
        # The pixel-exact numpy processor: the fast ones need torchvision. Only its numbers are used.
        processor = library.AutoImageProcessor.from_pretrained(source, backend="pil", **options)
    whole = f"those of {_CLASSES[family]}, an image and a text side"
    model = load_model(getattr(library, _CLASSES[family]), name, expected=whole, strict=True)
    model.requires_grad_(False)  # already in evaluation mode
    return Checkpoint(
        name=name,
        model=model,
        tokenizer=tokenizer,
        mean=torch.tensor(processor.image_mean),
        std=torch.tensor(processor.image_std),
        resample=int(processor.resample),
        digest=weights_digest(model),
    )

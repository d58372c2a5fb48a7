"""CLIP and SigLIP checkpoints of the transformers library: hub ids or folders, loaded strictly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor

from purify3d.backbones.pretrained import quiet_loading, transformers, weights_digest
from purify3d.errors import BackboneError, CheckpointError

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
        name: folder or hub id.
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
    Raises:
        BackboneError: nothing of that name, or a model of another type.
        CheckpointError: its weights are not all there, or are not that model's.
        MissingPackageError: the extra `hub` is not installed.
    """
    library = transformers()
    wanted = f"a folder or hub id of a model of type '{family}' ({_CLASSES[family]} of transformers)"
    try:
        config = library.AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise BackboneError(f"found no model {name!r}: {error}. Expected {wanted}") from error
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
    try:
        tokenizer = library.AutoTokenizer.from_pretrained(name)
        # The pixel-exact numpy processor: the fast ones need torchvision. Only its numbers are used.
        processor = library.AutoImageProcessor.from_pretrained(name, backend="pil")
    except (OSError, ValueError, ImportError) as error:
        raise BackboneError(
            f"cannot load the tokenizer and image processor of {name!r}: {error}. Expected them beside the "
            "weights; the first SigLIP's tokenizer also needs: pip install sentencepiece"
        ) from error
    model = _load_model(getattr(library, _CLASSES[family]), name)
    return Checkpoint(
        name=name,
        model=model,
        tokenizer=tokenizer,
        mean=torch.tensor(processor.image_mean),
        std=torch.tensor(processor.image_std),
        resample=int(processor.resample),
        digest=weights_digest(model),
    )


def _load_model(kind: Any, name: str) -> Any:
    try:
        with quiet_loading():
            model, info = kind.from_pretrained(name, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"cannot load the weights of {name!r}: {error}") from error
    # Old checkpoints store the positions 0, 1, 2, ... beside the weights.
    unexpected = [key for key in info["unexpected_keys"] if not key.endswith("position_ids")]
    # Left to itself the library fills what is missing with random numbers.
    for what, keys in (("lack", info["missing_keys"]), ("hold other", unexpected)):
        if keys:
            raise CheckpointError(
                f"the weights of {name!r} {what} {len(keys)} keys: {', '.join(sorted(keys)[:8])}; expected "
                f"those of {kind.__name__}, an image and a text side. Is the download complete?"
            )
    return model.float().requires_grad_(False)  # already in evaluation mode

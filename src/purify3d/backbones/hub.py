"""Closed-set segmenters of the transformers library."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from purify3d.backbones.pretrained import pretrained_facts, quiet_loading, transformers, weights_digest
from purify3d.errors import BackboneError


class HubSegmenter:
    """Any `AutoModelForSemanticSegmentation` checkpoint: a hub id or a folder, with its image processor.

    Raises:
        MissingPackageError: the extra `hub` is not installed.
        BackboneError: nothing of that name can be loaded.
    """

    def __init__(self, name: str, *, device: str = "cpu") -> None:
        library = transformers()
        try:
            with quiet_loading():
                model = library.AutoModelForSemanticSegmentation.from_pretrained(name)
                # The processor without torchvision.
                self._processor = library.AutoImageProcessor.from_pretrained(name, backend="pil")
        except (OSError, ValueError, ImportError) as error:
            raise BackboneError(
                f"cannot load {name!r} as a semantic segmenter: {error}. Expected a folder or hub id that "
                "transformers' AutoModelForSemanticSegmentation can load"
            ) from error
        self.id = f"{name}@{weights_digest(model)}"
        self._model = model.eval().to(device)
        names = model.config.id2label
        self.names = tuple(names[i] for i in range(len(names)))
        size = dict(self._processor.size)
        self.facts = pretrained_facts(name, ", ".join(f"{side} {pixels} px" for side, pixels in size.items()))

    def __call__(self, images: Sequence[np.ndarray]) -> list[Tensor]:
        """(H, W, 3) uint8 images -> (C, h, w) float32 logits each, at the model's own resolution."""
        results = []
        for image in images:
            inputs = self._processor(images=image, return_tensors="pt").to(self._model.device)
            with torch.inference_mode():
                results.append(self._model(**inputs).logits[0].float().cpu())
        return results

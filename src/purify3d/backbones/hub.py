"""Closed-set segmenters of the transformers library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from purify3d.backbones.coverage import fit
from purify3d.backbones.pretrained import (
    failures_told,
    load_model,
    pretrained_facts,
    source_of,
    transformers,
    weights_digest,
)
from purify3d.base.errors import BackboneError

#: What a processor may do beside resizing and scaling colours, and need not: crop, and pad.
_BEYOND = ("do_center_crop", "do_pad")


class HubSegmenter:
    """Any `AutoModelForSemanticSegmentation` checkpoint: a folder, or a hub id, which `@REVISION` may follow,
    with its image processor.

    The model sees the whole image: a processor that crops or pads is told not to.

    Raises:
        MissingPackageError: the extra `hub` is not installed.
        BackboneError: nothing of that name can be loaded, or its processor cannot show the whole image.
        CheckpointError: its weights are damaged or not all there.
    """

    def __init__(self, name: str, *, device: str = "cpu") -> None:
        library = transformers()
        expected = "a folder or hub id that transformers' AutoModelForSemanticSegmentation can load"
        source, options = source_of(name)
        with failures_told(f"cannot load {name!r} as a semantic segmenter", expected):
            # The processor without torchvision.
            self._processor = library.AutoImageProcessor.from_pretrained(source, backend="pil", **options)
        model = load_model(library.AutoModelForSemanticSegmentation, name, expected=expected)
        self.id = f"{source}@{weights_digest(model)}"
        self._name = name
        self._model = model.eval().to(device)
        self._off = {flag: False for flag in _BEYOND if getattr(self._processor, flag, None)}
        self._checked: set[tuple[int, int]] = set()
        self._check_whole(480, 640)
        names = model.config.id2label
        self.names = tuple(names[i] for i in range(len(names)))
        size = dict(self._processor.size or {})
        sides = ", ".join(f"{side} {pixels} px" for side, pixels in size.items() if pixels)
        self.facts = pretrained_facts(name, sides or "any")

    def __call__(self, images: Sequence[np.ndarray]) -> list[Tensor]:
        """(H, W, 3) uint8 images -> (C, h, w) float32 logits each, at the model's own resolution, covering
        exactly the image.

        Raises:
            BackboneError: the processor shows the model something else than the whole of an image.
        """
        results = []
        for image in images:
            self._check_whole(*image.shape[:2])
            inputs = self._inputs(image).to(self._model.device)
            with torch.inference_mode():
                logits = self._model(**inputs).logits[0].float().cpu()
            results.append(fit(logits, *inputs["pixel_values"].shape[-2:]))
        return results

    def _inputs(self, image: np.ndarray) -> Any:
        return self._processor(images=image, return_tensors="pt", **self._off)

    def _check_whole(self, height: int, width: int) -> None:
        """Look at what the processor makes of images of this size whose brightness says where one is: some
        crop in ways that no setting turns off."""
        if (height, width) in self._checked:
            return
        black, white = (self._gray(np.full((height, width), value)) for value in (0.0, 1.0))
        middle = (Ellipsis, black.shape[-2] // 2, black.shape[-1] // 2)
        low, high = black[middle][:, None, None], white[middle][:, None, None]
        for axis, length in enumerate((height, width)):
            ramp = (np.arange(length) + 0.5) / length
            brightness = np.broadcast_to(ramp if axis else ramp[:, None], (height, width))
            seen = (self._gray(brightness) - low) / (high - low)
            count = seen.shape[1 + axis]
            wanted = (torch.arange(count) + 0.5) / count
            # A level of brightness, and what resizing without looking between pixels may shift.
            allowed = 0.01 + 1.5 / min(length, count)
            if not ((seen - (wanted if axis else wanted[:, None])).abs() <= allowed).all():
                raise BackboneError(
                    f"the image processor of {self._name!r} ({type(self._processor).__name__}) shows the "
                    f"model only a part of an image of {width}x{height}, or adds to it; expected the whole "
                    "image, resized. Choose another segmenter, or change preprocessor_config.json in a copy"
                )
        self._checked.add((height, width))

    def _gray(self, brightness: np.ndarray) -> Tensor:
        """(H, W) brightness 0..1 -> (3, h, w) what the processor makes of a grey image."""
        image = np.repeat((brightness * 255).round().astype(np.uint8)[..., None], 3, axis=2)
        return self._inputs(image)["pixel_values"][0].float()

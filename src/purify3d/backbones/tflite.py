"""Closed-set segmenters as TensorFlow Lite files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from purify3d.backbones.facts import Facts
from purify3d.base.errors import BackboneError, require


class TfliteSegmenter:
    """A .tflite file with one (1, h, w, 3) uint8 or float RGB input and one (1, h', w', C) output of logits.

    The class names stand one a line in `NAME.labels.txt` beside `NAME.tflite`. Quantised outputs are scaled
    back to logits; a float input is fed 0..1.

    Raises:
        MissingPackageError: the extra `tflite` is not installed.
        BackboneError: the file is none of these, or the names are missing or too few.
    """

    def __init__(self, path: Path) -> None:
        litert = require("ai_edge_litert.interpreter", "tflite")
        labels = path.with_suffix(".labels.txt")
        if not labels.is_file():
            raise BackboneError(f"found no class names for {path}; expected one name a line in {labels}")
        self.names = tuple(line.strip() for line in labels.read_text().splitlines() if line.strip())
        try:
            self._interpreter = litert.Interpreter(str(path), num_threads=torch.get_num_threads())
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BackboneError(f"cannot read {path} as a TensorFlow Lite model: {error}") from error
        [self._input] = self._interpreter.get_input_details()[:1]
        [self._output] = self._interpreter.get_output_details()[:1]
        shape_in, shape_out = self._input["shape"], self._output["shape"]
        if len(shape_in) != 4 or shape_in[3] != 3 or len(shape_out) != 4 or shape_out[3] != len(self.names):
            raise BackboneError(
                f"{path} maps {tuple(shape_in)} to {tuple(shape_out)}; expected (1, h, w, 3) to "
                f"(1, h', w', {len(self.names)}), the last being the number of names in {labels}"
            )

        licence = "not in the file; see where it was published"
        self.facts = Facts.of_files("dense", licence, f"{shape_in[2]}x{shape_in[1]}", path, labels)

    def __call__(self, images: Sequence[np.ndarray]) -> list[Tensor]:
        """(H, W, 3) uint8 images -> (C, h', w') float32 logits each; the image is stretched to the input."""
        return [self._logits(image) for image in images]

    def _logits(self, image: np.ndarray) -> Tensor:
        _, height, width, _ = self._input["shape"]
        stretched = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
        if self._input["dtype"] != np.uint8:
            stretched = (stretched / 255).astype(self._input["dtype"])
        self._interpreter.set_tensor(self._input["index"], stretched[None])
        self._interpreter.invoke()
        logits = self._interpreter.get_tensor(self._output["index"])[0].astype(np.float32)
        scale, zero = self._output["quantization"]
        if scale:
            logits = (logits - zero) * scale
        return torch.from_numpy(np.ascontiguousarray(logits.transpose(2, 0, 1)))

"""The official checkpoint, loaded strictly: a weight that is missing is never left to chance."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor

from purify3d.backbones.xdecoder.config import XDecoderConfig
from purify3d.backbones.xdecoder.network import XDecoder
from purify3d.errors import BackboneError, CheckpointError

#: Keys of the official file that serve training, retrieval or captioning, and are not read here.
UNUSED = frozenset(
    {
        "backbone_proj",
        "sem_seg_head.predictor.caping_embed",
        "sem_seg_head.predictor.pos_embed_caping.weight",
        "criterion.empty_weight",
    }
)
_WANTED = "xdecoder_focall_last.pt"
_SHOWN = 4  # keys that a message names


def read_network(path: Path, config: XDecoderConfig) -> XDecoder:
    """The network with the weights of a checkpoint, on the CPU, float32, frozen.

    Raises:
        BackboneError: there is no such file.
        CheckpointError: it cannot be read safely, or its keys or shapes are not those of the network.
    """
    state = _read_state(path)
    with torch.device("meta"):
        network = XDecoder(config)
    expected = network.state_dict()
    given = {key: value for key, value in state.items() if key not in UNUSED}
    _compare(path, expected, given)
    typed = {key: value.to(expected[key].dtype) for key, value in given.items()}
    network.load_state_dict(typed, assign=True)
    return network.eval().requires_grad_(False)


def _read_state(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise BackboneError(
            f"found no file {path}; expected the path of {_WANTED} as published by X-Decoder's authors"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        unknown = re.search(r"GLOBAL (\S+)", str(error))
        found = f"the unknown object {unknown[1]}" if unknown else str(error).splitlines()[0]
        raise CheckpointError(
            f"{path} holds {found}; expected tensors only. It was not opened further, as it could "
            f"run code. Use {_WANTED} as published, or save its state dict anew"
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}); expected a PyTorch checkpoint: was the download complete?"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        inside = (
            ", ".join(map(str, list(state)[:_SHOWN])) if isinstance(state, dict) else type(state).__name__
        )
        raise CheckpointError(
            f"{path} holds {inside}; expected a plain mapping of names to tensors, as in {_WANTED}"
        )
    return state


def _compare(path: Path, expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    missing = [key for key in expected if key not in given]
    unexpected = [key for key in given if key not in expected]
    reshaped = [
        f"{key} {tuple(given[key].shape)} instead of {tuple(value.shape)}"
        for key, value in expected.items()
        if key in given and given[key].shape != value.shape
    ]
    problems = [
        f"{len(keys)} {what} ({', '.join(keys[:_SHOWN])}{', ...' if len(keys) > _SHOWN else ''})"
        for what, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
        if keys
    ]
    if not problems:
        return
    advice = f"Use {_WANTED}"
    decoders = ("sem_seg_head.pixel_decoder.", "sem_seg_head.predictor.transformer_")
    if not any(key.startswith(decoders) for key in given):
        advice = (
            "It has neither pixel decoder nor transformer decoder: it is probably only the pre-training "
            f"initialisation (focall_vision_focalb_lang_unicl.pt), and {_WANTED} is needed"
        )
    raise CheckpointError(
        f"{path} does not fit X-Decoder Focal-L: of {len(expected)} expected weights, {'; '.join(problems)}. "
        f"{advice}"
    )

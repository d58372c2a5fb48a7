"""The official checkpoint: found, read without running code from it, and loaded strictly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from purify3d.errors import CheckpointError, require
from purify3d.teachers.sonata.curves import CURVES
from purify3d.teachers.sonata.network import IN_CHANNELS, SonataConfig, SonataNetwork

#: The one key that a checkpoint may lack: only pre-training reads it. Every other key of the network must be
#: there, and no further one may be.
OPTIONAL = "embedding.mask_token"

#: What a folder may call the weights; on the hub they have the first name.
FILES = ("sonata.pth", "model.safetensors")

#: Settings of a checkpoint's own config that change the network and have one value here.
_FIXED: dict[str, Any] = {
    "in_channels": IN_CHANNELS,
    "order": CURVES,
    "stride": (2, 2, 2, 2),
    "qkv_bias": True,
    "qk_scale": None,
    "layer_scale": None,
    "pre_norm": True,
}

_SHOWN = 4  # keys that a message names


def find(argument: str) -> Path:
    """The file of weights: a file, a folder that has one, or the id `owner/name` of a hub repository.

    Raises:
        CheckpointError: nothing of that name.
        MissingPackageError: a hub id was given and huggingface_hub is not installed.
    """
    path = Path(argument).expanduser()
    if path.is_dir():
        path = next((path / name for name in FILES if (path / name).is_file()), path / FILES[0])
    if path.is_file():
        return path
    if path.parent.is_dir() or not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", argument):
        raise CheckpointError(
            f"found no file {path}; expected the path of {' or '.join(FILES)}, a folder with one of them, or "
            "a hub id such as facebook/sonata"
        )
    hub = require("huggingface_hub", "hub")
    try:
        return Path(hub.hf_hub_download(argument, FILES[0]))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"found no file or folder {argument}, and the hub gave no {FILES[0]} of such a repository "
            f"({error}); check the name and the connection"
        ) from error


def read_network(path: Path) -> SonataNetwork:
    """The network with the weights of a checkpoint, on the CPU, float32, frozen.

    Its sizes are those of the config beside the weights, or of the published model where there is none.

    Raises:
        CheckpointError: the file cannot be read safely, its config is not one of this network, or its keys or
            shapes are not the network's.
    """
    content = _read(path)
    given = content.get("state_dict", content)
    if not isinstance(given, Mapping) or not all(isinstance(value, Tensor) for value in given.values()):
        shown = ", ".join(map(str, list(content)[:_SHOWN]))
        raise CheckpointError(
            f"{path} holds {shown}; expected names and tensors, as in the official sonata.pth"
        )
    config = _config(path, content["config"]) if "config" in content else SonataConfig()
    with torch.device("meta"):
        network = SonataNetwork(replace(config, mask_token=OPTIONAL in given))
    expected = network.state_dict()
    _compare(path, expected, given)
    network.load_state_dict({key: value.float() for key, value in given.items()}, assign=True)
    return network.eval().requires_grad_(False)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        unknown = re.search(r"GLOBAL (\S+)", str(error))
        found = f"the unknown object {unknown[1]}" if unknown else "no checkpoint"
        raise CheckpointError(
            f"{path} holds {found}; expected tensors and plain values only. It was not opened further, as it "
            "could run code. Use sonata.pth as published"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({type(error).__name__}: {error}); was the download complete?"
        ) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}; expected the official sonata.pth")
    return content


def _config(path: Path, official: Any) -> SonataConfig:
    """Sizes from a checkpoint's own config; settings that have no influence on inference are not read."""
    try:
        for name, wanted in _FIXED.items():
            value = official.get(name, wanted)
            if (tuple(value) if isinstance(value, list) else value) != wanted:
                raise ValueError(f"{name} is {value}, expected {wanted}")
        if len(set(official["enc_patch_size"])) != 1:
            raise ValueError(
                f"enc_patch_size is {official['enc_patch_size']}, expected one size for all stages"
            )
        return SonataConfig(
            depths=tuple(official["enc_depths"]),
            widths=tuple(official["enc_channels"]),
            heads=tuple(official["enc_num_head"]),
            patch=official["enc_patch_size"][0],
            mlp_ratio=official.get("mlp_ratio", SonataConfig.mlp_ratio),
            relative_bias=official.get("enable_rpe", False),
        )
    except (AttributeError, TypeError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"the config inside {path} describes no Sonata encoder ({type(error).__name__}: {error}); use "
            "sonata.pth as published"
        ) from error


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
    if problems:
        raise CheckpointError(
            f"{path} does not fit Sonata's encoder: of {len(expected)} expected weights, "
            f"{'; '.join(problems)}. Use sonata.pth as published, not a training run's or one with a decoder"
        )

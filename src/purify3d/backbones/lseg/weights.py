"""The official LSeg checkpoint, a PyTorch Lightning file: read without running code from it, and checked."""

from __future__ import annotations

import pickle
import re
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from purify3d.backbones.lseg.network import LSegConfig, LSegNetwork
from purify3d.errors import CheckpointError

#: Beginnings of the official keys that inference does not use: CLIP's image tower and logit scale (LSeg has a
#: constant instead), the image transformer's final norm and classifier, and the unit that would add a coarser
#: path to the coarsest map. Every other key must be there, and no further one may be.
UNUSED = (
    "clip_pretrained.visual.",
    "clip_pretrained.logit_scale",
    "pretrained.model.norm.",
    "pretrained.model.head.",
    "scratch.refinenet4.resConfUnit1.",
)

#: Classes that Lightning stores beside the weights. Stand-ins of the same name take their place when the file
#: is read, so neither Lightning nor any of its code is needed; what they hold becomes a plain dict, unused.
_LIGHTNING = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.utilities.parsing.AttributeDict",
)


def load_network(path: Path, config: LSegConfig) -> LSegNetwork:
    """The network with the weights of an official checkpoint, float32 on the CPU.

    Raises:
        CheckpointError: the file cannot be read safely, or its keys or shapes are not the network's.
    """
    with torch.device("meta"):
        network = LSegNetwork(config)
    _fill(network, _read(path), path)
    return network


def _read(path: Path) -> Mapping[str, Tensor]:
    """State dict of the network: what follows `net.` in the Lightning module."""
    stand_ins = [
        type(name, (), {"__module__": module, "__new__": lambda _: OrderedDict()})
        for module, _, name in (full.rpartition(".") for full in _LIGHTNING)
    ]
    try:
        with torch.serialization.safe_globals([Namespace, *stand_ins]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+) was not an allowed", str(error))
        if not found:
            raise CheckpointError(_unreadable(path, error)) from error
        raise CheckpointError(
            f"{path} holds an object of the class {found[1]}; expected weights, plain values, "
            f"{', '.join(_LIGHTNING)} and argparse.Namespace only, because reading others can run code. "
            "If you trust the file, write its weights to a new one and load that: "
            'torch.save({"state_dict": torch.load(OLD, weights_only=False)["state_dict"]}, NEW)'
        ) from error
    except (RuntimeError, EOFError, OSError, KeyError, ValueError) as error:
        raise CheckpointError(_unreadable(path, error)) from error
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, Mapping):
        raise CheckpointError(
            f"found no 'state_dict' in {path}; expected the Lightning checkpoint of LSeg (demo_e200.ckpt)"
        )
    return {key.removeprefix("net."): value for key, value in state.items()}


def _unreadable(path: Path, error: Exception) -> str:
    return f"{path} cannot be read as a PyTorch checkpoint ({error}); is the download complete?"


def _fill(network: LSegNetwork, state: Mapping[str, Tensor], path: Path) -> None:
    """Put weights into a network made on the meta device; its dtypes stay (the file may have float16)."""
    expected = network.state_dict()
    given = {key: value for key, value in state.items() if not key.startswith(UNUSED)}
    wrong = [
        f"{key} {tuple(given[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected.keys() & given.keys()
        if given[key].shape != expected[key].shape
    ]
    problems = {
        "missing": sorted(expected.keys() - given.keys()),
        "unexpected": sorted(given.keys() - expected.keys()),
        "of another shape": sorted(wrong),
    }
    if any(problems.values()):
        found = "; ".join(
            f"{len(keys)} {what}: {', '.join(keys[:8])}{', ...' if len(keys) > 8 else ''}"
            for what, keys in problems.items()
            if keys
        )
        raise CheckpointError(
            f"the weights in {path} are not those of LSeg with ViT-L/16 ({found}). Use the demo model of the "
            "official repository (option clip_vitl16_384)"
        )
    network.load_state_dict({k: v.to(expected[k].dtype) for k, v in given.items()}, assign=True)

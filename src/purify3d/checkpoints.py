"""Published weights: fetched, read without running code from them, and filled in strictly."""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from purify3d.errors import CheckpointError, require

_SHOWN = 8  # names that a message lists


def read_checkpoint(path: Path, *, advice: str, allowed: Sequence[Any] = ()) -> Any:
    """What a file saved by torch, or a .safetensors file, holds: tensors and plain containers, on the CPU.

    Args:
        advice: what to do if it cannot be read, a sentence without its stop; ends the message.
        allowed: further classes and functions that reading may use, as `torch.serialization.safe_globals`
            takes them; see `stand_in`.

    Raises:
        CheckpointError: not such a file, an incomplete one, or one with an object that is not allowed.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(list(allowed)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, SafetensorError) as error:
        # torch's own message advises to allow code; ours does not repeat it.
        unknown = re.search(r"GLOBAL (\S+)", str(error))
        if unknown:
            raise CheckpointError(
                f"{path} holds the unknown object {unknown[1]}; expected tensors and plain values only. It "
                f"was not opened further, as it could run code. {advice}"
            ) from error
        reason = str(error).splitlines()[0] if str(error) else "it ends too early"
        raise CheckpointError(
            f"{path} cannot be read as tensors saved by torch ({type(error).__name__}: {reason}); is the "
            f"download complete? {advice}"
        ) from error


def stand_in(name: str) -> type:
    """A class that takes the place of `package.module.Class` when a file is read, so that the package is not
    needed and none of its code runs. What its instances hold becomes a plain dict."""
    module, _, qualified = name.rpartition(".")
    return type(qualified, (), {"__module__": module, "__new__": lambda _: OrderedDict()})


def state_dict_in(content: Any, source: str | Path, *, expected: str) -> Mapping[str, Tensor]:
    """The weights in what a checkpoint holds: its 'state_dict' where it has one, else all of it.

    Raises:
        CheckpointError: neither is a mapping of names to tensors; `expected` says what was wanted.
    """
    state = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if isinstance(state, Mapping) and all(isinstance(value, Tensor) for value in state.values()):
        return state
    found = _listed(map(str, content)) if isinstance(content, Mapping) else f"a {type(content).__name__}"
    raise CheckpointError(f"{source} holds {found}; expected {expected}")


def load_strictly(
    network: nn.Module,
    state: Mapping[str, Tensor],
    source: str | Path,
    *,
    model: str,
    advice: str,
    unused: Collection[str] = (),
) -> None:
    """Give a network, which may be on the meta device, exactly these weights; its own dtypes stay.

    Args:
        model: what the network is called; advice: what to do if they do not fit, without its stop.
        unused: keys the network does not need, which may be there or not; one that ends in a stop stands for
            all that begin with it.

    Raises:
        CheckpointError: weights are missing, unexpected or of another shape; some of each are named.
    """
    expected = network.state_dict()
    beginnings = tuple(key for key in unused if key.endswith("."))
    given = {k: v for k, v in state.items() if k not in unused and not k.startswith(beginnings)}
    problems = {
        "missing": [key for key in expected if key not in given],
        "unexpected": [key for key in given if key not in expected],
        "of another shape": [
            f"{key} {tuple(given[key].shape)} instead of {tuple(value.shape)}"
            for key, value in expected.items()
            if key in given and given[key].shape != value.shape
        ],
    }
    if any(problems.values()):
        found = "; ".join(f"{len(keys)} {what} ({_listed(keys)})" for what, keys in problems.items() if keys)
        raise CheckpointError(
            f"{source} does not fit {model}: of {len(expected)} expected weights, {found}. {advice}"
        )
    network.load_state_dict({key: value.to(expected[key].dtype) for key, value in given.items()}, assign=True)


def file_digest(*paths: Path) -> str:
    """12 hex digits that tell the content of files from others.

    Raises:
        CheckpointError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise CheckpointError(f"cannot read {path} ({error.strerror}); check the path") from error
    return digest.hexdigest()[:12]


def is_hub_id(name: str) -> bool:
    """Whether a name that is no file or folder here may be a repository `owner/name` of the Hugging Face hub:
    beside existing files it is a path that was mistyped."""
    return not Path(name).parent.is_dir() and bool(re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name))


def download(repository: str, files: Sequence[str]) -> Path:
    """The folder with these files of a hub repository, all of one revision; kept in the hub's cache.

    Raises:
        CheckpointError: no such repository or file, or no connection.
        MissingPackageError: the extra `hub` is not installed.
    """
    hub = require("huggingface_hub", "hub")
    wanted = " and ".join(files)
    try:
        folder = Path(hub.snapshot_download(repository, allow_patterns=list(files)))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"found no folder {repository} and no such repository: the hub gave no {wanted} of it ({error}); "
            "check the name and the connection"
        ) from error
    if absent := [name for name in files if not (folder / name).is_file()]:
        raise CheckpointError(
            f"the hub's repository {repository} has no {' and '.join(absent)}; expected {wanted}. Is it "
            "another model?"
        )
    return folder


def _listed(names: Iterable[str]) -> str:
    some = list(names)
    return (", ".join(some[:_SHOWN]) or "nothing") + (", ..." if len(some) > _SHOWN else "")

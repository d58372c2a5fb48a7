"""Published weights: fetched, read without running code from them, and filled in strictly."""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from purify3d.base.errors import CaptureError, CheckpointError, require
from purify3d.base.files import check_file

_SHOWN = 8  # names that a message lists
Network = TypeVar("Network", bound=nn.Module)


def read_checkpoint(path: Path, *, advice: str, allowed: Sequence[Any] = ()) -> Any:
    """What a file saved by torch, or a .safetensors file, holds: tensors and plain containers, on the CPU.

    Args:
        advice: what to do if it cannot be read, a sentence without its stop; ends the message.
        allowed: further classes and functions that reading may use, as `torch.serialization.safe_globals`
            takes them; see `stand_in`.

    Raises:
        CheckpointError: not such a file, an incomplete one, or one with an object that is not allowed.
    """
    _check(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
                    raise ValueError("found packed tensors; torch.save packs none")
        with torch.serialization.safe_globals(list(allowed)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # what the readers of damaged files raise is anything, such as struct.error
        # torch's own message advises to allow code; ours does not repeat it.
        unknown = re.search(r"GLOBAL (\S+)", str(error))
        if unknown:
            raise CheckpointError(
                f"{path} holds the unknown object {unknown[1]}; expected tensors and plain values only. It "
                f"was not opened further, as it could run code. {advice}"
            ) from error
        raise CheckpointError(
            f"{path} cannot be read as tensors saved by torch ({type(error).__name__}: {reason_of(error)}); "
            f"is the download complete? {advice}"
        ) from error


def reason_of(error: Exception) -> str:
    """What a library says went wrong with a file, in one line; never its advice to allow the file's code."""
    said = str(error)
    if "weights_only" in said or "WeightsUnpickler" in said:
        inner = re.search(r"WeightsUnpickler error: *([^\n]*)", said)
        said = inner[1] if inner and "weights_only" not in inner[1] else "it holds more than tensors"
    lines = said.strip().splitlines()
    return lines[0] if lines else "it ends too early"


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
    build: Callable[[], Network],
    state: Mapping[str, Tensor],
    source: str | Path,
    *,
    model: str,
    advice: str,
    unused: Collection[str] = (),
) -> Network:
    """A network with exactly these weights, in its own dtypes: on the CPU, frozen, in evaluation mode.

    Args:
        build: makes the network, without weights that would be drawn in vain.
        model: what the network is called; advice: what to do if they do not fit, without its stop.
        unused: keys the network does not need, which may be there or not; one that ends in a stop stands for
            all that begin with it.

    Raises:
        CheckpointError: weights are missing, unexpected or of another shape; some of each are named.
    """
    with torch.device("meta"):
        network = build()
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
    return network.eval().requires_grad_(False)


def digest_of(*values: Any) -> str:
    """16 hex digits that tell plain values from others."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(*paths: Path) -> str:
    """12 hex digits that tell the content of files from others.

    Raises:
        CheckpointError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        _check(path)
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise CheckpointError(f"cannot read {path} ({error.strerror}); check the path") from error
    return digest.hexdigest()[:12]


def check_files(source: str | Path) -> None:
    """Whether a folder of a model holds ordinary files, whatever a library will read of them: it would wait
    for a pipe, and read a device for ever. What is no folder passes.

    Raises:
        CheckpointError: something else is there.
    """
    folder = Path(source).expanduser()
    for path in folder.rglob("*") if folder.is_dir() else ():
        if not path.is_dir():
            _check(path)


def _check(path: Path) -> None:
    try:
        if path.exists():  # whoever reads says what is missing
            check_file(path)
    except CaptureError as error:
        raise CheckpointError(str(error)) from error


def split_revision(name: str) -> tuple[str, str | None]:
    """`NAME@REVISION` -> NAME and REVISION, a branch, tag or commit of a hub repository; None without one.

    A file or folder that exists under the whole name is meant as it is, with an @ or without.

    Raises:
        CheckpointError: nothing stands on one side of the @, or NAME is a folder or file here.
    """
    if "@" not in name or os.path.exists(os.path.expanduser(name)):
        return name, None
    source, _, revision = name.rpartition("@")
    if not (source and revision):
        raise CheckpointError(
            f"found {name!r}; expected NAME@REVISION, or NAME alone for the newest revision"
        )
    if os.path.exists(os.path.expanduser(source)):
        raise CheckpointError(
            f"found the revision {revision!r} of {source}, which is here on disk; only repositories of the "
            f"hub have revisions. Name {source} alone"
        )
    return source, revision


def is_hub_id(name: str) -> bool:
    """Whether a name that is no file or folder here may be a repository `owner/name` of the Hugging Face hub,
    without a revision: beside existing files it is a path that was mistyped."""
    return not Path(name).parent.is_dir() and bool(re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name))


def download(name: str, files: Sequence[str]) -> Path:
    """The folder with these files of a hub repository, all of one revision; kept in the hub's cache.

    Args:
        name: `owner/name`, or `owner/name@REVISION`, see `split_revision`.

    Raises:
        CheckpointError: no such repository, revision or file, or no connection.
        MissingPackageError: the extra `hub` is not installed.
    """
    hub = require("huggingface_hub", "hub")
    repository, revision = split_revision(name)
    wanted = " and ".join(files)
    try:
        at = {"revision": revision} if revision else {}
        folder = Path(hub.snapshot_download(repository, allow_patterns=list(files), **at))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"found no folder {name} and no such repository: the hub gave no {wanted} of it ({error}); check "
            f"the name{', the revision' if revision else ''} and the connection"
        ) from error
    if absent := [file for file in files if not (folder / file).is_file()]:
        raise CheckpointError(
            f"the hub's repository {name} has no {' and '.join(absent)}; expected {wanted}. Is it "
            "another model?"
        )
    return folder


def _listed(names: Iterable[str]) -> str:
    some = list(names)
    return (", ".join(some[:_SHOWN]) or "nothing") + (", ..." if len(some) > _SHOWN else "")

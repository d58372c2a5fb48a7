"""Models of the transformers library: loaded by folder or hub id, without bars on somebody's terminal."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType
from typing import Any

from safetensors import SafetensorError

from purify3d.backbones.facts import Facts, disk_size
from purify3d.base.checkpoints import check_files, reason_of, split_revision
from purify3d.base.errors import BackboneError, CheckpointError, require


def transformers() -> ModuleType:
    """The library.

    Raises:
        MissingPackageError: the extra `hub` is not installed.
    """
    return require("transformers", "hub")


@contextmanager
def quiet_loading() -> Iterator[None]:
    """No progress bars from the library inside; its setting is restored after."""
    logging = require("transformers.utils.logging", "hub")
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextmanager
def failures_told(what: str, expected: str) -> Iterator[None]:
    """No progress bars inside; what the library cannot find or use becomes an error of ours.

    Raises:
        BackboneError: it begins with `what` and ends with what was expected.
    """
    try:
        with quiet_loading():
            yield
    except (OSError, ValueError, ImportError) as error:
        raise BackboneError(f"{what}: {reason_of(error)}. Expected {expected}") from error


def source_of(name: str) -> tuple[str, dict[str, Any]]:
    """A folder or hub id, which `@REVISION` may follow -> what `from_pretrained` takes: name and options.

    Code that lies beside weights is never run, and nobody is asked whether it may be.

    Raises:
        CheckpointError: see `split_revision` and `check_files`.
    """
    source, revision = split_revision(name)
    check_files(source)
    options: dict[str, Any] = {"trust_remote_code": False}
    return source, options if revision is None else options | {"revision": revision}


def load_model(kind: Any, name: str, *, expected: str, strict: bool = False) -> Any:
    """A model of the library, float32 on the CPU, with none of its weights left to chance.

    Args:
        kind: the library's class. expected: what NAME should be, for messages.
        strict: refuse weights that the model has no place for, too.

    Raises:
        BackboneError: nothing of that name, or a model of another kind.
        CheckpointError: its weights are damaged, not all there, or not that model's.
    """
    source, options = source_of(name)
    try:
        with failures_told(f"cannot load the model {name!r}", expected):
            model, info = kind.from_pretrained(source, output_loading_info=True, **options)
    except (RuntimeError, SafetensorError, UnpicklingError, EOFError) as error:
        raise CheckpointError(
            f"cannot load the weights of {name!r} ({type(error).__name__}: {reason_of(error)}); expected "
            f"{expected}. Is the download complete?"
        ) from error
    # Old checkpoints store the positions 0, 1, 2, ... beside the weights.
    others = [key for key in info["unexpected_keys"] if not key.endswith("position_ids")] if strict else []
    # Left to itself the library fills what is missing with random numbers.
    for what, keys in (("lack", info["missing_keys"]), ("hold other", others)):
        if keys:
            raise CheckpointError(
                f"the weights of {name!r} {what} {len(keys)} keys: {', '.join(sorted(keys)[:8])}; expected "
                f"{expected}. Is the download complete?"
            )
    return model.float()


def weights_digest(model: Any) -> str:
    """12 hex digits of a torch module on the CPU, from the beginning of every weight: enough to tell two
    trainings apart, and quick."""
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(f"{key} {tuple(value.shape)}".encode())
        digest.update(value.flatten()[:64].float().numpy().tobytes())
    return digest.hexdigest()[:12]


def pretrained_facts(name: str, input_size: str) -> Facts:
    """Facts about a dense model that has been loaded from a folder or hub id, without asking the hub.

    The licence is what the model's card states, where the card lies beside the weights.
    """
    source, options = source_of(name)
    folder = Path(source)
    if not folder.is_dir():  # then it lies in the hub's cache by now
        cached_file = require("transformers.utils", "hub").cached_file
        del options["trust_remote_code"]
        folder = Path(cached_file(source, "config.json", local_files_only=True, **options)).parent
    return Facts(
        kind="dense",
        licence=_stated_licence(folder / "README.md") or "see the model's card",
        disk_bytes=disk_size(*folder.iterdir()),
        input_size=input_size,
        source=str(folder),
    )


def _stated_licence(card: Path) -> str | None:
    """`license` in the header of a model card; `license_name` where that says 'other'."""
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    header = re.match(r"---\n(.*?\n)---\s*\n", text, re.DOTALL)
    fields = r"^(license|license_name): *['\"]?([\w.+-]+)"
    stated = dict(re.findall(fields, header[1] if header else "", re.MULTILINE))
    return stated.get("license_name") or stated.get("license")

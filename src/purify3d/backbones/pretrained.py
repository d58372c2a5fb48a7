"""Models of the transformers library: loaded by folder or hub id, without bars on somebody's terminal."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from purify3d.backbones.facts import Facts, disk_size
from purify3d.errors import require


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
    folder = Path(name)
    if not folder.is_dir():  # then it lies in the hub's cache by now
        config = require("transformers.utils", "hub").cached_file(name, "config.json", local_files_only=True)
        folder = Path(config).parent
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
    fields = (
        re.findall(r"^(license|license_name): *['\"]?([\w.+-]+)", header[1], re.MULTILINE) if header else []
    )
    stated = dict(fields)
    return stated.get("license_name") or stated.get("license")

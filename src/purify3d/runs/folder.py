"""The run folder: what a run has made, written so that a killed run never leaves a file that looks whole."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from purify3d.errors import RunError
from purify3d.types import FeatureSpace, PointFeatures

_CONFIG = "config.json"
_PARTIAL = ".partial-"
#: Part of every fingerprint: raised when a stage's numbers change, so that old results are not reused.
_REVISION = 1


def fingerprint(*parts: Any) -> str:
    """A short hash of dataclasses and plain values: equal inputs, equal stage."""
    text = json.dumps([_REVISION, *parts], sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def files_fingerprint(path: Path) -> str:
    """A hash of names, sizes and times of everything in a capture: cheap, and changes when a file does."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    stats = [(str(f.relative_to(path)), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.exists()]
    return fingerprint(str(path.resolve()), stats)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot fingerprint {type(value)}")


class Run:
    """A folder of results.

    Every file is written beside its place and moved there whole; a stage is recorded in `config.json` only
    after its files are in place. Nothing is created before the first write.

    Attributes:
        folder: where it is.
        config: what `config.json` holds: the effective configuration, and `stages`.
    """

    def __init__(self, folder: Path, *, overwrite: bool = False) -> None:
        """
        Raises:
            RunError: the folder holds something that is not a run, or a config that cannot be read.
        """
        self.folder = folder
        self._overwrite = overwrite
        self.config: dict[str, Any] = {"stages": {}}
        if not folder.exists():
            return
        if not folder.is_dir():
            raise RunError(f"{folder} is a file; expected a folder for the results. Name another --output")
        path = folder / _CONFIG
        if path.is_file():
            try:
                self.config = json.loads(path.read_text())
                self.config["stages"]
            except (ValueError, KeyError, TypeError) as error:
                raise RunError(
                    f"{path} is not a run's configuration ({error!r}); remove the folder"
                ) from error
        elif any(not entry.name.startswith(_PARTIAL) for entry in folder.iterdir()):
            raise RunError(
                f"{folder} holds files but no {_CONFIG}, so it is not a run folder; nothing was changed. "
                "Name an empty or new --output"
            )

    @classmethod
    def finished(cls, folder: Path) -> Run:
        """A run that has features to ask.

        Raises:
            RunError: there is no run, or it was stopped before its features were written.
        """
        if not (folder / _CONFIG).is_file():
            raise RunError(
                f"found no run in {folder} (no {_CONFIG}); expected the --output of 'purify3d segment'"
            )
        run = cls(folder)
        if "lift" not in run.config["stages"]:
            raise RunError(
                f"the run in {folder} was stopped before it was lifted; repeat its 'segment' command"
            )
        return run

    def done(self, stage: str, print_: str) -> bool:
        """Whether a stage was finished with this fingerprint."""
        return bool(self.config["stages"].get(stage, {}).get("fingerprint") == print_)

    def guard(self, stage: str, print_: str) -> None:
        """Refuse to replace a finished stage that was made from something else.

        Raises:
            RunError: unless the run was opened with overwrite=True.
        """
        if stage in self.config["stages"] and not self.done(stage, print_) and not self._overwrite:
            raise RunError(
                f"{self.folder} holds a run of another capture, backbone or lifting; expected the same, or a "
                "new folder. Name another --output, or give --overwrite to replace it"
            )

    def write(self, name: str, writer: Callable[[Path], Any]) -> Path:
        """Let `writer` fill a temporary file, then move it to `name`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # The suffix stays: image writers choose the format by it.
        temporary = self.folder / f"{_PARTIAL}{os.getpid()}-{name}"
        try:
            writer(temporary)
            os.replace(temporary, self.folder / name)
        finally:
            temporary.unlink(missing_ok=True)
        return self.folder / name

    def write_json(self, name: str, value: Any) -> Path:
        return self.write(name, lambda path: path.write_text(json.dumps(value, indent=1) + "\n"))

    def read_json(self, name: str) -> Any:
        """
        Raises:
            RunError: missing or not JSON.
        """
        try:
            return json.loads((self.folder / name).read_text())
        except (OSError, ValueError) as error:
            raise RunError(
                f"cannot read {self.folder / name} ({error}); repeat the run with --overwrite"
            ) from error

    def begin(self, *stages: str) -> None:
        """Forget stages that are about to be made (again); their files may be replaced one by one."""
        for stage in stages:
            self.config["stages"].pop(stage, None)
        self.write_json(_CONFIG, self.config)

    def finish(self, stage: str, print_: str, **config: Any) -> None:
        """Record a stage whose files are all in place, with what it was made with."""
        self.config |= json.loads(json.dumps(config, default=_plain))
        self.config["stages"][stage] = {"fingerprint": print_}
        for leftover in self.folder.glob(f"{_PARTIAL}*"):  # of a run that was killed
            leftover.unlink(missing_ok=True)
        self.write_json(_CONFIG, self.config)

    def write_features(self, name: str, features: PointFeatures) -> None:
        """Values in fp16, everything else as it is; the space goes into the metadata."""
        tensors = {"values": features.values.half(), "views": features.views}
        tensors |= {
            name: tensor
            for name, tensor in (
                ("basis", features.basis),
                ("length", features.length),
                ("gap", features.gap),
            )
            if tensor is not None
        }
        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        metadata = {"space": json.dumps(asdict(features.space))}
        self.write(name, lambda path: save_file(tensors, path, metadata=metadata))

    def read_features(self, name: str) -> PointFeatures:
        """
        Raises:
            RunError: missing, or not what `write_features` writes.
        """
        path = self.folder / name
        try:
            tensors = load_file(path)
            space = FeatureSpace(**json.loads(_metadata(path)["space"]))
            return PointFeatures(
                tensors["values"].float(),
                tensors["views"],
                space,
                tensors.get("basis"),
                tensors.get("length"),
                tensors.get("gap"),
            )
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            raise RunError(f"cannot read {path} ({error!r}); repeat the run with --overwrite") from error


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def stored_precision(features: PointFeatures) -> PointFeatures:
    """The features as they will be read back, so that a resumed run gives the very same labels."""
    return replace(features, values=features.values.half().float())

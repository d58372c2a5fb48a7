"""The folder of a run: what it has made, written so that no file is ever half there and looks whole."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import socket
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from filelock import Timeout
from safetensors import SafetensorError

from purify3d.base.errors import CaptureError, RunError
from purify3d.base.files import clear_partial, is_own, locked, read_text, write_text, write_whole
from purify3d.runs.job import Job

CONFIG, RECORD = "config.json", "stages.json"
_LOCK, _HOLDER = ".lock", ".writer"
_SHORT = 1000  # bytes
#: Part of every fingerprint: raised when a stage's numbers change, so that old results are not reused.
_REVISION = 6


def fingerprint(*parts: Any) -> str:
    """A short hash of plain values: equal inputs, equal stage."""
    text = json.dumps([_REVISION, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Folder:
    """A folder of results.

    `config.json` is the job, `stages.json` says which stages are finished, from what, and which files of
    which size each of them owns. A stage counts only while its files are there with that size. Nothing is
    created before the first write, and only one process writes at a time.

    Attributes:
        path: where it is.
        stages: key -> {"fingerprint", "made_from": stage -> fingerprint, "files": name -> bytes, "watch":
            name -> seconds and peak_gb, ...}.
    """

    def __init__(self, path: str | Path) -> None:
        """
        Raises:
            RunError: the folder holds something that is not a run, or a record that cannot be read.
        """
        self.path = Path(path)
        self.stages: dict[str, dict[str, Any]] = {}
        self._new_job: Job | None = None
        self._writers = 0
        self._read()

    def _read(self) -> None:
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise RunError(f"{self.path} is a file; expected a folder for the results. Name another --output")
        if (self.path / RECORD).exists():
            self.stages = _record(self.file(RECORD))
        elif any(not entry.name.startswith(".") and entry.name != CONFIG for entry in self.path.iterdir()):
            raise RunError(
                f"{self.path} holds files but no {RECORD}, so it is not a run folder of this version; "
                "nothing was changed. Name an empty or new --output"
            )

    @classmethod
    def finished(cls, path: str | Path) -> Self:
        """The folder of a run that has features to ask.

        Raises:
            RunError: there is no run, or it was stopped before its features were written.
        """
        if not (Path(path) / RECORD).exists():
            raise RunError(
                f"found no run in {path} (no {RECORD}); expected the --output of 'purify3d segment'"
            )
        folder = cls(path)
        if not folder.whole("lift"):
            raise RunError(
                f"the run in {path} has no whole features: it was stopped before they were written, or a "
                "file is missing or cut off; repeat its 'segment' command"
            )
        return folder

    @property
    def job(self) -> Job:
        """
        Raises:
            RunError: `config.json` is missing or no job.
        """
        return Job.read(self.file(CONFIG))

    def fingerprint_of(self, stage: str) -> str | None:
        """The fingerprint a stage was finished with."""
        return self.stages.get(stage, {}).get("fingerprint")

    def whole(self, stage: str) -> bool:
        """Whether a stage is finished and its files are there with the size recorded."""
        entry = self.stages.get(stage)
        return entry is not None and all(
            _size(self.path / name) == size for name, size in entry["files"].items()
        )

    def done(self, stage: str, fingerprint: str) -> bool:
        """Whether a stage is finished with this fingerprint, and whole."""
        return self.fingerprint_of(stage) == fingerprint and self.whole(stage)

    @contextmanager
    def writing(self, *, patience: float = 0.0) -> Iterator[None]:
        """Be the only process that writes; a process that died holds nothing. The record is read again: it is
        as the last writer left it. Whoever writes already may ask again.

        Args:
            patience: seconds to wait for another one.

        Raises:
            RunError: another process writes, and the message says which; or the folder cannot be written.
        """
        if self._writers:
            yield
            return
        made = not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = locked(self.path / _LOCK, patience=patience)
        except Timeout as error:
            raise RunError(
                f"{self.path} is being written by {self._holder()}; wait until it is done, or name another "
                "--output"
            ) from error
        except (OSError, NotImplementedError) as error:
            raise RunError(f"cannot write to {self.path} ({error}); name another --output") from error
        self._writers = 1
        try:
            self._read()
            with suppress(OSError):  # who writes is only said to others: nothing depends on it
                write_text(self.path / _HOLDER, f"process {os.getpid()} on {socket.gethostname()}")
            clear_partial(self.path)  # the lock is ours: whoever left it is gone
            yield
        finally:
            self._writers = 0
            with suppress(OSError):
                (self.path / _HOLDER).unlink(missing_ok=True)
            lock.release()
            if made and not any(entry.name != _LOCK for entry in self.path.iterdir()):
                (self.path / _LOCK).unlink(missing_ok=True)
                with suppress(OSError):
                    self.path.rmdir()

    def _holder(self) -> str:
        try:
            return read_text(self.path / _HOLDER, _SHORT) or "another process"
        except CaptureError:
            return "another process"

    @contextmanager
    def making(
        self, stage: str, fingerprint: str, made_from: Mapping[str, str], *, spared: Collection[str] = ()
    ) -> Iterator[StageWriter]:
        """Make a stage: it is recorded when the block ends well, with the files written in it.

        Files that the stage owned and did not write again go, as does, with its files, all that was made from
        what is replaced.

        Args:
            made_from: fingerprints of the stages that it is made from.
            spared: stages that stay all the same.

        Raises:
            RunError: a file cannot be written; the message says why.
        """
        self.flush()
        was = self.stages.pop(stage, {"files": {}})
        dropped = [self.stages.pop(name) for name in self._stale(stage, fingerprint) if name not in spared]
        self._save()
        making = StageWriter(self.path)
        yield making
        for name in {name for entry in (was, *dropped) for name in entry["files"]} - making.files.keys():
            (self.path / name).unlink(missing_ok=True)
        self.stages[stage] = {
            "fingerprint": fingerprint,
            "made_from": dict(made_from),
            "files": making.files,
            **making.notes,
        }
        self._save()

    def _stale(self, stage: str, fingerprint: str) -> list[str]:
        """What was made from another version of a stage, directly or not, or is to be made again anyway."""
        stale = [
            key
            for key, entry in self.stages.items()
            if not entry["fingerprint"] or entry["made_from"].get(stage, fingerprint) != fingerprint
        ]
        for key in stale:  # grows meanwhile
            stale += [k for k, e in self.stages.items() if key in e["made_from"] and k not in stale]
        return stale

    def behind(self, stage: str) -> set[str]:
        """The recorded stages that one was made from, directly or not, as they are."""
        made_from = self.stages.get(stage, {}).get("made_from", {})
        direct = {name for name, digest in made_from.items() if self.fingerprint_of(name) == digest}
        return direct.union(*(self.behind(name) for name in direct))

    def forget(self) -> None:
        """Take nothing of what is there for finished."""
        self.stages = {key: entry | {"fingerprint": ""} for key, entry in self.stages.items()}

    def configure(self, job: Job) -> None:
        """Make a job the run's own as soon as something is written: what fails before leaves nothing."""
        self._new_job = job

    def flush(self) -> None:
        """Write the job that was configured."""
        if (job := self._new_job) is not None:
            _write(self.path / CONFIG, lambda path: path.write_text(job.to_json(), encoding="utf-8"))
            self._new_job = None

    @property
    def writable(self) -> bool:
        """Whether this user may write there; what others have made can be asked all the same."""
        return os.access(self.path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)

    def file(self, name: str) -> Path:
        """The path of a file of the run.

        Raises:
            RunError: it is missing, or no file of its own: a link could show any file of its reader.
        """
        path = self.path / name
        if not is_own(path):
            found = "no such file" if not os.path.lexists(path) else "a link, a folder or something else"
            raise RunError(f"{path}: found {found}; expected a file. Repeat the run with --overwrite")
        return path

    def read_json(self, name: str) -> Any:
        """
        Raises:
            RunError: missing or not JSON.
        """
        try:
            return json.loads(read_text(self.file(name)))
        except (CaptureError, ValueError, RecursionError) as error:
            raise RunError(
                f"cannot read {self.path / name} ({error}); repeat the run with --overwrite"
            ) from error

    def _save(self) -> None:
        text = json.dumps(self.stages, indent=1, allow_nan=False) + "\n"
        _write(self.path / RECORD, lambda path: path.write_text(text, encoding="utf-8"))


class StageWriter:
    """A stage in the making, or files of a run beside it.

    Attributes:
        folder: where they are written.
        files: name -> bytes, of what was written.
        notes: what else is recorded with the stage.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, int] = {}
        self.notes: dict[str, Any] = {}

    def write(self, name: str, writer: Callable[[Path], Any]) -> Path:
        """Let `writer` fill the file of this name; it appears when it is whole.

        Raises:
            RunError: it cannot be written.
        """
        path = _write(self.folder / name, writer)
        self.files[name] = path.stat().st_size
        return path

    def write_json(self, name: str, value: Any) -> Path:
        text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        return self.write(name, lambda path: path.write_text(text, encoding="utf-8"))


def _write(path: Path, writer: Callable[[Path], Any]) -> Path:
    """`write_whole`.

    Raises:
        RunError: it cannot be written.
    """
    try:
        return write_whole(path, writer)
    except (OSError, SafetensorError, UnicodeEncodeError) as error:
        raise RunError(
            f"cannot write {path} ({error}); nothing of it was kept. Free some space or name another "
            "--output, and repeat the command: finished stages are not repeated"
        ) from error


def check_writable(folder: Path) -> None:
    """Ask now, before minutes of work, whether results can be written there; nothing is left behind.

    Raises:
        RunError: they cannot.
    """
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(b"purify3d")
    except OSError as error:
        raise RunError(f"cannot write to {place} ({error}); name another --output") from error


def _record(path: Path) -> dict[str, dict[str, Any]]:
    """What `stages.json` says. Its files are removed by name, so a name must not lead out of the folder.

    Raises:
        RunError: it cannot be read, or is no record.
    """
    try:
        stages = json.loads(read_text(path))
    except (CaptureError, ValueError, RecursionError) as error:
        raise RunError(f"cannot read {path} ({error}); restore it, or remove the folder") from error
    for entry in stages.values() if isinstance(stages, dict) else [stages]:
        if isinstance(entry, dict) and "files" in entry and "made_from" not in entry:
            raise RunError(f"{path.parent} was made by an older version of purify3d; {_again(path.parent)}")
        good = isinstance(entry, dict) and isinstance(entry.get("files"), dict)
        good = good and isinstance(entry["made_from"], dict)
        good = good and isinstance(entry.get("fingerprint"), str) and isinstance(entry.get("watch", {}), dict)
        if not good or not all(_is_plain(name) for name in entry["files"]):
            raise RunError(f"{path} is not the record of a run; restore it, or remove the folder")
    return dict(stages)


def _again(folder: Path) -> str:
    """The command that makes a run of an older version anew, as far as its configuration can be read."""
    capture, labels, backbone = "CAPTURE", "...", ""
    with suppress(CaptureError, ValueError, KeyError, TypeError, RecursionError):
        plain = json.loads(read_text(folder / CONFIG))
        capture, labels = str(plain["capture"]["path"]), plain["labels"]
        labels = labels if isinstance(labels, str) else ", ".join(labels)
        backbone = f" --backbone {shlex.quote(str(plain['backbone']))}"
    capture, labels = shlex.quote(capture), shlex.quote(labels)
    return f"make it anew: purify3d segment {capture} --labels {labels}{backbone} -o NEW_FOLDER"


def _is_plain(name: str) -> bool:
    """Whether a name is that of a file of the folder itself."""
    return name not in ("", ".", "..") and not set(name) & set("/\\\0")


def _size(path: Path) -> int | None:
    return path.stat().st_size if is_own(path) else None

"""The run folder: what a run has made, written so that no file is ever half there and looks whole."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from purify3d.base.errors import RunError
from purify3d.base.files import PARTIAL, write_whole
from purify3d.runs.job import Job

CONFIG, RECORD = "config.json", "stages.json"
_LOCK, _HOLDER = ".lock", ".writer"
#: Part of every fingerprint: raised when a stage's numbers change, so that old results are not reused.
_REVISION = 4


def fingerprint(*parts: Any) -> str:
    """A short hash of plain values: equal inputs, equal stage."""
    text = json.dumps([_REVISION, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Run:
    """A folder of results.

    `config.json` is the job, `stages.json` says which stages are finished, from what, and which files of
    which size each of them owns. A stage counts only while its files are there with that size. Nothing is
    created before the first write, and only one process writes at a time.

    Attributes:
        folder: where it is.
        stages: name -> {"fingerprint", "files": name -> bytes, "seconds", "peak_gb", ...}.
    """

    def __init__(self, folder: str | Path) -> None:
        """
        Raises:
            RunError: the folder holds something that is not a run, or a record that cannot be read.
        """
        self.folder = Path(folder)
        self.stages: dict[str, dict[str, Any]] = {}
        self._new_job: Job | None = None
        if not self.folder.exists():
            return
        if not self.folder.is_dir():
            raise RunError(f"{folder} is a file; expected a folder for the results. Name another --output")
        if (self.folder / RECORD).is_file():
            self.stages = _record(self.folder / RECORD)
        elif any(not entry.name.startswith(".") and entry.name != CONFIG for entry in self.folder.iterdir()):
            raise RunError(
                f"{folder} holds files but no {RECORD}, so it is not a run folder of this version; nothing "
                "was changed. Name an empty or new --output"
            )

    @classmethod
    def finished(cls, folder: str | Path) -> Self:
        """A run that has features to ask.

        Raises:
            RunError: there is no run, or it was stopped before its features were written.
        """
        if not (Path(folder) / RECORD).is_file():
            raise RunError(
                f"found no run in {folder} (no {RECORD}); expected the --output of 'purify3d segment'"
            )
        run = cls(folder)
        if not run.whole("lift"):
            raise RunError(
                f"the run in {folder} has no whole features: it was stopped before they were written, or a "
                "file is missing or cut off; repeat its 'segment' command"
            )
        return run

    @property
    def job(self) -> Job:
        """
        Raises:
            RunError: `config.json` is missing or no job.
        """
        return Job.read(self.folder / CONFIG)

    def print_of(self, stage: str) -> str | None:
        """The fingerprint a stage was finished with."""
        return self.stages.get(stage, {}).get("fingerprint")

    def whole(self, stage: str) -> bool:
        """Whether a stage is finished and its files are there with the size recorded."""
        entry = self.stages.get(stage)
        return entry is not None and all(
            _size(self.folder / name) == size for name, size in entry["files"].items()
        )

    def done(self, stage: str, print_: str) -> bool:
        """Whether a stage is finished with this fingerprint, and whole."""
        return self.print_of(stage) == print_ and self.whole(stage)

    @contextmanager
    def writing(self, *, patience: float = 0.0) -> Iterator[None]:
        """Be the only process that writes; a process that died holds nothing.

        Args:
            patience: seconds to wait for another one.

        Raises:
            RunError: another process writes, and the message says which; or the folder cannot be written.
        """
        made = not self.folder.exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / _LOCK, timeout=patience)
            lock.acquire()
        except Timeout as error:
            raise RunError(
                f"{self.folder} is being written by {self._holder()}; wait until it is done, or name another "
                "--output"
            ) from error
        except (OSError, NotImplementedError) as error:
            raise RunError(f"cannot write to {self.folder} ({error}); name another --output") from error
        try:
            with suppress(OSError):  # who writes is only said to others: nothing depends on it
                (self.folder / _HOLDER).write_text(f"process {os.getpid()} on {socket.gethostname()}")
            for leftover in self.folder.glob(f"{PARTIAL}*"):  # the lock is ours: whoever left it is gone
                with suppress(OSError):
                    leftover.unlink(missing_ok=True)
            yield
        finally:
            with suppress(OSError):
                (self.folder / _HOLDER).unlink(missing_ok=True)
            lock.release()
            if made and not any(entry.name != _LOCK for entry in self.folder.iterdir()):
                (self.folder / _LOCK).unlink(missing_ok=True)
                with suppress(OSError):
                    self.folder.rmdir()

    def _holder(self) -> str:
        try:
            return (self.folder / _HOLDER).read_text() or "another process"
        except OSError:
            return "another process"

    @contextmanager
    def making(self, stage: str, print_: str, *, drops: Sequence[str] = ()) -> Iterator[Making]:
        """Make a stage: it is recorded when the block ends well, with the files written in it.

        Files that the stage owned and did not write again go, as do the stages named in `drops` with their
        files: they were made from what is replaced.

        Raises:
            RunError: a file cannot be written; the message says why.
        """
        self.flush()
        was = self.stages.pop(stage, {"files": {}})
        dropped = {name: self.stages.pop(name) for name in drops if name in self.stages}
        self._save()
        making = Making(self)
        yield making
        stale = {name for entry in (was, *dropped.values()) for name in entry["files"]} - making.files.keys()
        for name in stale:
            (self.folder / name).unlink(missing_ok=True)
        self.stages[stage] = {"fingerprint": print_, "files": making.files, **making.notes}
        self._save()

    def configure(self, job: Job) -> None:
        """Make a job the run's own as soon as something is written: what fails before leaves nothing."""
        self._new_job = job

    def flush(self) -> None:
        """Write the job that was configured."""
        if (job := self._new_job) is not None:
            self._write(CONFIG, lambda path: path.write_text(job.to_json(), encoding="utf-8"))
            self._new_job = None

    def read_json(self, name: str) -> Any:
        """
        Raises:
            RunError: missing or not JSON.
        """
        try:
            return json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(
                f"cannot read {self.folder / name} ({error}); repeat the run with --overwrite"
            ) from error

    def _save(self) -> None:
        text = json.dumps(self.stages, indent=1, allow_nan=False) + "\n"
        self._write(RECORD, lambda path: path.write_text(text, encoding="utf-8"))

    def _write(self, name: str, writer: Callable[[Path], Any]) -> Path:
        """`write_whole` a file of the folder."""
        try:
            return write_whole(self.folder / name, writer)
        except (OSError, SafetensorError) as error:
            raise RunError(
                f"cannot write {self.folder / name} ({error}); nothing of it was kept. Free some space or "
                "name another --output, and repeat the command: finished stages are not repeated"
            ) from error


class Making:
    """A stage in the making.

    Attributes:
        files: name -> bytes, of what was written.
        notes: what else is recorded with the stage.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self.files: dict[str, int] = {}
        self.notes: dict[str, Any] = {}

    def write(self, name: str, writer: Callable[[Path], Any]) -> Path:
        """Let `writer` fill the file of this name; it appears when it is whole.

        Raises:
            RunError: it cannot be written.
        """
        path = self._run._write(name, writer)
        self.files[name] = path.stat().st_size
        return path

    def write_json(self, name: str, value: Any) -> Path:
        text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        return self.write(name, lambda path: path.write_text(text, encoding="utf-8"))


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
        stages = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"cannot read {path} ({error}); restore it, or remove the folder") from error
    for entry in stages.values() if isinstance(stages, dict) else [stages]:
        good = isinstance(entry, dict) and isinstance(entry.get("files"), dict)
        good = good and isinstance(entry.get("fingerprint"), str) and isinstance(entry.get("watch", {}), dict)
        if not good or not all(_is_plain(name) for name in entry["files"]):
            raise RunError(f"{path} is not the record of a run; restore it, or remove the folder")
    return dict(stages)


def _is_plain(name: str) -> bool:
    """Whether a name is that of a file of the folder itself."""
    return name not in ("", ".", "..") and not set(name) & set("/\\\0")


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None

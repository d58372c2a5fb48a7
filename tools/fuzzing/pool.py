"""Long-lived processes that read damaged inputs, and a parent that ends those which take too much."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from fuzzing.mutations import OUTSIDE, Changes
from fuzzing.seeds import Reader, Seed

Task = tuple[str, Changes]  # the name of a reader, and what was changed of its seed
_SECRET = "kept-from-readers-4711"
_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Limits:
    """Of one case: seconds on the clock, bytes of memory beyond those of an idle worker."""

    seconds: float = 20.0
    memory: int = 2 << 30


@dataclass(frozen=True)
class Outcome:
    """How a case ended.

    Attributes:
        verdict: ok; ours: an error of the package; foreign, warned (by numpy or Pillow, not by the package),
            outside, hang, memory, crash: a fault.
        kind: what cases of one cause share; empty for ok and ours.
        text: traceback or message.
    """

    verdict: str
    kind: str = ""
    text: str = ""

    @property
    def fault(self) -> bool:
        return bool(self.kind)


class Pool:
    """Workers, each with the readers and seeds that this process has when they start."""

    def __init__(
        self, readers: Mapping[str, Reader], seeds: Mapping[str, Seed], limits: Limits, workers: int = 2
    ) -> None:
        self._given = (readers, seeds, limits)
        self._limits = limits
        self._scratch = Path(tempfile.mkdtemp(prefix="fuzz-"))
        self._workers = [_Worker(self._scratch / str(i), *self._given) for i in range(workers)]

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def one(self, task: Task) -> Outcome:
        return next(iter(self.run([(None, task)])))[1]

    def run(self, tasks: Iterable[tuple[Any, Task]]) -> Iterator[tuple[Any, Outcome]]:
        """The outcomes by key, as they come; tasks are taken from the iterable when a worker is free."""
        waiting, more = iter(tasks), True
        while True:
            for worker in self._workers:
                if more and worker.key is None:
                    entry = next(waiting, None)
                    more = entry is not None
                    if entry is not None:
                        worker.start((entry[0],), entry[1])
            busy = [worker for worker in self._workers if worker.key is not None]
            if not busy:
                return
            ready = wait([each.pipe for each in busy] + [each.process.sentinel for each in busy], 0.05)
            for worker in busy:
                outcome = worker.outcome(worker.pipe in ready, worker.process.sentinel in ready)
                if outcome is not None:
                    (key,), worker.key = worker.key or (None,), None
                    yield key, outcome


class _Worker:
    def __init__(
        self, folder: Path, readers: Mapping[str, Reader], seeds: Mapping[str, Seed], limits: Limits
    ) -> None:
        self._given = (folder, readers, seeds, limits)
        self._limits = limits
        self._stack = folder.with_suffix(".stack")
        self.key: tuple[Any] | None = None
        self._fork()

    def _fork(self) -> None:
        self.pipe, theirs = _FORK.Pipe()
        self.process = _FORK.Process(target=_serve, args=(theirs, self._stack, *self._given), daemon=True)
        self.process.start()
        theirs.close()
        self._idle = 0

    def start(self, key: tuple[Any], task: Task) -> None:
        self.key, self._since = key, time.monotonic()
        self._idle = self._idle or _resident(self.process.pid)
        self.pipe.send(task)

    def outcome(self, answered: bool, ended: bool) -> Outcome | None:
        """What became of the case, or None while it is read and within its limits."""
        if answered:
            try:
                found: Outcome = self.pipe.recv()
                return found
            except EOFError:
                ended = True
        if ended:
            self.process.join()
            code = self.process.exitcode or 0
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            return self._replaced("crash", name)
        if time.monotonic() - self._since > self._limits.seconds:
            return self._replaced("hang", f"over {self._limits.seconds:g} s")
        if _resident(self.process.pid) - self._idle > self._limits.memory:
            return self._replaced("memory", f"over {self._limits.memory / 2**30:g} GB")
        return None

    def _replaced(self, verdict: str, how: str) -> Outcome:
        """The worker is gone, or goes now; its stack says where it was."""
        if self.process.is_alive():
            os.kill(self.process.pid or 0, signal.SIGUSR1)
            time.sleep(0.2)
        self.end()
        stack = self._stack.read_text(errors="replace") if self._stack.exists() else ""
        lines = re.findall(r'File "(.*?)", line (\d+) in (\S+)', stack)
        place = _place([(file, int(line), name) for file, line, name in reversed(lines)])
        self._fork()
        return Outcome(verdict, f"{verdict} {place}", f"{how}\n{stack}")

    def end(self) -> None:
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.pipe.close()


def _resident(pid: int | None) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


# ---- in a worker


def _serve(
    pipe: Connection,
    stack: Path,
    folder: Path,
    readers: Mapping[str, Reader],
    seeds: Mapping[str, Seed],
    limits: Limits,
) -> None:
    torch.set_num_threads(1)
    with stack.open("w") as log:
        faulthandler.enable(log, all_threads=False)
        faulthandler.register(signal.SIGUSR1, log, all_threads=False)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + 2 * limits.memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))  # or one array of terabytes counts as nothing
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1), os.dup2(silence, 2)
        outside: list[str] = []

        def watch(event: str, given: tuple[Any, ...]) -> None:
            if event == "open" and isinstance(given[0], str) and given[0].endswith(OUTSIDE[2:]):
                outside.append("".join(traceback.format_stack()))

        sys.addaudithook(watch)
        while True:
            try:
                reader, changes = pipe.recv()
            except EOFError:
                return
            pipe.send(_read(readers[reader], seeds[reader], changes, folder / "case", outside))


def _read(reader: Reader, seed: Seed, changes: Changes, folder: Path, outside: list[str]) -> Outcome:
    from purify3d.base.errors import PurifyError

    shutil.rmtree(folder, ignore_errors=True)
    for name, content in {**seed.files, **changes}.items():
        if content is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    for above in (folder, (folder / seed.path).parent):  # where names that lead out of the input lead to
        secret = above / OUTSIDE
        secret.parent.mkdir(parents=True, exist_ok=True)
        secret.write_text(_SECRET)
    outside.clear()
    outcome, caught = Outcome("ok"), list[Outcome]()

    def warned(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        stack = traceback.extract_stack()
        kind = f"{category.__name__} {_place([(f.filename, f.lineno or 0, f.name) for f in stack])}"
        text = "".join(traceback.format_list(stack[-8:-1])) + str(message)
        caught.append(Outcome("warned", f"{kind}: {_shape(str(message))}", text))

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", RuntimeWarning)
            warnings.showwarning = warned
            reader.read(folder / seed.path)
        outcome = caught[0] if caught else outcome
    except PurifyError as error:
        outcome = Outcome("ours", text=f"{type(error).__name__}: {error}")
    except BaseException as error:
        frames = [(f.filename, f.lineno or 0, f.name) for f in traceback.extract_tb(error.__traceback__)]
        shape = _shape(str(error))
        kind = f"{type(error).__name__} {_place(frames)}{': ' if shape else ''}{shape}"
        outcome = Outcome("foreign", kind, "".join(traceback.format_exception(error)))
    if _SECRET in outcome.text:
        return Outcome("outside", f"outside {outcome.text.splitlines()[-1][:80]}", outcome.text)
    if outside and outcome.verdict != "foreign":
        lines = re.findall(r'File "(.*?)", line (\d+), in (\S+)', outside[0])
        place = _place([(file, int(line), name) for file, line, name in lines])
        return Outcome(
            "outside", f"outside {place}", f"{outside[0]}opened {OUTSIDE}, which is no part of the input"
        )
    return outcome


def _place(frames: list[tuple[str, int, str]]) -> str:
    """The innermost frame that lies in the package."""
    for file, line, name in reversed(frames):
        _, found, inside = file.rpartition("/purify3d/")
        if found and "/fuzz" not in file:
            return f"{inside}:{line} {name}"
    return "nowhere in purify3d"


def _shape(text: str) -> str:
    """A message without what differs from case to case."""
    text = re.sub(r"/\S+|'[^']*'|\"[^\"]*\"|b'.*", "…", text.splitlines()[0] if text else "")
    return re.sub(r"0x[\da-f]+|[-+]?\d[\d.e+,]*", "#", text)[:80]

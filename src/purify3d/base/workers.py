"""Tasks for workers: this process, several, or the machines of a Ray cluster. The results are the same.

`workers` chooses. Each yields the outcome of every task as it is finished: what a task raises is in its
outcome and stops no other. A process that dies takes no other task with it: its task is tried again, and then
given up with the reason.
"""

from __future__ import annotations

import os
import re
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Generic, Protocol, TypeVar

import torch

from purify3d.base.errors import PurifyError, PurifyWarning, RunError, require

_DIED = "its process ended before it was finished, as a rule because memory ran out; use fewer at a time"
#: How often a task is tried again on a cluster when its process or machine is gone.
RETRIES = 3


@dataclass(frozen=True)
class Task:
    """Work for one worker: a value that can be pickled, and done anywhere that sees the same files.

    Attributes:
        name: as no other among the tasks.
    """

    name: str

    @property
    def device(self) -> str:
        """Where it computes: `auto`, `cpu`, `cuda`; a cluster gives it a GPU accordingly."""
        return "cpu"


T = TypeVar("T", bound=Task)
R = TypeVar("R")


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """What became of a task.

    Attributes:
        name: of the task.
        result: None: it failed.
        why: it failed, on one line.
        warnings: what was said while it was done, each once.
    """

    name: str
    result: R | None
    why: str = ""
    warnings: tuple[str, ...] = ()


def attempt(do: Callable[[T], R], task: T) -> Outcome[R]:
    """Do a task. Whatever it raises is said in the outcome."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", PurifyWarning)
            result = do(task)
    except PurifyError as error:
        return Outcome(task.name, None, " ".join(str(error).split()))
    except Exception as error:  # of any library on any file: the other tasks go on, the reason is kept
        return Outcome(task.name, None, f"{type(error).__name__}: {' '.join(str(error).split())}")
    said = [str(w.message) for w in caught if issubclass(w.category, PurifyWarning)]
    return Outcome(task.name, result, warnings=tuple(dict.fromkeys(said)))


class Workers(Protocol):
    """Attempt tasks somewhere; the outcomes come in any order, one for each task."""

    def __call__(self, tasks: Sequence[T], do: Callable[[T], R]) -> Iterator[Outcome[R]]: ...


def workers(jobs: int = 1, ray: str | None = None) -> Workers:
    """The workers that `--jobs` and `--ray` ask for.

    Args:
        jobs: tasks at a time, each in a process of this machine; 1: this process.
        ray: address of a Ray cluster, see `OnRay`.

    Raises:
        ValueError: both are asked for, or `jobs` is below 1.
    """
    if ray is None:
        return Processes(jobs)
    if jobs > 1:
        raise ValueError("found --jobs and --ray; expected one of them")
    return OnRay(ray)


def serial(tasks: Sequence[T], do: Callable[[T], R]) -> Iterator[Outcome[R]]:
    """One after the other in this process."""
    for task in tasks:
        yield attempt(do, task)


class Processes:
    """So many processes of this machine, which share its cores; one: this process.

    Raises:
        ValueError: `jobs` is below 1.
    """

    def __init__(self, jobs: int) -> None:
        if jobs < 1:
            raise ValueError(f"found jobs = {jobs}; expected at least 1")
        self.jobs = jobs

    def __call__(self, tasks: Sequence[T], do: Callable[[T], R]) -> Iterator[Outcome[R]]:
        if self.jobs == 1 or len(tasks) < 2:
            yield from serial(tasks, do)
            return
        left = {task.name: task for task in tasks}
        for outcome in self._all(tasks, do):
            del left[outcome.name]
            yield outcome
        # A process that dies ends the whole pool; what was not finished gets a process each, so that the
        # task which is to blame is the only one that is given up.
        for task in left.values():
            yield from list(self._all([task], do)) or [Outcome(task.name, None, _DIED)]

    def _all(self, tasks: Sequence[T], do: Callable[[T], R]) -> Iterator[Outcome[R]]:
        """Outcomes until all are there or a process dies."""
        jobs = min(self.jobs, len(tasks))
        share = max(1, (os.cpu_count() or 1) // jobs)
        # Not forked: torch has threads, which a forked process would wait for in vain.
        pool = ProcessPoolExecutor(
            jobs, mp_context=get_context("spawn"), initializer=_use_threads, initargs=(share,)
        )
        try:
            futures: list[Future[Outcome[R]]] = [pool.submit(attempt, do, task) for task in tasks]
            for future in as_completed(futures):
                if isinstance(future.exception(), BrokenProcessPool):
                    continue  # others may have been finished
                yield future.result()
        except BrokenProcessPool:
            return  # it died before all were submitted
        finally:
            pool.shutdown(cancel_futures=True)


class OnRay:
    """The machines of a Ray cluster. They must see captures and results under the same paths.

    A task gets a core, and a GPU of its own if it computes on `cuda`, or on `auto` and the cluster has any.

    Attributes:
        address: of the cluster's head (HOST:PORT, ray://HOST:PORT, auto), or "local" for this machine alone.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def __call__(self, tasks: Sequence[T], do: Callable[[T], R]) -> Iterator[Outcome[R]]:
        """See `Workers`.

        Raises:
            RunError: there is no such cluster, it has no GPU and a task needs one, or a task names one.
        """
        ray = require("ray", "ray")
        begun = not ray.is_initialized()
        if begun:
            self._begin(ray)
        try:
            yield from self._outcomes(ray, tasks, do)
        finally:
            if begun:
                ray.shutdown()

    def _begin(self, ray: Any) -> None:
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        try:
            _knock(self.address)
            if self.address == "local":
                ray.init(address="local", include_dashboard=False, **quiet)
            else:
                ray.init(address=self.address, **quiet)
        except Exception as error:  # of Ray, gRPC or the network
            raise RunError(
                f"found no Ray cluster at {self.address} ({' '.join(str(error).split())[:200]}); expected "
                "the address that 'ray start --head' printed, or local"
            ) from error

    def _outcomes(self, ray: Any, tasks: Sequence[T], do: Callable[[T], R]) -> Iterator[Outcome[R]]:
        there = int(ray.cluster_resources().get("GPU", 0))
        gpus = [_gpus(task.device, there) for task in tasks]
        # A task whose process or machine is gone is begun again elsewhere; what it finished is reused.
        remote = ray.remote(num_cpus=1, max_retries=RETRIES)(attempt)
        name_of = {
            remote.options(num_gpus=count).remote(do, task): task.name
            for task, count in zip(tasks, gpus, strict=True)
        }
        waiting = list(name_of)
        while waiting:
            (done,), waiting = ray.wait(waiting, num_returns=1)
            try:
                yield ray.get(done)
            except ray.exceptions.RayError as error:
                why = " ".join(str(error).split())[:300]
                yield Outcome(name_of[done], None, f"was tried {RETRIES + 1} times on the cluster: {why}")


def _gpus(device: str, there: int) -> int:
    """How many GPUs a task on this device asks for, in a cluster that has so many.

    Raises:
        RunError: it would wait for ever, or for another than it names.
    """
    if device.startswith("cuda:"):
        raise RunError(
            f"found --device {device} and a Ray cluster, which gives each task a GPU of its own; expected "
            "--device cuda"
        )
    if device == "cuda" and not there:
        raise RunError(
            "found --device cuda and a Ray cluster without a GPU, where it would wait for ever; start nodes "
            "that have one, or name --device cpu"
        )
    return int(there > 0 and device in ("auto", "cuda"))


def _knock(address: str) -> None:
    """Ray looks for a cluster that is not there for minutes.

    Raises:
        OSError: nobody answers at HOST:PORT.
    """
    if place := re.fullmatch(r"(?:ray://)?\[?([^/]+?)\]?:(\d{1,5})", address):
        socket.create_connection((place[1], int(place[2])), timeout=10).close()


def _use_threads(count: int) -> None:
    """At most so many threads of this process for one task."""
    torch.set_num_threads(max(1, min(count, torch.get_num_threads())))

"""Who does the scenes: this process, several, or the machines of a Ray cluster. The numbers are the same.

Each takes tasks and yields an outcome for every one as it is finished. A process that dies takes no other
scene with it: its scene is tried again, and then given up with the reason.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, Protocol

from purify3d.benchmarking.scene import Outcome, Task, forget, run_scene, use_threads
from purify3d.errors import RunError, require

Do = Callable[[Task], Outcome]

_DIED = "its process ended before it was finished, as a rule because memory ran out; use fewer at a time"
#: How often a scene is tried again on a cluster when its process or machine is gone.
RETRIES = 3


class Spread(Protocol):
    """Does tasks somewhere; outcomes come in any order, one for each task."""

    def __call__(self, tasks: Sequence[Task], do: Do = run_scene) -> Iterator[Outcome]: ...


def serial(tasks: Sequence[Task], do: Do = run_scene) -> Iterator[Outcome]:
    """One after the other in this process."""
    try:
        yield from map(do, tasks)
    finally:
        forget()


class Processes:
    """So many processes of this machine, which share its cores."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def __call__(self, tasks: Sequence[Task], do: Do = run_scene) -> Iterator[Outcome]:
        if self.jobs == 1 or len(tasks) < 2:
            yield from serial(tasks, do)
            return
        left = {task.name: task for task in tasks}
        for outcome in self._all(tasks, do):
            del left[outcome.name]
            yield outcome
        # A process that dies ends the whole pool; what was not finished gets a process each, so that the
        # scene which is to blame is the only one that is given up.
        for task in left.values():
            yield from list(self._all([task], do)) or [Outcome(task.name, None, _DIED)]

    def _all(self, tasks: Sequence[Task], do: Do) -> Iterator[Outcome]:
        """Outcomes until all are there or a process dies."""
        jobs = min(self.jobs, len(tasks))
        share = max(1, (os.cpu_count() or 1) // jobs)
        # Not forked: torch has threads, which a forked process would wait for in vain.
        pool = ProcessPoolExecutor(
            jobs, mp_context=get_context("spawn"), initializer=use_threads, initargs=(share,)
        )
        try:
            futures: list[Future[Outcome]] = [pool.submit(do, task) for task in tasks]
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

    Attributes:
        address: of the cluster's head (HOST:PORT, ray://HOST:PORT, auto), or "local" for this machine alone.
        cores: of each scene.
    """

    def __init__(self, address: str, *, cores: int = 1) -> None:
        self.address, self.cores = address, cores

    def __call__(self, tasks: Sequence[Task], do: Do = run_scene) -> Iterator[Outcome]:
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

    def _outcomes(self, ray: Any, tasks: Sequence[Task], do: Do) -> Iterator[Outcome]:
        cuda = any(task.job.device.startswith("cuda") for task in tasks)
        # A scene whose process or machine is gone is begun again elsewhere; what it finished is reused.
        remote = ray.remote(num_cpus=self.cores, num_gpus=int(cuda), max_retries=RETRIES)(do)
        name_of = {remote.remote(task): task.name for task in tasks}
        waiting = list(name_of)
        while waiting:
            (done,), waiting = ray.wait(waiting, num_returns=1)
            try:
                yield ray.get(done)
            except ray.exceptions.RayError as error:
                why = " ".join(str(error).split())[:300]
                yield Outcome(name_of[done], None, f"was tried {RETRIES + 1} times on the cluster: {why}")


def _knock(address: str) -> None:
    """Ray looks for a cluster that is not there for minutes.

    Raises:
        OSError: nobody answers at HOST:PORT.
    """
    if place := re.fullmatch(r"(?:ray://)?\[?([^/]+?)\]?:(\d{1,5})", address):
        socket.create_connection((place[1], int(place[2])), timeout=10).close()

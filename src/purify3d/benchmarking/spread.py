"""Who does the scenes of a benchmark: `spreading` with what is done to each, see there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from purify3d.base import workers
from purify3d.benchmarking.scene import Outcome, Task, forget, run_scene

Do = Callable[[Task], Outcome]


class Spread(Protocol):
    """Does tasks somewhere; outcomes come in any order, one for each task."""

    def __call__(self, tasks: Sequence[Task], do: Do = run_scene) -> Iterator[Outcome]: ...


class _Scenes:
    """Scenes that are done by an engine; models that this process loaded for them are let go of."""

    def __init__(self, engine: workers.Spread) -> None:
        self._engine = engine

    def __call__(self, tasks: Sequence[Task], do: Do = run_scene) -> Iterator[Outcome]:
        try:
            yield from self._engine(tasks, do, _lost)
        finally:
            forget()


#: One after the other in this process.
serial = _Scenes(workers.serial)


class Processes(_Scenes):
    """So many processes of this machine, which share its cores."""

    def __init__(self, jobs: int) -> None:
        super().__init__(workers.Processes(jobs))


class OnRay(_Scenes):
    """The machines of a Ray cluster, so many cores for each scene; see `spreading.OnRay`."""

    def __init__(self, address: str, *, cores: int = 1) -> None:
        super().__init__(workers.OnRay(address, cores=cores, device_of=_device_of))


def _device_of(task: Task) -> str:
    return task.job.device


def _lost(name: str, why: str) -> Outcome:
    return Outcome(name, None, why)

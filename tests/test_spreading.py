"""Tasks on a cluster that says it has GPUs: each gets one of its own, and no more run than there are."""

import os
import time
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from purify3d.base import workers
from purify3d.base.errors import RunError
from purify3d.benchmarking import Outcome, Task
from purify3d.benchmarking.spread import OnRay
from purify3d.runs.job import job


def tasks_on(device: str, count: int = 4) -> list[Task]:
    made = job("synthetic:3", "wall", device=device)
    return [Task(f"{device}-{i}", made, ("raw",), Path("never")) for i in range(count)]


def looking() -> Callable[[Task], Outcome]:
    """A task's body that says which GPUs it was given and when it ran; without a module, since the cluster's
    processes do not see the tests."""

    def look(task: Task) -> Outcome:
        begun = time.time()
        time.sleep(0.5)
        facts = {
            "gpus": [int(i) for i in ray.get_gpu_ids()],
            "sees": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
            "asked": ray.get_runtime_context().get_assigned_resources(),
            "begun": begun,
            "ended": time.time(),
        }
        return Outcome(task.name, facts)

    return look


@pytest.fixture(scope="module")
def two_gpus() -> Iterator[None]:
    """Four cores, and two GPUs that are not there: Ray hands out what a node says it has."""
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 4, "num_gpus": 2, "include_dashboard": False}
    )
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()


def facts_of(device: str) -> list[dict[str, Any]]:
    found = {outcome.name: outcome for outcome in OnRay("")(tasks_on(device), looking())}
    assert found.keys() == {task.name for task in tasks_on(device)}
    return [outcome.result or {} for outcome in found.values()]


def at_once(facts: list[dict[str, Any]]) -> int:
    """The most that ran at a time."""
    return max(sum(one["begun"] <= other["begun"] < one["ended"] for one in facts) for other in facts)


def test_a_scene_gets_a_gpu_of_its_own(two_gpus: None) -> None:
    facts = facts_of("auto")
    assert [len(one["gpus"]) for one in facts] == [1] * 4
    assert {one["gpus"][0] for one in facts} <= {0, 1}
    assert all(one["sees"] == str(one["gpus"][0]) for one in facts)
    assert all(one["asked"] == {"CPU": 1.0, "GPU": 1.0} for one in facts)
    assert at_once(facts) <= 2
    for one, other in combinations(facts, 2):
        if one["gpus"] == other["gpus"]:
            assert one["ended"] <= other["begun"] or other["ended"] <= one["begun"]


@pytest.mark.parametrize(
    ("device", "there", "asked"),
    [("cuda", 2, 1), ("auto", 2, 1), ("auto", 0, 0), ("cpu", 2, 0), ("cpu", 0, 0)],
)
def test_who_asks_for_a_gpu(device: str, there: int, asked: int) -> None:
    assert workers._gpus(device, there) == asked


def test_a_gpu_that_ray_would_not_give(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match=r"found --device cuda:1 and a Ray cluster.*expected --device cuda$"):
        list(OnRay("")(tasks_on("cuda:1"), looking()))
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0})
    with pytest.raises(RunError, match=r"without a GPU, where it would wait for ever"):
        list(OnRay("")(tasks_on("cuda"), looking()))

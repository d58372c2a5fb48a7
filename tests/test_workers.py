"""Tasks for workers: one that fails or dies stops no other, and a cluster gives each a GPU of its own."""

import os
import sys
import time
import warnings
from collections.abc import Iterator
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import deaths
import pytest
import ray
from deaths import die_once
from ray import cloudpickle
from ray.cluster_utils import Cluster
from test_benchmarking import LABELS, METHODS, numbers, rooms
from test_preparing import ROOMS, contents, making

from purify3d.base.errors import CaptureError, PurifyWarning, RunError
from purify3d.base.workers import OnRay, Outcome, Processes, Task, _gpus, attempt, serial, workers
from purify3d.benchmarking import SceneTask, benchmark
from purify3d.runs.job import job
from purify3d.training.preparing import prepare_all

TASKS = [Task(name) for name in "abcd"]


def troubled(task: Task) -> str:
    """Of every kind of task one."""
    warnings.warn(f"{task.name} is doubtful", PurifyWarning, stacklevel=1)
    warnings.warn(f"{task.name} is doubtful", PurifyWarning, stacklevel=1)
    if task.name == "b":
        raise CaptureError("found\n nothing")
    return {"a": "found"}[task.name]


def test_what_a_task_raises_is_in_its_outcome() -> None:
    wanted = [
        Outcome("a", "found", warnings=("a is doubtful",)),
        Outcome("b", None, "found nothing"),
        Outcome("c", None, "KeyError: 'c'"),
    ]
    assert list(serial(TASKS[:3], troubled)) == wanted
    with pytest.raises(KeyboardInterrupt):
        attempt(interrupted, TASKS[0])


def interrupted(task: Task) -> None:
    raise KeyboardInterrupt


def test_which_workers_are_asked_for() -> None:
    one, two, cluster = workers(), workers(2), workers(ray="local")
    assert isinstance(one, Processes)
    assert isinstance(two, Processes)
    assert (one.jobs, two.jobs) == (1, 2)
    assert isinstance(cluster, OnRay)
    assert cluster.address == "local"
    with pytest.raises(ValueError, match="found --jobs and --ray; expected one of them"):
        workers(2, "local")
    with pytest.raises(ValueError, match="found jobs = 0; expected at least 1"):
        workers(0)


def test_a_process_that_dies_takes_no_other_task(tmp_path: Path) -> None:
    for flag, good in ((tmp_path / "flag", True), (tmp_path / "nowhere" / "flag", False)):
        found = {o.name: o for o in Processes(2)(TASKS[:3], partial(die_once, {"b": flag}))}
        assert found.keys() == {"a", "b", "c"}
        assert all(outcome.result for name, outcome in found.items() if name != "b")
        assert (found["b"].result is not None) == good
    assert "memory ran out" in found["b"].why


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of two nodes of two cores. One has two GPUs that are not there: Ray hands out what a node
    says it has."""
    unseen = (sys.modules[__name__], deaths)  # the cluster's processes do not see the tests
    for module in unseen:
        cloudpickle.register_pickle_by_value(module)
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 2, "include_dashboard": False}
    )
    try:
        cluster.add_node(num_cpus=2, num_gpus=0)
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster.address
    finally:
        ray.shutdown()
        cluster.shutdown()
        for module in unseen:
            cloudpickle.unregister_pickle_by_value(module)


def tasks_on(device: str, count: int = 4) -> list[SceneTask]:
    made = job("synthetic:3", "wall", device=device)
    return [SceneTask(f"{device}-{i}", made, ("raw",), Path("never")) for i in range(count)]


def look(task: Task) -> dict[str, Any]:
    """Which GPUs a task was given, and when it ran."""
    begun = time.time()
    time.sleep(0.5)
    return {
        "gpus": [int(i) for i in ray.get_gpu_ids()],
        "sees": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        "asked": ray.get_runtime_context().get_assigned_resources(),
        "begun": begun,
        "ended": time.time(),
    }


def at_once(facts: list[dict[str, Any]]) -> int:
    """The most that ran at a time."""
    return max(sum(one["begun"] <= other["begun"] < one["ended"] for one in facts) for other in facts)


def test_a_scene_gets_a_gpu_of_its_own(cluster: str) -> None:
    found = {outcome.name: outcome for outcome in OnRay(cluster)(tasks_on("auto"), look)}
    assert found.keys() == {task.name for task in tasks_on("auto")}
    facts = [outcome.result or {} for outcome in found.values()]
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
    assert _gpus(device, there) == asked


def test_a_gpu_that_ray_would_not_give(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match=r"found --device cuda:1 and a Ray cluster.*expected --device cuda$"):
        list(OnRay(cluster)(tasks_on("cuda:1"), look))
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0})
    with pytest.raises(RunError, match=r"without a GPU, where it would wait for ever"):
        list(OnRay(cluster)(tasks_on("cuda"), look))


def test_a_task_whose_process_dies_is_begun_again(cluster: str, tmp_path: Path) -> None:
    flags = {"c": tmp_path / "flag", "d": tmp_path / "nowhere" / "flag"}
    found = {o.name: o for o in OnRay(cluster)(TASKS, partial(die_once, flags))}
    assert found.keys() == set("abcd")
    assert all(found[name].result for name in "abc")
    assert (tmp_path / "flag").exists()
    assert found["d"].result is None
    assert "was tried 4 times" in found["d"].why


def test_a_cluster_measures_the_same_numbers(cluster: str, tmp_path: Path) -> None:
    here = job(".", LABELS, voxel=0.05, device="cpu")
    results = benchmark(rooms(2), here, METHODS, tmp_path / "ray", workers=OnRay(cluster))
    assert numbers(results) == numbers(benchmark(rooms(2), here, METHODS, tmp_path / "serial"))


def test_a_cluster_makes_the_same_files(cluster: str, tmp_path: Path) -> None:
    made = prepare_all([*ROOMS[:2], "nowhere"], making(tmp_path / "ray"), workers=OnRay(cluster))
    prepare_all(ROOMS[:2], making(tmp_path / "serial"))
    assert len(contents(tmp_path / "ray")) == 4
    assert contents(tmp_path / "ray") == contents(tmp_path / "serial")
    assert made["nowhere"].result is None
    assert "nowhere" in made["nowhere"].why

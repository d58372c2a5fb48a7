"""The loop: the same weights after a kill as without, on one process or many."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from purify3d.affinities.config import GEOMETRY_CHANNELS, StudentConfig
from purify3d.affinities.embeddings import joined
from purify3d.affinities.student import Student
from purify3d.backbones.precision import product_dtype
from purify3d.base.checkpoints import digest_of, read_checkpoint
from purify3d.base.errors import CheckpointError
from purify3d.base.files import append_text, write_text, write_whole
from purify3d.base.progress import Progress, silent
from purify3d.base.settings import to_plain
from purify3d.grid.convolution import KernelMap
from purify3d.training import parallel
from purify3d.training.augment import augment, crop
from purify3d.training.config import TrainConfig
from purify3d.training.distill import info_nce, mine_targets
from purify3d.training.losses import draw_anchors, mass_loss, neighbors_of, pair_accuracy
from purify3d.training.scenes import Prepared, read
from purify3d.training.teachers import Targets
from purify3d.types import PointCloud, Voxels

STATE, LOG = "training.pt", "log.jsonl"
_KEEP_SECONDS = 60.0  # between checkpoints
_TIMED = 3  # steps that a budget of minutes is divided by
_CHECKED = 4  # looks at the held-out scenes for each figure


def train(
    folder: Path,
    student: StudentConfig,
    scenes: Sequence[Path],
    held_out: Sequence[Path],
    config: TrainConfig,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    device: str = "cpu",
    checks: int = 20,
    progress: Progress = silent,
) -> tuple[Student, dict[str, Any]]:
    """Train a student on prepared scenes, or go on where a training in this folder stopped.

    Everything drawn in a step depends on the seed and the number of the step alone, so that a training that
    was killed ends with the weights of one that was not (on a CPU; GPUs add in any order).

    Args:
        folder: holds `training.pt` (whole or absent) and `log.jsonl` while it lasts.
        scenes, held_out: files of `Cache.get`; the latter are only measured on.
        steps: how many; None: as many as fit into `minutes`, by the speed of the first steps, and then fixed.
        checks: how often the held-out scenes are looked at.

    Returns:
        The student in eval mode on the CPU; facts: steps, seconds, scenes, last figures.

    Raises:
        CheckpointError: the folder holds a training of something else.
        ValueError: neither steps nor minutes, or no scene.
    """
    if not scenes:
        raise ValueError("found no scene to train on; expected at least one")
    if steps is None and minutes is None:
        raise ValueError("found neither steps nor minutes; expected one of them")
    identity = digest_of(
        to_plain(student), to_plain(config), [path.stem for path in scenes], [path.stem for path in held_out]
    )
    torch.manual_seed(config.seed)
    network = Student(student).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    update = partial(_step, network, optimizer, scenes, config)
    done, spent = 0, 0.0
    state = _load(folder / STATE, identity)
    if state is not None:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        done, spent, steps = state["done"], state["seconds"], state["steps"]
    elif steps is None:
        assert minutes is not None
        steps = parallel.agreed(_steps_in(minutes, network, optimizer, update))
    log = _Log(folder / LOG, done)
    start = time.perf_counter()
    every = max(1, steps // checks)
    saved = start
    for step in progress(range(done, steps), name="train", total=steps - done):
        rate = _rate(step, steps, config)
        for group in optimizer.param_groups:
            group["lr"] = config.lr * rate
        loss, stays = update(step)
        entry: dict[str, Any] = {"step": step + 1, "loss": loss, "stays": stays, "lr": rate * config.lr}
        if held_out and ((step + 1) % every == 0 or step + 1 == steps):
            entry |= measure(network, held_out, config)
        log(entry)
        if time.perf_counter() - saved > _KEEP_SECONDS or step + 1 == steps:
            saved = time.perf_counter()
            if parallel.rank() == 0:
                whole = {
                    "identity": identity,
                    "network": network.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "done": step + 1,
                    "steps": steps,
                    "seconds": spent + saved - start,
                }
                _save(folder / STATE, whole)
    parallel.wait()
    facts = {"steps": steps, "seconds": round(spent + time.perf_counter() - start, 1), **log.last}
    return network.cpu().eval(), facts


def _rate(step: int, steps: int, config: TrainConfig) -> float:
    """Share of the peak learning rate: a line up, then half a cosine down to 0."""
    rise = max(1, round(config.warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def _steps_in(
    minutes: float, network: Student, optimizer: torch.optim.Optimizer, update: Callable[[int], object]
) -> int:
    """How many steps fit, by timing a few whose effect is undone."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fresh = optimizer.state_dict()
    update(0)  # the first one warms up
    start = time.perf_counter()
    for step in range(_TIMED):
        update(step)
    seconds = (time.perf_counter() - start) / _TIMED
    network.load_state_dict(before)
    optimizer.load_state_dict(fresh)
    return max(1, int(minutes * 60 / seconds))


def _step(
    network: Student,
    optimizer: torch.optim.Optimizer,
    scenes: Sequence[Path],
    config: TrainConfig,
    step: int,
) -> list[float]:
    """One update from `config.scenes` scenes, shared among processes: its loss, and the weight that stays.

    Each forward pass is one scene with that scene's batch statistics. All of a step begin with the same
    running statistics, and their results are averaged, as gradients are: so the number of processes changes
    nothing.
    """
    network.train()
    optimizer.zero_grad(set_to_none=True)
    statistics = _Statistics(network)
    losses = torch.zeros(2)
    for turn in range(parallel.rank(), config.scenes, parallel.size()):
        generator = torch.Generator().manual_seed((config.seed * 1_000_003 + step) * 1_000_003 + turn)
        scene = read(scenes[_scene_number(step * config.scenes + turn, len(scenes), config.seed)])
        statistics.begin()
        loss, stays = scene_loss(network, scene, config, generator)
        (loss / config.scenes).backward()
        statistics.end()
        losses += torch.tensor([float(loss.detach()), float(stays)]) / config.scenes
    for parameter in network.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        parallel.add(parameter.grad)
    statistics.average(config.scenes)
    parallel.add(losses)
    optimizer.step()
    return [round(value, 6) for value in losses.tolist()]


def _scene_number(turn: int, count: int, seed: int) -> int:
    """Scenes in a new random order each time all were seen."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed * 7919 + turn // count))
    return int(order[turn % count])


def scene_loss(
    network: Student, scene: Prepared, config: TrainConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """() loss of one scene as this step sees it, and () the share of weight that stays on its group."""
    index, inputs, targets = _cropped(scene, config, generator)
    index, inputs = augment(index, inputs, network.config, config, generator)
    embedding = _embed(network, index, inputs)
    if _kind(config, targets) == "mass":
        anchors = draw_anchors(targets.group, config.anchors, generator)
        neighbor = neighbors_of(index, anchors, config.neighbors)
        compared = _compared(embedding, index, inputs, network.config)
        sharpness = network.config.sharpness
        return mass_loss(
            compared, targets.group, anchors, neighbor, sharpness=sharpness, evenness=config.evenness
        )
    anchors = torch.randperm(len(index), generator=generator)[: config.anchors]
    neighbor = torch.zeros(len(index), config.neighbors, dtype=torch.int64)
    neighbor[anchors] = _padded(neighbors_of(index, anchors, config.neighbors), config.neighbors)
    seed = int(torch.randint(2**31, (), generator=generator))
    pairs = mine_targets(targets, neighbor, anchors, config=config, seed=seed)
    return info_nce(embedding, pairs, config.temperature), embedding.new_zeros(())


def _cropped(
    scene: Prepared, config: TrainConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor, Targets]:
    """Cells, float32 input and targets of the voxels that one look at a scene takes in."""
    rows = crop(scene.index, config.crop, generator)
    targets = Targets(scene.targets.group[rows], scene.targets.feature)
    return scene.index[rows], scene.inputs[rows].float(), targets


def _padded(neighbor: Tensor, k: int) -> Tensor:
    """(M, k): the last neighbour again where a small scene has no more."""
    lacking = k - neighbor.shape[1]
    return torch.cat([neighbor, neighbor[:, -1:].expand(-1, lacking)], dim=1) if lacking > 0 else neighbor


def _kind(config: TrainConfig, targets: Targets) -> str:
    if config.loss is not None and (config.loss == "pairs" or targets.feature is None):
        return config.loss
    if config.loss == "mass":
        raise ValueError("found the loss mass and a teacher of features; expected groups, or the loss pairs")
    return "mass" if targets.feature is None else "pairs"


def _embed(network: Student, index: Tensor, inputs: Tensor) -> Tensor:
    """(V, E) unit rows; in half precision where a GPU multiplies it fast."""
    device = next(network.parameters()).device
    raw = network(inputs.to(device, product_dtype(device)), KernelMap.of(index).to(device))
    return normalize(raw.float(), dim=1)


def _compared(embedding: Tensor, index: Tensor, inputs: Tensor, student: StudentConfig) -> Tensor:
    """The embedding as the affinity will compare it: joined with normals and colours if so configured."""
    if student.geometric == 0:
        return embedding
    rgb = (inputs[:, -GEOMETRY_CHANNELS:-3] * 255).round().clamp(0, 255).to(torch.uint8)
    xyz = index.float() * student.voxel_size
    label = torch.full((len(index),), -1, dtype=torch.int32)
    points = PointCloud(xyz, rgb, normalize(inputs[:, -3:], dim=1), label)
    each = torch.arange(len(index))
    voxels = Voxels(index.int(), student.voxel_size, torch.zeros(3, dtype=torch.float64), each)
    return joined(embedding, points, voxels, student)


@torch.no_grad()
def measure(network: Student, held_out: Sequence[Path], config: TrainConfig) -> dict[str, float]:
    """Figures of held-out scenes, at the same places each time: `pair_accuracy`; for groups what stays."""
    was = network.training
    network.eval()
    accuracy, stays = [], []
    for number, path in enumerate(held_out):
        scene = read(path)
        for look in range(_CHECKED):
            generator = torch.Generator().manual_seed(1000 * number + look)
            index, inputs, targets = _cropped(scene, config, generator)
            embedding = _embed(network, index, inputs).cpu()
            anchors = draw_anchors(targets.group, config.anchors, generator)
            if not len(anchors):
                continue
            neighbor = neighbors_of(index, anchors, config.neighbors)
            accuracy.append(pair_accuracy(embedding, targets, anchors, neighbor, generator))
            if targets.feature is None:
                compared = _compared(embedding, index, inputs, network.config)
                sharpness = network.config.sharpness
                _, kept = mass_loss(
                    compared, targets.group, anchors, neighbor, sharpness=sharpness, evenness=0.0
                )
                stays.append(float(kept))
    network.train(was)
    known = [value for value in accuracy if not math.isnan(value)]
    named = {"pair_accuracy": known, "held_out_stays": stays}
    return {name: round(sum(values) / len(values), 4) for name, values in named.items() if values}


class _Statistics:
    """The running statistics of batch norm: each scene's own from the same beginning, then their mean."""

    def __init__(self, network: nn.Module) -> None:
        self._values = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
        self._counts = [buffer for buffer in network.buffers() if not buffer.is_floating_point()]
        self._before = [buffer.clone() for buffer in self._values]
        self._seen = [int(count) for count in self._counts]
        self._sum = [torch.zeros_like(buffer) for buffer in self._values]

    def begin(self) -> None:
        for value, before in zip(self._values, self._before, strict=True):
            value.copy_(before)

    def end(self) -> None:
        for value, total in zip(self._values, self._sum, strict=True):
            total += value

    def average(self, scenes: int) -> None:
        for value, total in zip(self._values, self._sum, strict=True):
            parallel.add(total)
            value.copy_(total / scenes)
        for count, seen in zip(self._counts, self._seen, strict=True):
            count.fill_(seen + scenes)


class _Log:
    """JSON lines, one a step; what was written beyond the checkpoint a training goes on from is cut off."""

    def __init__(self, path: Path, done: int) -> None:
        self._path = path
        self.last: dict[str, Any] = {}
        lines = list(_entries(path)) if done else []
        kept = [entry for entry in lines if entry["step"] <= done]
        for entry in kept:
            self._remember(entry)
        if parallel.rank() == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, "".join(json.dumps(entry) + "\n" for entry in kept))

    def __call__(self, entry: dict[str, Any]) -> None:
        self._remember(entry)
        if parallel.rank() == 0:
            append_text(self._path, json.dumps(entry) + "\n")

    def _remember(self, entry: dict[str, Any]) -> None:
        self.last |= {name: value for name, value in entry.items() if name not in ("step", "lr")}


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            yield json.loads(line)
        except ValueError:  # the line that a kill cut off
            return


def _save(path: Path, state: dict[str, Any]) -> None:
    try:
        write_whole(path, lambda temporary: torch.save(state, temporary))
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"cannot write {path} ({error}); free some space, and go on") from error


def _load(path: Path, identity: str) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    state: dict[str, Any] = read_checkpoint(path, advice="Remove it to begin anew")
    if state.get("identity") != identity:
        raise CheckpointError(
            f"{path} is of a training with other settings, captures or teacher; expected the same to go on. "
            "Name another folder, or remove it to begin anew"
        )
    return state

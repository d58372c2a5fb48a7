"""Training: what a step minimises, that it helps, and that a kill or another process changes nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from math import nan
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from fakes import softmax_affinity
from safetensors.torch import save_file
from torch import Tensor

from purify3d.affinities.config import COMPACT, StudentConfig
from purify3d.affinities.student import SHIPPED
from purify3d.base.errors import CaptureError, CheckpointError
from purify3d.cli import program
from purify3d.cli.training import SHAPE
from purify3d.grid.neighbors import grid_neighbors
from purify3d.training import Cache, Recipe, TrainConfig, train
from purify3d.training.augment import augment, crop, symmetries
from purify3d.training.losses import draw_anchors, mass_loss, neighbors_of, pair_accuracy
from purify3d.training.scenes import read
from purify3d.training.selection import choose, entropy, richness
from purify3d.training.teachers import Targets, load_teacher
from purify3d.types import Scene

Program = Callable[..., tuple[int, str, str]]
STUDENT = StudentConfig(width=8, blocks=1, out_channels=8, words=("chair", "table"), sharpness=20.0)
CONFIG = TrainConfig(crop=0, anchors=200, neighbors=24, lr=1e-2, drop_words=0.0, jitter=0.02)


def write_lesson(folder: Path, seed: int, *, features: bool = False) -> Path:
    """A floor of 30 x 30 voxels with objects on it that look alike and are told apart by words alone."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.cartesian_prod(torch.arange(30), torch.arange(30), torch.arange(1))
    edge = int(torch.randint(8, 22, (), generator=generator))
    group = (index[:, 0] >= edge).long()
    words = torch.nn.functional.one_hot(group, 2) + 0.2 * torch.randn(len(index), 2, generator=generator)
    sure = torch.ones(len(index), 2)
    inputs = torch.cat(
        [words, sure, torch.full((len(index), 3), 0.5), torch.eye(3)[2].expand(len(index), 3)], 1
    )
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {"index": index.int(), "inputs": inputs.half()}, folder / f"{seed}.safetensors", {"name": str(seed)}
    )
    said = {"group": group[:, None].int()}
    if features:
        said["feature"] = torch.eye(2).half()
    save_file(said, folder / f"{seed}-targets.safetensors", {"name": str(seed)})
    return folder / f"{seed}-targets.safetensors"


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("targets")
    return [write_lesson(folder, seed) for seed in range(4)]


def weights(folder: Path, *arguments: object, **options: object) -> dict[str, Tensor]:
    student, _ = train(folder, STUDENT, *arguments, **options)  # type: ignore[arg-type]
    return student.state_dict()


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor], atol: float = 0.0) -> None:
    for name, value in a.items():
        torch.testing.assert_close(value, b[name], atol=atol, rtol=0, msg=name)


# ------------------------------------------------------------------------------------------ what is varied


def test_the_symmetries_are_those_of_the_cube() -> None:
    turns = symmetries()
    assert len({tuple(turn.flatten().tolist()) for turn in turns}) == 48
    assert torch.equal(turns @ turns.mT, torch.eye(3, dtype=torch.int64).expand(48, 3, 3))
    assert turns.double().det().round().tolist().count(1) == 24


def test_cells_and_normals_turn_alike() -> None:
    index = torch.cartesian_prod(torch.arange(3), torch.arange(3), torch.arange(1))
    inputs = torch.cat([torch.zeros(9, 4), torch.full((9, 3), 0.5), torch.eye(3)[2].expand(9, 3)], 1)
    config = TrainConfig(jitter=0.0, drop_normals=0.0, drop_words=0.0)
    seen = set()
    for seed in range(60):
        turned, told = augment(index, inputs, STUDENT, config, torch.Generator().manual_seed(seed))
        flat = int((turned.amax(0) == turned.amin(0)).nonzero())  # the axis along which the plane is thin
        assert told[0, -3:].abs().argmax() == flat
        assert torch.equal(told[:, :-3], inputs[:, :-3])
        seen.add((flat, float(told[0, -3 + flat])))
    assert len(seen) == 6
    still, _ = augment(index, inputs, STUDENT, replace(config, turns=False), torch.Generator().manual_seed(1))
    assert torch.equal(still, index)


def test_words_and_normals_are_dropped_and_light_varies() -> None:
    index, inputs = torch.zeros(5, 3, dtype=torch.int64), torch.full((5, 10), 0.5)
    silent = TrainConfig(jitter=0.0, drop_normals=1.0, drop_words=1.0, turns=False)
    _, told = augment(index, inputs, STUDENT, silent, torch.Generator().manual_seed(0))
    assert not told[:, :4].any()
    assert not told[:, -3:].any()
    assert torch.equal(told[:, 4:7], inputs[:, 4:7])
    bright = TrainConfig(jitter=0.2, drop_normals=0.0, drop_words=0.0, turns=False)
    _, told = augment(index, inputs, STUDENT, bright, torch.Generator().manual_seed(0))
    assert told[:, 4:7].std() > 0
    assert 0 <= told[:, 4:7].min() <= told[:, 4:7].max() <= 1
    assert torch.equal(inputs, torch.full((5, 10), 0.5))  # a copy was changed


def test_a_crop_is_a_ball() -> None:
    index = torch.cartesian_prod(*[torch.arange(12)] * 3)
    rows = crop(index, 200, torch.Generator().manual_seed(3))
    assert len(rows.unique()) == 200
    spread = (index[rows].double() - index[rows].double().mean(0)).norm(dim=1)
    assert spread.max() < 7
    assert len(crop(index, 0, torch.Generator())) == len(index)


# ------------------------------------------------------------------------------------------------- losses


def test_anchors_are_distinct_known_and_hear_small_groups() -> None:
    group = torch.cat([torch.zeros(900), torch.ones(100), torch.full((50,), -1.0)]).long()[:, None]
    anchors = draw_anchors(group, 300, torch.Generator().manual_seed(0))
    assert len(anchors.unique()) == 300
    assert (anchors < 1000).all()
    assert 60 < int((anchors >= 900).sum()) < 100  # 30 of 300 by size; all of them would be 100
    assert len(draw_anchors(torch.full((9, 1), -1), 5, torch.Generator())) == 0


def test_neighbors_of_anchors_are_the_nearest() -> None:
    index = torch.unique(torch.randint(0, 9, (300, 3), generator=torch.Generator().manual_seed(0)), dim=0)
    anchors = torch.arange(0, len(index), 7)
    ours, theirs = neighbors_of(index, anchors, 12), grid_neighbors(index, 12)[anchors]

    def squared(found: Tensor) -> Tensor:
        return (index[found] - index[anchors][:, None]).square().sum(2)

    assert torch.equal(squared(ours), squared(theirs))
    assert (ours != anchors[:, None]).all()


def test_mass_loss_is_the_loop_over_anchors() -> None:
    generator = torch.Generator().manual_seed(0)
    embedding = torch.nn.functional.normalize(torch.randn(60, 4, generator=generator), dim=1)
    group = torch.randint(-1, 3, (60, 2), generator=generator)
    anchors = torch.randperm(60, generator=generator)[:20]
    neighbor = torch.stack([torch.randperm(60, generator=generator)[:9] for _ in range(20)])
    found, stays = mass_loss(embedding, group, anchors, neighbor, sharpness=7.0, evenness=0.3)
    every = torch.zeros(60, 9, dtype=torch.int64)
    every[anchors] = neighbor
    weight = softmax_affinity(embedding, every, 7.0).weight[anchors]
    losses, kept = [], []
    for scale in range(2):
        for i, anchor in enumerate(anchors.tolist()):
            mine = int(group[anchor, scale])
            same = group[neighbor[i], scale] == mine
            if mine < 0 or not same.any():
                continue
            mass = weight[i][same].sum()
            share = weight[i][same] / mass
            losses.append(-mass.log() + 0.3 * ((share * share.log()).sum() + np.log(int(same.sum()))))
            if not same.all():
                kept.append(mass)
    torch.testing.assert_close(found, torch.stack(losses).mean())
    torch.testing.assert_close(stays, torch.stack(kept).mean())


def test_a_step_that_finds_nothing_to_learn_from_changes_nothing() -> None:
    """No anchor has a neighbour of its own group: no loss, and zeros for a gradient."""
    embedding = torch.randn(6, 3, requires_grad=True)
    group, anchors = torch.arange(6)[:, None], torch.tensor([0, 1])
    loss, stays = mass_loss(
        embedding, group, anchors, torch.tensor([[2, 3], [4, 5]]), sharpness=5.0, evenness=0.1
    )
    loss.backward()
    assert float(loss.detach()) == 0
    assert embedding.grad is not None
    assert not embedding.grad.any()
    assert float(stays) == 1


@pytest.mark.parametrize("features", [False, True])
def test_pair_accuracy_knows_good_from_bad(features: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    group = torch.arange(200) % 4
    targets = Targets(group[:, None], torch.eye(4) if features else None)
    anchors = torch.arange(100)
    neighbor = torch.stack([torch.randperm(200, generator=generator)[:24] for _ in range(100)])
    right = torch.nn.functional.one_hot(group, 4).float()
    noise = torch.randn(200, 4, generator=generator)
    assert pair_accuracy(right, targets, anchors, neighbor, generator) == 1
    assert pair_accuracy(noise, targets, anchors, neighbor, generator) == pytest.approx(0.5, abs=0.2)


# --------------------------------------------------------------------------------------------------- loop


@pytest.mark.parametrize("loss", ["mass", "pairs"])
def test_training_learns_what_the_words_tell(targets: list[Path], tmp_path: Path, loss: str) -> None:
    config = replace(CONFIG, loss=loss)
    _, facts = train(tmp_path, STUDENT, targets[:3], targets[3:], config, steps=40, checks=4)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [entry["loss"] for entry in log]
    assert [entry["step"] for entry in log] == list(range(1, 41))
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:3])
    checked = [entry["pair_accuracy"] for entry in log if "pair_accuracy" in entry]
    assert len(checked) == 4
    assert checked[-1] > 0.8  # 0.5 is chance
    assert facts["steps"] == 40


def test_features_of_a_teacher_are_learned_by_pairs(tmp_path: Path) -> None:
    files = [write_lesson(tmp_path / "scenes", seed, features=True) for seed in range(2)]
    _, facts = train(tmp_path, STUDENT, files[:1], files[1:], CONFIG, steps=40)
    assert facts["pair_accuracy"] > 0.8
    with pytest.raises(ValueError, match="the loss mass and a teacher of features"):
        train(tmp_path / "other", STUDENT, files, [], replace(CONFIG, loss="mass"), steps=1)


def test_a_stopped_training_ends_with_the_same_weights(
    targets: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = weights(tmp_path / "whole", targets[:3], targets[3:], CONFIG, steps=12)
    monkeypatch.setattr("purify3d.training.loop._KEEP_SECONDS", -1.0)

    def stop(items: range, *, name: str, total: int) -> object:
        for item in items:
            if item == 7:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", STUDENT, targets[:3], targets[3:], CONFIG, steps=12, progress=stop)  # type: ignore[arg-type]
    assert_same(whole, weights(tmp_path / "cut", targets[:3], targets[3:], CONFIG, minutes=5))
    logs = [(tmp_path / name / "log.jsonl").read_text() for name in ("whole", "cut")]
    assert logs[0] == logs[1]


def test_steps_are_fixed_by_the_first_measure_and_undo_it(targets: list[Path], tmp_path: Path) -> None:
    student, facts = train(tmp_path / "timed", STUDENT, targets[:2], [], CONFIG, minutes=0.02)
    assert facts["steps"] >= 1
    same = weights(tmp_path / "stepped", targets[:2], [], CONFIG, steps=facts["steps"])
    assert_same(student.state_dict(), same)


def test_a_training_of_something_else_is_not_continued(targets: list[Path], tmp_path: Path) -> None:
    train(tmp_path, STUDENT, targets[:2], [], CONFIG, steps=1)
    with pytest.raises(CheckpointError, match="with other settings, captures or teacher"):
        train(tmp_path, STUDENT, targets[:3], [], CONFIG, steps=1)
    (tmp_path / "training.pt").write_bytes(b"half")
    with pytest.raises(CheckpointError, match="Remove it to begin anew"):
        train(tmp_path, STUDENT, targets[:2], [], CONFIG, steps=1)
    with pytest.raises(ValueError, match="no scene"):
        train(tmp_path / "x", STUDENT, [], [], CONFIG, steps=1)
    with pytest.raises(ValueError, match="neither steps nor minutes"):
        train(tmp_path / "x", STUDENT, targets, [], CONFIG)


def test_two_processes_are_one_that_sees_the_same_scenes(targets: list[Path], tmp_path: Path) -> None:
    """Gradients, running statistics and log: within 1e-5 of one process with two scenes a step."""
    config, threads = replace(CONFIG, scenes=2), torch.get_num_threads()
    torch.set_num_threads(1)  # as each of the two has: a sum over threads rounds otherwise
    try:
        alone = weights(tmp_path / "one", targets, [], config, steps=3)
    finally:
        torch.set_num_threads(threads)
    script = tmp_path / "two.py"
    script.write_text(
        "import sys, torch\nfrom pathlib import Path\nfrom dataclasses import replace\n"
        "sys.path.insert(0, sys.argv[1])\nfrom test_training import CONFIG, STUDENT\n"
        "from purify3d.training import parallel, train\ntorch.set_num_threads(1)\n"
        "files = [Path(name) for name in sys.argv[3:]]\n"
        "with parallel.together('cpu'):\n"
        "    student, _ = train(Path(sys.argv[2]), STUDENT, files, [], replace(CONFIG, scenes=2), steps=3)\n"
        "    if parallel.rank() == 0: torch.save(student.state_dict(), Path(sys.argv[2]) / 'w.pt')\n"
        # Not through the interpreter's end, where torch's threads may abort a process that has done its work.
        "import os\nos._exit(0)\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(script), str(Path(__file__).parent), str(tmp_path / "two"), *map(str, targets)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert_same(alone, torch.load(tmp_path / "two" / "w.pt", weights_only=True), atol=1e-5)
    first, second = ((tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("one", "two"))
    for ours, theirs in zip(first, second, strict=True):
        assert json.loads(ours)["loss"] == pytest.approx(json.loads(theirs)["loss"], abs=1e-5)


# -------------------------------------------------------------------------------------------------- cache


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return Recipe(replace(COMPACT, words=()), load_teacher("truth"))


def test_scenes_are_made_once_for_every_teacher(
    room: Scene, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path)
    file = cache.get(room, recipe)
    scene = read(file)
    assert len(scene) == len(scene.targets) > 1000
    assert scene.targets.group.max() > 3
    monkeypatch.setattr("purify3d.training.scenes.prepare", None)  # would fail if it were called
    assert cache.get(room, recipe) == file
    other = replace(recipe, teacher=load_teacher("geometric"))
    assert cache.get(room, other) != file
    assert len(list(tmp_path.glob("*.safetensors"))) == 3
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(CaptureError, match="cannot read the prepared scene"):
        read(file)


def test_a_cache_keeps_its_size(room: Scene, recipe: Recipe, tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=1)
    first = cache.get(room, recipe)
    assert first.is_file()  # what was just made stays, whatever the limit
    for file in tmp_path.iterdir():
        os.utime(file, (1, 1))
    second = cache.get(replace(room, frames=room.frames[:4]), recipe)
    assert second.is_file()
    assert not first.is_file()


# --------------------------------------------------------------------------------------------------- door


def test_from_a_capture_to_labels(purify3d: Program, room_folder: Path, tmp_path: Path) -> None:
    """The whole way: a capture with truth objects, a student that hears words, labels made with it."""
    arguments = ("train", "synthetic:3?frames=6", "--teacher", "truth", "--steps", 2, "--crop", 3000)
    arguments += ("--anchors", 200, "--width", 8, "-o", tmp_path / "student")
    code, out, err = purify3d(*arguments)
    assert code == 0, err
    assert "48 words" in out
    made = {path.name for path in (tmp_path / "student").iterdir()}
    assert made >= {
        "model.safetensors",
        "config.json",
        "README.md",
        "training.json",
        "training.png",
        "log.jsonl",
    }
    assert "training.pt" not in made
    card = (tmp_path / "student" / "README.md").read_text()
    assert "| teacher | truth |" in card
    assert "purify3d train synthetic:3?frames=6" in card
    code, _, err = purify3d(*arguments)
    assert code == 0
    assert "holds a finished student, not repeated" in err
    code, _, err = purify3d(*arguments[:1], "synthetic:4?frames=6", *arguments[2:])
    assert code == 1
    assert "holds a finished student of 1 captures and the teacher 'truth'" in err
    facts = json.loads(purify3d("info", tmp_path / "student", "--json")[1])
    assert facts["steps"] == 2
    run = ("segment", room_folder, "--labels", "bed, wall", "-o", tmp_path / "run")
    assert purify3d(*run, "--affinity", tmp_path / "student")[0] == 0
    assert purify3d("query", tmp_path / "run", "bed")[0] == 0


def test_the_shipped_student_is_small_documented_and_says_what_it_is(purify3d: Program) -> None:
    facts = json.loads(purify3d("info", "student", "--json")[1])
    assert (facts["teacher"], facts["reads"]) == ("truth", "48 words")
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 8e6
    assert {file.name for file in SHIPPED.iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "training.json",
    }
    assert "tools/train_student.py" in (SHIPPED / "README.md").read_text()


@pytest.mark.parametrize(
    ("flags", "message", "code"),
    [
        (["--teacher", "master"], "found teacher 'master'; expected geometric", 1),
        (["--lr", "nan"], "found lr = nan", 2),
        (["--hold-out", "1"], "found 1 captures and --hold-out 1", 2),
        (["--backbone", "segmentr:x"], "expected one of segmenter", 1),
        (["--device", "cuda:77"], "cuda:77", 1),
        (["--teacher", "sonata:missing.pth"], "missing.pth", 1),
    ],
)
def test_wrong_usage(purify3d: Program, tmp_path: Path, flags: list[str], message: str, code: int) -> None:
    found, _, err = purify3d("train", "synthetic:3?frames=2", "--steps", 1, "-o", tmp_path / "s", *flags)
    assert found == code, err
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "s" / "model.safetensors").exists()


def out_of_range(config: TrainConfig | StudentConfig) -> list[tuple[TrainConfig | StudentConfig, str, Any]]:
    """Each number of a dataclass beyond its ends, and what is no number."""
    found: list[tuple[TrainConfig | StudentConfig, str, Any]] = []
    for field in fields(config):
        low, high, above = (field.metadata[end] for end in ("low", "high", "above"))
        below = low - 1 if above is None else above
        beyond = {"int": [below, high + 1], "float": [float(below), high * 1.1, nan]}
        found += [(config, field.name, value) for value in beyond.get(str(field.type), [])]
    return found


@pytest.mark.parametrize(("config", "name", "value"), [*out_of_range(COMPACT), *out_of_range(TrainConfig())])
def test_a_flag_refuses_what_python_refuses(
    purify3d: Program, tmp_path: Path, config: TrainConfig | StudentConfig, name: str, value: Any
) -> None:
    with pytest.raises(ValueError, match=rf"found {name} = .*; expected ") as refused:
        replace(config, **{name: value})
    if name in SHAPE:
        return  # what --student decides
    flag = f"--{name.replace('_', '-')}"
    code, _, err = purify3d("train", "synthetic:3", "-o", tmp_path / "s", flag, value)
    assert code == 2, err
    assert str(refused.value) in err
    assert not (tmp_path / "s").exists()


def test_every_setting_of_a_training_has_a_flag() -> None:
    known = {parameter.name for parameter in program.commands["train"].get_params(click.Context(program))}
    named = {field.name for config in (COMPACT, TrainConfig()) for field in fields(config)}
    assert named - known == set(SHAPE)


def test_truth_needs_objects(purify3d: Program, room_folder: Path, tmp_path: Path) -> None:
    arguments = ("train", room_folder, "--teacher", "truth", "--steps", 1, "--backbone", "none")
    code, _, err = purify3d(*arguments, "-o", tmp_path / "s")
    assert code == 1
    assert "instance" in err


def test_a_killed_process_goes_on(targets: list[Path], tmp_path: Path) -> None:
    """SIGKILL in the middle of training: the checkpoint is whole, and the same command ends it."""
    script = tmp_path / "long.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nsys.path.insert(0, sys.argv[1])\n"
        "from test_training import CONFIG, STUDENT\nfrom purify3d.training import loop, train\n"
        "loop._KEEP_SECONDS = -1.0\n"
        "train(Path(sys.argv[2]), STUDENT, [Path(n) for n in sys.argv[3:]], [], CONFIG, steps=400)\n"
    )
    command = [
        sys.executable,
        str(script),
        str(Path(__file__).parent),
        str(tmp_path / "s"),
        *map(str, targets),
    ]
    process = subprocess.Popen(command)
    for _ in range(600):
        if (tmp_path / "s" / "training.pt").is_file():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    state = torch.load(tmp_path / "s" / "training.pt", weights_only=True)
    assert 0 < state["done"] < 400
    seen = []

    def watch(items: range, *, name: str, total: int) -> object:
        for item in items:
            seen.append(item)
            if len(seen) == 3:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "s", STUDENT, targets, [], CONFIG, steps=400, progress=watch)  # type: ignore[arg-type]
    assert seen[0] == state["done"]


# ------------------------------------------------------------------------------------------------ selection


def test_scenes_that_show_much_and_differ_are_chosen() -> None:
    """Three kinds of rich scenes among many poor ones: one of each kind, the richest."""
    rng = np.random.default_rng(0)
    poor = [np.eye(30)[0] * 0.99 + 0.01 / 30 for _ in range(10)]
    kinds = [np.repeat(np.eye(3)[k], 10) for k in range(3)]
    rich = [kind * 0.97 + 0.001 + 0.004 * rng.random(30) for kind in kinds for _ in range(4)]
    rich[5] = kinds[1] * 0.5 + 0.5 / 30  # of the second kind, with every class
    rows = np.stack([row / row.sum() for row in poor + rich])
    chosen = choose(rows, 3)
    assert [(i - 10) // 4 for i in chosen] == [0, 1, 2]
    assert 15 in chosen
    assert choose(rows, 3) == chosen
    assert len(choose(rows, 20)) == 20  # more than there are good ones
    with pytest.raises(ValueError, match="found 22 scenes and count = 33"):
        choose(rows, 33)


def test_entropy_and_richness_are_compared_by_their_ranges() -> None:
    """The third of four scenes has the most classes, 12 of 4 to 12, the fourth the highest entropy: in nats
    and classes the third is ahead, by their ranges the fourth is."""
    few, flat = np.eye(16)[:4].mean(0), np.eye(16)[:10].mean(0)
    many = 0.9 * np.eye(16)[:4].mean(0) + 0.1 * np.eye(16)[4:12].mean(0)
    rows = np.stack([few, few, many, flat])
    assert richness(rows).tolist() == [4, 4, 12, 10]
    assert choose(rows, 1) == [3]
    disorder, classes = entropy(rows), richness(rows)
    assert (disorder + 0.5 * classes).argmax() == 2
    assert choose(np.stack([few, few]), 1) == [0]  # nothing to tell them by


def test_entropy_and_richness_by_hand() -> None:
    rows = np.array([[0.5, 0.5, 0, 0], [1, 0, 0, 0], [0.25, 0.25, 0.25, 0.25]])
    assert entropy(rows).tolist() == pytest.approx([np.log(2), 0, np.log(4)])
    assert richness(rows).tolist() == [2, 1, 4]


@pytest.mark.parametrize("by", ["words", "geometry", "labels"])
def test_select_prints_what_train_takes(purify3d: Program, by: str) -> None:
    arguments = ("select", "synthetic:3..5?frames=3", "--count", 2, "--by", by, "--json")
    code, out, err = purify3d(*arguments)
    assert code == 0, err
    captures = json.loads(out)["captures"]
    assert len(captures) == 2
    assert set(captures) < {f"synthetic:{seed}?frames=3" for seed in (3, 4, 5)}


def test_select_refuses(purify3d: Program, capture: Path) -> None:
    import shutil

    assert purify3d("select", capture, "--count", 2)[0] == 2
    shutil.rmtree(capture / "label")
    code, _, err = purify3d("select", capture, "--count", 1, "--by", "labels")
    assert code == 1
    assert "has no true labels" in err

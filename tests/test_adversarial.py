"""What careless or unlucky users do: nothing may be silently wrong, lost, or blamed on something else."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import FakeModel
from torch import Tensor

import purify3d as library
from purify3d.affinities.pooling import pool_features
from purify3d.backbones import embed_vocabulary
from purify3d.base.checkpoints import read_checkpoint
from purify3d.base.errors import BackboneError, CheckpointError, LabelError, RunError
from purify3d.base.settings import leaves
from purify3d.features.codec import encode
from purify3d.features.labels_from_frames import in_vocabulary
from purify3d.features.lifting import lift
from purify3d.pipeline import run_job
from purify3d.runs.folder import Folder
from purify3d.runs.job import Job, job
from purify3d.training import loop
from purify3d.types import (
    Affinity,
    DenseFeatures,
    FeatureSpace,
    Frame,
    PointCloud,
    PointFeatures,
    Scene,
    TextEmbeddings,
    Vocabulary,
    Voxels,
)

Program = Callable[..., tuple[int, str, str]]
SPACE = FeatureSpace("test", 2, 1.0)
QUICK = ("--voxel", "0.06", "--affinity", "geometric", "--rounds", "1", "--limit", "3")


@pytest.fixture(scope="module")
def finished(room_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    run_job(job(room_folder, "wall, floor", voxel=0.06, rounds=1, limit=3, affinity="geometric"), folder)
    return folder


# --------------------------------------------------------------------------------------------- configurations


@pytest.mark.parametrize("leaf", list(leaves(Job)), ids=lambda leaf: leaf.name)
def test_null_is_no_value_of_a_setting_that_needs_one(leaf: Any, tmp_path: Path) -> None:
    plain = json.loads(job("scan", "chair").to_json())
    inner = plain
    for key in leaf.path[:-1]:
        inner = inner[key]
    optional = inner[leaf.name] is None
    inner[leaf.name] = None
    file = tmp_path / "config.json"
    file.write_text(json.dumps(plain))
    if optional:
        assert Job.read(file) == job("scan", "chair")
    else:
        with pytest.raises(RunError, match=rf"found {leaf.name} = None; expected"):
            Job.read(file)


@pytest.mark.parametrize(
    "flags",
    [("--onto", ""), ("--affinity", ""), ("--affinity", "released:"), ("--backbone", "segmenter:")],
    ids=" ".join,
)
def test_an_empty_path_is_not_the_working_directory(
    flags: tuple[str, str], room_folder: Path, tmp_path: Path, purify3d: Program
) -> None:
    code, _, err = purify3d(
        "segment", room_folder, "--labels", "wall", *QUICK, *flags, "-o", tmp_path / "run"
    )
    assert code == 2
    assert flags[0].strip("-") in err
    assert not (tmp_path / "run").exists()


def test_an_empty_capture(purify3d: Program, monkeypatch: pytest.MonkeyPatch, capture: Path) -> None:
    monkeypatch.chdir(capture)  # the working directory would do
    code, _, err = purify3d("segment", "", "--labels", "wall")
    assert code == 2
    assert "found an empty path" in err


def test_results_of_the_folder_above_get_its_name(
    capture: Path, purify3d: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(capture / "pose")
    code, _, err = purify3d("segment", "..", "--labels", "wall", *QUICK)
    assert code == 0, err
    assert (capture / "pose" / "runs" / capture.name / "labels.ply").is_file()


def test_arrays_as_settings_are_named() -> None:
    with pytest.raises(ValueError, match=r"found intrinsics = array.*list of numbers"):
        job("scan", "chair", intrinsics=np.array([1.0, 2, 3, 4]))


# ------------------------------------------------------------------------------------------------ run folder


def test_a_record_cannot_name_files_outside_its_folder(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    (tmp_path / "mine").write_text("mine")
    record = json.loads((folder / "stages.json").read_text())
    for name in ("../mine", "", "..", "a\0b", "a/b", "a\\b"):
        record["label"]["files"] = {name: 4}
        (folder / "stages.json").write_text(json.dumps(record))
        with pytest.raises(RunError, match="not the record of a run"):
            Folder(folder)
    assert (tmp_path / "mine").read_text() == "mine"


def test_advice_for_a_record_that_is_cut_off_is_advice_that_helps(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    text = (folder / "stages.json").read_text()
    (folder / "stages.json").write_text(text[: len(text) // 2])
    with pytest.raises(RunError, match="restore it, or remove the folder"):
        Folder(folder)


def test_who_writes_is_no_condition_of_writing(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    (folder / ".writer").mkdir()
    (folder / ".partial-1-x").mkdir()
    for _ in range(2):  # the lock was let go
        with Folder(folder).writing():
            pass


def test_a_configuration_saved_with_a_byte_order_mark(tmp_path: Path) -> None:
    """As some editors do."""
    (tmp_path / "config.json").write_text(job("scan", "chair").to_json(), encoding="utf-8-sig")
    assert Job.read(tmp_path / "config.json") == job("scan", "chair")


@pytest.mark.parametrize("content", [b"junk", b"", b"PK\x03\x04", b"\x80\x02]", b"\x80\x02.", b"\0" * 40])
def test_what_is_no_checkpoint_is_said_to_be_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "training.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read as tensors saved by torch"):
        read_checkpoint(tmp_path / "training.pt", advice="Remove it")


def test_truth_ids_of_any_size_and_sign_are_names_or_none() -> None:
    names = {0: "wall", 1: "floor", 2: "chair", 10**11: "table", -3: "wall"}
    label = torch.tensor([0, 1, 2, -1, -2, -3, -4, 7], dtype=torch.int32)
    found = in_vocabulary(label, names, Vocabulary.parse("wall, floor, chair"))
    assert found.tolist() == [0, 1, 2, -1, -1, -1, -1, -1]
    assert in_vocabulary(label[:0], names, Vocabulary.parse("wall")).tolist() == []


# ------------------------------------------------------------------------------------------------- 2D models


class _Short(FakeModel):
    """A model that forgets the last frame."""

    def observe(self, frames: Sequence[Frame], text_embeddings: TextEmbeddings) -> list[Any]:
        return super().observe(frames[:-1], text_embeddings)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (FakeModel(SPACE, lambda _: DenseFeatures(torch.full((2, 3, 4), torch.nan))), "not finite"),
        (FakeModel(SPACE, lambda _: DenseFeatures(torch.full((2, 3, 4), 3e38))), "too long"),
        (_Short(SPACE, lambda _: DenseFeatures(torch.ones(2, 3, 4))), "3 results for 4 frames"),
        (FakeModel(SPACE, lambda _: torch.ones(2, 3, 4)), "Tensor among 4 results"),
    ],
)
def test_a_model_of_ones_own_that_answers_wrongly(room: Scene, model: Any, message: str) -> None:
    scene = library.with_points(room, voxel=0.1)
    with pytest.raises(BackboneError, match=message):
        lift(scene, model)


@pytest.mark.parametrize("scale", [1.0, 1e6, 1e-7])
def test_what_is_stored_holds_features_of_any_range(scale: float) -> None:
    values = torch.rand(50, 2, generator=torch.Generator().manual_seed(0)) + 0.1
    features = PointFeatures(values * scale, torch.ones(50, dtype=torch.int32), SPACE)
    kept = encode(features).features().dense()
    cosine = torch.nn.functional.cosine_similarity(kept, values)
    assert cosine.min() > 0.99999


def test_nothing_known_is_nothing_found() -> None:
    """Also where the model knows a table of words, and no common word can be asked."""

    def table(texts: Sequence[str]) -> Tensor:
        if list(texts) != ["wall"]:
            raise LabelError("only wall")
        return torch.tensor([[1.0, 0]])

    points = PointCloud.from_arrays(np.zeros((3, 3)))
    features = PointFeatures(torch.zeros(3, 2), torch.zeros(3, dtype=torch.int32), SPACE)
    assert not library.answer(points, features, "wall", FakeModel(SPACE, words=table)).found


# ------------------------------------------------------------------------------------------------- front door


@pytest.mark.parametrize("labels", [None, 7, [1, 2], [["wall"]], b"wall", [None]])
def test_labels_that_are_no_text(labels: Any) -> None:
    with pytest.raises(LabelError, match="for a label; expected text"):
        embed_vocabulary(FakeModel(SPACE, lambda _: None), labels)


@pytest.mark.parametrize("label", [[0.5], [2.0**40], [-(2.0**31) - 1]])
def test_ids_that_a_cast_would_change(label: list[float]) -> None:
    with pytest.raises(ValueError, match="label must be whole numbers"):
        PointCloud.from_arrays(np.zeros((1, 3)), label=label)


def test_tensors_with_a_gradient_are_numbers_too(room: Scene) -> None:
    xyz = torch.zeros(4, 3, requires_grad=True)
    assert len(PointCloud.from_arrays(xyz, torch.rand(4, 3, requires_grad=True))) == 4
    frame = room.frames[0]
    depth = torch.tensor(frame.depth(), requires_grad=True)
    pose = frame.world_from_camera[None]
    scene = Scene.from_arrays([torch.tensor(frame.color())], [depth], pose, (100, 100, 80, 60))
    assert np.array_equal(scene.frames[0].depth(), frame.depth())
    assert np.array_equal(scene.frames[0].color(), frame.color())


@pytest.mark.parametrize("spoil", ["scale", "mirror", "last row"])
def test_poses_in_memory_are_rigid_as_those_in_files(room: Scene, spoil: str) -> None:
    frame = room.frames[0]
    pose = np.stack([frame.world_from_camera] * 2)
    if spoil == "last row":
        pose[1, 3, 0] = 1
    else:
        pose[1, :3, :3] *= 2 if spoil == "scale" else -1
    with pytest.raises(ValueError, match=r"world_from_camera\[1\] is no rigid"):
        Scene.from_arrays([frame.color()] * 2, [frame.depth()] * 2, pose, (100, 100, 80, 60))


def test_colour_of_another_type_is_said_to_be(room: Scene) -> None:
    frame = room.frames[0]
    with pytest.raises(ValueError, match=r"uint8, found .* float64"):
        Scene.from_arrays(
            [frame.color() / 255], [frame.depth()], frame.world_from_camera[None], (100, 100, 80, 60)
        )


def test_what_does_not_belong_together() -> None:
    points = PointCloud.from_arrays(np.zeros((2, 3)))
    features = PointFeatures(torch.ones(3, 2), torch.ones(3, dtype=torch.int32), SPACE)
    model: Any = FakeModel(SPACE)
    with pytest.raises(ValueError, match="2 points and 3 features"):
        library.answer(points, features, "wall", model)
    voxels = Voxels(
        torch.zeros(1, 3, dtype=torch.int32), 0.1, torch.zeros(3), torch.zeros(2, dtype=torch.int64)
    )
    with pytest.raises(ValueError, match="3 points and voxels of 2"):
        voxels.mean(features.values)
    nobody = Affinity(torch.empty(1, 0, dtype=torch.int64), torch.empty(1, 0))
    wrong: list[Any] = [-1, 1.5]
    for rounds in wrong:
        with pytest.raises(ValueError, match="found rounds"):
            pool_features(features, voxels, nobody, rounds)
    text_embeddings = embed_vocabulary(model, ["wall"])
    result = library.classify(library.scores(features, text_embeddings), text_embeddings)
    with pytest.raises(ValueError, match="2 points and 3 labels"):
        result.save("labels.ply", points)
    for threshold in (float("nan"), 5):
        with pytest.raises(ValueError, match="expected a cosine"):
            library.classify(library.scores(features, text_embeddings), text_embeddings, threshold=threshold)
    assert library.evaluate(result, np.zeros(3), {0: "wall"}).miou == 1


# --------------------------------------------------------------------------------------------------- training

STEPS = ("--steps", "1", "--width", "8", "--crop", "500", "--backbone", "none")


def test_a_student_is_not_lost_to_a_command_that_fails(
    room_folder: Path, tmp_path: Path, purify3d: Program
) -> None:
    folder = tmp_path / "student"
    assert purify3d("train", room_folder, "-o", folder, *STEPS)[0] == 0
    before = (folder / "model.safetensors").read_bytes()
    for wrong in (("--teacher", "nobody"), ("--backbone", "none:"), ("--hold-out", "1")):
        assert purify3d("train", room_folder, "-o", folder, *STEPS, "--overwrite", *wrong)[0] in (1, 2)
        assert (folder / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--teacher", "truth"), "found no truth object"),
        (("--sharpness", "nan"), "found sharpness = nan"),
        (("--geometric", "nan"), "found geometric = nan"),
        (("--minutes", "nan"), "found nan"),
        (("--cache-limit", "nan"), "found nan"),
        (("--crop", "1"), "found crop = 1"),
        (("--loss", "pairs", "--macro", "0", "--micro", "0"), "found macro = 0"),
    ],
    ids=str,
)
def test_training_says_what_was_wrong(
    flags: tuple[str, ...], said: str, room_folder: Path, tmp_path: Path, purify3d: Program
) -> None:
    code, _, err = purify3d("train", room_folder, "-o", tmp_path / "student", *STEPS, *flags)
    assert code in (1, 2)
    assert said in err
    assert "fault" not in err


def test_what_was_learned_is_not_held_out(room_folder: Path, tmp_path: Path, purify3d: Program) -> None:
    code, _, err = purify3d(
        "train", room_folder, room_folder, "--hold-out", "1", "-o", tmp_path / "student", *STEPS
    )
    assert code == 2
    assert "expected each once" in err


def test_a_training_that_goes_on_says_that_it_keeps_its_steps(
    room_folder: Path, tmp_path: Path, purify3d: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, folder = loop._step, tmp_path / "student"

    def stopped(*arguments: Any) -> Any:
        if arguments[-1] == 2:
            raise KeyboardInterrupt
        return step(*arguments)

    command = ("train", room_folder, "-o", folder, *STEPS, "--steps")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_step", stopped)
        patch.setattr(loop, "_KEEP_SECONDS", 0.0)
        assert purify3d(*command, 3)[0] == 1
    code, _, err = purify3d(*command, 5)
    assert code == 0, err
    assert "found --steps 5 and a training of 3 steps" in err


@pytest.mark.parametrize("labels", ["scannet", "Matterport", "scannet20, lamp", "lamp,matterport40"])
def test_a_label_set_is_no_label(labels: str) -> None:
    with pytest.raises(LabelError, match="label set"):
        job("scan", labels)


def test_an_error_is_one_line_whatever_it_names(purify3d: Program) -> None:
    _, _, err = purify3d("info", "no\nsuch\nscan")
    assert [line for line in err.splitlines() if line != "purify3d info"] == [
        "error: no such scan: found nothing there; expected a capture. Check the path"
    ]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("frames=0", "found 0 frames"),
        ("frames=100000000", "found 100000000 frames of 320x240; expected at most 20000"),
        ("width=100000&height=100000", "expected at most 20000 of 8192 pixels a side"),
    ],
)
def test_a_room_of_no_size_or_any(query: str, said: str, purify3d: Program) -> None:
    code, _, err = purify3d("info", f"synthetic:3?{query}")
    assert code == 1
    assert said in err

"""The run folder: what is repeated, what heals, who may write."""

import json
import os
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import LABELS, write_scannet
from filelock import FileLock
from PIL import Image
from scipy.spatial.transform import Rotation

from purify3d.affinities.config import StudentConfig
from purify3d.affinities.embeddings import load_embedding
from purify3d.affinities.student import Student
from purify3d.backbones import load_backbone
from purify3d.base.errors import PurifyWarning, RunError
from purify3d.base.settings import leaves
from purify3d.clouds import read_cloud
from purify3d.pipeline import run_job
from purify3d.rooms import synthetic_scene
from purify3d.runs import Run, check_writable
from purify3d.runs.answers import write_answer
from purify3d.runs.artefacts import name_with_words
from purify3d.runs.folder import Folder
from purify3d.runs.forecast import forecast
from purify3d.runs.job import Job, changed, job
from purify3d.types import Scene


@pytest.fixture
def folder(run: Path) -> Path:
    return run


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A run that takes no time: small images, and features that are stored."""
    folder = tmp_path_factory.mktemp("small")
    scene = synthetic_scene(3, frames=6, width=112, height=84)
    capture = write_scannet(scene, folder / "room")
    maps = stored_maps(folder / "maps", capture)
    return job(capture, "wall, floor", backbone=maps, affinity="geometric", margin=4)


@pytest.fixture(scope="module")
def small_run(small: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "run"
    run_job(small, folder)
    return folder


def repeated(folder: Path, wanted: Job, **options: Any) -> set[str]:
    """Stages that are made again."""
    reused = list(run_job(wanted, folder, check=False, **options).reused)  # some are wrong on purpose
    return {"points", "lift", "label"} - set(reused)


# ------------------------------------------------------------------------------------- what is made again

#: What to change each setting to, and the stages that must be made again. A new setting fails the test below
#: until it stands here.
CHANGES: dict[str, tuple[Any, set[str]]] = {
    "path": (None, {"points", "lift", "label"}),  # another folder, made in the test
    "reader": ("scannet", {"points", "lift", "label"}),
    "up": ("-y", {"points", "lift", "label"}),
    "intrinsics": ([105, 105, 55.5, 41.5], {"points", "lift", "label"}),
    "every": (2, {"points", "lift", "label"}),
    "limit": (4, {"points", "lift", "label"}),
    "leave_out": ("0,1", {"points", "lift", "label"}),
    "onto": (None, {"points", "lift", "label"}),  # a file, made in the test
    "depth_unit": (0.002, {"points", "lift", "label"}),
    "depth_along": ("ray", {"points", "lift", "label"}),
    "max_depth": (2.5, {"points", "lift", "label"}),
    "pose_convention": ("opencv", {"points", "lift", "label"}),
    "pose_direction": ("camera-to-world", {"points", "lift", "label"}),
    "scale": (0.9, {"points", "lift", "label"}),
    "interpolate": (None, {"points", "lift", "label"}),  # a format with a clock, in the test
    "voxel": (0.03, {"points", "lift", "label"}),
    "backbone": ("segmenter:lite", {"lift", "label"}),
    "fusion": ("consensus", {"lift", "label"}),
    "tolerance": (0.1, {"lift", "label"}),
    "margin": (2, {"lift", "label"}),
    "top_views": (2, {"lift", "label"}),
    "seed": (1, {"lift", "label"}),
    "affinity": ("uniform", {"label"}),
    "neighbors": (24, {"label"}),
    "sharpness": (5.0, {"label"}),
    "rounds": (3, {"label"}),
    "confidence": (0.0, {"label"}),
    "fill": (float("inf"), {"label"}),
    "no_query": (True, {"lift", "label"}),
    "labels": ("chair, floor", {"label"}),
    "threshold": (0.3, {"label"}),
    "batch": (2, set()),
    "memory": (4.0, set()),
    "device": ("cpu:0", set()),
}


def tum_folder(scene: Scene, folder: Path) -> Path:
    """A scene as a TUM sequence, a pose every 20 ms and an image every 40."""
    lists: dict[str, list[str]] = {"rgb": [], "depth": [], "groundtruth": []}
    for name in ("rgb", "depth"):
        (folder / name).mkdir(parents=True)
    for number, frame in enumerate(scene.frames):
        at = number * 0.04
        Image.fromarray(frame.color()).save(folder / "rgb" / f"{number}.png")
        Image.fromarray((frame.depth() * 5000).round().astype(np.uint16)).save(
            folder / "depth" / f"{number}.png"
        )
        for name in ("rgb", "depth"):
            lists[name].append(f"{at:.3f} {name}/{number}.png")
        turn = Rotation.from_matrix(frame.world_from_camera[:3, :3]).as_quat()
        pose = " ".join(map(str, [*frame.world_from_camera[:3, 3], *turn]))
        lists["groundtruth"] += [f"{at - 0.001:.3f} {pose}", f"{at + 0.001:.3f} {pose}"]
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize("leaf", list(leaves(Job)), ids=lambda leaf: leaf.name)
def test_each_setting_repeats_the_stages_that_it_can_change(
    leaf: Any, small: Job, small_run: Path, tmp_path: Path
) -> None:
    value, stages = CHANGES[leaf.name]
    base, folder = small, Path(shutil.copytree(small_run, tmp_path / "run"))
    if leaf.name == "path":
        value = str(shutil.copytree(small.capture.path, tmp_path / "other"))
    elif leaf.name == "onto":
        value = str(shutil.copy(folder / "points.ply", tmp_path / "mesh.ply"))
    elif leaf.name == "interpolate":
        scene = small.capture.open()
        camera = scene.frames[0].camera
        intrinsics = (camera.fx, camera.fy, camera.cx, camera.cy)
        capture = tum_folder(scene, tmp_path / "tum")
        base = changed(base, {"path": str(capture), "intrinsics": intrinsics, "up": "+z"})
        run_job(base, folder, overwrite=True)
        value = True
    wanted = changed(base, {leaf.name: value})
    if "lift" in stages:
        with pytest.raises(RunError, match="another capture, backbone or lifting"):
            run_job(wanted, folder)
        assert repeated(folder, base) == set()  # the refusal changed nothing
        entries = json.loads((folder / "stages.json").read_text())
        fresh = run_job(wanted, tmp_path / "fresh", check=False)
        assert fresh.reused == ()
        same = {name for name in entries if fresh.files.fingerprint_of(name) == entries[name]["fingerprint"]}
        assert {"points", "lift", "label"} - same == stages
    else:
        assert repeated(folder, wanted) == stages
        assert Folder(folder).job == wanted.resolved()


def test_overwriting_repeats_every_stage(small: Job, small_run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_run, tmp_path / "run")
    assert repeated(folder, small, overwrite=True) == {"points", "lift", "label"}


def stored_maps(folder: Path, capture: Path) -> str:
    folder.mkdir()
    words = LABELS.replace("|", ", ").split(", ")
    np.savez(folder / "text.npz", names=np.array(words), embeddings=np.eye(len(words), dtype=np.float32))
    (folder / "space.json").write_text(json.dumps({"id": "test", "dim": len(words), "logit_scale": 10}))
    rng = np.random.default_rng(0)
    for color in (capture / "color").iterdir():
        np.save(folder / f"{color.stem}.npy", rng.random((len(words), 3, 4), dtype=np.float32))
    return f"features:{folder}"


def test_a_refusal_says_what_differs(room_folder: Path, folder: Path) -> None:
    with pytest.raises(RunError, match=r"up was None and is '-y'; fusion was 'mean' and is 'consensus'"):
        run_job(job(room_folder, LABELS, up="-y", fusion="consensus"), folder)


def test_new_images_are_noticed_however_the_capture_is_named(room: Any, tmp_path: Path) -> None:
    from purify3d.captures.formats.nerfstudio import write_nerfstudio

    capture = write_nerfstudio(room, tmp_path / "scan")
    for name in (capture, capture / "transforms.json"):
        wanted = job(name, LABELS, affinity="geometric", rounds=1)
        assert repeated(tmp_path / "run", wanted, overwrite=True)
        assert repeated(tmp_path / "run", wanted) == set()
        os.utime(capture / "images" / "00003.jpg", (0, 0))
        with pytest.raises(RunError, match="files of the capture"):
            run_job(wanted, tmp_path / "run")
        os.utime(capture / "images" / "00003.jpg")


def test_a_run_inside_its_capture(capture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(capture)
    wanted = job(".", LABELS)
    assert repeated(Path("runs/scan"), wanted) == {"points", "lift", "label"}
    assert repeated(Path("runs/scan"), wanted) == set()


def test_a_student_that_was_trained_again_is_noticed(room_folder: Path, tmp_path: Path) -> None:
    student = Student(StudentConfig(width=8, blocks=1, out_channels=4))
    student.save_pretrained(tmp_path / "student")
    wanted = job(room_folder, LABELS, affinity=str(tmp_path / "student"), rounds=2)
    run_job(wanted, tmp_path / "run")
    assert repeated(tmp_path / "run", wanted) == set()
    with torch.no_grad():
        student.output_layer.kernel[0, 0] += 1
    student.save_pretrained(tmp_path / "student")
    assert repeated(tmp_path / "run", wanted) == {"label"}


def test_questions_from_another_directory(
    room_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Student(StudentConfig(width=8, blocks=1, out_channels=4)).save_pretrained("mine")
    stored_maps(Path("maps"), room_folder)
    run_job(job(room_folder, LABELS, affinity="mine", backbone="features:maps", rounds=2), "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = Run.open("../run")
    answer = run.query("bed", threshold=-1)
    files = write_answer(run, "bed", answer)
    assert answer.score.abs().max() > 0
    assert all(file.stat().st_size for file in files)


def test_one_voxel_for_fusing_and_pooling(room_folder: Path, tmp_path: Path) -> None:
    run_job(job(room_folder, LABELS, voxel=0.05, affinity="geometric"), tmp_path / "run")
    coarse = read_cloud(tmp_path / "run" / "points.ply").xyz
    cells = np.unique(np.floor(coarse.numpy().astype(np.float64) / 0.05), axis=0)
    assert len(cells) == len(coarse)  # fused at the voxels that are pooled


# ---------------------------------------------------------------------------------------------- healing


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("points.ply", {"points", "lift", "label"}),
        ("features.safetensors", {"lift", "label"}),
        ("labels.ply", {"label"}),
        ("picture.png", {"label"}),
    ],
)
@pytest.mark.parametrize("how", ["missing", "cut off"])
def test_a_damaged_file_is_made_again(
    room_folder: Path, folder: Path, finished: Path, name: str, stages: set[str], how: str
) -> None:
    if how == "missing":
        (folder / name).unlink()
    else:
        os.truncate(folder / name, 100)
    assert repeated(folder, job(room_folder, LABELS)) == stages
    assert (folder / name).read_bytes() == (finished / name).read_bytes()


def test_answers_go_with_the_features_they_were_made_from(room_folder: Path, folder: Path) -> None:
    run = Run.open(folder)
    write_answer(run, "bed", run.query("bed"))
    before = Folder(folder).fingerprint_of("purify")
    run_job(job(room_folder, "chair"), folder)  # new labels: the answer still holds
    assert (folder / "query-bed.ply").is_file()
    assert (folder / "purified.safetensors").is_file()
    run_job(job(room_folder, "chair", rounds=3), folder)
    assert not list(folder.glob("query-*"))
    assert Folder(folder).fingerprint_of("purify") != before


def test_seconds_are_of_the_stages_that_hold(room_folder: Path, folder: Path) -> None:
    before = Run.open(folder).metrics["stages"]
    run_job(job(room_folder, "chair"), folder)
    after = Run.open(folder).metrics["stages"]
    assert {name: after[name] for name in ("fuse", "truth", "lift")} == {
        name: before[name] for name in ("fuse", "truth", "lift")
    }
    assert after["purify"] != before["purify"]


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"lift": []}', '{"lift": {"files": 3, "fingerprint": "x", "made_from": {}}}']
)
def test_a_record_edited_by_hand(folder: Path, text: str) -> None:
    (folder / "stages.json").write_text(text)
    with pytest.raises(RunError, match=r"stages\.json"):
        Folder(folder)


def test_a_run_of_an_older_version_is_named_with_the_command_that_makes_it_anew(folder: Path) -> None:
    record = json.loads((folder / "stages.json").read_text())
    for entry in record.values():
        del entry["made_from"]
    (folder / "stages.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match=r"older version.*purify3d segment .*room --labels .* -o NEW_FOLDER"):
        Folder(folder)


def test_points_and_features_must_belong_together(folder: Path, tmp_path: Path) -> None:
    """Both whole by their size, and yet not of one run."""
    header, data = (folder / "points.ply").read_bytes().split(b"end_header\n", 1)
    count = int(header.split(b"element vertex ")[1].split()[0])
    row = len(data) // count
    shorter = header.replace(b"vertex %d" % count, b"vertex %d" % (count - 1)) + b"end_header\n" + data[:-row]
    (folder / "points.ply").write_bytes(shorter)
    record = json.loads((folder / "stages.json").read_text())
    record["points"]["files"]["points.ply"] = len(shorter)
    (folder / "stages.json").write_text(json.dumps(record))
    run = Run.open(folder)
    with pytest.raises(RunError, match=f"found {count} features .* and {count - 1} points"):
        run.query("bed")


# ------------------------------------------------------------------------------------------ who may write


def test_one_writer_at_a_time(room_folder: Path, folder: Path) -> None:
    """Another process holds the folder: it is named, and nothing is changed."""
    holding = (
        "import sys, time; from purify3d.runs import Run\n"
        "from purify3d.runs.folder import Folder\n"
        "with Folder(sys.argv[1]).writing(): print('mine', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", holding, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "mine\n"
        with pytest.raises(RunError, match=f"is being written by process {other.pid} on "):
            run_job(job(room_folder, "chair"), folder)
    finally:
        other.kill()
        other.wait()
    assert repeated(folder, job(room_folder, "chair")) == {"label"}  # the dead hold nothing


def test_partial_files_of_the_living_stay(folder: Path) -> None:
    (folder / ".partial-1-labels.ply").write_text("half")
    with FileLock(folder / ".lock"), pytest.raises(RunError), Folder(folder).writing():
        pass
    assert (folder / ".partial-1-labels.ply").exists()
    with Folder(folder).writing():
        pass
    assert not (folder / ".partial-1-labels.ply").exists()


def test_files_have_the_permissions_of_new_files(room_folder: Path, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        run_job(job(room_folder, LABELS, rounds=1), tmp_path / "run")
    finally:
        os.umask(before)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "run").iterdir() if p.suffix}
    assert set(modes.values()) == {0o640}, modes


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 300 kB, as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files")
def test_a_full_disk_leaves_nothing_half_written(room_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot write .*points\.ply .*nothing of it was kept"):
        run_job(job(room_folder, LABELS), tmp_path / "run")
    assert {p.name for p in (tmp_path / "run").iterdir()} <= {"config.json", "stages.json", ".lock"}


def test_safetensors_on_a_full_disk(folder: Path, room_folder: Path) -> None:
    (folder / "purified.safetensors").unlink()
    run = Run.open(folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises(RunError, match=r"cannot write .*purified\.safetensors"):
            run.query("bed")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(folder.glob("*.partial*"))
    assert repeated(folder, job(room_folder, LABELS)) == set()


def test_writable_is_asked_before_the_work(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot write to"):
        check_writable(tmp_path / "file" / "run")


# ------------------------------------------------------------------------------------------------- answers


def test_names_of_answers_are_distinct() -> None:
    texts = ["bed", "Bed", "bed ", "a bed", "a-bed", "椅子", "стол", "c", "c++", "c#", "", "x" * 50, "x" * 51]
    names = [name_with_words("query", text) for text in texts]
    assert len(set(names)) == len(names)
    assert names[0] == "query-bed"
    assert all(len(f"{name}.ply".encode()) < 255 for name in names)
    assert len(f"{name_with_words('query', '椅' * 200)}.ply".encode()) < 255


def test_half_of_the_points_unseen_is_said(room_folder: Path, folder: Path, tmp_path: Path) -> None:
    """A cloud that the frames hardly see: no labels where no camera looked, and a warning."""
    import trimesh

    near = read_cloud(folder / "points.ply").xyz.numpy()[::8]
    far = np.random.default_rng(0).random((4 * len(near), 3)) + 30
    trimesh.PointCloud(np.concatenate([near, far]), [90, 80, 70, 255]).export(tmp_path / "mine.ply")
    wanted = job(room_folder, LABELS, onto=str(tmp_path / "mine.ply"), affinity="geometric", rounds=2)
    with pytest.warns(PurifyWarning, match="of the points were seen by a camera"):
        run = run_job(wanted, tmp_path / "onto")
    assert 0.05 < run.metrics["seen"] < 0.25
    label = read_cloud(tmp_path / "onto" / "labels.ply").label.numpy()
    assert (label[len(near) :] == -1).all()
    assert (label[: len(near)] >= 0).mean() > 0.5
    with pytest.warns(PurifyWarning):
        run_job(changed(wanted, {"fill": float("inf")}), tmp_path / "onto")
    assert (read_cloud(tmp_path / "onto" / "labels.ply").label.numpy() >= 0).all()
    with pytest.warns(PurifyWarning):
        run_job(changed(wanted, {"fill": 0.2}), tmp_path / "onto")
    assert (read_cloud(tmp_path / "onto" / "labels.ply").label.numpy()[len(near) :] == -1).all()


def test_the_estimate_counts_a_student_only_where_it_is_asked(room: Scene) -> None:
    """The one that ships knows voxels of 2 cm alone; at others normals and colours stand in for it."""
    memory, backbone = {}, load_backbone("segmenter:lite")
    for affinity in ("student", "geometric"):
        embedding = load_embedding(affinity, backbone)
        for voxel in (0.02, 0.03):
            method = job(".", "chair", affinity=affinity, voxel=voxel).method
            memory[affinity, voxel] = forecast(room, method, backbone, embedding).memory
    assert memory["student", 0.03] == memory["geometric", 0.03]
    assert memory["student", 0.02] > 1.005 * memory["geometric", 0.02]

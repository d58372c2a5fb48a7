"""A small valid input for every reader, made by the builders of the tests, and what reads it."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))
WORDS = "wall, floor, chair"


@dataclass(frozen=True)
class Seed:
    """Files by name, and which of them, or which folder, is read."""

    files: Mapping[str, bytes]
    path: str


@dataclass(frozen=True)
class Reader:
    """
    Attributes:
        build: writes a valid input into an empty folder and gives the path that is read.
        read: reads all of it.
    """

    build: Callable[[Path], Path]
    read: Callable[[Path], Any]


def seeds_of(readers: Mapping[str, Reader]) -> dict[str, Seed]:
    """The seed of each reader; inputs that several of them share are built once."""
    made: dict[Any, Seed] = {}
    for reader in readers.values():
        if reader.build not in made:
            with tempfile.TemporaryDirectory(prefix="seed-") as folder:
                path = reader.build(Path(folder))
                files = {
                    str(file.relative_to(folder)): file.read_bytes()
                    for file in sorted(Path(folder).rglob("*"))
                    if file.is_file() and file.name != ".lock"
                }
                made[reader.build] = Seed(files, str(path.relative_to(folder)))
    return {name: made[reader.build] for name, reader in readers.items()}


def _tests(name: str) -> Any:
    return importlib.import_module(name)


# ---- captures


def read_capture(path: Path, **settings: Any) -> None:
    from purify3d import check, open_capture

    scene = open_capture(path, limit=2, **settings)
    for frame in scene.frames:
        camera = (frame.camera.fx, frame.camera.fy, frame.depth_camera.cx, frame.depth_camera.cy)
        sound(pose=frame.world_from_camera, depth=frame.depth(), camera=camera)
        frame.color()
        for ids in (frame.label, frame.instance):
            if ids is not None:
                ids()
    check(path, limit=2, **settings)


def sound(**values: Any) -> None:
    """Numbers that nothing can be made of are a fault where they are taken for a result."""
    for name, each in values.items():
        assert np.isfinite(np.asarray(each)).all(), f"{name} is not finite"


def read_surface(path: Path) -> None:
    """What `read_capture` cannot: the depth of other seeds is random and has no surface."""
    from purify3d import open_capture, with_points

    sound(xyz=with_points(open_capture(path), voxel=0.1).cloud().xyz)


def _filmed(folder: Path, form: str) -> Path:
    from purify3d.captures.formats.exchange import write_nerfstudio
    from purify3d.rooms import synthetic_scene

    write = write_nerfstudio if form == "nerfstudio" else _tests("fakes").write_scannet
    return Path(write(synthetic_scene(3, frames=2, width=64, height=48), folder / "room"))


def _phones(name: str, *arguments: Any, **options: Any) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        phones = _tests("test_phones")
        phones.COUNT = 3
        made: Path = getattr(phones, name)(folder / "47333462", *arguments, **options)
        return made

    return build


def _r3d(folder: Path) -> Path:
    phones = _tests("test_phones")
    phones.COUNT = 3
    return Path(phones.zipped(folder / "a.r3d", phones.r3d_parts()))


def _exr(folder: Path) -> Path:
    phones = _tests("test_phones")
    phones.COUNT = 3
    with tempfile.TemporaryDirectory() as scratch:
        return Path(phones.unzipped(folder / "a", phones.exr_parts(Path(scratch))))


def _layout(name: str, **options: Any) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        made: Path = getattr(_tests("test_layouts"), name)(folder / "office0", **options)
        return made

    return build


def _shots(name: str, **options: Any) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        captures = _tests("test_captures")
        made: Path = getattr(captures, name)(folder / "a", captures.shots(3), **options)
        return made

    return build


def _prepared(folder: Path) -> Path:
    made = _nerfstudio(folder)
    _ply(made, "cloud.ply")
    (made / "prepared-scene.json").write_text("{}")
    return made


def _sens(folder: Path) -> Path:
    sens = _tests("test_sens")
    sens.write_scene(folder)
    (folder / "scannetv2-labels.combined.tsv").write_text(sens.TSV)
    return folder / sens.NAME


def _rosbag(folder: Path, mcap: bool) -> Path:
    rosbag = _tests("test_rosbag")
    return Path(rosbag.write(folder / "bag", rosbag.recording(), mcap=mcap))


def _matterport(folder: Path) -> Path:
    return Path(_tests("test_matterport").write_house(folder))


_nerfstudio = _shots("write_transforms")

_CAPTURES: dict[str, Callable[[Path], Path]] = {
    "prepared": _prepared,
    "nerfstudio": _nerfstudio,
    "scannet": _shots("write_scannet", label=True),
    "sens": _sens,
    "matterport": _matterport,
    "tum": _shots("write_tum"),
    "replica": _layout("write_replica"),
    "7scenes": _layout("write_sevenscenes"),
    "colmap": _layout("write_colmap"),
    "colmap text": _layout("write_colmap", text=True),
    "redwood": _layout("write_redwood"),
    "redwood open3d": _layout("write_open3d"),
    "ros mcap": partial(_rosbag, mcap=True),
    "ros db3": partial(_rosbag, mcap=False),
    "record3d": _r3d,
    "record3d exr": _exr,
    "polycam": _phones("polycam"),
    "stray": _phones("stray"),
    "stray npy": _phones("stray", False, True),
    "arkitscenes": _phones("arkitscenes"),
}


#: Formats whose published intrinsics hold for larger images than these.
_WITHOUT, _INTRINSICS = ("tum", "7scenes"), (20.0, 21.0, 7.25, 4.75)


# ---- clouds


def read_points(path: Path) -> None:
    from purify3d import read_cloud

    far = path.suffix in (".las", ".laz")
    cloud = read_cloud(path, origin=_tests("test_given_clouds").FAR if far else None)
    sound(xyz=cloud.xyz, normal=cloud.normal)


def _ply(folder: Path, name: str = "a.ply") -> Path:
    from purify3d.clouds.ply import write_ply

    write_ply(folder / name, _tests("test_clouds").some_cloud(20))
    return folder / name


def _ply_of_others(folder: Path, order: str) -> Path:
    return Path(_tests("test_clouds").ply_of_everything(folder / "a.ply", order))


def _las(folder: Path, suffix: str) -> Path:
    given = _tests("test_given_clouds")
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 255, (20, 3))
    return Path(given.las_file(folder / f"a.{suffix}", given.FAR + rng.random((20, 3)), rgb))


def _mesh(folder: Path, suffix: str, kind: str | None = None) -> Path:
    box = _tests("trimesh").creation.box()
    if suffix != "gltf":
        box.export(folder / f"a.{suffix}", file_type=kind or suffix)
        return folder / f"a.{suffix}"
    for name, content in box.scene().export(file_type="gltf").items():
        (folder / name).write_bytes(content)
    return folder / "model.gltf"


_CLOUDS: dict[str, Callable[[Path], Path]] = {
    "ply": _ply,
    "ply little-endian": partial(_ply_of_others, order="<"),
    "ply big-endian": partial(_ply_of_others, order=">"),
    "ply ascii": partial(_ply_of_others, order=""),
    "las": partial(_las, suffix="las"),
    "laz": partial(_las, suffix="laz"),
    "obj": partial(_mesh, suffix="obj"),
    "stl": partial(_mesh, suffix="stl"),
    "stl ascii": partial(_mesh, suffix="stl", kind="stl_ascii"),
    "glb": partial(_mesh, suffix="glb"),
    "gltf": partial(_mesh, suffix="gltf"),
}


# ---- features, weights, targets


def _maps(folder: Path) -> Path:
    stored = _tests("test_features_folder")
    made = Path(stored.folder(folder / "f"))
    stored.maps(made, 2)
    return made


def read_maps(path: Path) -> None:
    from purify3d.backbones.features import load

    stored = _tests("test_features_folder")
    model = load(str(path))
    model.encode(["chair"])
    if hasattr(model, "observe"):
        stored.observe(model, stored.frame("0000"))


def _point_features(folder: Path) -> Path:
    return Path(_tests("test_features_folder").stored_scene(folder / "f")[1].parent)


def read_point_features(path: Path) -> None:
    from purify3d.backbones.features import load

    model = load(str(path))
    model.encode(["chair"])
    if hasattr(model, "point_features"):
        model.point_features(_tests("fakes").cloud_of(torch.rand(200, 3)), "hall")


def _student(folder: Path) -> Path:
    _tests("test_student").trained().save_pretrained(folder / "student")
    return folder / "student"


def read_student(path: Path) -> None:
    from purify3d.affinities.student import Student

    student, (cloud, voxels, features) = Student.from_pretrained(path), _tests("test_student").cloud_of()
    student.embed(cloud, voxels, features)


def _released(folder: Path) -> Path:
    torch.save(_tests("test_student").trained().state_dict(), folder / "geopurify.pth")
    return folder / "geopurify.pth"


def read_released(path: Path) -> None:
    from purify3d.affinities.student import load_released

    load_released(path)


def _targets(folder: Path) -> Path:
    return Path(_tests("test_training").write_lesson(folder, 1, features=True))


def read_targets(path: Path) -> None:
    from purify3d.training.scenes import read

    read(path)


# ---- runs


@cache
def _lite() -> Any:
    from purify3d import load_backbone

    return load_backbone("segmenter:lite")


def run_folder(folder: Path) -> Path:
    """A finished run of a few voxels, with objects and an answer; its capture is gone."""
    from purify3d.pipeline import run_job
    from purify3d.runs.job import job

    capture = _filmed(folder, "scannet")
    settings = {"affinity": "geometric", "voxel": 0.1, "rounds": 2, "margin": 2}
    run = run_job(job(capture, WORDS, **settings), folder / "run", check=False)
    run.objects()
    shutil.rmtree(folder / "room")
    record = folder / "run/stages.json"
    record.write_text(json.dumps(_steady(json.loads(record.read_text()))))
    return folder / "run"


def _steady(value: Any) -> Any:
    """Without seconds and memory, which differ from time to time."""
    if isinstance(value, dict):
        return {key: {} if key == "watch" else _steady(inner) for key, inner in value.items()}
    return value


def read_run(path: Path) -> None:
    from purify3d import Run

    run = Run.open(path, backbone=_lite())
    run.features, run.metrics, run.show()
    sound(xyz=run.points.xyz, score=run.labels.score, up=run.scene.up)
    known = range(-1, len(run.job.vocabulary))
    assert {*run.labels.label.tolist()} <= {*known}, "a label is out of range"
    assert int(run.views.min()) >= 0, "a number of views is negative"
    for found in run.objects():
        sound(center=found.thing.center, size=found.thing.size, score=found.thing.score)
    answer = run.query("something to sit on")
    sound(peak=answer.peak, heat=answer.heat)
    run.export("npz", path.parent / "a.npz")
    run._repr_html_()


def _settings(folder: Path) -> Path:
    from purify3d.runs.job import job

    (folder / "config.json").write_text(job("scan", WORDS, up="+z", onto="a.ply").to_json())
    return folder / "config.json"


def read_settings(path: Path) -> None:
    from purify3d.runs.job import Job

    Job.read(path).resolved().to_json()


# ---- the command line


def command(path: Path, words: tuple[str, ...]) -> None:
    """What the program would say of an input; a fault is what it takes for one itself."""
    from click.testing import CliRunner

    from purify3d.base.errors import PurifyError
    from purify3d.cli import program
    from purify3d.cli.errors import _BUG, explained

    given = [str(path) if word == "PATH" else word for word in words]
    error = CliRunner().invoke(program, given, standalone_mode=False).exception
    if isinstance(error, Exception):
        said = explained(error)
        raise error if _BUG in said else PurifyError(said)


def _commands() -> dict[str, Reader]:
    found = {
        f"info {name}": Reader(_CAPTURES[name], partial(command, words=("info", "PATH")))
        for name in ("nerfstudio", "scannet", "colmap")
    }
    for words in (("query", "PATH", "chair"), ("objects", "PATH"), ("eval", "PATH"), ("info", "PATH")):
        found[f"{words[0]} run"] = Reader(run_folder, partial(command, words=words))
    return found


READERS: dict[str, Reader] = {
    **{name: Reader(build, read_capture) for name, build in _CAPTURES.items()},
    **{name: Reader(_CAPTURES[name], partial(read_capture, intrinsics=_INTRINSICS)) for name in _WITHOUT},
    **{
        f"surface {form}": Reader(partial(_filmed, form=form), read_surface)
        for form in ("scannet", "nerfstudio")
    },
    **{f"cloud {name}": Reader(build, read_points) for name, build in _CLOUDS.items()},
    "features maps": Reader(_maps, read_maps),
    "features points": Reader(_point_features, read_point_features),
    "student": Reader(_student, read_student),
    "released student": Reader(_released, read_released),
    "targets": Reader(_targets, read_targets),
    "run": Reader(run_folder, read_run),
    "settings": Reader(_settings, read_settings),
    **_commands(),
}

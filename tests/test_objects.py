"""Single objects: what is one thing, its box, its files, and how well they are found."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial.transform import Rotation

from purify3d.base.errors import PurifyWarning, RunError
from purify3d.labels.config import ObjectConfig
from purify3d.labels.objects import Object, box, find_objects
from purify3d.labels.segmentation import Segmentation
from purify3d.pipeline import run_job
from purify3d.runs import Run
from purify3d.runs.folder import Folder
from purify3d.runs.job import changed, job
from purify3d.runs.objects import Found, as_json, write_boxes
from purify3d.types import PointCloud, Vocabulary

Z = np.array([0.0, 0.0, 1.0])
STEP = 0.02


def cuboid(size: tuple[float, float, float], at: tuple[float, float, float]) -> np.ndarray:
    """Points on the six faces of a box whose lowest corner lies at `at`, and their normals: (P, 6)."""
    parts = []
    for axis in range(3):
        across = [i for i in range(3) if i != axis]
        grid = np.stack(
            np.meshgrid(*(np.linspace(0, size[i], round(size[i] / STEP) + 1) for i in across)), axis=-1
        ).reshape(-1, 2)
        for side in (0, 1):
            face = np.zeros((len(grid), 6))
            face[:, across] = grid
            face[:, axis] = side * size[axis]
            face[:, 3 + axis] = 2 * side - 1
            parts.append(face)
    return np.concatenate(parts) + np.array([*at, 0, 0, 0])


def found(parts: list[np.ndarray], *, up: np.ndarray = Z, **settings: Any) -> list[Object]:
    """The objects of parts that all have the label thing."""
    table = np.concatenate(parts)
    points = PointCloud.from_arrays(table[:, :3], normal=table[:, 3:])
    n = len(points)
    said = Segmentation(torch.zeros(n, dtype=torch.int32), torch.full((n,), 0.5), Vocabulary.parse("thing"))
    return find_objects(points, said, up=up, config=ObjectConfig(**settings))


# ------------------------------------------------------------------------------------------ what is one thing


def test_things_apart_are_two() -> None:
    things = found([cuboid((0.4, 0.3, 0.5), (0, 0, 0)), cuboid((0.3, 0.3, 0.3), (1, 0, 0))])
    assert sorted(thing.points for thing in things) == sorted(
        len(cuboid(size, (0, 0, 0))) for size in ((0.4, 0.3, 0.5), (0.3, 0.3, 0.3))
    )
    assert {thing.label for thing in things} == {"thing"}
    members = np.concatenate([thing.members for thing in things])
    assert len(np.unique(members)) == len(members)


def test_what_stands_over_another_part_is_one_thing_with_it() -> None:
    """A seat over its foot, 10 cm of the stand unseen; the same gap sideways parts two things, and so it does
    where what stands over is as large: books on two shelves."""
    seat, foot = cuboid((0.4, 0.4, 0.1), (0, 0, 0.2)), cuboid((0.2, 0.2, 0.1), (0.1, 0.1, 0))
    assert len(found([seat, foot])) == 1
    assert len(found([seat, foot], gap=0)) == 2
    assert len(found([seat, cuboid((0.2, 0.2, 0.1), (0.5, 0, 0.2))])) == 2
    assert len(found([seat, cuboid((0.4, 0.4, 0.1), (0, 0, 0))])) == 2


@pytest.mark.parametrize("step", [(1, 1, 0), (1, 1, 1)], ids=["edge", "corner"])
def test_cells_that_share_an_edge_or_a_corner_are_one_thing(step: tuple[int, int, int]) -> None:
    near, far = (cuboid((0, 0, 0), (0.02 + cells * np.array(step)).tolist()) for cells in (0.06, 0.11))
    one = cuboid((0, 0, 0), (0.02, 0.02, 0.02))
    assert len(found([one, near], least=1, gap=0)) == 1
    assert len(found([one, far], least=1, gap=0)) == 2


def test_small_gaps_and_crumbs_are_merged() -> None:
    left, right = cuboid((0.3, 0.3, 0.3), (0, 0, 0)), cuboid((0.3, 0.3, 0.3), (0.33, 0, 0))
    (both,) = found([left, right])
    assert both.points == len(left) + len(right)
    crumb = cuboid((0.04, 0.04, 0.04), (0.4, 0.1, 0.1))
    (thing,) = found([left, crumb])
    assert thing.points == len(left) + len(crumb)
    assert [thing.points for thing in found([left, crumb + 5])] == [len(left)]  # too small for a thing


# ----------------------------------------------------------------------------------------------------- boxes


@pytest.mark.parametrize("degrees", [-75.0, -45.0, 0.0, 12.3, 33.0, 89.0])
def test_the_box_of_a_turned_cuboid(degrees: float) -> None:
    points = cuboid((1.2, 0.6, 0.4), (-0.6, -0.3, -0.2))[:, :3]
    turned = Rotation.from_euler("z", degrees, degrees=True).apply(points) + np.array([3, -2, 1])
    stray = np.concatenate([turned, turned[:5] + np.array([0.0, 4.0, 9.0])])
    for cloud in (turned, stray):
        center, size, yaw = box(cloud)
        assert center == pytest.approx([3, -2, 1], abs=0.003)
        assert size == pytest.approx([1.2, 0.6, 0.4], abs=0.004)
        assert np.degrees(yaw) == pytest.approx(degrees, abs=0.3)


def test_a_thing_seen_from_two_sides_has_a_box_along_them() -> None:
    """The rectangle over the diagonal has the same area."""
    points = cuboid((0.7, 0.6, 1.5), (-0.7, -0.6, 0))[:, :3]
    seen = points[(points[:, 0] == 0) | (points[:, 1] == 0)]
    assert len(seen) < len(points) / 2 + 200
    center, size, yaw = box(Rotation.from_euler("z", 30, degrees=True).apply(seen))
    assert size == pytest.approx([0.7, 0.6, 1.5], abs=0.02)
    assert np.degrees(yaw) == pytest.approx(30, abs=1)
    assert Rotation.from_euler("z", -30, degrees=True).apply(center) == pytest.approx(
        [-0.35, -0.3, 0.75], abs=0.01
    )


def test_a_box_along_another_up() -> None:
    points = cuboid((1.2, 0.6, 0.4), (-0.6, -0.3, -0.2))
    turn = Rotation.from_euler("z", 20, degrees=True)
    y_up = Rotation.align_vectors([[0, 1, 0]], [[0, 0, 1]])[0]
    world = np.concatenate([(y_up * turn).apply(points[:, :3]), (y_up * turn).apply(points[:, 3:])], axis=1)
    (thing,) = found([world], up=np.array([0.0, 1.0, 0.0]))
    assert thing.size == pytest.approx([1.2, 0.6, 0.4], abs=0.004)
    assert thing.center == pytest.approx([0, 0, 0], abs=0.003)
    corners = thing.corners()
    assert np.ptp(corners[:, 1]) == pytest.approx(0.4, abs=0.004)
    axes = Rotation.from_quat(thing.orientation).as_matrix()
    assert axes[:, 2] == pytest.approx([0, 1, 0], abs=1e-6)
    assert abs(axes[:, 0] @ (y_up * turn).apply([1, 0, 0])) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_boxes_of_hardly_any_points(count: int) -> None:
    center, size, yaw = box(np.array([[1.0, 2, 3], [1, 2, 4], [1, 3, 3]])[:count])
    assert np.isfinite([*center, *size, yaw]).all()
    assert (size >= 0).all()


# ----------------------------------------------------------------------------------------------------- files


def thing(label: str = "chair", **changes: Any) -> Object:
    half = np.sqrt(0.5)
    made = Object(
        label,
        0.75,
        np.array([1.0, 2.0, 3.0]),
        np.array([0.6, 0.4, 0.9]),
        np.pi / 2,
        np.array([0, 0, half, half]),
        np.arange(7),
    )
    return replace(made, **changes)


def test_json_has_the_fields_of_vision_msgs() -> None:
    value = as_json([Found("chair-1", thing(), ("0003", "0001"))], "office")
    (detection,) = value["detections"]
    assert detection == {
        "header": {"stamp": {"sec": 0, "nanosec": 0}, "frame_id": "office"},
        "results": [{"hypothesis": {"class_id": "chair", "score": 0.75}}],
        "bbox": {
            "center": {
                "position": {"x": 1.0, "y": 2.0, "z": 3.0},
                "orientation": {"x": 0.0, "y": 0.0, "z": 0.707106781, "w": 0.707106781},
            },
            "size": {"x": 0.6, "y": 0.4, "z": 0.9},
        },
        "id": "chair-1",
    }
    assert value["details"] == {"chair-1": {"points": 7, "yaw_degrees": 90.0, "photos": ["0003", "0001"]}}


def test_boxes_are_closed_meshes_at_their_place(tmp_path: Path) -> None:
    far = thing(center=np.array([500_000.25, 5_400_000.5, 3.0]))
    write_boxes(
        tmp_path / "a.ply", [Found("chair-1", thing(), ()), Found("chair-2", far, ())], ("table", "chair")
    )
    mesh = trimesh.load_mesh(tmp_path / "a.ply", process=False)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(2 * 0.6 * 0.4 * 0.9, rel=1e-3)  # positive: faces look outwards
    near = mesh.vertices[:8]  # turned by 90 degrees: the long side lies along y
    assert near.min(axis=0) == pytest.approx([0.8, 1.7, 2.55])
    assert near.max(axis=0) == pytest.approx([1.2, 2.3, 3.45])
    assert mesh.vertices[8:].mean(axis=0) == pytest.approx([500_000.25, 5_400_000.5, 3.0], abs=1e-6)


def test_objects_of_a_run(run: Path, purify3d: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = purify3d("objects", run, "--json")
    assert code == 0
    printed = json.loads(out)
    written = json.loads((run / "objects.json").read_text())
    assert printed["detections"] == written["detections"]
    assert printed["files"] == [str(run / f"objects.{kind}") for kind in ("json", "csv", "ply")]
    with (run / "objects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [detection["id"] for detection in written["detections"]]
    assert names == [row["id"] for row in rows]
    assert {"wall-1", "floor-1"} <= set(names)
    first = written["detections"][0]
    assert float(rows[0]["x"]) == first["bbox"]["center"]["position"]["x"]
    assert len(trimesh.load_mesh(run / "objects.ply", process=False).faces) == 12 * len(names)
    frames = {f"{i}" for i in range(8)}
    for name in names:
        photos = written["details"][name]["photos"]
        assert 1 <= len(photos) <= 3
        assert {Path(photo).stem for photo in photos} <= frames
    assert Folder(run).whole("objects")
    code, out, _ = purify3d("objects", run, "--top", 1)
    assert code == 0
    assert out.splitlines()[1].split()[0] == names[0]
    assert f"{len(names) - 1} more are in the files" in out


def test_objects_that_fit_words(run: Path, purify3d: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = purify3d("objects", run, "--text", "floor", "--json")
    assert code == 0
    printed = json.loads(out)
    scores = [d["results"][0]["hypothesis"]["score"] for d in printed["detections"]]
    assert printed["detections"][0]["results"][0]["hypothesis"]["class_id"] == "floor"
    assert scores == sorted(scores, reverse=True)
    assert printed["files"][0] == str(run / "objects-floor.json")
    everything = Run.open(run).objects()
    assert 0 < len(scores) < len(everything)
    code, out, _ = purify3d("objects", run, "--text", "airplane")
    assert code == 0
    assert "no such object here" in out


def test_coordinates_are_those_of_the_user(run: Path) -> None:
    """The same run, its world moved by an origin: boxes move with it, to the centimetre and below."""
    near = Run.open(run).objects()
    offset = np.array([500_000.0, 5_400_000.0, 100.0])
    facts = json.loads((run / "scene.json").read_text())
    (run / "scene.json").write_text(json.dumps(facts | {"origin": offset.tolist()}))
    from purify3d.clouds.ply import read_written, write_ply

    for name in ("points.ply", "labels.ply"):
        old = read_written(run / name)
        label, score = old.points.label.numpy(), None if old.score is None else old.score.numpy()
        views = None if old.views is None else old.views.numpy()
        write_ply(run / name, old.points, label=label, score=score, views=views, origin=offset)
    record = json.loads((run / "stages.json").read_text())
    for entry in record.values():
        entry["files"] = {name: (run / name).stat().st_size for name in entry["files"]}
    (run / "stages.json").write_text(json.dumps(record))
    with pytest.warns(PurifyWarning, match="no photos are named"):  # its frames lie elsewhere
        far = Run.open(run).objects()
    assert [one.id for one in far] == [one.id for one in near]
    for a, b in zip(near, far, strict=True):
        assert b.thing.center - offset == pytest.approx(a.thing.center, abs=2e-3)
        assert b.thing.size == pytest.approx(a.thing.size, abs=2e-3)


def test_a_capture_that_is_gone_leaves_boxes_without_photos(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    text = json.dumps(config).replace(str(Path(Folder(run).job.capture.path)), str(run / "gone"))
    (run / "config.json").write_text(text)
    with pytest.warns(PurifyWarning, match=r"no photos are named.*gone"):
        things = Run.open(run).objects()
    assert things
    assert all(one.photos == () for one in things)


def test_no_point_has_a_label(room_folder: Path, tmp_path: Path) -> None:
    made = run_job(job(room_folder, "windmill, submarine", threshold=0.99), tmp_path / "run")
    with pytest.raises(RunError, match=r"no point of the run .* has a label.*--threshold"):
        made.objects()


def test_no_run(tmp_path: Path, purify3d: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = purify3d("objects", tmp_path / "nothing")
    assert (code, out) == (1, "")
    assert "found no run in" in err
    assert "Traceback" not in err


def test_labels_that_were_cut_off(run: Path) -> None:
    with (run / "labels.ply").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(RunError, match=r"no whole labels.*repeat"):
        Run.open(run).objects()


def test_objects_of_other_labels_are_not_kept(run: Path) -> None:
    Run.open(run).objects()
    job, files = Run.open(run).job, [run / f"objects.{kind}" for kind in ("json", "csv", "ply")]
    assert all(file.is_file() for file in files)
    run_job(changed(job, {"labels": "floor, wall"}), run)
    assert not any(file.exists() for file in files)

"""Finished runs as files of other programs, read back by readers of others."""

import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import laspy
import numpy as np
import pytest
import trimesh
from fakes import LABELS, NAMES
from PIL import Image

from purify3d.base.errors import CaptureError, PurifyWarning, RunError
from purify3d.clouds.ply import read_written, write_ply
from purify3d.exporting import FORMATS, Content, Wishes, export
from purify3d.exporting.coco import rgb_of_ids, segments_info
from purify3d.exporting.file_stems import file_stem, file_stems
from purify3d.exporting.glb import linear, write_glb
from purify3d.exporting.mesh import mesh_of_frames
from purify3d.exporting.pixels import PointLookup, on_color, points_of_pixels
from purify3d.pictures.palettes import NO_LABEL_COLOR, label_colors
from purify3d.pictures.principal import pca_colors
from purify3d.pipeline import run_job
from purify3d.runs import Run
from purify3d.runs.folder import Folder
from purify3d.runs.job import job
from purify3d.types import Camera, FeatureSpace, Frame, PointFeatures, Scene
from purify3d.types.labelsets import load_label_set

ORIGIN = np.array([500_000.0, 5_400_000.0, 100.0])
Export = Callable[..., Path]


def content(run: Path, **wishes: Any) -> Content:
    return Content(Run.open(run), Wishes(**wishes))


def exported(run: Path, to: str, **wishes: Any) -> Path:
    return export(content(run, **wishes), to, run.parent / f"out-{to}{FORMATS[to].suffix}")


def changed(run: Path, **capture: Any) -> None:
    """Let config.json name another capture."""
    config = json.loads((run / "config.json").read_text())
    config["capture"] |= capture
    (run / "config.json").write_text(json.dumps(config))


def resized(run: Path) -> None:
    """Let stages.json have the sizes of the files as they are."""
    record = json.loads((run / "stages.json").read_text())
    for entry in record.values():
        entry["files"] = {name: (run / name).stat().st_size for name in entry["files"]}
    (run / "stages.json").write_text(json.dumps(record))


def moved(run: Path) -> None:
    """The same run with its world moved by ORIGIN."""
    facts = json.loads((run / "scene.json").read_text())
    (run / "scene.json").write_text(json.dumps(facts | {"origin": ORIGIN.tolist()}))
    for name in ("points.ply", "labels.ply"):
        old = read_written(run / name)
        score, views = (None if v is None else v.numpy() for v in (old.score, old.views))
        write_ply(run / name, old.points, score=score, views=views, origin=ORIGIN)
    resized(run)


# ------------------------------------------------------------------------------------------------ clouds


def test_ply_has_label_score_views_and_heat(run: Path) -> None:
    want = content(run, text="chair", colors="heat")
    mesh = trimesh.load(export(want, "ply", run / "a.ply"), process=False)
    stored = mesh.metadata["_ply_raw"]["vertex"]["data"]
    assert np.asarray(mesh.vertices) == pytest.approx(want.run.points.xyz.numpy())
    assert (stored["label"].ravel() == want.run.labels.numpy()).all()
    assert (stored["score"].ravel() == want.run.labels.score.numpy()).all()
    assert (stored["views"].ravel() == want.run.views.numpy()).all()
    heat = stored["heat"].ravel()
    assert heat.min() >= 0
    assert 0.9 < heat.max() <= 1
    hottest, coldest = mesh.colors[heat.argmax()], mesh.colors[heat.argmin()]
    assert int(hottest[1]) > 200 > 60 > int(coldest[1])  # yellow and blue


@pytest.mark.parametrize("kind", ["las", "laz"])
def test_las_is_exact_to_the_millimetre_and_has_labels(run: Path, kind: str) -> None:
    moved(run)
    want = content(run)
    las = laspy.read(exported(run, kind))
    assert las.header.are_points_compressed == (kind == "laz")
    assert las.header.offsets.tolist() == ORIGIN.tolist()
    assert las.header.scales.tolist() == [0.001] * 3
    assert np.abs(las.xyz - (want.run.points.xyz.numpy().astype(float) + ORIGIN)).max() <= 0.0006
    assert (np.asarray(las["label"]) == want.run.labels.numpy()).all()
    assert (np.asarray(las["score"]) == want.run.labels.score.numpy()).all()
    colors = np.concatenate([label_colors(NAMES), [NO_LABEL_COLOR]])[np.asarray(las["label"])]
    assert (np.stack([las.red, las.green, las.blue], axis=1) // 257 == colors).all()


def test_npz_is_in_the_coordinates_of_the_user(run: Path) -> None:
    near = np.load(exported(run, "npz", colors="photo", features=True))
    want = content(run)
    assert near["xyz"].dtype == np.float64
    assert near["names"].tolist() == NAMES
    assert near["up"].tolist() == [0, 0, 1]
    assert (near["rgb"] == want.run.points.rgb.numpy()).all()
    assert (near["label"] == want.run.labels.numpy()).all()
    assert (near["views"] == want.run.views.numpy()).all()
    assert near["features"].shape == (len(want.run.points), len(near["basis"]))
    (run.parent / "out-npz.npz").unlink()
    moved(run)
    far = np.load(exported(run, "npz"))
    assert "features" not in far
    assert np.abs(far["xyz"] - ORIGIN - near["xyz"]).max() < 1e-3


def test_rows_that_are_no_points_stay_in_their_place(
    finished: Path, room_folder: Path, tmp_path: Path
) -> None:
    xyz = read_written(finished / "points.ply").points.xyz.numpy()[::5].astype(float)
    xyz[[0, 7]] = np.nan
    table = "".join(f"{x} {y} {z} 90 90 90\n" for x, y, z in xyz)
    fields = "".join(f"property float {axis}\n" for axis in "xyz")
    fields += "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
    cloud = tmp_path / "own.ply"
    cloud.write_text(f"ply\nformat ascii 1.0\nelement vertex {len(xyz)}\n{fields}end_header\n{table}")
    with pytest.warns(PurifyWarning, match="not finite"):
        run_job(job(room_folder, LABELS, onto=str(cloud)), tmp_path / "run")
    made = np.load(exported(tmp_path / "run", "npz"))
    assert np.flatnonzero(np.isnan(made["xyz"]).any(axis=1)).tolist() == [0, 7]
    assert made["label"][[0, 7]].tolist() == [-1, -1]
    assert len(laspy.read(exported(tmp_path / "run", "las")).points) == len(xyz) - 2
    with pytest.warns(PurifyWarning, match="not finite"):  # the capture is opened for the photos of objects
        folder = exported(tmp_path / "run", "scannet")
    assert len((folder / "labels.txt").read_text().split()) == len(xyz)
    mask = (folder / "pred_mask" / "room_000.txt").read_text().split()
    assert len(mask) == len(xyz)
    assert mask[0] == mask[7] == "0"


def test_colors_of_features_are_the_same_for_a_basis() -> None:
    import torch

    rng = np.random.default_rng(5)
    values, basis = (torch.tensor(rng.normal(size=size)).float() for size in ((200, 4), (4, 9)))
    values[3] = 0
    space, views = FeatureSpace("test", 9, 1.0), torch.ones(200, dtype=torch.int32)
    factored = pca_colors(PointFeatures(values, views, space, basis))
    dense = pca_colors(PointFeatures(values @ basis, views, space))
    for channel in range(3):  # the sign of a direction is not told by lengths and angles
        a, b = factored[:, channel].astype(int), dense[:, channel].astype(int)
        told = np.arange(len(a)) != 3
        assert min(np.abs(a - b)[told].max(), np.abs(255 - a - b)[told].max()) <= 2
    assert factored[3].tolist() == dense[3].tolist() == list(NO_LABEL_COLOR)
    assert factored.max() == 255


# --------------------------------------------------------------------------------------------------- GLB


def parsed(path: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    """JSON and accessors of a GLB, by the specification."""
    data = path.read_bytes()
    magic, version, size = struct.unpack_from("<4sII", data)
    assert (magic, version, size) == (b"glTF", 2, len(data))
    (length,) = struct.unpack_from("<I", data, 12)
    tree = json.loads(data[20 : 20 + length])
    binary = data[28 + length :]
    tables = []
    for entry in tree["accessors"]:
        view = tree["bufferViews"][entry["bufferView"]]
        kind = {5126: "<f4", 5123: "<u2", 5125: "<u4"}[entry["componentType"]]
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[entry["type"]]
        assert view["byteOffset"] % 4 == 0
        tables.append(
            np.frombuffer(binary, kind, entry["count"] * width, view["byteOffset"]).reshape(-1, width)
        )
    return tree, tables


def test_glb_of_a_run_without_faces_is_points(run: Path) -> None:
    moved(run)
    want = content(run)
    with pytest.warns(PurifyWarning, match="points are written, not a mesh"):
        path = exported(run, "glb")
    tree, (place, shade) = parsed(path)
    assert tree["meshes"][0]["primitives"][0]["mode"] == 0
    assert (place == want.run.points.xyz.numpy()).all()
    assert tree["accessors"][0]["min"] == place.min(axis=0).tolist()
    (cloud,) = trimesh.load_scene(path).dump()
    x, y, z = (want.run.points.xyz.numpy().astype(float) + ORIGIN).T
    assert np.asarray(cloud.vertices) == pytest.approx(np.stack([x, z, -y], axis=1), abs=1e-3)  # y is up
    colors = label_colors(NAMES)[want.run.labels.numpy()[want.run.labels.numpy() >= 0]]
    assert shade[want.run.labels.numpy() >= 0, :3] / 65535 == pytest.approx(linear(colors), abs=1e-5)


def test_glb_of_frames_is_a_mesh_in_the_colors_of_its_labels(run: Path) -> None:
    want = content(run)
    path = exported(run, "glb", mesh=True)
    tree, (place, shade, corners) = parsed(path)
    assert tree["meshes"][0]["primitives"][0]["mode"] == 4
    assert len(place) > 3000
    assert corners.max() < len(place)
    floor = np.abs(place[:, 2]) < 0.03
    assert floor.mean() > 0.05
    expected = linear(label_colors(NAMES)[1])
    alike = np.abs(shade[floor, :3] / 65535 - expected).max(axis=1) < 1e-4
    points, label = want.run.points.xyz.numpy(), want.run.labels.numpy()
    on_floor = label[np.abs(points[:, 2]) < 0.03]
    assert alike.mean() == pytest.approx((on_floor == 1).mean(), abs=0.15)
    triangle = place[corners.reshape(-1, 3)]
    normal = np.cross(triangle[:, 1] - triangle[:, 0], triangle[:, 2] - triangle[:, 0])
    low = np.abs(triangle[:, :, 2]).max(axis=1) < 0.03
    flat = low & (np.abs(normal[:, 2]) > 0.9 * np.linalg.norm(normal, axis=1))
    assert flat.sum() > 1000
    assert (normal[flat, 2] > 0).mean() > 0.99  # the floor faces the cameras


def test_glb_has_the_faces_of_the_mesh_that_was_labelled(
    finished: Path, room_folder: Path, tmp_path: Path
) -> None:
    cloud = read_written(finished / "points.ply").points
    xyz, rgb = cloud.xyz.numpy()[:2000], cloud.rgb.numpy()[:2000]
    faces = np.random.default_rng(1).permutation(2000)[:300].reshape(100, 3)
    lines = [
        f"v {x} {y} {z} {r / 255} {g / 255} {b / 255}" for (x, y, z), (r, g, b) in zip(xyz, rgb, strict=True)
    ]
    lines += [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in faces]
    (tmp_path / "own.obj").write_text("\n".join(lines))
    trimesh.Trimesh(xyz, faces, vertex_colors=rgb, process=False).export(tmp_path / "own.ply")
    for name in ("own.obj", "own.ply"):
        run = tmp_path / f"run-{name}" / "run"
        run_job(job(room_folder, LABELS, onto=str(tmp_path / name)), run)
        _, (place, _, corners) = parsed(exported(run, "glb"))
        assert place == pytest.approx(xyz, abs=1e-6)
        assert (corners.reshape(-1, 3) == faces).all()
    trimesh.creation.icosphere(subdivisions=5).export(tmp_path / "own.ply")
    with pytest.raises(CaptureError, match=r"own\.ply: found faces of 10242 vertices; expected the 2000"):
        export(content(run), "glb", tmp_path / "b.glb")


def test_glb_of_one_triangle(tmp_path: Path) -> None:
    xyz, rgb = np.eye(3, dtype=np.float32), np.array([[255, 0, 0], [0, 188, 0], [0, 0, 0]], dtype=np.uint8)
    write_glb(
        tmp_path / "a.glb", xyz, rgb, np.array([[0, 1, 2]]), origin=np.zeros(3), y_up_from_world=np.eye(3)
    )
    (mesh,) = trimesh.load_scene(tmp_path / "a.glb").dump()
    assert np.asarray(mesh.triangles[0]) == pytest.approx(xyz)
    tree, (_, shade, corners) = parsed(tmp_path / "a.glb")
    assert shade[:, 3].tolist() == [65535] * 3
    assert shade[:, :3] / 65535 == pytest.approx(np.array([[1, 0, 0], [0, 0.5029, 0], [0, 0, 0]]), abs=1e-4)
    assert corners.ravel().tolist() == [0, 1, 2]
    assert tree["materials"][0]["extensions"] == {"KHR_materials_unlit": {}}


def ball_frames(directions: np.ndarray) -> list[Frame]:
    """Views along (F, 3) directions of a ball of half a metre around (1, 2, 3), its depth by formula."""
    camera = Camera(200.0, 200.0, 99.5, 99.5, 200, 200)
    u, v = np.meshgrid((np.arange(200) - 99.5) / 200, (np.arange(200) - 99.5) / 200)
    ray = np.stack([u, v, np.ones_like(u)], axis=-1)
    a, b, c = (ray**2).sum(axis=-1), -2 * 2 * ray[..., 2], 4 - 0.25  # |z ray - (0, 0, 2)| = 0.5
    root = b * b - 4 * a * c
    depth = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / (2 * a), 0).astype(np.float32)
    frames = []
    for i, direction in enumerate(directions):
        forward = direction / np.linalg.norm(direction)
        right = np.cross(forward, [0.3, 0.5, 0.8])
        right = right / np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
        pose[:3, 3] = np.array([1, 2, 3]) - 2 * forward
        color = np.zeros((200, 200, 3), np.uint8)
        frames.append(Frame(str(i), camera, camera, pose, partial(np.copy, color), partial(np.copy, depth)))
    return frames


#: From all sides and all corners.
AROUND = np.array([d for d in np.ndindex(3, 3, 3) if (np.array(d) != 1).sum() in (1, 3)]) - 1


def test_the_mesh_of_a_ball() -> None:
    vertices, faces, unread = mesh_of_frames(ball_frames(AROUND), 0.02)
    assert unread == []
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    assert np.linalg.norm(vertices - [1, 2, 3], axis=1) == pytest.approx(0.5, abs=0.012)
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 0.5**3, rel=0.02)  # positive: it faces outwards
    edge, times = np.unique(mesh.edges_sorted, axis=0, return_counts=True)
    assert len(edge) > 30_000
    assert (times % 2 == 0).all()  # no hole; a few edges of the grid are shared by four triangles
    assert mesh.body_count == 1


def test_no_mesh_is_made_up_where_no_camera_looked() -> None:
    vertices, _, _ = mesh_of_frames(ball_frames(np.array([[1, 0, 0]])), 0.02)
    assert (vertices - [1, 2, 3])[:, 0].max() < 0


def test_frames_without_depth_have_no_mesh() -> None:
    blind = [replace(frame, depth=partial(np.zeros, (200, 200), np.float32)) for frame in ball_frames(AROUND)]
    with pytest.raises(CaptureError, match="no usable depth in 14 frames"):
        mesh_of_frames(blind, 0.02)


# ---------------------------------------------------------------------------------------------- benchmarks


def test_scannet_ids_and_masks(room_folder: Path, tmp_path: Path) -> None:
    run_job(job(room_folder, "scannet20"), tmp_path / "run")
    folder = exported(tmp_path / "run", "scannet")
    want = content(tmp_path / "run")
    ids = np.loadtxt(folder / "labels.txt", dtype=int)
    dataset = np.array([*(load_label_set("scannet20").dataset_ids or ()), 0])
    assert np.array_equal(ids, dataset[want.run.labels.numpy()])
    classes = dict(line.split("\t") for line in (folder / "classes.txt").read_text().splitlines())
    assert (len(classes), classes["5"], classes["36"]) == (19, "chair", "bathtub")
    rows = [line.split() for line in (folder / "room.txt").read_text().splitlines()]
    assert len(rows) == len(want.run.objects()) > 3
    scores = [float(row[2]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    by_name = {i: name for i, name in classes.items()}
    for file, number, _ in rows:
        mask = np.loadtxt(folder / file, dtype=int)
        assert set(np.unique(mask)) == {0, 1}
        label = want.run.labels.numpy()[mask == 1]
        name = want.run.labels.names[np.bincount(label[label >= 0]).argmax()]
        assert by_name[number] == name


def test_scannet_of_labels_of_ones_own(run: Path) -> None:
    folder = exported(run, "scannet")
    assert (folder / "classes.txt").read_text().splitlines()[0] == "1\twall"
    ids = np.loadtxt(folder / "labels.txt", dtype=int)
    assert (ids == content(run).run.labels.numpy() + 1).all()


# --------------------------------------------------------------------------------------------------- COCO

PANOPTIC = {
    "type": "object",
    "required": ["images", "annotations", "categories"],
    "properties": {
        "images": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "width", "height", "file_name"],
                "properties": {"id": {"type": "integer"}, "width": {"type": "integer"}},
            },
        },
        "annotations": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["image_id", "file_name", "segments_info"],
                "properties": {
                    "segments_info": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["id", "category_id", "area", "bbox", "iscrowd"],
                            "properties": {
                                "id": {"type": "integer", "minimum": 1},
                                "category_id": {"type": "integer", "minimum": 1},
                                "area": {"type": "integer", "minimum": 1},
                                "bbox": {"type": "array", "minItems": 4, "maxItems": 4},
                                "iscrowd": {"enum": [0, 1]},
                            },
                        },
                    }
                },
            },
        },
        "categories": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "name", "supercategory", "isthing", "color"],
                "properties": {"isthing": {"enum": [0, 1]}, "color": {"minItems": 3, "maxItems": 3}},
            },
        },
    },
}


def test_coco_panoptic(run: Path, room: Scene) -> None:
    folder = exported(run, "coco")
    want = content(run)
    tree = json.loads((folder / "panoptic.json").read_text())
    jsonschema.validate(tree, PANOPTIC)
    assert [entry["name"] for entry in tree["categories"]] == NAMES
    assert [entry["isthing"] for entry in tree["categories"]] == [0, 0, 1, 1, 1, 1, 1]
    assert len(tree["images"]) == len(tree["annotations"]) == 8
    agreed = []
    owners: dict[int, int] = {}
    for image, annotation, frame in zip(tree["images"], tree["annotations"], room.frames, strict=True):
        assert annotation["image_id"] == image["id"]
        with Image.open(folder / "images" / image["file_name"]) as photo:
            assert photo.size == (image["width"], image["height"]) == (160, 120)
        with Image.open(folder / "panoptic" / annotation["file_name"]) as file:
            rgb = np.asarray(file).astype(int)
        with Image.open(folder / "labels" / annotation["file_name"]) as file:
            label = np.asarray(file).astype(int)
        ids = rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]
        infos = {info["id"]: info for info in annotation["segments_info"]}
        assert set(infos) == set(np.unique(ids)) - {0}
        for number, info in infos.items():
            row, column = np.nonzero(ids == number)
            assert info["area"] == len(row)
            assert info["bbox"] == [column.min(), row.min(), np.ptp(column) + 1, np.ptp(row) + 1]
            assert set(np.unique(label[ids == number])) == {info["category_id"]}
            assert owners.setdefault(number, info["category_id"]) == info["category_id"]
        assert frame.label is not None
        truth = np.array([room.truth[i] for i in range(len(room.truth))])[frame.label()]
        said = np.array(["", *NAMES])[label]
        right = [
            ((said == name) & (truth == name)).sum() / (said == name).sum() for name in ("floor", "wall")
        ]
        agreed.append(np.mean(right))
        assert (label > 0).mean() > 0.45  # few of these frames are so near that each voxel has two pixels
    assert np.mean(agreed) > 0.7
    assert max(owners) > len(NAMES)  # things have ids of their own
    things = [one for one in want.run.objects() if one.thing.label not in ("wall", "floor")]
    assert max(owners) <= len(NAMES) + len(things)


def test_segments_by_hand() -> None:
    ids = np.zeros((4, 5), dtype=np.int32)
    ids[1, 1:4] = 2
    ids[3, 4] = 1
    assert segments_info(ids, np.array([0, 7, 9])) == [
        {"id": 1, "category_id": 7, "area": 1, "bbox": [4, 3, 1, 1], "iscrowd": 0},
        {"id": 2, "category_id": 9, "area": 3, "bbox": [1, 1, 3, 1], "iscrowd": 0},
    ]
    assert rgb_of_ids(np.array([[1 + 2 * 256 + 3 * 65536]])).tolist() == [[[1, 2, 3]]]


def test_the_lookup_agrees_with_all_distances() -> None:
    rng = np.random.default_rng(3)
    points = rng.uniform(-1, 1, (500, 3)).astype(np.float32) * [2, 1, 0.3]
    places = rng.uniform(-3, 3, (4000, 3)).astype(np.float32) * [1, 1, 0.2]
    lookup = PointLookup(points.astype(np.float32), 0.2)
    found = lookup(places)
    assert (lookup(places) == found).all()
    distance = np.linalg.norm(places[:, None] - points[None], axis=2)
    half = np.sqrt(3) * 0.2 / 4  # from the centre of a cube to its corner
    assert distance[np.arange(4000), found][found >= 0].max() <= 0.2 + half
    assert (distance.min(axis=1)[found < 0] >= 0.2 - half).all()
    off = distance[np.arange(4000), found] - distance.min(axis=1)
    assert off[found >= 0].max() <= 2 * half
    assert 300 < (found >= 0).sum() < 3700


def test_pixels_take_the_point_they_lie_on() -> None:
    """A wall 2 m ahead with a point every centimetre."""
    camera = Camera(100.0, 100.0, 31.5, 23.5, 64, 48)
    x, y = np.meshgrid(np.arange(-100, 101) / 100, np.arange(-100, 101) / 100)
    points = np.stack([x.ravel(), y.ravel(), np.full(x.size, 2.0)], axis=1).astype(np.float32)
    depth = np.full((48, 64), 2, dtype=np.float32)
    depth[:, :10], depth[0, 20] = 0, 1.5
    frame = Frame("a", camera, camera, np.eye(4), lambda: np.zeros((48, 64, 3), np.uint8), lambda: depth)
    image = points_of_pixels(frame, PointLookup(points, 0.02))
    assert (image[:, :10] == -1).all()
    assert image[0, 20] == -1  # nothing there
    row, column = np.nonzero(image >= 0)
    assert len(row) == 48 * 54 - 1
    place = points[image[row, column]]
    assert place[:, 0] == pytest.approx((column - 31.5) / 50, abs=0.011)
    assert place[:, 1] == pytest.approx((row - 23.5) / 50, abs=0.011)


def test_labels_are_as_large_as_the_photos() -> None:
    image = np.arange(12, dtype=np.int32).reshape(3, 4)
    depth_camera = Camera(4.0, 4.0, 1.5, 1.0, 4, 3)
    twice = on_color(image, depth_camera, Camera(8.0, 8.0, 3.5, 2.5, 8, 6))
    assert (twice == image.repeat(2, axis=0).repeat(2, axis=1)).all()
    wider = on_color(image, depth_camera, Camera(4.0, 4.0, 2.5, 1.0, 6, 3))  # sees a column more on each side
    assert (wider == np.pad(image, ((0, 0), (1, 1)), constant_values=-1)).all()


# ----------------------------------------------------------------------------------------------- recordings


def test_rrd_is_read_back(run: Path, room: Scene) -> None:
    from rerun.chunk import RrdReader

    want = content(run, limit=3)
    path = exported(run, "rrd", limit=3)
    columns: dict[tuple[str, str], list[Any]] = {}
    for chunk in RrdReader(path).stream():
        batch = chunk.to_record_batch()
        for name in batch.schema.names:
            if name != "log_time":
                columns.setdefault((chunk.entity_path, name), []).extend(batch.column(name).to_pylist())
    points = np.array(columns["/world/points", "Points3D:positions"][0])
    assert (points == want.run.points.xyz.numpy()).all()
    assert columns["/world/points", "Points3D:class_ids"][0] == (want.run.labels.numpy() + 1).tolist()
    (context,) = columns["/", "AnnotationContext:context"]
    names = {entry["class_description"]["info"]["label"] for entry in context[0]}
    assert names == {"(none)", *NAMES}
    assert columns["/world/camera", "frame"][:3] == [0, 1, 2]
    assert columns["/world/camera/depth", "DepthImage:meter"][0] == [1000]
    place = [value[0] for value in columns["/world/camera", "Transform3D:translation"] if value]
    assert place[0] == pytest.approx(room.frames[0].world_from_camera[:3, 3], abs=1e-5)
    camera = room.frames[0].camera
    matrix = columns["/world/camera/image", "Pinhole:image_from_camera"][0][0]  # by columns
    assert matrix == pytest.approx([camera.fx, 0, 0, 0, camera.fy, 0, camera.cx + 0.5, camera.cy + 0.5, 1])


# ------------------------------------------------------------------------------------- what can go wrong


def test_the_command(run: Path, purify3d: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = purify3d("export", run, "--to", "ply")
    assert code == 0
    assert out == f"wrote {run / 'export' / 'room.ply'}\n"
    code, out, err = purify3d("export", run, "--to", "ply")
    assert (code, out) == (1, "")
    assert "exists already" in err
    code, out, _ = purify3d("export", run, "--to", "ply", "--overwrite", "--json", "--colors", "pca")
    assert code == 0
    assert json.loads(out)["path"] == str(run / "export" / "room.ply")
    pca = trimesh.load(run / "export" / "room.ply").colors[:, :3]
    assert len(np.unique(pca, axis=0)) > 500
    code, _, _ = purify3d("export", run, "--to", "scannet", "-o", run.parent / "sub" / "folder")
    assert code == 0
    assert (run.parent / "sub" / "folder" / "labels.txt").is_file()
    assert Folder(run).whole("label")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "fbx"], "'fbx' is not one of 'ply'"),
        (["--to", "ply", "--colors", "heat"], "no text"),
        (["--to", "ply", "--limit", "0"], "0 is not in the range"),
        (["--to", "ply", "-o", " "], "empty name"),
    ],
)
def test_wrong_usage(
    run: Path, purify3d: Callable[..., tuple[int, str, str]], arguments: list[str], said: str
) -> None:
    code, out, err = purify3d("export", run, *arguments)
    assert (code, out) == (2, "")
    assert said in err


def test_wrong_places(run: Path, purify3d: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = purify3d("export", run.parent / "nothing", "--to", "ply")
    assert (code, "found no run in" in err) == (1, True)
    with pytest.raises(RunError, match="found format 'fbx'; expected one of ply, las"):
        export(content(run), "fbx", run.parent / "a.fbx")
    with pytest.raises(RunError, match=r"ends in \.ply"):
        export(content(run), "ply", run.parent / "a.obj")
    mine = run.parent / "mine"
    mine.mkdir()
    (mine / "diary.txt").write_text("dear diary")
    with pytest.raises(RunError, match="no export wrote"):
        export(content(run), "scannet", mine, overwrite=True)
    assert (mine / "diary.txt").read_text() == "dear diary"


def test_folders_are_replaced_whole(run: Path) -> None:
    folder = exported(run, "scannet")
    (folder / "pred_mask" / "room_999.txt").write_text("old")
    with pytest.raises(RunError, match="exists already"):
        exported(run, "scannet")
    export(content(run), "scannet", folder, overwrite=True)
    assert not (folder / "pred_mask" / "room_999.txt").exists()


def test_nothing_is_left_of_what_fails(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    before = sorted(run.parent.iterdir())
    monkeypatch.setattr("numpy.savez_compressed", full)
    monkeypatch.setattr("numpy.savetxt", full)
    for to in ("npz", "scannet"):
        with pytest.raises(RunError, match=r"cannot write .*No space left"):
            exported(run, to)
    assert sorted(run.parent.iterdir()) == before


@pytest.mark.parametrize("to", ["coco", "rrd", "glb"])
def test_a_capture_that_has_moved_is_said(run: Path, to: str) -> None:
    changed(run, path=str(run / "gone"))
    with pytest.raises(
        CaptureError, match=r"gone.*frames of the capture.*are needed: put it back.*config\.json"
    ):
        exported(run, to, mesh=True)
    assert not list(run.parent.glob("out-*"))
    assert not list(run.parent.glob(".partial*"))


@pytest.mark.parametrize("to", ["ply", "npz", "laz"])
def test_a_capture_that_has_moved_is_not_needed(run: Path, to: str) -> None:
    changed(run, path=str(run / "gone"))
    assert exported(run, to).is_file()


def test_damaged_frames_are_left_out_and_named(run: Path, capture: Path, tmp_path: Path) -> None:
    changed(run, path=str(capture))
    for kind in ("coco", "rrd", "glb"):
        want = content(run, mesh=True)
        want.capture, want.run.objects()  # opened, and its photos looked at, before it is damaged
        file = capture / "depth" / "3.png"
        whole = file.read_bytes()
        file.write_bytes(whole[:200])
        with pytest.warns(PurifyWarning, match=r"1 of 8 frames cannot be read.*3"):
            export(want, kind, tmp_path / f"out{FORMATS[kind].suffix}")
        file.write_bytes(whole)
    assert len(json.loads((tmp_path / "out" / "panoptic.json").read_text())["images"]) == 7
    assert len(list((tmp_path / "out" / "labels").iterdir())) == 7


def test_a_run_without_labels(room_folder: Path, tmp_path: Path) -> None:
    run_job(job(room_folder, "chair, table", threshold=1.0), tmp_path / "run")
    assert (np.load(exported(tmp_path / "run", "npz"))["label"] == -1).all()
    with pytest.raises(RunError, match=r"no point of the run .* has a label"):
        exported(tmp_path / "run", "coco")


def test_labels_that_were_cut_off(run: Path) -> None:
    with (run / "labels.ply").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(RunError, match=r"no whole labels.*repeat"):
        exported(run, "ply")


def test_names_with_odd_characters(room_folder: Path, tmp_path: Path) -> None:
    capture = shutil.copytree(room_folder, tmp_path / "Büro №3 / plan".replace("/", "-"))
    labels = 'wall, floor, "chair" & co, tab/le, 机'
    run = tmp_path / "run"
    run_job(job(capture, labels), run)
    want = content(run)
    folder = exported(run, "scannet")
    lines = [
        line.split("\t")[1] for line in (folder / "classes.txt").read_text(encoding="utf-8").splitlines()
    ]
    assert lines == list(want.run.labels.names)
    coco = json.loads((exported(run, "coco") / "panoptic.json").read_text(encoding="utf-8"))
    assert [entry["name"] for entry in coco["categories"]] == list(want.run.labels.names)
    assert np.load(exported(run, "npz"))["names"].tolist() == list(want.run.labels.names)
    assert file_stem("../a/b:c?.x") == "-a-b-c-.x"
    assert file_stem("...") == "scene"
    assert file_stems(["a/b", "a-b", "A b", "c"]) == ["a-b", "a-b-2", "A-b-3", "c"]

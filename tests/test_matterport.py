"""Regions of Matterport3D as they are downloaded, built by the release's description of its files."""

import json
import pickle
import struct
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.captures import FORMATS, open_capture
from purify3d.captures.formats import matterport, matterport_truth
from purify3d.captures.formats.nyu40 import NYU40
from purify3d.features.labels_from_frames import in_vocabulary
from purify3d.types import PointCloud
from purify3d.types.labelsets import load_label_set

SIZE = (80, 64)
HOUSE = "VzqfbhrpDEA"
PANO = "03a8325e3b054e3fad7e1e7091f9d283"
_rng = np.random.default_rng(0)
UNITS = _rng.integers(1, 20000, (6, SIZE[1], SIZE[0])).astype(np.uint16)
COLORS = _rng.integers(0, 256, (6, SIZE[1], SIZE[0], 3), dtype=np.uint8)
VERTICES = np.array([[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 2]], dtype="<f4")
FACES = [(0, 1, 2), (0, 2, 3), (1, 2, 3)]
#: Vertex 0 has faces of 2 and 3, vertex 1 of 2 and 3, 2 of all, 3 of two with 3.
CATEGORY, OBJECT = [2, 3, 3], [10, 11, 11]

TSV = (
    "index\traw_category\tcategory\tcount\tnyuId\tnyu40id\teigen13id\tnyuClass\tnyu40class\n"
    "1\twall\twall\t9\t21\t1\t12\twall\twall\n"
    "2\tsofa chair\tsofa\t8\t83\t6\t9\tsofa\tsofa\n"
    "3\tstool\tstool\t7\t150\t40\t7\tstool\totherprop\n"
    "4\tunknown\tunknown\t6\t20\t0\t0\tunknown\tvoid\n"
    "5\tred wall\twall\t2\t21\t1\t12\twall\twall\n"
    "6\tceiling\tceiling\t2\t4\t22\t3\tceiling\tceiling\n"
    "7\tthing\tthing\t1\t\t\t\t\t\n"
)


def ply(
    category: list[int], things: list[int], names: tuple[str, str] = ("category_id", "segment_id")
) -> bytes:
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(VERTICES)}"]
    lines += [f"property float {name}" for name in ("x", "y", "z", "nx", "ny", "nz", "tx", "ty")]
    lines += [f"property uchar {name}" for name in ("red", "green", "blue")]
    lines += [f"element face {len(FACES)}", "property list uchar int vertex_indices"]
    lines += [
        "property int material_id",
        f"property int {names[1]}",
        f"property int {names[0]}",
        "end_header",
    ]
    data = b"".join(struct.pack("<8f3B", *v, 0, 0, 1, 0, 0, 5, 6, 7) for v in VERTICES)
    for face, c, thing in zip(FACES, category, things, strict=True):
        data += struct.pack("<B6i", 3, *face, 77, thing, c)
    return "\n".join([*lines, ""]).encode() + data


def pose(i: int) -> np.ndarray:
    """OpenGL axes: the camera stands upright in a z-up world and looks along +y."""
    found = np.eye(4)
    found[:3, :3] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    found[:3, 3] = 0.3 * i, 1.0, 1.0
    return found


def scan(i: int, stored: np.ndarray) -> str:
    numbers = " ".join(repr(float(value)) for value in stored.ravel())
    return f"scan {PANO}_d0_{i}.png {PANO}_i0_{i}.jpg {numbers}"


def conf(poses: dict[int, np.ndarray]) -> str:
    lines = ["dataset matterport", f"n_images {len(poses)}"]
    lines += ["depth_directory undistorted_depth_images", "color_directory undistorted_color_images", ""]
    for number, (i, stored) in enumerate(poses.items()):
        if number % 6 == 0:  # each camera has its own, before its six turns
            lines.append("intrinsics_matrix 60.5 0 39.25  0 61.5 30.75  0 0 1 ")
        lines.append(scan(i, stored))
    return "\n".join(lines) + "\n"


def write_house(root: Path, poses: dict[int, np.ndarray] | None = None, name: str = HOUSE) -> Path:
    """A house with one region, whose images are PNGs called .jpg so that every pixel stays."""
    house = root / name
    for folder in ("camera_parameters", "color_images", "depth_images"):
        (house / f"undistorted_{folder}").mkdir(parents=True)
    (house / "region_segmentations").mkdir()
    poses = {i: pose(i) for i in range(3)} if poses is None else poses
    (house / f"undistorted_camera_parameters/{name}.conf").write_text(conf(poses))
    for i in poses:
        Image.fromarray(COLORS[i % 6]).save(house / f"undistorted_color_images/{PANO}_i0_{i}.jpg", "PNG")
        Image.fromarray(UNITS[i % 6]).save(house / f"undistorted_depth_images/{PANO}_d0_{i}.png")
    region = house / "region_segmentations" / "region7.ply"
    region.write_bytes(ply(CATEGORY, OBJECT))
    (root / "category_mapping.tsv").write_text(TSV)
    return region


def test_region(tmp_path: Path) -> None:
    region = write_house(tmp_path)
    assert [key for key, m in FORMATS.items() if import_module(m).recognises(region)] == ["matterport"]
    scene = open_capture(region)
    assert scene.name == f"{HOUSE}_region7"
    assert [frame.name for frame in scene.frames] == [f"{PANO}_0_{i}" for i in range(3)]
    np.testing.assert_array_equal(scene.up, [0, 0, 1])
    for i, sent in enumerate(scene.frames):
        frame = pickle.loads(pickle.dumps(sent))
        # Rightwards +x, downwards -z, forwards +y.
        np.testing.assert_allclose(frame.world_from_camera[:3, :3], [[1, 0, 0], [0, 0, 1], [0, -1, 0]])
        np.testing.assert_allclose(frame.world_from_camera[:3, 3], [0.3 * i, 1, 1])
        camera = frame.camera
        # The principal point is 30.75 rows above the lowest of 64.
        assert (camera.fx, camera.fy, camera.cx, camera.cy) == (60.5, 61.5, 39.25, 32.25)
        assert frame.depth_camera == camera
        np.testing.assert_array_equal(frame.color(), COLORS[i])
        np.testing.assert_allclose(frame.depth(), UNITS[i] * 0.00025, rtol=1e-6)
        assert all(file.is_file() for file in frame.files)
    points = scene.cloud()
    np.testing.assert_array_equal(points.xyz.numpy(), VERTICES)
    assert points.rgb[0].tolist() == [5, 6, 7]
    # Ties go to the smaller: of no benchmark, sofa is 2 and stool 3 of the names in order.
    assert points.label.tolist() == [2, 2, 3, 3]
    assert points.instance.tolist() == [10, 10, 11, 11]
    assert scene.truth == {1: "wall", 2: "sofa", 3: "stool", 4: "ceiling"}


def test_matterport21(tmp_path: Path) -> None:
    region = write_house(tmp_path)
    scene = matterport.read(region, labels="matterport21")
    vocabulary = load_label_set("matterport21").vocabulary
    assert list(scene.truth.values()) == list(vocabulary.names)
    # A stool is of no class, and none wins a tie.
    assert in_vocabulary(scene.cloud().label, scene.truth, vocabulary).tolist() == [-1, -1, -1, -1]
    assert scene.cloud().instance.tolist() == [10, 10, 11, 11]
    assert set(vocabulary.names) <= set(NYU40.values())


#: nyu40id of the 21 classes in order.
OF_21 = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39, 22]


@pytest.mark.parametrize("labels", matterport_truth.BENCHMARKS)
def test_faces_are_of_a_class_before_vertices_are_asked(tmp_path: Path, labels: str) -> None:
    """Vertices of a random mesh, asked one by one; a third of the categories or more is of no class."""
    rng = np.random.default_rng(len(labels))
    names = list(load_label_set("matterport160").vocabulary.names)
    kinds = [*names[:4], "void", "heap of hay", *names[50:53], *names[100:103]]
    columns = list(zip([1, 2, 3, 0, 21, 13, 40, 22, 39, 28, 36, 4], kinds, strict=True))
    table = tmp_path / "category_mapping.tsv"
    rows = [f"{i}\t{nyu}\t{name}" for i, (nyu, name) in enumerate(columns, start=1)]
    table.write_text("\n".join(["index\tnyu40id\tnyuClass", *rows]) + "\n")
    thing = rng.integers(0, 10, 150)  # has four vertices and, by half of its faces, one category
    faces = 4 * thing[:, None] + rng.integers(0, 4, (150, 3))
    category = np.where(rng.random(150) < 0.5, thing + 1, rng.integers(-1, 13, 150))
    category[category == 0] = -1
    data = [f"property int {name}" for name in ("category_id", "segment_id")]
    head = ["ply", "format binary_little_endian 1.0", "element vertex 40"]
    head += [f"property float {axis}" for axis in "xyz"] + ["element face 150"]
    head += ["property list uchar int vertex_indices", *data, "end_header", ""]
    mesh, xyz = tmp_path / "region0.ply", rng.random((40, 3)).astype("<f4")
    mesh.write_bytes(
        "\n".join(head).encode()
        + xyz.tobytes()
        + b"".join(struct.pack("<B5i", 3, *f, c, 7) for f, c in zip(faces.tolist(), category, strict=True))
    )
    points, truth = matterport_truth.read(mesh, PointCloud.from_arrays(xyz), table, labels)
    count = int(labels.removeprefix("matterport"))

    def class_of(c: int) -> int:
        nyu, name = columns[c - 1] if c > 0 else (0, "")
        if labels == "matterport21":
            return OF_21.index(nyu) if nyu in OF_21 else -1
        return names[:count].index(name) if name in names[:count] else -1

    expected = []
    for vertex in range(40):
        votes = Counter(class_of(c) for f, c in zip(faces, category, strict=True) for v in f if v == vertex)
        expected.append(min(votes, key=lambda one: (-votes[one], one)) if votes else -1)
    found = in_vocabulary(points.label, truth, load_label_set(labels).vocabulary)
    assert found.tolist() == expected
    assert len(set(expected)) > 4


@pytest.mark.parametrize("benchmark", ["matterport40", "matterport80", "matterport160"])
def test_the_long_lists(tmp_path: Path, benchmark: str) -> None:
    scene = matterport.read(write_house(tmp_path), labels=benchmark)
    vocabulary = load_label_set(benchmark).vocabulary
    found = in_vocabulary(scene.cloud().label, scene.truth, vocabulary).tolist()
    assert found == [17, 17, 24, 24]  # sofa and stool are the 18th and the 25th name of all three


def test_names_of_the_description_are_read_too(tmp_path: Path) -> None:
    region = write_house(tmp_path)
    region.write_bytes(ply(CATEGORY, OBJECT, ("face_category", "face_segment")))
    assert open_capture(region).cloud().label.tolist() == [2, 2, 3, 3]


def test_faces_without_category(tmp_path: Path) -> None:
    region = write_house(tmp_path)
    region.write_bytes(ply([-1, -1, 4], [-1, -1, 3]))
    scene = open_capture(region)
    assert scene.cloud().label.tolist() == [-1] * 4
    assert scene.cloud().instance.tolist() == [-1, -1, -1, -1]


def test_categories_that_the_table_lacks(tmp_path: Path) -> None:
    region = write_house(tmp_path)
    region.write_bytes(ply([2, 99, 99], OBJECT))
    with pytest.warns(
        PurifyWarning, match=r"2 faces have categories that category_mapping\.tsv lacks, such as 99"
    ):
        assert open_capture(region).cloud().label.tolist() == [-1, -1, -1, -1]


def test_images_of_a_region(tmp_path: Path) -> None:
    outside, lost = pose(4), np.full((4, 4), -np.inf)
    outside[:3, 3] = 9, 9, 1
    poses = {0: pose(0), 1: outside, 2: lost, 3: pose(3)}
    scene = open_capture(write_house(tmp_path, poses))
    assert [frame.name[-1] for frame in scene.frames] == ["0", "3"]
    assert scene.skipped == 1


def test_nearest_images_where_none_is_inside(tmp_path: Path) -> None:
    poses = {}
    for i in range(103):
        poses[i] = pose(0)
        poses[i][:3, 3] = 50 - 0.1 * i, 9, 1
    scene = open_capture(write_house(tmp_path, poses))
    assert [frame.name.split("_")[-1] for frame in scene.frames] == [str(i) for i in range(3, 103)]


def test_frames_left_out(tmp_path: Path) -> None:
    scaled = pose(1)
    scaled[:3, :3] *= 2
    region = write_house(tmp_path, {0: pose(0), 1: scaled, 2: pose(2), 3: pose(3), 4: pose(4)})
    images = region.parent.parent / "undistorted_color_images"
    (images / f"{PANO}_i0_2.jpg").unlink()
    (images / f"{PANO}_i0_3.jpg").write_bytes(b"no image")
    with pytest.warns(PurifyWarning) as caught:
        scene = open_capture(region)
    assert [frame.name[-1] for frame in scene.frames] == ["0", "4"]
    (said,) = [str(warning.message) for warning in caught]
    assert "3 frames are left out" in said
    for why in (
        f"no colour image ({PANO}_0_2)",
        f"cannot be read ({PANO}_0_3)",
        f"(determinant 8: scaled by 2) ({PANO}_0_1)",
    ):
        assert why in said


def test_no_table(tmp_path: Path) -> None:
    region = write_house(tmp_path)
    (tmp_path / "metadata").mkdir()
    (tmp_path / "category_mapping.tsv").rename(tmp_path / "metadata" / "category_mapping.tsv")
    assert open_capture(region).truth
    (tmp_path / "metadata" / "category_mapping.tsv").unlink()
    with pytest.warns(PurifyWarning, match=r"no truth without category_mapping\.tsv"):
        scene = open_capture(region)
    assert (scene.truth, set(scene.cloud().label.tolist())) == ({}, {-1})
    with pytest.raises(CaptureError, match=r"found no category_mapping\.tsv.*truth of matterport21"):
        matterport.read(region, labels="matterport21")


def test_house_is_no_region(tmp_path: Path) -> None:
    region = write_house(tmp_path)
    with pytest.raises(CaptureError, match=r"found a house of Matterport3D.*\(region7\.ply\)"):
        open_capture(region.parent.parent)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no lines that begin with scan"),
        ("dataset matterport\nscan a.png b.jpg 1 2\n", r"line 2 is 'scan a\.png b\.jpg 1 2'; expected after"),
        (scan(0, pose(0)), "line 1 is .*after intrinsics_matrix"),
        ("intrinsics_matrix 1 2 x", "line 1 is .*expected 9 numbers"),
        ("intrinsics_matrix inf 0 0 0 1 0 0 0 1", "line 1 is .*expected 9 numbers"),
        (conf({0: pose(0)}).replace(f"{PANO}_i", f"../{PANO}_i"), "line 7 is .*two names"),
        (conf({0: pose(0)}).replace("60.5", "-60.5"), "focal lengths must be positive"),
        (conf({0: pose(0)}).replace("30.75", "300.75"), "outside the image of 80x64"),
    ],
)
def test_damaged_conf(tmp_path: Path, text: str, message: str) -> None:
    region = write_house(tmp_path)
    (region.parent.parent / f"undistorted_camera_parameters/{HOUSE}.conf").write_text(text)
    with pytest.raises(CaptureError, match=message):
        open_capture(region)


def test_conf_must_be_one(tmp_path: Path) -> None:
    region = write_house(tmp_path)
    (region.parent.parent / "undistorted_camera_parameters" / f"{HOUSE}.conf").unlink()
    with pytest.raises(CaptureError, match=r"found 0 \.conf files; expected one"):
        open_capture(region)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-30], "cannot be read as a PLY"),
        (
            lambda data: data.replace(b"category_id", b"category_no"),
            "found faces with .*expected category_id",
        ),
        (lambda data: data.replace(b"element face 3", b"element face 0"), "found no triangles"),
        (
            lambda data: data.replace(struct.pack("<B3i", 3, 0, 1, 2), struct.pack("<B3i", 3, 0, 1, 9)),
            "0 to 9",
        ),
    ],
)
def test_damaged_mesh(tmp_path: Path, change: Any, message: str) -> None:
    region = write_house(tmp_path)
    region.write_bytes(change(region.read_bytes()))
    with pytest.raises(CaptureError, match=message):
        open_capture(region)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raw_category\tnyuClass\nwall\twall\n", "expected also index"),
        ("index\tnyuClass\nx\twall\n", "line 2 has index 'x' and nyuClass 'wall'"),
    ],
)
def test_damaged_table(tmp_path: Path, text: str, message: str) -> None:
    region = write_house(tmp_path)
    (tmp_path / "category_mapping.tsv").write_text(text)
    with pytest.raises(CaptureError, match=message):
        open_capture(region)
    (tmp_path / "category_mapping.tsv").write_text(TSV.replace("\t40\t7\t", "\tx\t7\t"))
    with pytest.raises(CaptureError, match="line 4 has index '3' and nyu40id 'x'"):
        matterport.read(region, labels="matterport21")
    with pytest.raises(CaptureError, match="expected one of matterport21"):
        matterport.read(region, labels="matterport20")


def test_the_lists_of_the_release_are_names_in_order() -> None:
    """Each of 40, 80 and 160 is the beginning of the next."""
    lists = [load_label_set(f"matterport{count}").vocabulary.synonyms for count in (40, 80, 160)]
    assert json.dumps(lists[2][:80]) == json.dumps(lists[1])
    assert json.dumps(lists[1][:40]) == json.dumps(lists[0])

"""ScanNet scenes as they are downloaded: bytes by the format's description, and what damaged ones say."""

import io
import json
import pickle
import struct
import zlib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.captures import FORMATS, open_capture
from purify3d.captures.formats import sens
from purify3d.captures.formats.nyu40 import NYU40
from purify3d.types import Scene
from purify3d.types.labelsets import load_label_set

NAME = "scene0000_00"
SIZE, DEPTH_SIZE = (16, 12), (8, 6)
COLOR_K = (20.0, 21.0, 7.5, 5.25)
DEPTH_K = (10.0, 10.5, 3.5, 2.5)
_rng = np.random.default_rng(0)
MM = _rng.integers(1, 6000, (3, DEPTH_SIZE[1], DEPTH_SIZE[0])).astype("<u2")
MM[0, 0, 0], MM[0, 0, 1] = 0, 65535
#: Even colours, which JPEG keeps.
GREYS = (40, 120, 200)


def pose(i: int) -> np.ndarray:
    """Upright in a z-up world, looking along +y."""
    found = np.eye(4)
    found[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
    found[:3, 3] = 0.25 * i, -0.5, 1.5
    return found


def matrix(k: tuple[float, ...]) -> np.ndarray:
    found = np.eye(4)
    found[0, 0], found[1, 1], found[0, 2], found[1, 2] = k
    return found


def jpeg(grey: int, size: tuple[int, int] = SIZE, kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, (grey, grey, grey)).save(stream, kind)
    return stream.getvalue()


def frame(world_from_camera: np.ndarray, color: bytes, depth: bytes) -> bytes:
    head = struct.pack("<16f", *world_from_camera.ravel())
    return head + struct.pack("<4Q", 11, 12, len(color), len(depth)) + color + depth


def three() -> list[bytes]:
    return [frame(pose(i), jpeg(GREYS[i]), zlib.compress(MM[i].tobytes())) for i in range(3)]


def sens_bytes(frames: list[bytes], **changed: Any) -> bytes:
    given = {
        "version": 4,
        "color": 2,
        "depth": 1,
        "units": 1000.0,
        "promised": len(frames),
        "size": SIZE,
        "name": b"StructureSensor",
        "extrinsic": np.eye(4),
    } | changed
    matrices = (matrix(COLOR_K), given["extrinsic"], matrix(DEPTH_K), np.eye(4))
    return b"".join(
        [
            struct.pack("<I", given["version"]),
            struct.pack("<Q", len(given["name"])) + given["name"],
            *(struct.pack("<16f", *m.ravel()) for m in matrices),
            struct.pack("<2i", given["color"], given["depth"]),
            struct.pack("<4I", *given["size"], *DEPTH_SIZE),
            struct.pack("<fQ", given["units"], given["promised"]),
            *frames,
            struct.pack("<Q", 1) + bytes(128),  # one IMU record
        ]
    )


VERTICES = np.array([[0, 1, 1], [1, 1, 1], [1, 2, 1], [0, 2, 1]], dtype="<f4")


def ply(vertices: np.ndarray, label: list[int] | None = None) -> bytes:
    """A mesh as the release has it: float x y z, uchar red green blue alpha, and ushort label."""
    fields: list[Any] = [("xyz", "<f4", 3), ("rgba", "u1", 4)]
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}"]
    lines += [f"property float {c}" for c in "xyz"]
    lines += [f"property uchar {c}" for c in ("red", "green", "blue", "alpha")]
    if label is not None:
        fields.append(("label", "<u2"))
        lines.append("property ushort label")
    rows = np.zeros(len(vertices), dtype=fields)
    rows["xyz"], rows["rgba"] = vertices, (10, 20, 30, 255)
    if label is not None:
        rows["label"] = label
    lines += ["element face 2", "property list uchar int vertex_indices", "end_header", ""]
    faces = struct.pack("<B3iB3i", 3, 0, 1, 2, 3, 0, 2, 3)
    return "\n".join(lines).encode() + rows.tobytes() + faces


TSV = (
    "id\traw_category\tcategory\tcount\tnyu40id\n"
    "1\twall\twall\t8277\t1\n"
    "6\tcouch\tcouch\t502\t6\n"
    "6\tcouch bed\tcouch\t5\t6\n"
    "39\tlight\tlight\t2\t40\n"
)
GROUPS = [
    {"id": 0, "objectId": 0, "segments": [7, 9], "label": "couch bed"},
    {"id": 1, "objectId": 5, "segments": [4], "label": "wall"},
]


def write_scene(root: Path, name: str = NAME, frames: list[bytes] | None = None, **changed: Any) -> Path:
    """The download of a scene, without the table: labels, objects and segments of four vertices."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / f"{name}.sens").write_bytes(sens_bytes(three() if frames is None else frames, **changed))
    (folder / f"{name}_vh_clean_2.ply").write_bytes(ply(VERTICES))
    (folder / f"{name}_vh_clean_2.labels.ply").write_bytes(ply(VERTICES, [6, 6, 1, 0]))
    (folder / f"{name}.aggregation.json").write_text(json.dumps({"sceneId": name, "segGroups": GROUPS}))
    segments = {"sceneId": name, "segIndices": [7, 9, 4, 3]}
    (folder / f"{name}_vh_clean_2.0.010000.segs.json").write_text(json.dumps(segments))
    return folder


def check(scene: Scene) -> None:
    assert [f.name for f in scene.frames] == ["0", "1", "2"]
    np.testing.assert_array_equal(scene.up, [0, 0, 1])
    for i, sent in enumerate(scene.frames):
        found = pickle.loads(pickle.dumps(sent))
        np.testing.assert_allclose(found.world_from_camera, pose(i), atol=1e-7)
        camera, depth_camera = found.camera, found.depth_camera
        assert (camera.fx, camera.fy, camera.cx, camera.cy) == COLOR_K
        assert (camera.width, camera.height) == SIZE
        assert (depth_camera.fx, depth_camera.fy, depth_camera.cx, depth_camera.cy) == DEPTH_K
        assert np.abs(found.color().astype(int) - GREYS[i]).max() <= 2
        depth = found.depth()
        assert depth.dtype == np.float32
        np.testing.assert_allclose(depth, np.where(MM[i] == 65535, 0, MM[i]) / 1000, atol=1e-6)
        assert all(file.is_file() for file in found.files)


def test_scene(tmp_path: Path) -> None:
    folder = write_scene(tmp_path)
    scene = open_capture(folder)
    check(scene)
    check(open_capture(folder / f"{NAME}.sens"))
    assert scene.name == NAME
    points = scene.cloud()
    np.testing.assert_array_equal(points.xyz.numpy(), VERTICES)
    assert points.rgb[0].tolist() == [10, 20, 30]
    assert points.normal[0].tolist() == [0, 0, 1]
    assert points.label.tolist() == [6, 6, 1, -1]
    assert points.instance.tolist() == [0, 0, 5, -1]
    assert (scene.truth[6], scene.truth[1]) == ("sofa", "wall")
    for path in (folder, folder / f"{NAME}.sens"):
        assert [key for key, module in FORMATS.items() if import_module(module).recognises(path)] == ["sens"]


@pytest.mark.parametrize(
    ("kind", "color"),
    [(1, jpeg(40, kind="PNG")), (0, bytes([40]) * (SIZE[0] * SIZE[1] * 3))],
)
def test_other_compressions(tmp_path: Path, kind: int, color: bytes) -> None:
    frames = [frame(pose(0), color, MM[1].tobytes())]
    (one,) = open_capture(write_scene(tmp_path, frames=frames, color=kind, depth=0)).frames
    np.testing.assert_array_equal(one.color(), np.full((SIZE[1], SIZE[0], 3), 40))
    np.testing.assert_allclose(one.depth(), MM[1] / 1000, atol=1e-6)


def test_units_of_depth(tmp_path: Path) -> None:
    one, *_ = open_capture(write_scene(tmp_path, units=4000.0)).frames
    assert one.depth()[2, 2] == pytest.approx(MM[0, 2, 2] / 4000)
    assert one.depth_unit == pytest.approx(1 / 4000)


def test_lost_tracking_is_counted(tmp_path: Path) -> None:
    frames = three()
    frames[1] = frame(np.full((4, 4), -np.inf), jpeg(1), zlib.compress(MM[1].tobytes()))
    scene = open_capture(write_scene(tmp_path, frames=frames))
    assert [f.name for f in scene.frames] == ["0", "2"]
    assert scene.skipped == 1


def test_scaled_pose_is_left_out(tmp_path: Path) -> None:
    frames = three()
    scaled = pose(1)
    scaled[:3, :3] *= 2
    frames[1] = frame(scaled, jpeg(1), zlib.compress(MM[1].tobytes()))
    with pytest.warns(PurifyWarning, match=r"1 frame is left out: .*no rotation.* \(1\)$"):
        scene = open_capture(write_scene(tmp_path, frames=frames))
    assert [f.name for f in scene.frames] == ["0", "2"]


@pytest.mark.parametrize("lost", [1, 300, 400])
def test_file_that_ends_early(tmp_path: Path, lost: int) -> None:
    """Within the last frame's images, and within its head."""
    folder = write_scene(tmp_path)
    file = folder / f"{NAME}.sens"
    whole = len(sens_bytes(three())) - 136
    file.write_bytes(file.read_bytes()[: whole - min(lost, len(three()[2]) - 1)])
    with pytest.warns(PurifyWarning, match=r"1 frame is left out: ends after 2 of 3 frames \(2\)$"):
        assert [f.name for f in open_capture(folder).frames] == ["0", "1"]
    file.write_bytes(file.read_bytes()[: whole - len(three()[2]) - len(three()[1]) + 50])
    with pytest.raises(CaptureError, match=r"2 of 3 frames cannot be used.*ends after 1 of 3.*download it"):
        open_capture(folder)


def test_without_imu(tmp_path: Path) -> None:
    folder = write_scene(tmp_path)
    file = folder / f"{NAME}.sens"
    file.write_bytes(file.read_bytes()[:-136])
    check(open_capture(folder))


HEAD = len(sens_bytes([])) - 136


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "ends within its header"),
        (sens_bytes(three())[: HEAD - 1], "ends within its header"),
        (sens_bytes(three(), version=5), "found version 5.*expected a .sens file of version 4"),
        (b"\x89PNG\r\n\x1a\n" * 20, "found version 1196314761"),
        (struct.pack("<IQ", 4, 2**60), "a sensor name of 1152921504606846976 bytes"),
        (sens_bytes(three(), color=7), r"colour of compression 7 \(not known"),
        (sens_bytes(three(), color=-1), r"colour of compression -1 \(unknown\)"),
        (sens_bytes(three(), depth=2), r"depth of compression 2 \(occi\)"),
        (sens_bytes(three(), units=0.0), "0 depth units per metre"),
        (sens_bytes(three(), units=float("nan")), "nan depth units per metre"),
        (sens_bytes(three(), promised=2**63), "a number of 9223372036854775808 frames"),
        (sens_bytes([]), "found no usable frame"),
        (sens_bytes(three(), size=(2**31, 2**31)), "image of 2147483648x2147483648 pixels"),
        (sens_bytes(three(), size=(0, 12)), "image of 0x12 pixels"),
        (sens_bytes(three(), size=(4, 4)), "made for another image size"),
        (sens_bytes([frame(pose(0), b"", b"")[:80] + struct.pack("<2Q", 2**63, 2**63)]), "after 0 of 1"),
    ],
)
def test_damaged_header(tmp_path: Path, data: bytes, message: str) -> None:
    folder = write_scene(tmp_path)
    (folder / f"{NAME}.sens").write_bytes(data)
    with pytest.raises(CaptureError, match=message) as caught:
        open_capture(folder)
    assert "\n" not in str(caught.value)
    assert NAME in str(caught.value)


@pytest.mark.parametrize(
    ("color", "depth", "message"),
    [
        (jpeg(9)[:-40], None, "colour image is damaged"),
        (b"no image", None, "colour image is damaged"),
        (jpeg(9, kind="PNG"), None, "colour image is damaged"),
        (jpeg(9, (8, 8)), None, "colour image of 8x8 pixels; the header says 16x12"),
        (None, b"no zlib", "depth image is damaged"),
        (None, zlib.compress(MM[0].tobytes())[:-9], "depth image of .* expected 96"),
        (None, zlib.compress(bytes(10**6)), "more than 96 bytes; expected 96"),
        (None, zlib.compress(bytes(95)), "95 bytes; expected 96"),
    ],
)
def test_damaged_frame(tmp_path: Path, color: bytes | None, depth: bytes | None, message: str) -> None:
    bad = frame(pose(0), color or jpeg(40), depth or zlib.compress(MM[0].tobytes()))
    first = open_capture(write_scene(tmp_path, frames=[bad, *three()[1:]])).frames[0]
    with pytest.raises(CaptureError, match=f"frame 0: .*{message}"):
        (first.color if depth is None else first.depth)()


def test_extrinsics_are_said(tmp_path: Path) -> None:
    shifted = np.eye(4)
    shifted[0, 3] = 0.02
    with pytest.warns(PurifyWarning, match=r"extrinsics that differ from identity by 0\.02"):
        open_capture(write_scene(tmp_path, extrinsic=shifted))
    open_capture(write_scene(tmp_path / "zeros", extrinsic=np.zeros((4, 4))))


def test_several_recordings(tmp_path: Path) -> None:
    folder = write_scene(tmp_path)
    (folder / "other.sens").write_bytes(sens_bytes(three()))
    with pytest.raises(
        CaptureError, match=r"expected one \.sens file, found other\.sens, scene0000_00\.sens"
    ):
        open_capture(folder)


def test_intrinsics_by_hand(tmp_path: Path) -> None:
    scene = open_capture(write_scene(tmp_path), intrinsics=(30, 31, 7, 6))
    assert scene.frames[0].camera.fx == 30
    assert scene.frames[0].depth_camera.fx == DEPTH_K[0]


# ---- truth


def test_names_are_those_of_the_benchmarks() -> None:
    listed = load_label_set("scannet20")
    assert listed.dataset_ids is not None
    for id_, words in zip(listed.dataset_ids, listed.vocabulary.synonyms, strict=False):
        assert NYU40[id_] in words
    assert len(NYU40) == 40
    assert (NYU40[22], NYU40[39]) == ("ceiling", "otherfurniture")


def test_table_in_the_folder_means_scannet200(tmp_path: Path) -> None:
    folder = write_scene(tmp_path)
    (folder / "scannetv2-labels.combined.tsv").write_text(TSV)
    scene = open_capture(folder)
    assert scene.cloud().label.tolist() == [6, 6, 1, -1]
    assert scene.truth == {1: "wall", 6: "couch"}
    assert scene.cloud().instance.tolist() == [0, 0, 5, -1]


def test_table_above_serves_scenes_without_labels(tmp_path: Path) -> None:
    folder = write_scene(tmp_path / "scans")
    (tmp_path / "scannetv2-labels.combined.tsv").write_text(TSV)
    assert open_capture(folder).truth == NYU40
    (folder / f"{NAME}_vh_clean_2.labels.ply").unlink()
    assert open_capture(folder).truth == {1: "wall", 6: "couch"}
    assert sens.read(folder, labels="scannet200").truth == {1: "wall", 6: "couch"}
    with pytest.raises(CaptureError, match=r"found no scene0000_00_vh_clean_2\.labels\.ply"):
        sens.read(folder, labels="scannet20")


def test_no_truth_at_all(tmp_path: Path) -> None:
    folder = write_scene(tmp_path)
    for file in (*folder.glob("*.json"), *folder.glob("*.labels.ply")):
        file.unlink()
    scene = open_capture(folder)
    assert (scene.truth, set(scene.cloud().label.tolist())) == ({}, {-1})
    (folder / f"{NAME}_vh_clean_2.ply").unlink()
    assert open_capture(folder).points is None


def test_missing_segments(tmp_path: Path) -> None:
    folder = write_scene(tmp_path)
    (folder / f"{NAME}_vh_clean_2.0.010000.segs.json").unlink()
    with pytest.warns(PurifyWarning, match=r"aggregation\.json is left out: .*segs\.json.*is missing"):
        scene = open_capture(folder)
    assert scene.cloud().label.tolist() == [6, 6, 1, -1]
    assert set(scene.cloud().instance.tolist()) == {-1}
    with pytest.raises(CaptureError, match=r"segs\.json and no scannetv2-labels"):
        sens.read(folder, labels="scannet200")
    with pytest.raises(CaptureError, match="expected one of scannet20, scannet200"):
        sens.read(folder, labels="scannet40")


def test_labels_outside_the_table(tmp_path: Path) -> None:
    folder = write_scene(tmp_path)
    groups = [*GROUPS[:1], {"objectId": 2**31 - 1, "segments": [4], "label": "wal"}]
    (folder / f"{NAME}.aggregation.json").write_text(json.dumps({"segGroups": groups}))
    (folder / "scannetv2-labels.combined.tsv").write_text(TSV)
    with pytest.warns(PurifyWarning, match=r"1 objects have labels that .*\.tsv lacks \('wal'\)"):
        scene = open_capture(folder)
    assert scene.cloud().label.tolist() == [6, 6, -1, -1]
    assert scene.cloud().instance.tolist() == [0, 0, 2**31 - 1, -1]


def test_ids_outside_nyu40(tmp_path: Path) -> None:
    folder = write_scene(tmp_path)
    (folder / f"{NAME}_vh_clean_2.labels.ply").write_bytes(ply(VERTICES, [6, 41, 1, 50149]))
    with pytest.warns(PurifyWarning, match="2 vertices have ids such as 41, expected 0 to 40"):
        assert open_capture(folder).cloud().label.tolist() == [6, -1, 1, -1]


@pytest.mark.parametrize(
    ("suffix", "content", "message"),
    [
        (
            "_vh_clean_2.labels.ply",
            ply(np.repeat(VERTICES, 2, 0), [1] * 8),
            "found 8 vertices; the mesh has 4",
        ),
        ("_vh_clean_2.labels.ply", ply(VERTICES, [1] * 4)[:-70], "cannot be read as a PLY"),
        ("_vh_clean_2.0.010000.segs.json", b'{"segIndices": [1, 2]}', "found 2 vertices; the mesh has 4"),
        ("_vh_clean_2.0.010000.segs.json", b'{"segIndices": [1, 2, 3, "4"]}', "no list segIndices"),
        ("_vh_clean_2.0.010000.segs.json", b"[1, 2", "is not JSON"),
        ("_vh_clean_2.0.010000.segs.json", b"[]", "no list segIndices"),
        (".aggregation.json", b"{}", "no list segGroups"),
        (
            ".aggregation.json",
            b'{"segGroups": [{"objectId": -1, "segments": [], "label": "a"}]}',
            "the object",
        ),
        (
            ".aggregation.json",
            b'{"segGroups": [{"objectId": 0, "segments": [[]], "label": "a"}]}',
            "the object",
        ),
        (".aggregation.json", b'{"segGroups": [3]}', "the object 3"),
    ],
)
def test_damaged_truth(tmp_path: Path, suffix: str, content: bytes, message: str) -> None:
    folder = write_scene(tmp_path)
    (folder / f"{NAME}{suffix}").write_bytes(content)
    with pytest.raises(CaptureError, match=message):
        open_capture(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the columns of an empty file; expected also id, raw_category"),
        ("id\tcategory\n1\twall\n", "found the columns id, category; expected also raw_category"),
        ("id\traw_category\n1\n", "line 2 has 1 columns; expected 2"),
        ("id\traw_category\nx\twall\n", "line 2 has the id 'x'"),
        (f"id\traw_category\n{2**31}\twall\n", "line 2 has the id '2147483648'"),
    ],
)
def test_damaged_table(tmp_path: Path, content: str, message: str) -> None:
    folder = write_scene(tmp_path)
    (folder / "scannetv2-labels.combined.tsv").write_text(content)
    with pytest.raises(CaptureError, match=message):
        open_capture(folder)

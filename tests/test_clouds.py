"""Point clouds and meshes: what is written comes back, and what others wrote can be read."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from purify3d.base.errors import CaptureError, MissingPackageError, PurifyWarning
from purify3d.clouds import read_cloud
from purify3d.clouds.ply import read_written, write_ply
from purify3d.types import PointCloud


def foreign_ply(path: Path, columns: dict[str, np.ndarray], ascii: bool = False, faces: int = 0) -> Path:
    names = {"f": "float", "u": "uchar", "i": "int"}
    lines = ["ply", f"format {'ascii' if ascii else 'binary_little_endian'} 1.0"]
    lines += [f"element vertex {len(next(iter(columns.values())))}"]
    lines += [f"property {names[values.dtype.kind]} {name}" for name, values in columns.items()]
    if faces:
        lines += [f"element face {faces}", "property list uchar int vertex_indices"]
    header = "\n".join([*lines, "end_header\n"]).encode()
    if ascii:
        rows = "\n".join(" ".join(str(value) for value in row) for row in zip(*columns.values(), strict=True))
        path.write_bytes(header + rows.encode() + b"\n")
    else:
        dtype = [(name, values.dtype) for name, values in columns.items()]
        body = np.array(list(zip(*columns.values(), strict=True)), dtype=dtype).tobytes()
        face = b"\x03" + np.array([0, 1, 2], "<i4").tobytes()
        path.write_bytes(header + body + face * faces)
    return path


def columns(xyz: np.ndarray) -> dict[str, np.ndarray]:
    return {name: xyz[:, i].astype("<f4") for i, name in enumerate("xyz")}


def read_grey(path: Path) -> PointCloud:
    with pytest.warns(PurifyWarning, match=f"{path.name}: found no colours; .* normals only to go by"):
        return read_cloud(path)


XYZ = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5]], dtype=np.float64)


@pytest.mark.parametrize("ascii", [False, True])
def test_ply_with_everything(tmp_path, ascii):
    normal = np.array([[0, 0, 2], [0, 3, 0], [0, 0, 0], [0, -1, 0]])
    given = columns(XYZ)
    given |= {f"n{name}": normal[:, i].astype("<f4") for i, name in enumerate("xyz")}
    given |= {name: np.arange(4, dtype="u1") + 10 * i for i, name in enumerate(("red", "green", "blue"))}
    given["label"] = np.array([4, -1, 0, 70000], "<i4")
    cloud = read_cloud(foreign_ply(tmp_path / "a.ply", given, ascii))
    assert cloud.xyz.tolist() == XYZ.tolist()
    assert cloud.normal.tolist() == [[0, 0, 1], [0, 1, 0], [0, 0, 0], [0, -1, 0]]
    assert cloud.rgb[1].tolist() == [1, 11, 21]
    assert cloud.label.tolist() == [4, -1, 0, 70000]


def test_ply_of_bare_points_is_grey_without_normals(tmp_path):
    cloud = read_grey(foreign_ply(tmp_path / "a.ply", columns(XYZ)))
    assert cloud.rgb.unique().tolist() == [128]
    assert cloud.normal.abs().max() == 0
    assert cloud.label.unique().tolist() == [-1]


def test_mesh_keeps_every_vertex_in_order_and_has_normals(tmp_path):
    twice = np.concatenate([XYZ, XYZ])  # merging would lose the second half
    cloud = read_grey(foreign_ply(tmp_path / "a.ply", columns(twice), faces=1))
    assert cloud.xyz.tolist() == twice.tolist()
    assert cloud.normal[:3].tolist() == [[0, 0, 1]] * 3
    assert cloud.normal[3:].abs().max() == 0  # on no face


@pytest.mark.parametrize("suffix", ["obj", "stl", "glb"])
def test_other_meshes(tmp_path, suffix):
    box = trimesh.creation.box((1, 2, 3))
    box.apply_translation([10, 0, 0])
    if suffix == "glb":  # two objects with a placement of their own
        scene = trimesh.Scene([box])
        scene.add_geometry(box, transform=trimesh.transformations.translation_matrix([0, 50, 0]))
        scene.export(tmp_path / "a.glb")
        low, high = [9.5, -1, -1.5], [10.5, 51, 1.5]
    else:
        box.export(tmp_path / f"a.{suffix}")
        low, high = [9.5, -1, -1.5], [10.5, 1, 1.5]
    cloud = read_grey(tmp_path / f"a.{suffix}")
    assert cloud.xyz.amin(0).tolist() == low
    assert cloud.xyz.amax(0).tolist() == high
    assert torch.allclose(cloud.normal.norm(dim=1), torch.ones(len(cloud)), atol=1e-5)


def test_glb_of_points(tmp_path):
    colors = np.array([[255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 255, 255], [9, 9, 9, 255]], np.uint8)
    trimesh.Scene([trimesh.PointCloud(XYZ, colors)]).export(tmp_path / "a.glb")
    cloud = read_cloud(tmp_path / "a.glb")
    assert cloud.xyz.tolist() == XYZ.tolist()
    assert cloud.rgb.tolist() == colors[:, :3].tolist()


def test_colours_of_texture_and_of_vertices_in_one_file(tmp_path):
    red = np.full((4, 4, 3), [200, 10, 30], np.uint8)
    textured, painted = trimesh.creation.box(), trimesh.creation.box()
    uv = np.full((len(textured.vertices), 2), 0.5)
    textured.visual = trimesh.visual.TextureVisuals(uv=uv, image=Image.fromarray(red))
    painted.visual.vertex_colors = [0, 90, 0, 255]
    trimesh.Scene([textured, painted, trimesh.creation.box()]).export(tmp_path / "a.glb")
    cloud = read_cloud(tmp_path / "a.glb")
    assert cloud.rgb.unique(dim=0).tolist() == [[0, 90, 0], [128, 128, 128], [200, 10, 30]]


def test_las(tmp_path):
    laspy = pytest.importorskip("laspy")
    header = laspy.LasHeader(point_format=3, version="1.2")
    header.scales = np.full(3, 0.001)
    header.add_extra_dim(laspy.ExtraBytesParams(name="label", type=np.int32))
    las = laspy.LasData(header)
    las.x, las.y, las.z = XYZ.T
    las.red = las.green = las.blue = np.array([0, 256, 65535, 512])
    las.label = np.array([3, -1, 0, 12], np.int32)
    las.write(tmp_path / "a.las")
    cloud = read_cloud(tmp_path / "a.las")
    assert np.allclose(cloud.xyz, XYZ)
    assert cloud.rgb[:, 0].tolist() == [0, 1, 255, 2]
    assert cloud.label.tolist() == [3, -1, 0, 12]


def test_las_without_laspy_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "laspy", None)
    (tmp_path / "a.las").touch()
    with pytest.raises(MissingPackageError, match=r"purify3d\[las\]"):
        read_cloud(tmp_path / "a.las")


def test_what_bad_clouds_say(tmp_path):
    with pytest.raises(CaptureError, match="found no such file"):
        read_cloud(tmp_path / "a.ply")
    (tmp_path / "a.xyz").touch()
    with pytest.raises(CaptureError, match=r"found suffix '\.xyz'; expected one of \.ply"):
        read_cloud(tmp_path / "a.xyz")
    (tmp_path / "a.ply").write_bytes(b"ply\nnonsense")
    with pytest.raises(CaptureError, match=r"a\.ply: cannot be read"):
        read_cloud(tmp_path / "a.ply")
    with pytest.raises(CaptureError, match=r"5000000 m, where 32-bit numbers are 0\.500 m apart"):
        read_cloud(foreign_ply(tmp_path / "utm.ply", columns(XYZ + np.array([400_000, 4_999_995, 0]))))
    holes = XYZ.copy()
    holes[1, 2] = np.nan
    with pytest.warns(PurifyWarning, match="1 of 4 points are left out"):
        assert len(read_grey(foreign_ply(tmp_path / "nan.ply", columns(holes)))) == 3
    with pytest.raises(CaptureError, match="no point with finite coordinates"):
        read_cloud(foreign_ply(tmp_path / "none.ply", columns(XYZ * np.nan)))


# --- what we write ------------------------------------------------------------------------------------------


def some_cloud(count: int = 50) -> PointCloud:
    generator = torch.Generator().manual_seed(0)
    return PointCloud(
        torch.randn(count, 3, generator=generator),
        torch.randint(256, (count, 3), generator=generator, dtype=torch.uint8),
        torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1),
        torch.randint(-1, 9, (count,), generator=generator, dtype=torch.int32),
    )


@pytest.mark.parametrize("count", [0, 50, 3000])
def test_written_clouds_come_back_to_the_last_bit(tmp_path, monkeypatch, count):
    monkeypatch.setattr("purify3d.clouds.ply._BLOCK", 1000)
    given, path = some_cloud(count), tmp_path / "a.ply"
    score, views = np.linspace(-1, 1, count, dtype=np.float32), np.arange(count)
    write_ply(path, given, score=score, views=views, names=["a chair", "стол"])
    read = read_written(path)
    for name in ("xyz", "rgb", "normal", "label"):
        assert torch.equal(getattr(read.points, name), getattr(given, name))
    assert read.score.tolist() == score.tolist()
    assert read.views.tolist() == views.tolist()
    assert read.views.dtype == torch.int32
    assert read.names == {0: "a chair", 1: "стол"}
    if count:
        again = read_cloud(path)
        for name in ("xyz", "rgb", "normal", "label"):
            assert torch.equal(getattr(again, name), getattr(given, name))


def test_colours_and_labels_in_place_of_the_clouds_own(tmp_path):
    given = some_cloud(3)
    write_ply(tmp_path / "a.ply", given, rgb=np.full((3, 3), 7, np.uint8), label=np.array([5, 6, -1]))
    read = read_written(tmp_path / "a.ply")
    assert read.points.rgb.unique().tolist() == [7]
    assert read.points.label.tolist() == [5, 6, -1]
    assert read.score is None
    assert read.views is None


def test_no_label_makes_a_ply_unreadable(tmp_path):
    names = [
        "end_header",
        "x\nend_header\ny",
        "my End_Header x",
        "a\rb\x0bc\u2028d\x85e\x00f",
        "\ud800",
        "",
        "ok",
    ]
    given, path = some_cloud(), tmp_path / "a.ply"
    write_ply(path, given, names=names)
    data = path.read_bytes()
    header, _, body = data.partition(b"end_header\n")  # as a program that searches for the substring does
    assert len(body) == 50 * 31
    assert b"end_header" not in header.lower()
    assert header.decode().splitlines() == header.decode().split("\n")[:-1]
    assert np.allclose(trimesh.load(path, process=False).vertices, given.xyz)
    assert read_written(path).names[3] == "a b c d e f"
    assert read_written(path).names[6] == "ok"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full comes with Linux")
def test_a_full_disk_is_an_error_and_leaves_no_file(tmp_path):
    with pytest.raises(OSError, match="No space left"):
        write_ply(Path("/dev/full"), some_cloud())
    assert Path("/dev/full").exists()  # nobody's to remove
    script = (
        "import resource, sys; from pathlib import Path; from test_clouds import some_cloud\n"
        "from purify3d.clouds.ply import write_ply\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try: write_ply(Path(sys.argv[1]), some_cloud(1000))\n"
        "except OSError as error: sys.exit(3)"
    )
    path = tmp_path / "a.ply"
    done = subprocess.run([sys.executable, "-c", script, path], cwd=Path(__file__).parent, check=False)
    assert done.returncode == 3
    assert not path.exists()


def test_short_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "a.ply"
    with pytest.raises(CaptureError, match="found no such file"):
        read_written(path)
    write_ply(path, some_cloud())
    whole = path.read_bytes()
    for cut in (1, 31, 40 * 31):
        path.write_bytes(whole[:-cut])
        for read in (read_written, read_cloud):
            with pytest.raises(
                CaptureError, match=rf"found {50 - -(-cut // 31)} of 50 rows of element 'vertex'"
            ):
                read(path)
    path.write_bytes(whole[:200])
    with pytest.raises(CaptureError, match="found no end of the header"):
        read_written(path)
    foreign = foreign_ply(tmp_path / "b.ply", columns(XYZ))
    with pytest.raises(CaptureError, match=r"properties x, y, z; expected a cloud that write_ply wrote"):
        read_written(foreign)


# --- PLY of others ------------------------------------------------------------------------------------------

POLYGONS = [[0, 1, 2], [0, 1, 2, 3], [1, 2]]


def ply_of_everything(path: Path, order: str, polygons: list[list[int]] = POLYGONS) -> Path:
    """Points with a list of their own between the values, faces of many lengths, and edges at the front."""
    kinds = {"<": "binary_little_endian", ">": "binary_big_endian", "": "ascii"}
    header = f"""ply\r
format {kinds[order]} 1.0\r
comment made by hand\r
element edge 2\r
property int vertex1\r
property int vertex2\r
element vertex 4\r
property double x\r
property double y\r
property list uchar short tags\r
property double z\r
property ushort r\r
property ushort g\r
property ushort b\r
property uchar label\r
element face {len(polygons)}\r
property uchar flag\r
property list uint8 int32 vertex_index\r
end_header\r
"""
    out: list[tuple[str, float]] = [("i4", 0), ("i4", 1), ("i4", 1), ("i4", 2)]
    for i, (x, y, z) in enumerate(XYZ):
        out += [("f8", x), ("f8", y), ("u1", i), *[("i2", -i)] * i, ("f8", z)]
        out += [("u2", 257 * i), ("u2", 0), ("u2", 65535), ("u1", 200 + i)]
    for polygon in polygons:
        out += [("u1", 9), ("u1", len(polygon)), *(("i4", v) for v in polygon)]
    if order:
        body = b"".join(np.array(value).astype(order + kind).tobytes() for kind, value in out)
    else:
        body = " ".join(f"{value:.17g}" for _, value in out).encode() + b"\n"
    path.write_bytes(header.encode() + body)
    return path


@pytest.mark.parametrize("order", ["<", ">", ""])
def test_any_ply_in_any_byte_order(tmp_path, order):
    cloud = read_cloud(ply_of_everything(tmp_path / "a.ply", order))
    assert cloud.xyz.tolist() == XYZ.tolist()
    assert cloud.rgb.tolist() == [[i, 0, 255] for i in range(4)]
    assert cloud.label.tolist() == [200, 201, 202, 203]
    # Vertex 1 is on the triangle and half of the quad, 0 also on its other half, whose normal is (5, 0, -5).
    assert cloud.normal[1].tolist() == [0, 0, 1]
    assert cloud.normal[0].tolist() == pytest.approx([5 / 34**0.5, 0, -3 / 34**0.5])
    two = read_cloud(ply_of_everything(tmp_path / "b.ply", order, [[0, 1, 2], [2, 1, 0]]))
    assert two.normal.abs().max() == 0  # the two sides of a triangle cancel


@pytest.mark.parametrize("order", ["<", ">", ""])
def test_damaged_plys_say_what_is_wrong(tmp_path, order):
    path = ply_of_everything(tmp_path / "a.ply", order)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 6])
    with pytest.raises(
        CaptureError, match=r"a\.ply: cannot be read as a PLY \(found the end of the data within"
    ):
        read_cloud(path)
    with pytest.raises(CaptureError, match="found faces of vertices 0 to 4 among 4 vertices"):
        read_cloud(ply_of_everything(path, order, [[0, 1, 4]]))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("ply", "obj"), "found no 'ply'"),
        (("property float x", "property float w"), "found no vertices with x, y and z"),
        (("property float x", "property quaternion x"), "found the header line 'property quaternion x'"),
        (("format ascii 1.0\n", ""), "found no format"),
        (("end_header\n", ""), "found no end of the header"),
        (("0.0 0.0 0.0", "0.0 zero 0.0"), "found something that is no number"),
    ],
)
def test_what_bad_plys_say(tmp_path, edit, message):
    path = foreign_ply(tmp_path / "a.ply", columns(XYZ), ascii=True)
    text = path.read_text()
    assert edit[0] in text
    path.write_text(text.replace(*edit, 1))
    with pytest.raises(CaptureError, match=message):
        read_cloud(path)


@pytest.mark.parametrize(
    "names", [("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue")]
)
@pytest.mark.parametrize("top", [1.0, 255.0])
def test_colours_by_any_name_and_range(tmp_path, names, top):
    given = columns(XYZ) | {name: (np.arange(4) / 3 * top).astype("<f4") for name in names}
    assert read_cloud(foreign_ply(tmp_path / "a.ply", given)).rgb.tolist() == [
        [v] * 3 for v in (0, 85, 170, 255)
    ]


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0])
def test_intensity_is_grey(tmp_path, top):
    given = columns(XYZ) | {"scalar_Intensity": (np.array([0, 0.5, 1, 1]) * top).astype("<f4")}
    grey = read_cloud(foreign_ply(tmp_path / "a.ply", given)).rgb
    assert grey.tolist() == [[v] * 3 for v in (0, 128, 255, 255)]


def test_labels_of_other_number_types(tmp_path):
    given = columns(XYZ) | {"label": np.array([2, np.nan, 1e12, -1], "<f4")}
    assert read_grey(foreign_ply(tmp_path / "a.ply", given)).label.tolist() == [2, -1, -1, -1]


# --- OBJ ----------------------------------------------------------------------------------------------------


def test_obj_keeps_all_vertices_in_order_across_seams(tmp_path):
    """Vertex 2 is on no face, vertex 1 has two texture coordinates; the comment is Latin-1."""
    red_blue = np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8)
    Image.fromarray(red_blue).save(tmp_path / "t.png")
    (tmp_path / "m.mtl").write_text("newmtl skin\nKd 1 1 1\nmap_Kd t.png\n")
    lines = [
        "# gemessen in K\xf6ln", "mtllib m.mtl", "v 0 0 0", "v 1 0 0", "v 7 7 7", "v\t0 1 0", "v -1 1 0",
        "vt 0.1 0.5", "vt 0.9 0.5", "usemtl skin", "f 1/1 2/2 4/1", "f -5/2 -4/2 \\", " -1/1",
    ]  # fmt: skip
    (tmp_path / "a.obj").write_bytes("\n".join(lines).encode("latin-1"))
    cloud = read_cloud(tmp_path / "a.obj")
    assert cloud.xyz.tolist() == [[0, 0, 0], [1, 0, 0], [7, 7, 7], [0, 1, 0], [-1, 1, 0]]
    assert cloud.normal.tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 0], [0, 0, 1], [0, 0, 1]]
    red, blue, grey = [255, 0, 0], [0, 0, 255], [128, 128, 128]
    assert cloud.rgb.tolist() == [red, blue, grey, red, red]
    (tmp_path / "t.png").unlink()
    assert read_grey(tmp_path / "a.obj").rgb.unique().tolist() == [128]


def test_obj_with_colours_and_normals_of_its_own(tmp_path):
    path = tmp_path / "a.obj"
    path.write_text("v 0 0 0 1 0 0.2\nv 1 0 0 0 1 0\nv 0 1 0 0 0 1\nvn 0 2 0\nf 1//1 2//1 3//1\n")
    cloud = read_cloud(path)
    assert cloud.rgb.tolist() == [[255, 0, 51], [0, 255, 0], [0, 0, 255]]
    assert cloud.normal.tolist() == [[0, 1, 0]] * 3
    path.write_text("v 0 0 0\nv 1 0 0\nvn 0 2 0\nvn 0 0 -1\n")
    assert read_grey(path).normal.tolist() == [[0, 1, 0], [0, 0, -1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v 0 0 0\nf 1 2 3\n", r"line 2: found corner '2' with 1 lines"),
        ("v 0 0 0\nf 1 1 x\n", "line 2: invalid literal"),
        ("v 0 zero 0\n", "could not convert"),
        ("v 0 0\n", "cannot be read as an OBJ"),
        ("# nothing\n", "found no point"),
    ],
)
def test_what_bad_objs_say(tmp_path, text, message):
    (tmp_path / "a.obj").write_text(text)
    with pytest.raises(CaptureError, match=message):
        read_cloud(tmp_path / "a.obj")


# --- LAS ----------------------------------------------------------------------------------------------------


def test_laz_gives_what_las_gives(tmp_path):
    laspy = pytest.importorskip("laspy")
    pytest.importorskip("lazrs")
    las = laspy.LasData(laspy.LasHeader(point_format=0, version="1.2"))
    las.header.scales = np.full(3, 0.001)
    las.x, las.y, las.z = XYZ.T
    las.intensity = np.array([0, 100, 200, 200])
    las.write(tmp_path / "a.las")
    las.write(tmp_path / "a.laz")
    assert (tmp_path / "a.laz").read_bytes() != (tmp_path / "a.las").read_bytes()
    plain, packed = read_cloud(tmp_path / "a.las"), read_cloud(tmp_path / "a.laz")
    assert torch.equal(plain.xyz, packed.xyz)
    assert np.allclose(packed.xyz, XYZ)
    assert packed.rgb.tolist() == [[v] * 3 for v in (0, 128, 255, 255)]
    (tmp_path / "a.laz").write_bytes((tmp_path / "a.laz").read_bytes()[:300])
    with pytest.raises(CaptureError, match="cannot be read as a LAS file"):
        read_cloud(tmp_path / "a.laz")

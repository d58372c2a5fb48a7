"""Readers of common layouts: the metres, pixels and poses that were written, and what bad input says."""

import json
import pickle
import struct
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.captures import FORMATS, open_capture
from purify3d.captures.formats import colmap, redwood, replica, sevenscenes
from purify3d.types import Scene

WIDTH, HEIGHT = 16, 10
INTRINSICS = (20.0, 21.0, 7.25, 4.75)


def looking(yaw: float, position: tuple[float, float, float]) -> np.ndarray:
    """A camera of a z-up world that is held upright and looks along `yaw` degrees."""
    pose = np.eye(4)
    upright = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    pose[:3, :3] = Rotation.from_euler("z", yaw, degrees=True).as_matrix() @ upright
    pose[:3, 3] = position
    return pose


POSES = [looking(30.0 * i, (0.2 * i, -0.5, 1.4)) for i in range(3)]
_rng = np.random.default_rng(0)
COLORS = _rng.integers(0, 256, (3, HEIGHT, WIDTH, 3), dtype=np.uint8)
MM = _rng.integers(0, 6000, (3, HEIGHT, WIDTH)).astype(np.uint16)


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def line(values: np.ndarray) -> str:
    return " ".join(repr(float(value)) for value in values.ravel())


def check(scene: Scene, kept: list[int] | None = None, *, atol: float = 1e-9) -> None:
    """The frames are those that were written, also after a trip to another process."""
    kept = [0, 1, 2] if kept is None else kept
    assert len(scene.frames) == len(kept)
    assert len({frame.name for frame in scene.frames}) == len(kept)
    np.testing.assert_allclose(scene.up, [0, 0, 1], atol=1e-9)
    for i, sent in zip(kept, scene.frames, strict=True):
        frame = pickle.loads(pickle.dumps(sent))
        camera = frame.camera
        np.testing.assert_allclose((camera.fx, camera.fy, camera.cx, camera.cy), INTRINSICS, atol=1e-9)
        assert (camera.width, camera.height) == (WIDTH, HEIGHT)
        np.testing.assert_allclose(frame.world_from_camera, POSES[i], atol=atol)
        np.testing.assert_array_equal(frame.color(), COLORS[i])
        depth = frame.depth()
        assert depth.dtype == np.float32
        np.testing.assert_allclose(depth, MM[i] / 1000, atol=1e-4)
        assert all(file.is_file() for file in frame.files)


# ---- Replica

CAM_PARAMS = {"w": WIDTH, "h": HEIGHT, "scale": 6553.5} | dict(
    zip(("fx", "fy", "cx", "cy"), INTRINSICS, strict=True)
)


def write_replica(folder: Path, numbers: tuple[int, ...] = (0, 1, 2)) -> Path:
    for number, color, mm in zip(numbers, COLORS, MM, strict=True):
        # .png in place of .jpg: the reader takes both, and only one of them keeps every pixel.
        save(folder / f"results/frame{number:06d}.png", color)
        save(folder / f"results/depth{number:06d}.png", np.rint(mm * 6.5535).astype(np.uint16))
    (folder / "traj.txt").write_text("\n".join(line(pose) for pose in POSES) + "\n")
    (folder.parent / "cam_params.json").write_text(json.dumps({"camera": CAM_PARAMS}))
    return folder


def test_replica(tmp_path: Path) -> None:
    folder = write_replica(tmp_path / "office0")
    assert replica.recognises(folder)
    assert not replica.recognises(tmp_path)
    scene = replica.read(folder)
    check(scene)
    assert [frame.name for frame in scene.frames] == ["frame000000", "frame000001", "frame000002"]
    assert scene.name == "office0"


def test_replica_frames_with_gaps_go_by_order(tmp_path: Path) -> None:
    check(replica.read(write_replica(tmp_path / "office0", (0, 10, 20))))


def test_replica_frames_that_were_removed_leave_the_others_their_lines(tmp_path: Path) -> None:
    folder = write_replica(tmp_path / "office0")
    for kind in ("frame", "depth"):
        (folder / f"results/{kind}000000.png").unlink()
    check(replica.read(folder), [1, 2])


def test_replica_published_intrinsics_hold_for_their_size_only(tmp_path: Path) -> None:
    folder = write_replica(tmp_path / "office0")
    (tmp_path / "cam_params.json").unlink()
    with pytest.raises(CaptureError, match=r"16x10 .*1200x680 only.*--intrinsics"):
        replica.read(folder)
    check(replica.read(folder, intrinsics=INTRINSICS))
    for i in range(3):
        save(folder / f"results/frame00000{i}.png", np.zeros((680, 1200, 3), np.uint8))
        save(folder / f"results/depth00000{i}.png", np.full((680, 1200), 13107, np.uint16))
    frame = replica.read(folder).frames[0]
    assert (frame.camera.fx, frame.camera.fy, frame.camera.cx, frame.camera.cy) == (600, 600, 599.5, 339.5)
    np.testing.assert_allclose(frame.depth(), 2.0, atol=1e-6)


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        ("nan " * 16, None),
        ("1 2 3", "no line of 16 numbers"),
        ("x " * 16, "no line of 16 numbers"),
        ("2 0 0 0 0 2 0 0 0 0 2 0 0 0 0 1", "no rotation"),
    ],
)
def test_replica_leaves_out_a_frame_without_pose(tmp_path: Path, spoilt: str, said: str | None) -> None:
    folder = write_replica(tmp_path / "office0")
    lines = (folder / "traj.txt").read_text().splitlines()
    (folder / "traj.txt").write_text("\n".join([lines[0], spoilt, lines[2]]))
    if said is None:
        scene = replica.read(folder)
        assert scene.skipped == 1
    else:
        with pytest.warns(PurifyWarning, match=f"1 frame is left out: .*{said}.*frame000001"):
            scene = replica.read(folder)
    check(scene, [0, 2])


def test_replica_names_files_that_are_missing_or_cut_off(tmp_path: Path) -> None:
    folder = write_replica(tmp_path / "office0")
    (folder / "results/depth000001.png").unlink()
    (folder / "results/frame000002.png").write_bytes(b"\x89PNG")
    with pytest.warns(
        PurifyWarning,
        match=r"results/frame\*\.png: found a file that is no.*000002\); no depth image \(frame000001\)",
    ):
        check(replica.read(folder), [0])
    (folder / "traj.txt").write_text("")
    with pytest.raises(CaptureError, match="no usable frame"):
        replica.read(folder)
    (folder / "traj.txt").unlink()
    with pytest.raises(CaptureError, match=r"traj\.txt"):
        replica.read(folder)


def test_replica_refuses_lines_that_fit_no_frames(tmp_path: Path) -> None:
    folder = write_replica(tmp_path / "office0", (0, 10, 20))
    with (folder / "traj.txt").open("a") as file:
        file.write(line(POSES[0]))
    with pytest.raises(CaptureError, match="found 4 lines for 3 frames numbered 0 to 20"):
        replica.read(folder)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"camera": 3}', '{"camera": {}}']
    + [json.dumps({"camera": CAM_PARAMS | change}) for change in ({"scale": 0}, {"w": 17}, {"fx": "wide"})]
    + [json.dumps({"camera": CAM_PARAMS | change}) for change in ({"scale": float("nan")}, {"fx": -1})],
)
def test_replica_bad_cam_params(tmp_path: Path, text: str) -> None:
    folder = write_replica(tmp_path / "office0")
    (tmp_path / "cam_params.json").write_text(text)
    with pytest.raises(CaptureError):
        replica.read(folder)


# ---- 7-Scenes


def write_sevenscenes(folder: Path, sequence: str = "", only: tuple[int, ...] = (0, 1, 2)) -> Path:
    for i in only:
        stem = folder / sequence / f"frame-{i:06d}"
        save(Path(f"{stem}.color.png"), COLORS[i])
        save(Path(f"{stem}.depth.png"), MM[i])
        np.savetxt(f"{stem}.pose.txt", POSES[i])
    return folder


def test_sevenscenes(tmp_path: Path) -> None:
    folder = write_sevenscenes(tmp_path / "chess")
    assert sevenscenes.recognises(folder)
    assert not sevenscenes.recognises(tmp_path / "elsewhere")
    check(sevenscenes.read(folder, intrinsics=INTRINSICS))


def test_sevenscenes_sequences_are_read_together(tmp_path: Path) -> None:
    write_sevenscenes(tmp_path, "seq-01", (0, 1))
    folder = write_sevenscenes(tmp_path, "seq-02", (2,))
    assert sevenscenes.recognises(folder)
    scene = sevenscenes.read(folder, intrinsics=INTRINSICS)
    check(scene)
    assert [frame.name for frame in scene.frames][1:] == ["seq-01/frame-000001", "seq-02/frame-000002"]


def test_sevenscenes_published_intrinsics_and_depth_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"16x10.*640x480 only.*--intrinsics"):
        sevenscenes.read(write_sevenscenes(tmp_path / "small"))
    folder = write_sevenscenes(tmp_path / "chess", only=(0,))
    mm = np.full((480, 640), 1500, np.uint16)
    mm[0, 0], mm[0, 1], mm[0, 2] = 65535, 65534, 0
    save(folder / "frame-000000.color.png", np.zeros((480, 640, 3), np.uint8))
    save(folder / "frame-000000.depth.png", mm)
    frame = sevenscenes.read(folder).frames[0]
    assert (frame.camera.fx, frame.camera.fy, frame.camera.cx, frame.camera.cy) == (585, 585, 320, 240)
    np.testing.assert_allclose(frame.depth()[0, :4], [0, 65.534, 0, 1.5], rtol=1e-6)


def test_sevenscenes_leaves_out_and_names_bad_frames(tmp_path: Path) -> None:
    folder = write_sevenscenes(tmp_path / "chess")
    (folder / "frame-000000.pose.txt").write_text("1 0 0\n0 1")
    (folder / "frame-000002.depth.png").unlink()
    with pytest.warns(
        PurifyWarning, match=r"frame-\*\.pose\.txt: .*not a matrix.*\(frame-000000\); no depth image"
    ):
        check(sevenscenes.read(folder, intrinsics=INTRINSICS), [1])
    np.savetxt(folder / "frame-000001.pose.txt", np.full((4, 4), np.inf))
    with pytest.raises(
        CaptureError,
        match=r"no usable frame.*not a matrix .*no depth image .*1 have a pose that is not finite;",
    ):
        sevenscenes.read(folder, intrinsics=INTRINSICS)


def test_sevenscenes_a_frame_of_another_size_is_left_out(tmp_path: Path) -> None:
    folder = write_sevenscenes(tmp_path / "chess")
    save(folder / "frame-000001.color.png", COLORS[1][:5])
    with pytest.warns(PurifyWarning, match=r"another size than most \(frame-000001\)"):
        check(sevenscenes.read(folder, intrinsics=INTRINSICS), [0, 2])


# ---- COLMAP

# The principal point counts from the image's corner, half a pixel more than from the first pixel's centre.
PARAMS = (20.0, 21.0, 7.75, 5.25)
Model = tuple[int, str, tuple[float, ...]]
PINHOLE: Model = (1, "PINHOLE", PARAMS)


def world_to_camera(pose: np.ndarray) -> tuple[float, ...]:
    """qw qx qy qz tx ty tz."""
    turn, center = pose[:3, :3], pose[:3, 3]
    x, y, z, w = Rotation.from_matrix(turn.T).as_quat()
    return (w, x, y, z, *(-turn.T @ center))


def cameras_bin(model: Model = PINHOLE) -> bytes:
    number, _, params = model
    return struct.pack("<QIiQQ", 1, 7, number, WIDTH, HEIGHT) + struct.pack(f"<{len(params)}d", *params)


def images_bin(names: list[str], keypoints: int = 2) -> bytes:
    data = struct.pack("<Q", len(names))
    for i, name in enumerate(names):
        data += struct.pack("<I7dI", i + 1, *world_to_camera(POSES[i]), 7) + name.encode() + bytes(1)
        data += struct.pack("<Q", keypoints) + struct.pack("<ddq", 3.5, 4.5, -1) * keypoints
    return data


def write_colmap(
    folder: Path, *, text: bool = False, model: Model = PINHOLE, inside: str = "sparse/0"
) -> Path:
    names = [f"left/{i}.png" for i in range(3)]
    for name, color, mm in zip(names, COLORS, MM, strict=True):
        save(folder / "images" / name, color)
        save(folder / "depth" / name, mm)
    sparse = folder / inside
    sparse.mkdir(parents=True, exist_ok=True)
    if not text:
        (sparse / "cameras.bin").write_bytes(cameras_bin(model))
        (sparse / "images.bin").write_bytes(images_bin(names))
        return folder
    params = " ".join(map(str, model[2]))
    (sparse / "cameras.txt").write_text(f"# Camera list\n7 {model[1]} {WIDTH} {HEIGHT} {params}\n")
    lines = ["# Image list", "# two lines each"]
    for i, name in enumerate(names):
        lines += [f"{i + 1} " + " ".join(map(repr, map(float, world_to_camera(POSES[i])))) + f" 7 {name}"]
        lines += ["3.5 4.5 -1" if i != 1 else ""]
    (sparse / "images.txt").write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("inside", ["sparse/0", "sparse", "."])
def test_colmap(tmp_path: Path, text: bool, inside: str) -> None:
    folder = write_colmap(tmp_path / "desk", text=text, inside=inside)
    assert colmap.recognises(folder)
    assert not colmap.recognises(tmp_path)
    scene = colmap.read(folder)
    check(scene)
    assert [frame.name for frame in scene.frames] == ["left/0.png", "left/1.png", "left/2.png"]
    check(colmap.read(folder / inside))


def test_colmap_depth_as_floats(tmp_path: Path) -> None:
    folder = write_colmap(tmp_path)
    for i in range(3):
        (folder / f"depth/left/{i}.png").unlink()
        metres = MM[i] / 1000
        metres[MM[i] == 0] = (np.nan, -1.0, np.inf)[i]
        np.save(folder / f"depth/left/{i}.npy", metres)
    check(colmap.read(folder))
    double = open_capture(folder, depth_unit=2.0, scale=2.0).frames[1]
    np.testing.assert_allclose(double.depth()[MM[1] > 0], MM[1][MM[1] > 0] / 500, atol=1e-4)
    np.testing.assert_allclose(double.world_from_camera[:3, 3], 2 * POSES[1][:3, 3], atol=1e-9)
    np.save(folder / "depth/left/0.npy", MM[0])  # integers: of which unit?
    (folder / "depth/left/1.npy").write_bytes((folder / "depth/left/1.npy").read_bytes()[:-1])
    with pytest.raises(CaptureError, match=r"2 of 3 frames cannot be used; left/0.png: .*left/0.npy.*uint16"):
        colmap.read(folder)
    np.save(folder / "depth/left/0.npy", MM[0] / 1000)
    with pytest.warns(PurifyWarning, match=r"1 frame is left out: depth/left/\*\.npy: .*\(left/1.png\)$"):
        check(colmap.read(folder), [0, 2])


def test_colmap_own_depth_maps(tmp_path: Path) -> None:
    folder = write_colmap(tmp_path)
    (folder / "depth").rename(folder / "elsewhere")
    maps = folder / "stereo/depth_maps/left"
    maps.mkdir(parents=True)
    for i in range(3):
        metres = (MM[i] / 1000).astype("<f4").tobytes()
        (maps / f"{i}.png.geometric.bin").write_bytes(f"{WIDTH}&{HEIGHT}&1&".encode() + metres)
    check(colmap.read(folder))
    whole = (maps / "1.png.geometric.bin").read_bytes()
    (maps / "0.png.geometric.bin").write_bytes(b"99999999&99999999&1&" + whole[8:])
    (maps / "1.png.geometric.bin").write_bytes(whole[:-4])
    with pytest.raises(CaptureError, match=r"2 of 3 frames cannot be used; .*99999999x99999999x1"):
        colmap.read(folder)
    (maps / "0.png.geometric.bin").write_bytes(whole)
    with pytest.warns(PurifyWarning, match=r"16x10x1 floats do not fill the file.* \(left/1.png\)$"):
        assert len(colmap.read(folder).frames) == 2


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize(
    ("model", "focal"),
    [
        ((0, "SIMPLE_PINHOLE", (20.0, 7.75, 5.25)), 20.0),
        ((2, "SIMPLE_RADIAL", (20.0, 7.75, 5.25, 0.0)), 20.0),
    ],
)
def test_colmap_cameras_with_one_focal_length(tmp_path: Path, text: bool, model: Model, focal: float) -> None:
    frame = colmap.read(write_colmap(tmp_path, text=text, model=model)).frames[0]
    camera = frame.camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (focal, focal, 7.25, 4.75)
    np.testing.assert_array_equal(frame.color(), COLORS[0])


@pytest.mark.parametrize(
    ("model", "bent"),
    [
        (
            (2, "SIMPLE_RADIAL", (20.0, 7.75, 5.25, 0.9)),
            lambda x, y, r2: (x * (1 + 0.9 * r2), y * (1 + 0.9 * r2)),
        ),
        (
            (3, "RADIAL", (20.0, 7.75, 5.25, 0.5, 0.9)),
            lambda x, y, r2: (x * (1 + 0.5 * r2 + 0.9 * r2**2), y * (1 + 0.5 * r2 + 0.9 * r2**2)),
        ),
        (
            (4, "OPENCV", (20.0, 20.0, 7.75, 5.25, 0.4, -0.2, 0.1, 0.15)),
            lambda x, y, r2: (
                x * (1 + 0.4 * r2 - 0.2 * r2**2) + 0.2 * x * y + 0.15 * (r2 + 2 * x * x),
                y * (1 + 0.4 * r2 - 0.2 * r2**2) + 0.1 * (r2 + 2 * y * y) + 0.3 * x * y,
            ),
        ),
    ],
)
def test_colmap_lenses_are_undone(tmp_path: Path, model: Model, bent) -> None:
    depth = colmap.read(write_colmap(tmp_path, model=model)).frames[0].depth()
    moved = 0
    for row, column in np.ndindex(HEIGHT, WIDTH):
        x, y = (column - 7.25) / 20, (row - 4.75) / 20
        u, v = bent(x, y, x * x + y * y)
        at = round(v * 20 + 4.75), round(u * 20 + 7.25)
        moved += at != (row, column)
        inside = 0 <= at[0] < HEIGHT and 0 <= at[1] < WIDTH
        assert depth[row, column] == pytest.approx(MM[0][at] / 1000 if inside else 0, abs=1e-5)
    assert moved > 10


@pytest.mark.parametrize(
    ("text", "model", "said"),
    [
        (False, (5, "OPENCV_FISHEYE", PARAMS + (0.0,) * 4), "OPENCV_FISHEYE.*image_undistorter"),
        (True, (5, "OPENCV_FISHEYE", PARAMS + (0.0,) * 4), "OPENCV_FISHEYE.*image_undistorter"),
        (False, (77, "NEW", PARAMS), "number 77.*image_undistorter"),
        (True, (77, "NEW", PARAMS), "NEW.*image_undistorter"),
        (True, (1, "PINHOLE", PARAMS[:3]), "line 2.*4 parameters"),
        (False, (1, "PINHOLE", (np.nan, *PARAMS[1:])), "finite"),
        (False, (1, "PINHOLE", (-1.0, *PARAMS[1:])), "positive"),
        (False, (1, "PINHOLE", (20.0, 20.0, 100.0, 5.0)), "principal point"),
    ],
)
def test_colmap_refuses_cameras(tmp_path: Path, text: bool, model: Model, said: str) -> None:
    with pytest.raises(CaptureError, match=said):
        colmap.read(write_colmap(tmp_path, text=text, model=model))


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin"])
def test_colmap_binary_files_cut_off_anywhere(tmp_path: Path, name: str) -> None:
    file = write_colmap(tmp_path) / "sparse/0" / name
    whole = file.read_bytes()
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        with pytest.raises(CaptureError, match=name):
            colmap.read(tmp_path)


@pytest.mark.parametrize("at", [0, 8 + 4 + 56 + 4 + len("left/0.png") + 1])
def test_colmap_counts_beyond_the_file(tmp_path: Path, at: int) -> None:
    file = write_colmap(tmp_path) / "sparse/0/images.bin"
    data = bytearray(file.read_bytes())
    data[at : at + 8] = b"\xff" * 8
    file.write_bytes(data)
    with pytest.raises(CaptureError, match=r"images\.bin.*announced"):
        colmap.read(tmp_path)


@pytest.mark.parametrize("line", ["1 2 3", "x 1 0 0 0 0 0 0 7 left/0.png", "1 1 0 0 0 0 0 zero 7 left/0.png"])
def test_colmap_bad_lines(tmp_path: Path, line: str) -> None:
    write_colmap(tmp_path, text=True)
    (tmp_path / "sparse/0/images.txt").write_text(f"# Image list\n{line}\n\n")
    with pytest.raises(CaptureError, match=r"images\.txt, line 2"):
        colmap.read(tmp_path)


def test_colmap_leaves_out_and_names_bad_frames(tmp_path: Path) -> None:
    write_colmap(tmp_path, text=True)
    (tmp_path / "depth/left/0.png").unlink()
    file = tmp_path / "sparse/0/images.txt"
    lines = file.read_text().splitlines()
    lines += [
        "8 1 0 0 0 0 0 0 3 left/1.png",
        "",
        "9 nan 0 0 0 0 0 0 7 left/2.png",
        "",
        "10 1 0 0 0 0 0 0 7 gone.png",
    ]
    file.write_text("\n".join(lines))
    said = (
        r"camera that the model lacks \(left/1.png\); no photo \(gone.png\); no depth image \(left/0.png\)$"
    )
    with pytest.warns(PurifyWarning, match=said):
        scene = colmap.read(tmp_path)
    check(scene, [1, 2])
    assert scene.skipped == 1


@pytest.mark.parametrize("number", [0.0, 1e-200, 1e200, 3.0, np.inf, np.nan])
def test_colmap_quaternions_that_are_no_rotation(tmp_path: Path, number: float) -> None:
    file = write_colmap(tmp_path) / "sparse/0/images.bin"
    data = bytearray(file.read_bytes())
    data[12:44] = struct.pack("<4d", number, 0, 0, 0)
    file.write_bytes(data)
    scene = colmap.read(tmp_path)
    check(scene, [1, 2])
    assert scene.skipped == 1


def test_colmap_without_photos_or_depth(tmp_path: Path) -> None:
    folder = write_colmap(tmp_path)
    (folder / "depth").rename(folder / "elsewhere")
    with pytest.raises(CaptureError, match="no depth/"):
        colmap.read(folder)
    (folder / "images").rename(folder / "photos")
    with pytest.raises(CaptureError, match="no images/"):
        colmap.read(folder)
    with pytest.raises(CaptureError, match="no cameras and images"):
        colmap.read(folder / "photos")


# ---- Redwood and Open3D


def column_major(values: np.ndarray) -> list[float]:
    return [float(value) for value in values.T.ravel()]


def intrinsic(width: int = WIDTH) -> dict:
    fx, fy, cx, cy = INTRINSICS
    k = [fx, 0.0, 0.0, 0.0, fy, 0.0, cx, cy, 1.0]
    return {"width": width, "height": HEIGHT, "intrinsic_matrix": k}


def record(number: int, pose: np.ndarray) -> str:
    return f"{number} {number} {number + 1}\n" + "\n".join(line(row) for row in pose) + "\n"


def write_redwood(
    folder: Path, names: tuple[str, str] = ("color/{0:05d}", "depth/{0:05d}"), first: int = 0
) -> Path:
    for i in range(3):
        save(folder / f"{names[0].format(i + first)}.png", COLORS[i])
        save(folder / f"{names[1].format(i + first)}.png", MM[i])
    (folder / "trajectory.log").write_text("".join(record(i, pose) for i, pose in enumerate(POSES)))
    (folder / "camera_intrinsic.json").write_text(json.dumps(intrinsic()))
    return folder


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(
    "names",
    [
        ("color/{0:05d}", "depth/{0:05d}"),
        ("image/{0}", "depth/{0}"),
        ("rgb/{0:07d}-000{0}5", "depth/{0:07d}-000{0}7"),
    ],
)
def test_redwood(tmp_path: Path, names: tuple[str, str], first: int) -> None:
    folder = write_redwood(tmp_path / "loft", names, first)
    assert redwood.recognises(folder)
    assert not redwood.recognises(tmp_path)
    check(redwood.read(folder))


def test_redwood_images_go_by_their_numbers(tmp_path: Path) -> None:
    for i in range(9, 12):
        save(tmp_path / f"color/{i}.png", COLORS[i - 9])
        save(tmp_path / f"depth/{i}.png", MM[i - 9])
    (tmp_path / "trajectory.log").write_text("".join(record(i, pose) for i, pose in enumerate(POSES)))
    (tmp_path / "camera_intrinsic.json").write_text(json.dumps(intrinsic()))
    check(redwood.read(tmp_path))


def write_open3d(folder: Path) -> Path:
    write_redwood(folder)
    for name in ("trajectory.log", "camera_intrinsic.json"):
        (folder / name).unlink()
    parameters = [
        {
            "class_name": "PinholeCameraParameters",
            "extrinsic": column_major(np.linalg.inv(pose)),
            "intrinsic": intrinsic(),
        }
        for pose in POSES
    ]
    meta = {"class_name": "PinholeCameraTrajectory", "parameters": parameters}
    (folder / "camera_trajectory.json").write_text(json.dumps(meta))
    return folder


def test_open3d_trajectory(tmp_path: Path) -> None:
    folder = write_open3d(tmp_path / "loft")
    assert redwood.recognises(folder)
    check(redwood.read(folder))


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p["parameters"][1].pop("extrinsic"),
        lambda p: p["parameters"][1]["extrinsic"].pop(),
        lambda p: p["parameters"][1]["intrinsic"].update(intrinsic_matrix=[20, 0, 7, 0, 21, 4, 0, 0, 1]),
        lambda p: p.pop("parameters"),
        lambda p: p.update(parameters=3),
    ],
)
def test_open3d_trajectory_that_is_none(tmp_path: Path, change) -> None:
    file = write_open3d(tmp_path) / "camera_trajectory.json"
    meta = json.loads(file.read_text())
    change(meta)
    file.write_text(json.dumps(meta))
    with pytest.raises(CaptureError, match=r"camera_trajectory\.json"):
        redwood.read(tmp_path)


def test_open3d_poses_that_cannot_be_are_left_out(tmp_path: Path) -> None:
    file = write_open3d(tmp_path) / "camera_trajectory.json"
    meta = json.loads(file.read_text())
    meta["parameters"][1]["extrinsic"] = [0.0] * 16
    meta["parameters"][2]["extrinsic"][12] = float("nan")
    file.write_text(json.dumps(meta))
    with pytest.warns(PurifyWarning, match=r"1 frame is left out: .*found a pose of zeros \(00001\)"):
        scene = redwood.read(tmp_path)
    check(scene, [0])
    assert scene.skipped == 1


def test_redwood_default_intrinsics_hold_for_their_size_only(tmp_path: Path) -> None:
    folder = write_redwood(tmp_path)
    (folder / "camera_intrinsic.json").unlink()
    with pytest.raises(CaptureError, match=r"16x10.*640x480 only.*--intrinsics"):
        redwood.read(folder)
    check(redwood.read(folder, intrinsics=INTRINSICS))
    for i in range(3):
        save(folder / f"color/0000{i}.png", np.zeros((480, 640, 3), np.uint8))
        save(folder / f"depth/0000{i}.png", np.zeros((480, 640), np.uint16))
    camera = redwood.read(folder).frames[0].camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (525, 525, 319.5, 239.5)


def test_redwood_fewer_poses_than_images(tmp_path: Path) -> None:
    folder = write_redwood(tmp_path)
    (folder / "trajectory.log").write_text(record(0, POSES[0]) + record(2, POSES[2]))
    with pytest.warns(PurifyWarning, match=r"no pose in the trajectory \(00001\)"):
        check(redwood.read(folder), [0, 2])
    (folder / "color/00000.png").unlink()
    (folder / "trajectory.log").write_text(record(0, POSES[0]))
    with pytest.raises(CaptureError, match="found 1 poses for 2 colour images"):
        redwood.read(folder)


def test_redwood_leaves_out_and_names_bad_frames(tmp_path: Path) -> None:
    folder = write_redwood(tmp_path)
    bad = record(0, np.full((4, 4), np.nan)) + record(1, POSES[1]) + record(2, POSES[2])
    (folder / "trajectory.log").write_text(bad[: bad.rstrip().rfind(" ")])  # cut off within the last matrix
    with pytest.warns(PurifyWarning, match=r"no pose of 16 numbers in the trajectory \(00002\)"):
        scene = redwood.read(folder)
    check(scene, [1])
    assert scene.skipped == 1
    (folder / "trajectory.log").write_text("nothing of the kind")
    with pytest.raises(CaptureError, match="three integers"):
        redwood.read(folder)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", json.dumps(intrinsic(WIDTH + 1)), json.dumps(intrinsic() | {"intrinsic_matrix": [1]})],
)
def test_redwood_bad_intrinsics(tmp_path: Path, text: str) -> None:
    folder = write_redwood(tmp_path)
    (folder / "camera_intrinsic.json").write_text(text)
    with pytest.raises(CaptureError, match=r"camera_intrinsic\.json"):
        redwood.read(folder)


def test_redwood_needs_one_trajectory(tmp_path: Path) -> None:
    folder = write_redwood(tmp_path)
    (folder / "trajectory.log").rename(folder / "a.log")
    check(redwood.read(folder))
    (folder / "b.log").write_text("made by a program\n")
    check(redwood.read(folder))
    (folder / "b.log").write_text(record(0, POSES[0]))
    with pytest.raises(CaptureError, match=r"a\.log, b\.log"):
        redwood.read(folder)
    for name in ("a.log", "b.log"):
        (folder / name).unlink()
    assert not redwood.recognises(folder)
    with pytest.raises(CaptureError, match=r"\(none\)"):
        redwood.read(folder)


# ---- All of them


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("replica", write_replica),
        ("7scenes", write_sevenscenes),
        ("colmap", write_colmap),
        ("redwood", write_redwood),
        ("redwood", write_open3d),
    ],
)
def test_each_is_found_from_its_path_alone(tmp_path: Path, name: str, write) -> None:
    folder = write(tmp_path / "scan")
    assert [key for key, module in FORMATS.items() if import_module(module).recognises(folder)] == [name]
    check(open_capture(folder, intrinsics=INTRINSICS))

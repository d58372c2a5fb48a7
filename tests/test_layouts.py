"""Readers of common layouts: the metres, pixels and poses that were written, and what bad input says."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from purify3d.captures import replica, sevenscenes
from purify3d.errors import CaptureError, PurifyWarning
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
        with pytest.warns(PurifyWarning, match=f"1 with .*{said}.*frame000001"):
            scene = replica.read(folder)
    check(scene, [0, 2])


def test_replica_names_files_that_are_missing_or_cut_off(tmp_path: Path) -> None:
    folder = write_replica(tmp_path / "office0")
    (folder / "results/depth000001.png").unlink()
    (folder / "results/frame000002.png").write_bytes(b"\x89PNG")
    with pytest.warns(PurifyWarning, match=r"missing depth image \(frame000001\).*unreadable colour.*000002"):
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
    with pytest.warns(PurifyWarning, match=r"not 4x4 numbers \(frame-000000\).*missing depth image"):
        check(sevenscenes.read(folder, intrinsics=INTRINSICS), [1])
    np.savetxt(folder / "frame-000001.pose.txt", np.full((4, 4), np.inf))
    with pytest.raises(CaptureError, match=r"no usable frame.*not finite \(frame-000001\)"):
        sevenscenes.read(folder, intrinsics=INTRINSICS)


def test_sevenscenes_a_frame_of_another_size_is_left_out(tmp_path: Path) -> None:
    folder = write_sevenscenes(tmp_path / "chess")
    save(folder / "frame-000001.color.png", COLORS[1][:5])
    with pytest.warns(PurifyWarning, match=r"another size than most \(frame-000001\)"):
        check(sevenscenes.read(folder, intrinsics=INTRINSICS), [0, 2])

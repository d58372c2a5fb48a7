"""Readers of captures: every format, the same points from each, and what bad input says."""

import json
import pickle
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.spatial.transform import Rotation

from purify3d.base import axes
from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.captures import FORMATS, open_capture
from purify3d.captures.formats import nerfstudio, tum
from purify3d.captures.formats.nerfstudio import write_nerfstudio
from purify3d.captures.reading import images
from purify3d.captures.reading.images import Lens
from purify3d.grid import projection
from purify3d.types import Camera, Frame, Scene

CAMERA = Camera(20.0, 21.0, 7.25, 4.75, 16, 10)
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass
class Shot:
    """One frame of a made-up capture; depth in whole mm, which every format can hold exactly."""

    color: np.ndarray
    mm: np.ndarray
    label: np.ndarray
    pose: np.ndarray


def looking(yaw: float, position: tuple[float, float, float], roll: float = 0.0) -> np.ndarray:
    """A camera of a z-up world that looks along `yaw` degrees and is held upright (or rolled)."""
    pose = np.eye(4)
    upright = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # x right, y down, looks along +y
    turn = Rotation.from_euler("z", yaw, degrees=True).as_matrix()
    pose[:3, :3] = turn @ upright @ Rotation.from_euler("z", roll, degrees=True).as_matrix()
    pose[:3, 3] = position
    return pose


def shots(count: int = 3, camera: Camera = CAMERA) -> list[Shot]:
    rng = np.random.default_rng(count)
    size = (camera.height, camera.width)
    return [
        Shot(
            rng.integers(0, 256, (*size, 3), dtype=np.uint8),
            rng.integers(0, 6000, size).astype(np.uint16),
            rng.integers(0, 4, size).astype(np.uint8),
            looking(30.0 * i, (0.2 * i, -0.5, 1.4)),
        )
        for i in range(count)
    ]


def intrinsic_matrix(camera: Camera) -> np.ndarray:
    k = np.eye(4)
    k[0, 0], k[1, 1], k[0, 2], k[1, 2] = camera.fx, camera.fy, camera.cx, camera.cy
    return k


def write_scannet(folder: Path, given: list[Shot], camera: Camera = CAMERA, label: bool = False) -> Path:
    for name in ("color", "depth", "pose", "intrinsic", *(["label"] if label else [])):
        (folder / name).mkdir(parents=True)
    for i, shot in enumerate(given):
        Image.fromarray(shot.color).save(folder / f"color/{i}.png")
        Image.fromarray(shot.mm).save(folder / f"depth/{i}.png")
        np.savetxt(folder / f"pose/{i}.txt", shot.pose)
        if label:
            Image.fromarray(shot.label).save(folder / f"label/{i}.png")
    for name in ("color", "depth"):
        np.savetxt(folder / f"intrinsic/intrinsic_{name}.txt", intrinsic_matrix(camera))
    if label:
        (folder / "labels.json").write_text('{"0": "unlabeled", "1": "wall", "2": "Unlabelled", "3": "sofa"}')
    return folder


def write_tum(folder: Path, given: list[Shot]) -> Path:
    (folder / "rgb").mkdir(parents=True)
    (folder / "depth").mkdir()
    rgb, depth, truth = ["# colour"], ["# depth"], ["# timestamp tx ty tz qx qy qz qw"]
    for i, shot in enumerate(given):
        at = 1000.0 + i / 30
        Image.fromarray(shot.color).save(folder / f"rgb/{at:.6f}.png")
        Image.fromarray(shot.mm * 5).save(folder / f"depth/{i}.png")
        rgb.append(f"{at:.6f} rgb/{at:.6f}.png")
        depth.append(f"{at + 0.004:.6f} depth/{i}.png")
        numbers = [*shot.pose[:3, 3], *Rotation.from_matrix(shot.pose[:3, :3]).as_quat()]
        truth.append(f"{at - 0.003:.6f} " + " ".join(f"{value:.12f}" for value in numbers))
    for name, lines in (("rgb", rgb), ("depth", depth), ("groundtruth", truth)):
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return folder


def transforms(camera: Camera = CAMERA, **changes: object) -> dict:
    """Keys of one camera as nerfstudio has them: the principal point counts from the image's corner."""
    keys = {"fl_x": camera.fx, "fl_y": camera.fy, "cx": camera.cx + 0.5, "cy": camera.cy + 0.5}
    return {**keys, "w": camera.width, "h": camera.height, "camera_model": "OPENCV", **changes}


def write_transforms(folder: Path, given: list[Shot], meta: dict | None = None) -> Path:
    folder.mkdir(parents=True)
    frames = []
    for i, shot in enumerate(given):
        Image.fromarray(shot.color).save(folder / f"{i}.png")
        Image.fromarray(shot.mm).save(folder / f"{i}_depth.png")
        matrix = (shot.pose @ OPENGL).tolist()
        frames.append(
            {"file_path": f"{i}.png", "depth_file_path": f"{i}_depth.png", "transform_matrix": matrix}
        )
    (folder / "transforms.json").write_text(json.dumps({**(meta or transforms()), "frames": frames}))
    return folder


def edit_json(folder: Path, change) -> None:
    file = folder / "transforms.json"
    meta = json.loads(file.read_text())
    change(meta)
    file.write_text(json.dumps(meta))


def world_points(frame: Frame) -> np.ndarray:
    """(h, w, 3) float64; pixels without depth become nan."""
    depth = frame.depth()
    local = projection.backproject(depth, frame.depth_camera).astype(np.float64)
    world = local @ frame.world_from_camera[:3, :3].T + frame.world_from_camera[:3, 3]
    world[depth == 0] = np.nan
    return world


def expected_points(shot: Shot, camera: Camera = CAMERA) -> np.ndarray:
    """Written out on its own: pixel (u, v) is at ((u - cx) z / fx, (v - cy) z / fy, z) of the camera."""
    v, u = np.mgrid[: camera.height, : camera.width]
    z = shot.mm / 1000
    local = np.stack([(u - camera.cx) / camera.fx * z, (v - camera.cy) / camera.fy * z, z], -1)
    world = local @ shot.pose[:3, :3].T + shot.pose[:3, 3]
    world[shot.mm == 0] = np.nan
    return world


# --- formats ------------------------------------------------------------------------------------------------


def test_every_format_gives_the_same_world_points(tmp_path):
    given = shots()
    opened = {
        "scannet": open_capture(write_scannet(tmp_path / "a", given)),
        "nerfstudio": open_capture(write_transforms(tmp_path / "b", given)),
        "tum": open_capture(write_tum(tmp_path / "c", given), intrinsics=(20.0, 21.0, 7.25, 4.75)),
    }
    assert opened.keys() <= FORMATS.keys()
    for name, scene in opened.items():
        assert len(scene.frames) == len(given), name
        assert np.array_equal(scene.up, [0, 0, 1]), name
        for frame, shot in zip(scene.frames, given, strict=True):
            assert np.array_equal(frame.color(), shot.color), name
            assert frame.color().dtype == np.uint8
            assert frame.depth().dtype == np.float32
            points = world_points(frame)
            assert np.allclose(points, expected_points(shot), atol=2e-5, equal_nan=True), name
            assert pickle.loads(pickle.dumps(frame)).depth().shape == frame.depth().shape


def test_scannet_order_skipped_poses_and_missing_files(tmp_path):
    folder = write_scannet(tmp_path / "scan", shots(12))
    np.savetxt(folder / "pose/3.txt", np.full((4, 4), -np.inf))
    np.savetxt(folder / "pose/4.txt", np.full((4, 4), np.nan))
    (folder / "depth/5.png").unlink()
    (folder / "pose/6.txt").unlink()
    with pytest.warns(PurifyWarning, match="2 frames are left out") as caught:
        scene = open_capture(folder)
    assert len(caught) == 1
    assert [frame.name for frame in scene.frames] == ["0", "1", "2", "7", "8", "9", "10", "11"]
    assert scene.skipped == 2


def test_scannet_labels(tmp_path):
    given = shots()
    scene = open_capture(write_scannet(tmp_path / "scan", given, label=True))
    assert scene.truth == {1: "wall", 3: "sofa"}
    for frame, shot in zip(scene.frames, given, strict=True):
        label = frame.label()
        assert label.dtype == np.int32
        assert np.array_equal(label, np.where(np.isin(shot.label, [1, 3]), shot.label.astype(int), -1))
    (tmp_path / "scan/labels.json").unlink()
    with pytest.warns(PurifyWarning, match=r"labels\.json .* is missing"):
        assert open_capture(tmp_path / "scan").frames[0].label is None


def test_scannet_cameras_of_two_sizes(tmp_path):
    folder = write_scannet(tmp_path / "scan", shots())
    small = Camera(10.0, 10.0, 3.0, 2.0, 8, 6)
    for i in range(3):
        Image.fromarray(np.full((6, 8), 1500, np.uint16)).save(folder / f"depth/{i}.png")
    np.savetxt(folder / "intrinsic/intrinsic_depth.txt", intrinsic_matrix(small)[:3, :3])
    scene = open_capture(folder)
    assert scene.frames[0].depth_camera == small
    assert scene.frames[0].camera == CAMERA
    (folder / "intrinsic/intrinsic_depth.txt").unlink()
    with pytest.raises(
        CaptureError, match=r"colour images of 16x10 and depth images of 8x6 .*intrinsic_depth"
    ):
        open_capture(folder)


def test_scannet_one_set_of_intrinsics_serves_images_of_one_size(tmp_path):
    folder = write_scannet(tmp_path / "scan", shots())
    (folder / "intrinsic/intrinsic_depth.txt").unlink()
    assert open_capture(folder).frames[0].depth_camera == CAMERA
    (folder / "intrinsic/intrinsic_color.txt").unlink()
    with pytest.raises(CaptureError, match=r"found no intrinsics.*--intrinsics"):
        open_capture(folder)
    by_hand = open_capture(folder, intrinsics=(30, 31, 8, 5)).frames[0]
    assert by_hand.camera == by_hand.depth_camera == Camera(30, 31, 8, 5, 16, 10)


def test_scannet_release_scene_is_z_up_and_brings_its_mesh(tmp_path):
    folder = write_scannet(
        tmp_path / "scene0011_00", [Shot(s.color, s.mm, s.label, np.eye(4)) for s in shots()]
    )
    triangle = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]], process=False)
    triangle.visual.vertex_colors = [90, 80, 70, 255]
    triangle.export(folder / "scene0011_00_vh_clean_2.ply")
    scene = open_capture(folder)  # the cameras alone would say -y
    assert np.array_equal(scene.up, [0, 0, 1])
    assert scene.points is not None
    assert len(scene.points) == 3
    other = folder.rename(tmp_path / "lounge")
    assert np.array_equal(open_capture(other).up, [0, -1, 0])


def test_tum_lists(tmp_path):
    a, b = np.array([0.0, 0.010, 0.5, 1.0]), np.array([1.001, 0.012, 0.53, 0.004])
    # 0.010 takes 0.012 (closest pair), 0.0 is left 0.004; 0.5 is 30 ms from 0.53.
    assert tum.associate(a, b).tolist() == [[0, 3], [1, 1], [3, 0]]
    assert tum.associate(a, np.array([0.005])).tolist() == [[0, 0]]  # used once
    folder = write_tum(tmp_path / "sequence", shots())
    truth = (folder / "groundtruth.txt").read_text().splitlines()
    truth[1] = " ".join([truth[1].split()[0], *["nan"] * 7])
    truth[2] = " ".join([*truth[2].split()[:4], *["0"] * 4])
    (folder / "groundtruth.txt").write_text("\n".join(truth))
    scene = open_capture(folder, intrinsics=(20, 20, 8, 5))
    assert (len(scene.frames), scene.skipped) == (1, 2)
    (folder / "groundtruth.txt").write_text("5.0 0 0 0 0 0 0 1\n")
    with pytest.raises(CaptureError, match=r"3 colour images, 3 depth images and 1 poses.* 20 ms"):
        open_capture(folder, intrinsics=(20, 20, 8, 5))
    (folder / "groundtruth.txt").write_text("5.0 0 0 0\n")
    with pytest.raises(CaptureError, match=r"groundtruth\.txt, line 1"):
        open_capture(folder, intrinsics=(20, 20, 8, 5))


def test_tum_needs_known_intrinsics(tmp_path):
    folder = write_tum(tmp_path / "rgbd_dataset_freiburg3_office", shots())
    with pytest.raises(CaptureError, match=r"--intrinsics fx,fy,cx,cy"):  # right name, not 640x480
        open_capture(folder)


def ideal_from_seen(seen: np.ndarray, lens: Lens) -> np.ndarray:
    """Undo the lens by fixed-point iteration: independent of the reader, which only ever distorts."""
    ideal = seen.copy()
    for _ in range(60):
        ideal += seen - projection.distort(ideal, lens.k1, lens.k2, lens.p1, lens.p2, lens.k3)
    return ideal


def test_freiburg1_is_undistorted(tmp_path):
    """A slanted plane through the published lens: after reading, its points lie on the plane again."""
    (values, lens), size = tum._CALIBRATION["1"], (640, 480)
    assert lens is not None
    camera = images.make_camera(values, size, "")
    v, u = np.mgrid[:480, :640].astype(float)
    seen = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy], -1)
    ideal = ideal_from_seen(seen, lens)
    z = 2 / (1 + 0.3 * ideal[..., 0] - 0.2 * ideal[..., 1])  # the plane z + 0.3 x - 0.2 y = 2
    shade = np.clip(127 + 150 * ideal[..., 0], 0, 255)
    shot = Shot(
        np.repeat(np.rint(shade)[..., None], 3, -1).astype(np.uint8),
        np.rint(z * 1000).astype(np.uint16),
        np.zeros((480, 640), np.uint8),
        looking(0, (0, 0, 0)),
    )
    folder = write_tum(tmp_path / "rgbd_dataset_freiburg1_desk", [shot])
    frame = open_capture(folder).frames[0]
    points = projection.backproject(frame.depth(), frame.depth_camera).astype(np.float64)
    valid = frame.depth() > 0
    assert valid.mean() > 0.8
    error = np.abs(points @ [0.3, -0.2, 1.0] - 2)[valid]
    assert error.max() < 0.002
    flat = np.clip(127 + 150 * seen[..., 0], 0, 255)  # what a pinhole camera would have seen
    inner = np.s_[20:-20, 20:-20]
    difference = np.abs(frame.color()[..., 0].astype(float) - flat)[inner][valid[inner]]
    assert difference.max() <= 1.5
    ignored = projection.backproject((shot.mm / 1000).astype(np.float32), camera) @ [0.3, -0.2, 1.0]
    assert np.abs(ignored - 2).max() > 0.015  # the test would notice a lens that is ignored


def test_nerfstudio_undistorts_every_image_alike(tmp_path):
    camera = Camera(200.0, 200.0, 79.5, 59.5, 160, 120)
    lens = Lens(k1=-0.2, k2=0.05, p1=0.002, p2=-0.001)
    v, u = np.mgrid[:120, :160].astype(float)
    seen = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy], -1)
    ideal = ideal_from_seen(seen, lens)
    mm = np.rint(2000 + 1000 * ideal[..., 0]).astype(np.uint16)
    color = np.repeat(np.rint(127 + 200 * ideal[..., 1])[..., None], 3, -1).astype(np.uint8)
    shot = Shot(color, mm, color[..., 0], looking(0, (0, 0, 0)))
    coefficients = {"k1": -0.2, "k2": 0.05, "p1": 0.002, "p2": -0.001}
    folder = write_transforms(tmp_path / "n", [shot], transforms(camera, **coefficients))
    frame = open_capture(folder).frames[0]
    assert np.abs(frame.depth() - (2 + seen[..., 0])).max() < 0.004  # half a pixel at 1/200 rad, and 1 mm
    assert np.abs(frame.color()[..., 0] - (127 + 200 * seen[..., 1])).max() < 1.2
    by_hand = open_capture(folder, intrinsics=(200, 200, 79.5, 59.5)).frames[0]
    assert np.array_equal(by_hand.color(), color)


def test_undistort_of_no_distortion_is_exact():
    shot = shots()[0]
    assert np.array_equal(images.undistort(shot.color, CAMERA, Lens(), smooth=True), shot.color)
    assert np.array_equal(images.undistort(shot.mm, CAMERA, Lens(), smooth=False), shot.mm)


# --- nerfstudio, read and written ---------------------------------------------------------------------------


def test_nerfstudio_pixels_count_from_the_corner(tmp_path):
    """In the middle of the image means w / 2 there and (w - 1) / 2 here."""
    folder = write_transforms(tmp_path / "n", shots(), transforms(cx=8.0, cy=5.0))
    camera = open_capture(folder / "transforms.json").frames[0].camera
    assert (camera.cx, camera.cy) == (7.5, 4.5)


def test_nerfstudio_frames_have_their_own_cameras_and_depth_sizes(tmp_path):
    folder = write_transforms(tmp_path / "n", shots(), {})
    small = np.full((5, 8), 2000, np.uint16)
    Image.fromarray(small).save(folder / "1_depth.png")

    def own_cameras(meta: dict) -> None:
        for i, entry in enumerate(meta["frames"]):
            entry.update(transforms(fl_x=20.0 + i))
        meta["depth_unit_scale_factor"] = 0.0005

    edit_json(folder, own_cameras)
    frames = open_capture(folder).frames
    assert [frame.camera.fx for frame in frames] == [20, 21, 22]
    assert frames[1].depth_camera == projection.resize_camera(frames[1].camera, 8, 5)
    assert np.allclose(frames[1].depth(), 1.0)
    Image.fromarray(np.full((10, 10), 2000, np.uint16)).save(folder / "1_depth.png")
    with pytest.warns(
        PurifyWarning, match=r"1 frame is left out: .*10x10 pixels for a camera of 16x10 \(1\)"
    ):
        assert [frame.name for frame in open_capture(folder).frames] == ["0", "2"]


@pytest.mark.parametrize("color", ["png", "jpg"])
def test_nerfstudio_round_trip(tmp_path, color):
    """Two cameras of other proportions, labels with a gap, no-label, up: all of it comes back."""
    depth_camera = Camera(18.0, 18.5, 6.1, 5.9, 14, 12)
    rng = np.random.default_rng(0)
    frames = []
    for i, shot in enumerate(shots(4, Camera(18.0, 18.5, 6.1, 5.9, 14, 12))):
        smooth = np.broadcast_to(np.linspace(0, 255, 16), (10, 16))[..., None].repeat(3, -1).astype(np.uint8)
        label = np.where(shot.label == 2, 700, shot.label.astype(np.int32) - 1).astype(np.int32)
        frames.append(
            Frame(
                f"f{i}",
                Camera(20.0 + (i == 3), 21.0, 7.25, 4.75, 16, 10),
                depth_camera,
                looking(rng.uniform(0, 360), (i, 0, 1)),
                lambda smooth=smooth: smooth,
                lambda shot=shot: (shot.mm / 1000).astype(np.float32),
                lambda label=label: label,
            )
        )
    scene = Scene("made up", tuple(frames), np.array([0, 0, 1.0]), truth={0: "wall", 2: "chair", 700: "sofa"})
    folder = write_nerfstudio(scene, tmp_path / "deep/out", color=color)
    assert [entry.name for entry in folder.parent.iterdir()] == ["out"]  # nothing half-made beside it
    back = open_capture(folder)
    assert back.truth == scene.truth
    assert np.array_equal(back.up, scene.up)
    for before, after in zip(scene.frames, back.frames, strict=True):
        assert after.camera == before.camera
        assert after.depth_camera == before.depth_camera
        assert np.allclose(after.world_from_camera, before.world_from_camera, atol=1e-15)
        assert np.allclose(after.depth(), before.depth(), atol=1e-6)
        assert np.array_equal(after.label(), before.label())
        difference = np.abs(after.color().astype(int) - before.color())
        assert difference.max() <= (0 if color == "png" else 6)


def test_written_depth_beyond_16_bits_is_unknown(tmp_path):
    depth = np.array([[70.0, 65.534, 65.535, 0.0004]], np.float32)  # 65535 means none, too
    camera = Camera(1, 1, 1.5, 0, 4, 1)
    frame = Frame(
        "f", camera, camera, looking(0, (0, 0, 0)), lambda: np.zeros((1, 4, 3), np.uint8), lambda: depth
    )
    folder = write_nerfstudio(Scene("s", (frame,), np.array([0, 0, 1.0])), tmp_path / "out")
    assert np.allclose(nerfstudio.read(folder).frames[0].depth(), [[0, 65.534, 0, 0]])
    assert not (folder / "labels").exists()


def test_writing_is_all_or_nothing(tmp_path):
    scene = open_capture(write_scannet(tmp_path / "scan", shots()))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    with pytest.raises(CaptureError, match="new or empty folder"):
        write_nerfstudio(scene, tmp_path / "full")
    (tmp_path / "scan/depth/2.png").write_bytes(b"")
    with pytest.raises(CaptureError, match=r"2\.png"):
        write_nerfstudio(scene, tmp_path / "out")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["full", "scan"]


def pose_of_all(matrix: list):
    return lambda meta: [entry.update(transform_matrix=matrix) for entry in meta["frames"]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(camera_model="OPENCV_FISHEYE"), "lens model OPENCV_FISHEYE.*Undistort"),
        (lambda m: m.update(k4=0.1), "lens model k4"),
        (lambda m: m.pop("fl_y"), "found no fl_y.*--intrinsics"),
        (lambda m: m.update(cx=160.0), r"principal point \(159.5, 4.75\) outside the image of 16x10"),
        (lambda m: m.update(fl_x=-1.0), "focal lengths must be positive"),
        (lambda m: [f.pop("depth_file_path") for f in m["frames"]], "3 frames, all without depth_file_path"),
        (lambda m: m.update(frames=[]), "found no frames"),
        (lambda m: m.update(up=[0, 0, 0]), "found up"),
        (lambda m: [f.pop("transform_matrix") for f in m["frames"]], "found no transform_matrix"),
        (pose_of_all([[1, 2], [3, 4]]), r"pose of shape \(2, 2\)"),
        (pose_of_all(np.diag([2, 2, 2, 1]).tolist()), "no rotation .*scaled by 2"),
        (pose_of_all(np.diag([-1, 1, 1, 1]).tolist()), "no rotation .*mirrored"),
    ],
)
def test_what_bad_transforms_say(tmp_path, change, message):
    folder = write_transforms(tmp_path / "n", shots())
    edit_json(folder, change)
    with pytest.raises(CaptureError, match=message) as caught:
        open_capture(folder)
    assert "transforms.json" in str(caught.value)


def test_transforms_that_is_no_json(tmp_path):
    folder = write_transforms(tmp_path / "n", shots())
    (folder / "transforms.json").write_text("{")
    with pytest.raises(CaptureError, match="is not JSON"):
        open_capture(folder)


# --- opening ------------------------------------------------------------------------------------------------


def test_sideways_frames_are_turned_upright(tmp_path):
    """A phone held in all four ways in one video: the same upright images, and the same points."""
    rolls = [0, 90, 180, 270]
    upright = shots(4)
    held = []
    for shot, roll in zip(upright, rolls, strict=True):
        # The device rolls clockwise as it looks; what it sees turns counter-clockwise in its image.
        turns = roll // 90
        held.append(
            Shot(
                np.ascontiguousarray(np.rot90(shot.color, turns)),
                np.ascontiguousarray(np.rot90(shot.mm, turns)),
                shot.label,
                shot.pose
                @ np.block(
                    [
                        [Rotation.from_euler("z", roll, degrees=True).as_matrix(), np.zeros((3, 1))],
                        [0, 0, 0, 1],
                    ]
                ),
            )
        )
    folder = write_transforms(tmp_path / "n", held, {"up": [0, 0, 2.0]})

    def own_cameras(meta: dict) -> None:
        for entry, roll in zip(meta["frames"], rolls, strict=True):
            # Worked out by hand for one counter-clockwise turn: (cx, cy) -> (cy, width - 1 - cx).
            fx, fy, cx, cy, w, h = CAMERA.fx, CAMERA.fy, CAMERA.cx, CAMERA.cy, CAMERA.width, CAMERA.height
            for _ in range(roll // 90):
                fx, fy, cx, cy, w, h = fy, fx, cy, w - 1 - cx, h, w
            entry.update(transforms(Camera(fx, fy, cx, cy, w, h)))

    edit_json(folder, own_cameras)
    scene = open_capture(folder)
    assert np.array_equal(scene.up, [0, 0, 1])
    assert [frame.turns for frame in scene.frames] == [0, 3, 2, 1]
    for frame, shot, own in zip(scene.frames, upright, held, strict=True):
        assert np.array_equal(frame.color(), shot.color)
        assert np.array_equal(np.rot90(own.color, frame.turns), shot.color)
        assert frame.color().flags.c_contiguous
        assert np.allclose(world_points(frame), expected_points(shot), atol=2e-5, equal_nan=True)
        assert (frame.camera.width, frame.camera.height) == (CAMERA.width, CAMERA.height)
    # Said to be upside down, each frame is turned twice more.
    flipped = open_capture(folder, up="-z").frames[0]
    assert np.array_equal(flipped.color(), upright[0].color[::-1, ::-1])
    assert np.allclose(flipped.world_from_camera[:3, 1], -scene.frames[0].world_from_camera[:3, 1])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("+y", [0, 1, 0]),
        ("-z", [0, 0, -1]),
        ("X", [1, 0, 0]),
        ("0,0,2", [0, 0, 1]),
        ((3, 0, 4), [0.6, 0, 0.8]),
    ],
)
def test_up_by_hand(tmp_path, given, expected):
    assert np.allclose(open_capture(write_scannet(tmp_path / "s", shots()), up=given).up, expected)


@pytest.mark.parametrize("given", ["up", "", "+-z", "zz", "1,2", (0, 0, 0)])
def test_up_that_is_no_direction(tmp_path, given):
    with pytest.raises(CaptureError, match=r"--up: found .*; expected"):
        open_capture(write_scannet(tmp_path / "s", shots()), up=given)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"up": (1, 2, np.nan)}, "found up = .*; expected text or a list of numbers"),
        ({"pose_convention": "blender"}, "found pose_convention = 'blender'; expected one of opencv, opengl"),
        ({"colour": "red"}, "found colour; expected only path, reader, up, intrinsics"),
    ],
)
def test_settings_that_cannot_be(wrong, message):
    with pytest.raises(ValueError, match=message):
        open_capture("synthetic:1", **wrong)


def test_settings_may_be_numbers_of_numpy(tmp_path):
    folder = write_scannet(tmp_path / "s", shots())
    scene = open_capture(folder, up=np.array([0.0, 0, 2]), intrinsics=[20, 20, 8, 5], limit=np.int64(1))
    assert (scene.up.tolist(), scene.frames[0].camera.fx, len(scene.frames)) == ([0, 0, 1], 20, 1)


def test_a_guess_without_ground_is_said(tmp_path):
    given = shots(8)
    for i, shot in enumerate(given):  # held sideways throughout, looking all around
        shot.pose = looking(45.0 * i, (0, 0, 1), roll=90)
    with pytest.warns(PurifyWarning, match="do not agree on which way is up.*--up"):
        open_capture(write_scannet(tmp_path / "s", given))


def walk(count: int, step: float, degrees: float) -> Scene:
    camera = Camera(1, 1, 0, 0, 1, 1)

    def read() -> np.ndarray:
        raise AssertionError("opening a capture reads no image")

    frames = [
        Frame(str(i), camera, camera, looking(degrees * i, (step * i, 0, 0)), read, read)
        for i in range(count)
    ]
    return Scene("walk", tuple(frames), np.array([0, 0, 1.0]))


def test_picking_frames(monkeypatch):
    given = walk(301, 0.03, 0)
    asked = {}

    def synthetic_scene(seed: int, frames: int = 24) -> Scene:
        asked.update(seed=seed, frames=frames)
        return given

    monkeypatch.setitem(sys.modules, "purify3d.rooms", SimpleNamespace(synthetic_scene=synthetic_scene))

    def names(address: str = "synthetic:7?frames=9", **options: int) -> list[int]:
        return [int(frame.name) for frame in open_capture(address, **options).frames]

    assert names()[:4] == [0, 4, 8, 12]  # 0.12 m is the first step beyond 0.10 m
    assert asked == {"seed": 7, "frames": 9}
    assert names(every=100) == [0, 100, 200, 300]
    assert names(every=1, limit=4) == [0, 100, 200, 300]
    assert names(limit=1) == [0]
    given = walk(400, 0, 3)
    assert names()[:3] == [0, 4, 8]  # 12 degrees
    given = walk(300, 0, 0)
    assert len(names()) == 300  # short enough to keep
    for bad in (
        "synthetic:",
        "synthetic:x",
        "synthetic:1?frames=many",
        "synthetic:1?colour=3",
        "synthetic:1?f",
    ):
        with pytest.raises(CaptureError, match="expected synthetic:SEED"):
            names(bad)
    for option in ("every", "limit"):
        with pytest.raises(ValueError, match=f"{option} = 0; expected a whole number of at least 1"):
            names(**{option: 0})


def test_what_an_unknown_path_says(tmp_path):
    with pytest.raises(CaptureError, match="found nothing there"):
        open_capture(tmp_path / "nowhere")
    with pytest.raises(CaptureError, match="found an empty folder") as caught:
        open_capture(tmp_path)
    for expected in ("transforms.json (nerfstudio)", "color/ depth/ pose/ intrinsic/ (scannet)", "rgb.txt"):
        assert expected in str(caught.value)
    for i in range(10):
        (tmp_path / f"{i}.jpg").touch()
    with pytest.raises(CaptureError, match=r"found 0\.jpg, .*7\.jpg and 2 more"):
        open_capture(tmp_path)
    with pytest.raises(CaptureError, match=r"found reader 'polaroid'; expected one of .*nerfstudio, scannet"):
        open_capture(tmp_path, reader="polaroid")
    for name, message in (
        ("scannet", "missing are color"),
        ("nerfstudio", "transforms.json is missing"),
        ("tum", "rgb.txt is missing"),
    ):
        with pytest.raises(CaptureError, match=message):
            open_capture(tmp_path, reader=name)


@pytest.mark.parametrize("write", [write_scannet, write_transforms, write_tum])
def test_a_capture_without_a_usable_frame(tmp_path, write):
    folder = write(tmp_path / "s", shots())
    for image in folder.rglob("*.png"):
        image.unlink()
    with pytest.raises(
        CaptureError,
        match=r"found no usable frame: (no colou?r and no depth file \(.*\); exp|file_path .0.png. is not)",
    ):
        open_capture(folder, intrinsics=(20, 20, 8, 5))


def test_a_capture_without_a_finite_pose(tmp_path):
    folder = write_scannet(tmp_path / "s", shots())
    for file in (folder / "pose").iterdir():
        np.savetxt(file, np.full((4, 4), -np.inf))
    with pytest.raises(CaptureError, match="3 have a pose that is not finite"):
        open_capture(folder)


# --- bad images ---------------------------------------------------------------------------------------------


def test_what_bad_images_say(tmp_path):
    folder = write_scannet(
        tmp_path / "s", shots(5, Camera(60, 60, 31, 23, 64, 48)), Camera(60, 60, 31, 23, 64, 48)
    )
    whole = (folder / "color/0.png").read_bytes()
    (folder / "color/0.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(folder / "depth/1.png")
    Image.fromarray(np.zeros((24, 32), np.uint16)).save(folder / "depth/2.png")
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(folder / "color/2.png")
    (folder / "depth/3.png").write_bytes(b"not an image")
    scene = open_capture(folder)  # nothing has been read yet
    truncated = r"color.0\.png: .*truncated or unreadable .*re-copy the capture, or delete this frame's files"
    with pytest.raises(CaptureError, match=truncated):
        scene.frames[0].color()
    with pytest.raises(
        CaptureError, match=r"depth.1\.png: found a depth image of mode 'L'; expected a 16-bit"
    ):
        scene.frames[1].depth()
    with pytest.raises(CaptureError, match=r"depth.2\.png: found a depth image of 32x24 .* camera has 64x48"):
        scene.frames[2].depth()
    with pytest.raises(CaptureError, match=r"color.2\.png: found a colour image of 32x24"):
        scene.frames[2].color()
    with pytest.raises(CaptureError, match=r"depth.3\.png: found a file that is no image.*b'not an image'"):
        scene.frames[3].depth()
    assert scene.frames[4].color().shape == (48, 64, 3)


def test_what_bad_text_says(tmp_path):
    folder = write_scannet(tmp_path / "s", shots(1))
    (folder / "pose/0.txt").write_text("1 2 3\n4 5")
    with pytest.raises(CaptureError, match=r"pose.0\.txt: found something that is not a matrix"):
        open_capture(folder)
    np.savetxt(folder / "pose/0.txt", np.eye(3))
    with pytest.raises(CaptureError, match=r"pose.0\.txt: found a pose of shape \(3, 3\)"):
        open_capture(folder)
    np.savetxt(folder / "pose/0.txt", np.eye(4))
    np.savetxt(folder / "intrinsic/intrinsic_color.txt", np.eye(2))
    with pytest.raises(CaptureError, match=r"intrinsic_color\.txt: found a matrix of shape \(2, 2\)"):
        open_capture(folder)


# --- real captures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "frames", "up", "camera", "truth"),
    [
        ("kitchen", 94, "+y", Camera(495.567757, 495.481963, 269.502897, 169.194112, 540, 360), 0),
        ("house", 200, "+z", Camera(390.0, 390.0, 239.5, 179.5, 480, 360), 38),
    ],
)
def test_reference_captures(shared, tmp_path, name, frames, up, camera, truth):
    scene = open_capture(shared / "captures" / name)
    assert (len(scene.frames), scene.skipped, len(scene.truth)) == (frames, 0, truth)
    assert axes.describe_axis(scene.up) == up
    frame = scene.frames[0]
    assert frame.camera == frame.depth_camera == camera
    assert frame.color().shape == (camera.height, camera.width, 3)
    depth = frame.depth()
    assert depth[depth > 0].min() > 0.3
    assert depth.max() < 20
    if truth:
        assert set(np.unique(frame.label()).tolist()) - {-1} <= set(scene.truth)
    two = open_capture(shared / "captures" / name, limit=2)
    assert [f.name for f in two.frames] == [scene.frames[0].name, scene.frames[-1].name]
    back = open_capture(write_nerfstudio(two, tmp_path / name))
    assert np.array_equal(world_points(back.frames[0]), world_points(two.frames[0]), equal_nan=True)

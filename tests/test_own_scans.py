"""Captures as people bring them: what is taken, what is left out, and what is said."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_captures import CAMERA, edit_json, shots, transforms, write_scannet, write_transforms, write_tum
from test_layouts import write_colmap, write_open3d, write_redwood, write_replica, write_sevenscenes
from test_phones import arkitscenes

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.captures import guarded, open_capture
from purify3d.captures.formats import nerfstudio, scannet, tum
from purify3d.captures.formats.exchange import write_nerfstudio
from purify3d.captures.reading import sound
from purify3d.captures.reading.dropped import Dropped
from purify3d.captures.reading.frame_names import unique_frame_names
from purify3d.captures.reading.images import make_camera
from purify3d.captures.reading.poses import far_away, read_pose
from purify3d.runs import artefacts
from purify3d.runs.folder import Folder
from purify3d.types import Camera

GIVEN = (20.0, 21.0, 7.25, 4.75)


def test_names_are_unique_and_short() -> None:
    assert unique_frame_names(["images/0.png", "images/1.png"]) == ["0", "1"]
    assert unique_frame_names(["a/front/1.png", "a/back/1.png"]) == ["front/1", "back/1"]
    assert unique_frame_names(["0.png", "0.jpg", "0.jpg"]) == ["0.png", "0.jpg", "0.jpg-2"]
    assert unique_frame_names(["a/b/1.png"]) == ["1"]


def test_intrinsics_of_another_size_are_doubted() -> None:
    said = r"cx, cy = \(160, 120\) is far from the middle of 640x480: .* look made for 320x240"
    with pytest.warns(PurifyWarning, match=said):
        make_camera((260, 260, 160, 120), (640, 480), "x")
    with pytest.warns(PurifyWarning, match="look made for 800x600"):
        make_camera((600, 600, 400, 300), (640, 480), "x")
    with pytest.warns(PurifyWarning, match="images of another size, or cropped ones"):
        make_camera((600, 600, 100, 240), (640, 480), "x")
    with pytest.raises(CaptureError, match=r"outside the image of 640x480 .*\(1296x968\)"):
        make_camera((1170, 1170, 648, 484), (640, 480), "x")
    make_camera((520, 520, 340, 230), (640, 480), "x")


# --- ScanNet's layout ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda pose: pose * 0, "a pose of zeros"),
        (lambda pose: pose @ np.diag([1.5, 1.5, 1.5, 1]), "scaled by 1.5"),
        (lambda pose: pose + np.array([[0, 0, 0, 1e9]] + [[0.0] * 4] * 3), "far from all others"),
        (lambda pose: pose + np.array([[0.0] * 4] * 3 + [[0, 0, 1, 0]]), "last row 0 0 1 1"),
    ],
)
def test_one_bad_pose_is_left_out_and_named(tmp_path: Path, spoil: Any, why: str) -> None:
    given = shots(5)
    given[3].pose = spoil(given[3].pose)
    folder = write_scannet(tmp_path / "s", given)
    with pytest.warns(PurifyWarning, match=rf"1 frame is left out: .*{why}.* \(3\)$") as caught:
        scene = scannet.read(folder)
    assert len(caught) == 1
    assert [frame.name for frame in scene.frames] == ["0", "1", "2", "4"]
    for shot in given:
        shot.pose = np.diag([2.0, 2, 2, 1])
    with pytest.raises(CaptureError, match=r"5 of 5 frames cannot be used; 0: .*scaled by 2"):
        scannet.read(write_scannet(tmp_path / "all", given))


def test_far_away_is_relative_to_the_others() -> None:
    poses = np.tile(np.eye(4), (5, 1, 1))
    poses[:, 0, 3] = [4e6, 4e6 + 3, 4e6 + 6, 4e6 + 9, 0]
    assert far_away(list(poses)).tolist() == [False] * 4 + [True]
    poses[:, 0, 3] = [0, 100, 200, 300, 900]
    assert not far_away(list(poses)).any()


def test_files_of_one_frame_may_have_different_zeros(tmp_path: Path) -> None:
    folder = write_scannet(tmp_path / "s", shots(11))
    for i in range(11):
        (folder / f"pose/{i}.txt").rename(folder / f"pose/{i:06d}.txt")
        (folder / f"depth/{i}.png").rename(folder / f"depth/depth_{i:04d}.png")
    (folder / "color/._0.png").write_bytes(b"note of a file manager")
    scene = scannet.read(folder)
    assert [frame.name for frame in scene.frames] == [str(i) for i in range(11)]
    for frame, shot in zip(scene.frames, shots(11), strict=True):
        assert np.allclose(frame.world_from_camera, shot.pose)
        assert np.allclose(frame.depth(), shot.mm / 1000)


def test_poses_as_people_store_them(tmp_path: Path) -> None:
    pose = shots(2)[1].pose
    row = pose.ravel().tolist()
    texts = {
        "3x4": "\n".join(" ".join(map(str, line)) for line in pose[:3].tolist()),
        "12": " ".join(map(str, row[:12])),
        "16": ", ".join(map(str, row)),
        "brackets": str(pose.tolist()).replace("], [", "],\r\n ["),
    }
    for name, text in texts.items():
        for encoding in ("utf-8", "utf-8-sig", "utf-16"):
            file = tmp_path / f"{name}.txt"
            file.write_bytes(text.encode(encoding))
            assert np.allclose(read_pose(file), pose), (name, encoding)
    np.save(tmp_path / "p.npy", pose)
    assert np.allclose(read_pose(tmp_path / "p.npy"), pose)
    np.savetxt(tmp_path / "t.txt", pose.T)
    with pytest.raises(CaptureError, match="stored column by column: transpose it"):
        read_pose(tmp_path / "t.txt")
    (tmp_path / "b.txt").write_bytes(b"\x81\x82")
    with pytest.raises(CaptureError, match="found bytes that are no text"):
        read_pose(tmp_path / "b.txt")


@pytest.mark.parametrize("suffix", [".npy", ".tiff", ".pgm"])
def test_depth_of_every_kind_is_found(tmp_path: Path, suffix: str) -> None:
    given = shots()
    folder = write_scannet(tmp_path / "s", given)
    for i, shot in enumerate(given):
        (folder / f"depth/{i}.png").unlink()
        path = folder / f"depth/{i}{suffix}"
        if suffix == ".npy":
            np.save(path, (shot.mm / 1000).astype(np.float32))
        elif suffix == ".tiff":
            Image.fromarray(shot.mm).save(path)
        else:
            path.write_bytes(b"P5 16 10 65535\n" + shot.mm.astype(">u2").tobytes())
    frame = scannet.read(folder).frames[1]
    assert np.allclose(frame.depth(), given[1].mm / 1000)
    assert frame.depth_unit == (None if suffix == ".npy" else 0.001)


def test_where_nothing_goes_together(tmp_path: Path) -> None:
    folder = write_scannet(tmp_path / "s", shots())
    for kind in ("color", "depth", "pose"):
        for file in (folder / kind).iterdir():
            file.rename(
                file.with_name(f"frame-{int(file.stem):06d}.{kind}{'.csv' if kind == 'pose' else '.png'}")
            )
    with pytest.raises(CaptureError, match=r"Looked for color/.*pose/ holds frame-.*are those of 7-Scenes"):
        scannet.read(folder)


def test_skew_and_damaged_first_image(tmp_path: Path) -> None:
    folder = write_scannet(tmp_path / "s", shots())
    (folder / "color/0.png").write_bytes(b"")
    (folder / "depth/1.png").unlink()
    os.mkfifo(folder / "depth/1.png")
    with pytest.warns(PurifyWarning, match=r"1 frame is left out: no depth file \(1\)"):
        assert scannet.read(folder).frames[0].camera == CAMERA
    np.savetxt(folder / "intrinsic/intrinsic_color.txt", [[20, 3, 7], [0, 20, 5], [0, 0, 1]])
    with pytest.raises(CaptureError, match="found a skew of 3 pixels"):
        scannet.read(folder)


# --- nerfstudio ---------------------------------------------------------------------------------------------


def test_bad_frames_of_transforms_are_named_in_one_warning(tmp_path: Path) -> None:
    folder = write_transforms(tmp_path / "n", shots(12))

    def spoil(meta: dict) -> None:
        frames = meta["frames"]
        frames[1]["depth_file_path"] = None
        del frames[2]["transform_matrix"]
        frames[3]["transform_matrix"] = np.zeros((4, 4)).tolist()
        frames[4]["transform_matrix"][0][3] = 1e9
        frames[5]["fl_x"] = "wide"

    edit_json(folder, spoil)
    with pytest.warns(
        PurifyWarning, match=r"5 frames are left out: .*no transform_matrix.*and 1 more"
    ) as said:
        scene = nerfstudio.read(folder)
    assert len(said) == 1
    assert [frame.name for frame in scene.frames] == ["0", *map(str, range(6, 12))]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"fl_x": float("nan")}, "found fl_x = NaN"),
        ({"cx": None}, "found cx = null"),
        ({"w": "16"}, 'found w = "16"'),
        ({"k1": float("inf")}, "found k1 = Infinity"),
        ({"applied_scale": 0}, "found applied_scale = 0"),
        ({"depth_unit_scale_factor": 10**400}, "found depth_unit_scale_factor = 1000"),
        ({"depth_unit_scale_factor": 0.001, "integer_depth_scale": 0.01}, "expected one unit of depth"),
        ({"w": 500, "h": 500}, "image of 16x10 pixels and intrinsics for w, h = 500x500"),
        ({"labels": [1]}, r"found labels = \[1\]"),
        ({"up": [0, "1", 0]}, "found up"),
    ],
)
def test_values_that_are_no_numbers_are_named(tmp_path: Path, keys: dict, message: str) -> None:
    folder = write_transforms(tmp_path / "n", shots(), transforms(**keys))
    with pytest.raises(CaptureError, match=message):
        nerfstudio.read(folder)


def test_null_lens_units_and_a_scaled_world(tmp_path: Path) -> None:
    given = shots()
    folder = write_transforms(tmp_path / "n", given, transforms(k1=None, k4=None, applied_scale=0.25))
    frame = nerfstudio.read(folder).frames[1]
    assert np.allclose(frame.world_from_camera[:3, 3], given[1].pose[:3, 3] * 4)
    assert np.allclose(frame.world_from_camera[:3, :3], given[1].pose[:3, :3])
    assert np.allclose(frame.depth(), given[1].mm / 1000)
    edit_json(folder, lambda meta: meta.update(integer_depth_scale=0.002))
    assert np.allclose(nerfstudio.read(folder).frames[1].depth(), given[1].mm / 500)


def test_intrinsics_are_scaled_to_the_images(tmp_path: Path) -> None:
    big = Camera(40.0, 42.0, 15.0, 10.0, 32, 20)  # corner-origin 15.5, 10.5 halve to 7.75, 5.25
    folder = write_transforms(tmp_path / "n", shots(), transforms(big))
    with pytest.warns(PurifyWarning, match=r"3 frames: .* w, h = 32x20, the images have 16x10"):
        assert nerfstudio.read(folder).frames[0].camera == CAMERA


def test_masks_leave_depth_and_truth_out(tmp_path: Path) -> None:
    given = shots()
    folder = write_transforms(tmp_path / "n", given, transforms(labels={"0": "a", "1": "b", "2": "c"}))
    mask = np.zeros((20, 32), np.uint8)  # of twice the size
    mask[:, 16:] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    Image.fromarray(given[0].label).save(folder / "label.png")
    edit_json(folder, lambda m: m["frames"][0].update(mask_path="mask.png", label_file_path="label.png"))
    frames = nerfstudio.read(folder).frames
    assert not frames[0].depth()[:, :8].any()
    assert np.allclose(frames[0].depth()[:, 8:], given[0].mm[:, 8:] / 1000)
    assert (frames[0].label()[:, :8] == -1).all()
    assert np.array_equal(frames[0].label()[:, 8:], given[0].label[:, 8:].astype(int) - 1)
    assert np.allclose(frames[1].depth(), given[1].mm / 1000)
    assert folder / "mask.png" in frames[0].files


def test_paths_of_windows_without_suffix_and_outside(tmp_path: Path) -> None:
    folder = write_transforms(tmp_path / "deep/n", shots(4))
    for name in ("front", "back"):
        (folder / name).mkdir()
    shutil.move(folder / "0.png", folder / "front/a.png")
    shutil.move(folder / "1.png", folder / "back/a.png")
    shutil.move(folder / "3.png", tmp_path / "secret.png")
    shutil.move(folder / "2.png", tmp_path / "deep/shared.png")

    def rename(meta: dict) -> None:
        for entry, name in zip(
            meta["frames"], ("front\\a.png", "back/a", "../shared.png", "../../secret.png"), strict=True
        ):
            entry["file_path"] = name

    edit_json(folder, rename)
    with pytest.warns(PurifyWarning, match=r"1 frame is left out: .*which is outside .*deep"):
        frames = nerfstudio.read(folder).frames
    assert [frame.name for frame in frames] == ["front/a", "back/a", "../shared"]
    for frame, shot in zip(frames, shots(4), strict=False):
        assert np.array_equal(frame.color(), shot.color)


def test_json_that_is_absurd(tmp_path: Path) -> None:
    (tmp_path / "transforms.json").write_text("[" * 200_000)
    with pytest.raises(CaptureError, match="nested too deeply"):
        nerfstudio.read(tmp_path)
    for frames in ([3], ["a"], [{"file_path": 3, "depth_file_path": 4}], [{"depth_file_path": "x\0"}]):
        (tmp_path / "transforms.json").write_text(json.dumps({"frames": frames}))
        with pytest.raises(CaptureError, match="found"):
            nerfstudio.read(tmp_path)
    with (tmp_path / "transforms.json").open("wb") as file:
        file.truncate(300_000_000)
    with pytest.raises(CaptureError, match="found 300 MB; expected at most 256 MB"):
        nerfstudio.read(tmp_path)


# --- TUM ----------------------------------------------------------------------------------------------------


def test_images_without_a_pose_are_counted(tmp_path: Path) -> None:
    folder = write_tum(tmp_path / "t", shots(6))
    truth = (folder / "groundtruth.txt").read_text().splitlines()
    (folder / "groundtruth.txt").write_text("\n".join(truth[:3]))
    with pytest.warns(PurifyWarning, match="4 of 6 colour images have no pose within 20 ms") as said:
        assert len(tum.read(folder, intrinsics=GIVEN).frames) == 2
    assert len(said) == 1


def test_poses_between_others(tmp_path: Path) -> None:
    folder = write_tum(tmp_path / "t", shots(1))  # at 1000.0 s
    half = np.sqrt(0.5)
    (folder / "groundtruth.txt").write_text(
        f"999.97 0 0 0 0 0 0 1\n1000.03 2 4 6 0 0 {half} {half}\n1009 0 0 0 0 0 0 1\n"
    )
    with pytest.raises(CaptureError, match="within 20 ms"):
        tum.read(folder, intrinsics=GIVEN)
    pose = tum.read(folder, intrinsics=GIVEN, interpolate=True).frames[0].world_from_camera
    assert np.allclose(pose[:3, 3], [1, 2, 3])
    assert np.allclose(pose[:2, :2], [[half, -half], [half, half]])  # half of a quarter turn


def test_names_with_spaces_quotes_and_backslashes(tmp_path: Path) -> None:
    given = shots(3)
    folder = write_tum(tmp_path / "t", given)
    lines = (folder / "rgb.txt").read_text().splitlines()
    for i, (name, written) in enumerate(
        (("a b", '"rgb/a b.png"'), ("c d", "rgb/c d.png"), ("e", r"rgb\e.png"))
    ):
        at, old = lines[i + 1].split()
        (folder / old).rename(folder / f"rgb/{name}.png")
        lines[i + 1] = f"{at} {written}"
    (folder / "rgb.txt").write_text("\r\n".join(lines), encoding="utf-16")
    frames = tum.read(folder, intrinsics=GIVEN).frames
    assert [frame.name for frame in frames] == ["a b", "c d", "e"]
    assert np.array_equal(frames[2].color(), given[2].color)


# --- images that are damaged --------------------------------------------------------------------------------


def room(folder: Path) -> Path:
    """A small procedural room on disk."""
    return write_nerfstudio(open_capture("synthetic:1?frames=6&width=160&height=120"), folder)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.filterwarnings("default::purify3d.base.errors.PurifyWarning")
@pytest.mark.parametrize(
    ("bad", "onto"), [("images/00002.jpg", False), ("depth/00002.png", False), ("images/00002.jpg", True)]
)
def test_a_damaged_image_costs_its_frame_and_nothing_else(
    tmp_path: Path, purify3d: Any, bad: str, onto: bool
) -> None:
    """Points, features and truth are those of the capture without this frame."""
    whole, spoilt = room(tmp_path / "whole"), room(tmp_path / "spoilt")
    edit_json(whole, lambda meta: meta["frames"].pop(2))
    cut(spoilt / bad)
    flags = ["--voxel", "0.05", "--affinity", "geometric", "--rounds", "1", "--labels", "wall, floor, chair"]
    if onto:
        first = purify3d("segment", str(whole), "-o", str(tmp_path / "first"), *flags)
        assert first[0] == 0, first
        flags += ["--onto", str(tmp_path / "first/points.ply")]
    for name in ("whole", "spoilt"):
        code, _, said = purify3d("segment", str(tmp_path / name), "-o", str(tmp_path / f"run-{name}"), *flags)
        assert code == 0, said
        left_out = re.search(r"1 frame is left out: (images|depth)/\*\.\w+: .*truncated.* \(00002\)", said)
        assert bool(left_out) == (name == "spoilt"), said
    runs = [artefacts.read_scene(Folder(tmp_path / f"run-{name}")).cloud() for name in ("whole", "spoilt")]
    assert torch.equal(runs[0].xyz, runs[1].xyz)
    assert torch.equal(runs[0].label, runs[1].label)
    first, second = (
        artefacts.read_features(Folder(tmp_path / f"run-{name}"), artefacts.FEATURES, cloud)
        for name, cloud in zip(("whole", "spoilt"), runs, strict=True)
    )
    assert torch.equal(first.views, second.views)
    assert torch.allclose(first.dense(), second.dense(), atol=1e-3)
    frame = guarded(open_capture(spoilt).frames, spoilt)[2]
    with pytest.warns(PurifyWarning, match="1 frame is left out"):
        assert not frame.depth().any()
    assert not frame.color().any()
    assert frame.label is not None
    assert (frame.label() == -1).all()


def test_most_images_are_damaged(tmp_path: Path) -> None:
    folder = room(tmp_path / "room")
    for number in (1, 2, 4, 5):
        cut(folder / f"images/0000{number}.jpg")
    frames = guarded(open_capture(folder).frames, folder)
    frames[0].depth()
    with pytest.raises(
        CaptureError, match=r"room: 4 of 6 frames cannot be used; 00001: .*00001\.jpg: .*trunc"
    ):
        frames[2].color()


def test_damaged_images_beyond_the_first_look_are_told_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sound, "_SWEEP", 3)  # the first, the third and the last
    folder = room(tmp_path / "room")
    for number in (1, 3, 4, 5):
        cut(folder / f"images/0000{number}.jpg")
    frames = guarded(open_capture(folder).frames, folder)
    with pytest.warns(PurifyWarning, match=r"2 frames are left out: .*\(00001.*\(00005\)"):
        frames[1].depth()
    with pytest.warns(PurifyWarning, match=r"1 frame is left out: .*\(00003\)"):
        frames[3].depth()
    frames[2].depth()
    with pytest.raises(CaptureError, match="4 of 6 frames cannot be used"):
        frames[4].depth()


# --- folders as they are handed over ------------------------------------------------------------------------

WRITERS: dict[str, Any] = {
    "scannet": lambda folder: write_scannet(folder, shots()),
    "nerfstudio": lambda folder: write_transforms(folder, shots()),
    "tum": lambda folder: write_tum(folder, shots()),
    "colmap": write_colmap,
    "7scenes": write_sevenscenes,
    "redwood": write_redwood,
    "replica": write_replica,
}


@pytest.mark.parametrize("name", WRITERS)
def test_suffixes_in_capitals(tmp_path: Path, name: str) -> None:
    """Lists name 0.png and the folder, of a camera or from Windows, holds 0.PNG."""
    folder = WRITERS[name](tmp_path / "Büro №3 (neu)")
    for file in [*folder.rglob("*.png")]:
        file.rename(file.with_suffix(".PNG"))
    frames = open_capture(folder, intrinsics=GIVEN).frames
    assert len(frames) == 3
    for frame in frames:
        assert frame.color().any()
        assert frame.depth().any()


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_too_high_or_too_deep(tmp_path: Path, name: str) -> None:
    folder = WRITERS[name](tmp_path / "above" / "cap")
    said = rf"found no capture there; {re.escape(str(folder))} is one \({name}\). Point to that"
    with pytest.raises(CaptureError, match=said):
        open_capture(tmp_path)
    with pytest.raises(CaptureError, match=said):
        open_capture(folder.parent)
    inside = [entry for entry in folder.iterdir() if entry.is_dir() and entry.name != "sparse"]
    if inside:
        with pytest.raises(CaptureError, match=said):
            open_capture(inside[0])


def test_a_packed_folder(tmp_path: Path) -> None:
    write_scannet(tmp_path / "in" / "cap", shots())
    packed = shutil.make_archive(str(tmp_path / "cap"), "zip", tmp_path / "in")
    with pytest.raises(CaptureError, match=r"cap\.zip: found a ZIP file; .*Unpack it"):
        open_capture(packed)


def test_notes_of_macos_are_no_files_of_a_capture(tmp_path: Path) -> None:
    """A drive that is not Apple's gets ._NAME beside each NAME."""
    open3d = write_open3d(tmp_path / "open3d")
    (open3d / "._camera_trajectory.json").write_bytes(b"\0\5\x16\7")
    assert len(open_capture(open3d).frames) == 3
    cloud = write_scannet(tmp_path / "scene0000_00", shots())
    (cloud / "._scene0000_00_vh_clean_2.ply").write_bytes(b"\0\5\x16\7")
    assert open_capture(cloud).points is None


def test_a_long_trajectory_of_arkitscenes(tmp_path: Path) -> None:
    folder = arkitscenes(tmp_path / "a")
    file = folder / "lowres_wide.traj"
    line = "{:.6f} 0.123456789 -0.123456789 0.123456789 1.123456789 -2.123456789 3.123456789"
    lines = [line.format(9000 + number / 10) for number in range(20_000)]
    file.write_text(file.read_text().rstrip() + "\n" + "\n".join(lines))
    assert file.stat().st_size > 1_500_000
    assert len(open_capture(folder).frames) == 12


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_trajectories_saved_on_windows(tmp_path: Path, encoding: str) -> None:
    for name, file in (("replica", "traj.txt"), ("redwood", "trajectory.log")):
        folder = WRITERS[name](tmp_path / encoding / name)
        lines = (folder / file).read_text().splitlines()
        (folder / file).write_bytes("\r\n".join(lines).encode(encoding))
        assert len(open_capture(folder, intrinsics=GIVEN).frames) == 3


def test_reasons_are_grouped(tmp_path: Path) -> None:
    """Three names of each reason, four reasons; the number in a file's name makes no other reason."""
    dropped = Dropped(tmp_path)
    for number in range(5):
        dropped.refuse(
            str(number), f"{tmp_path}/pose/{number}.txt: found a pose of zeros; expected another. Do"
        )
    dropped.lacks("7", "no depth image")
    for number in range(4):
        dropped.lacks(str(20 + number), f"reason {chr(97 + number)}")
    said = (
        f"{tmp_path}: 10 frames are left out: pose/*.txt: found a pose of zeros (0, 1, 2 and 2 more); "
        "no depth image (7); reason a (20); reason b (21); and 2 more"
    )
    with pytest.warns(PurifyWarning, match=f"^{re.escape(said)}$"):
        dropped.settle(5)
    with pytest.raises(
        CaptureError, match=r"5 of 9 frames cannot be used; 0: .*0\.txt: .*expected another\. Do$"
    ):
        dropped.settle(4)
    lost = Dropped(tmp_path)
    assert lost.attempt("0", lambda: None) is None
    lost.settle(1)
    with pytest.raises(CaptureError, match="no usable frame: 1 have a pose that is not finite; expected"):
        lost.settle(0)

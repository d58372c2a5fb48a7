"""Captures of phones: the files as the apps write them, and the metres, pixels and poses they stand for."""

import io
import json
import pickle
import re
import shlex
import tomllib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import av
import click
import lzfse
import numpy as np
import OpenEXR
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.captures import FORMATS, open_capture
from purify3d.captures.formats import record3d
from purify3d.captures.reading import video
from purify3d.captures.reading.lzfse import unpack
from purify3d.cli import program
from purify3d.types import Frame, Scene

#: Colour and depth of one camera; intrinsics of colour count from the image's corner, as ARKit's do.
SIZE, DEPTH_SIZE = (64, 48), (16, 12)
FX, FY, CX, CY = 50.0, 51.0, 33.0, 23.0
#: x right, y up, z back in place of x right, y down, z forward.
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
COUNT = 12


@dataclass
class Shot:
    """A frame as it should be read: `pose` has OpenCV axes in a world that is y-up."""

    color: np.ndarray
    mm: np.ndarray
    confidence: np.ndarray
    pose: np.ndarray

    @property
    def metres(self) -> np.ndarray:
        return np.where(self.confidence > 0, self.mm, 0) / 1000


def shots(size: tuple[int, int] = SIZE, depth: tuple[int, int] = DEPTH_SIZE) -> list[Shot]:
    """Smooth colours, which survive JPEG and video; a phone that turns and walks."""
    rng = np.random.default_rng(3)
    found = []
    for i in range(COUNT):
        v, u = np.mgrid[: size[1], : size[0]]
        color = np.stack([u * 3, v * 4, np.full_like(u, 20 * i)], axis=-1).astype(np.uint8)
        arkit = np.eye(4)  # looks along -z with y up
        arkit[:3, :3] = Rotation.from_euler("yx", [15 * i, -10], degrees=True).as_matrix()
        arkit[:3, 3] = (0.1 * i, 1.4, -0.2 * i)
        found.append(
            Shot(
                color,
                rng.integers(300, 5000, depth[::-1]).astype(np.uint16),
                rng.integers(0, 3, depth[::-1]).astype(np.uint8),
                arkit @ FLIP,
            )
        )
    return found


def save(folder: Path, name: str, array: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(folder / name, quality=95)
    return folder / name


def check(scene: Scene, expected: list[Shot], tolerance: float, up: str = "y") -> None:
    """The same metres, pixels and poses, and cameras that see the same rays."""
    assert len(scene.frames) == len(expected)
    assert scene.up.tolist() == ([0, 1, 0] if up == "y" else [0, 0, 1])
    assert len({frame.name for frame in scene.frames}) == len(expected)
    for frame, shot in zip(pickle.loads(pickle.dumps(scene.frames)), expected, strict=True):
        np.testing.assert_allclose(frame.world_from_camera, shot.pose, atol=1e-6)
        assert frame.world_from_camera.dtype == np.float64
        color, depth = frame.color(), frame.depth()
        assert color.dtype == np.uint8
        assert color.shape == shot.color.shape
        assert np.abs(color.astype(int) - shot.color).mean() <= tolerance
        assert depth.dtype == np.float32
        np.testing.assert_allclose(depth, shot.metres, atol=1e-6)
        assert all(file.is_file() for file in frame.files)
        assert frame.files


def check_cameras(frame: Frame) -> None:
    camera, depth = frame.camera, frame.depth_camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (FX, FY, 32.5, 22.5)
    assert (camera.width, camera.height) == SIZE
    # A quarter of the size: 33 pixels from the corner are 8.25, which is pixel centre 7.75.
    assert (depth.fx, depth.fy, depth.cx, depth.cy) == (12.5, 12.75, 7.75, 5.25)
    assert (depth.width, depth.height) == DEPTH_SIZE


# Polycam -------------------------------------------------------------------------------------------


def polycam(folder: Path, corrected: bool = True) -> Path:
    """What "raw data" of Polycam unpacks to; JSON keys by its data format."""
    prefix, keyframes = "corrected_" if corrected else "", folder / "keyframes"
    (keyframes / f"{prefix}cameras").mkdir(parents=True)
    for i, shot in enumerate(shots()):
        stamp = str(99_999_999_999 + 500_000 * i)  # one digit more from the second on
        save(keyframes / f"{prefix}images", f"{stamp}.jpg", shot.color)
        save(keyframes / "depth", f"{stamp}.png", shot.mm)
        save(keyframes / "confidence", f"{stamp}.png", np.array([0, 127, 255], np.uint8)[shot.confidence])
        rows = (shot.pose @ FLIP)[:3]
        camera = {f"t_{row}{column}": rows[row, column] for row in range(3) for column in range(4)}
        camera |= {"fx": 2 * FX, "fy": 2 * FY, "cx": 2 * CX, "cy": 2 * CY, "width": 128, "height": 96}
        camera |= {"blur_score": 115.28, "timestamp": int(stamp)}
        (keyframes / f"{prefix}cameras" / f"{stamp}.json").write_text(json.dumps(camera))
    return folder


def test_polycam(tmp_path: Path) -> None:
    """Its intrinsics are of an image of twice the size."""
    scene = open_capture(polycam(tmp_path / "room"))
    check(scene, shots(), tolerance=3)
    check_cameras(scene.frames[0])
    assert scene.name == "room"
    check(open_capture(tmp_path / "room" / "keyframes"), shots(), tolerance=3)


def test_polycam_prefers_what_was_corrected(tmp_path: Path) -> None:
    folder = polycam(tmp_path / "room", corrected=False)
    with pytest.warns(PurifyWarning, match="found no corrected_images"):
        check(open_capture(folder), shots(), tolerance=3)
    for what in ("images", "cameras"):
        for file in (folder / "keyframes" / what).iterdir():
            file.write_bytes(b"")
    polycam(tmp_path / "again")
    for what in ("corrected_images", "corrected_cameras"):
        (tmp_path / "again" / "keyframes" / what).rename(folder / "keyframes" / what)
    check(open_capture(folder), shots(), tolerance=3)


# ARKitScenes ---------------------------------------------------------------------------------------

#: The world of ARKitScenes is z-up.
Z_UP = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])


def arkitscenes(folder: Path, confidence: bool = True) -> Path:
    """A video of the raw data set; times as they are rounded there, images between poses."""
    lines = []
    (folder / "lowres_wide_intrinsics").mkdir(parents=True)
    for i, shot in enumerate(shots()):
        at = 4380.137 + 0.1 * i
        camera_from_world = np.linalg.inv(Z_UP @ shot.pose)
        turn = Rotation.from_matrix(camera_from_world[:3, :3]).as_rotvec()
        lines.append(" ".join(f"{x:.9f}" for x in (at + 0.0021, *turn, *camera_from_world[:3, 3])))
        save(folder / "lowres_wide", f"47333462_{at:.3f}.png", shot.color)
        save(folder / "lowres_wide", f"47333462_{at + 0.05:.3f}.png", shot.color)
        save(folder / "lowres_depth", f"47333462_{at:.3f}.png", shot.mm)
        if confidence:
            save(folder / "confidence", f"47333462_{at:.3f}.png", shot.confidence)
        file = folder / "lowres_wide_intrinsics" / f"47333462_{at + 0.001 * (-1) ** i:.3f}.pincam"
        file.write_text(f"{SIZE[0]} {SIZE[1]} {FX} {FY} {CX} {CY}")
    (folder / "lowres_wide.traj").write_text("\n".join(lines) + "\n")
    return folder


def z_up() -> list[Shot]:
    return [Shot(shot.color, shot.mm, shot.confidence, Z_UP @ shot.pose) for shot in shots()]


def test_arkitscenes(tmp_path: Path) -> None:
    scene = open_capture(arkitscenes(tmp_path / "47333462"))
    check(scene, z_up(), tolerance=0, up="z")
    check_cameras(scene.frames[0])
    assert scene.frames[1].name == "47333462_4380.237"


def test_arkitscenes_3dod_keeps_all_in_a_folder(tmp_path: Path) -> None:
    """It has no confidence: all depth is used."""
    arkitscenes(tmp_path / "47333462" / "47333462_frames", confidence=False)
    scene = open_capture(tmp_path / "47333462")
    for frame, shot in zip(scene.frames, shots(), strict=True):
        np.testing.assert_allclose(frame.depth(), shot.mm / 1000, atol=1e-6)


# Stray Scanner -------------------------------------------------------------------------------------


def movie(path: Path, images: list[np.ndarray], gop: int = 5, codec: str = "libx264") -> None:
    """H.264 or HEVC with B-frames and keyframes every `gop` frames."""
    with av.open(str(path), "w") as container:
        params = f"bframes=2:keyint={gop}:min-keyint={gop}:log-level=none"
        options = {"crf": "10", f"{codec[3:]}-params": params}
        stream: Any = container.add_stream(codec, rate=30, options=options)
        height, width = images[0].shape[:2]
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        stream.codec_context.gop_size = gop
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def stray(folder: Path, header: bool = True, npy: bool = False, gop: int = 5) -> Path:
    """A recording by the app's description of its format."""
    lines = ["timestamp, frame, x, y, z, qx, qy, qz, qw"] if header else []
    for i, shot in enumerate(shots()):
        save(folder / "confidence", f"{i:06d}.png", shot.confidence)
        if npy:
            (folder / "depth").mkdir(exist_ok=True)
            np.save(folder / "depth" / f"{i:06d}.npy", shot.mm)
        else:
            save(folder / "depth", f"{i:06d}.png", shot.mm)
        numbers = [*shot.pose[:3, 3], *Rotation.from_matrix(shot.pose[:3, :3]).as_quat()]
        lines.append(", ".join([f"{5000 + i / 60}", f"{i:06d}"] * header + [f"{x:.9f}" for x in numbers]))
    (folder / "odometry.csv").write_text("\n".join(lines))
    (folder / "camera_matrix.csv").write_text(f"{FX}, 0.0, {CX}\n0.0, {FY}, {CY}\n0.0, 0.0, 1.0")
    (folder / "imu.csv").write_text("timestamp, a_x, a_y, a_z, alpha_x, alpha_y, alpha_z\n")
    movie(folder / "rgb.mp4", [shot.color for shot in shots()], gop)
    return folder


@pytest.mark.parametrize(("header", "npy"), [(True, False), (False, True)])
def test_stray_scanner(tmp_path: Path, header: bool, npy: bool) -> None:
    """Early versions wrote depth as NPY and poses without a header."""
    scene = open_capture(stray(tmp_path / "71de12f9", header, npy))
    check(scene, shots(), tolerance=5)
    check_cameras(scene.frames[0])


def test_stray_scanner_with_intrinsics_of_each_frame(tmp_path: Path) -> None:
    folder = stray(tmp_path / "a")
    lines = (folder / "odometry.csv").read_text().splitlines()
    rows = [f"{line}, {60 + i}, 61, 30, 20" for i, line in enumerate(lines[1:])]
    lines = [f"{lines[0]}, fx, fy, cx, cy", *rows]
    (folder / "odometry.csv").write_text("\n".join(lines))
    cameras = [frame.camera for frame in open_capture(folder).frames]
    assert [camera.fx for camera in cameras] == [60 + i for i in range(COUNT)]
    assert {(camera.fy, camera.cx, camera.cy) for camera in cameras} == {(61, 29.5, 19.5)}


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("gop", [1, 5, 250])
def test_frames_of_a_video_come_in_any_order(tmp_path: Path, gop: int, codec: str) -> None:
    """The app writes HEVC, which may put frames that are shown earlier after a keyframe."""
    folder = tmp_path
    movie(folder / "rgb.mp4", [shot.color for shot in shots()], gop, codec)
    assert len(video.read_index(folder / "rgb.mp4").keys) == {1: 12, 5: 3, 250: 1}[gop]
    for number in [11, 0, 5, 4, 6, 7, 10, 3, 3, 8, 1, 2, 9, *range(COUNT)]:
        assert np.abs(video.read_frame(folder / "rgb.mp4", number)[..., 2].mean() - 20 * number) < 3
    with pytest.raises(CaptureError, match="found 12 frames; expected one with number 12"):
        video.read_frame(folder / "rgb.mp4", 12)


def test_a_video_is_decoded_once_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = open_capture(stray(tmp_path / "a")).frames
    opened = Mock(side_effect=av.open)
    monkeypatch.setattr(av, "open", opened)
    for frame in frames:
        frame.color()
    assert opened.call_count == 1


def test_odometry_shorter_than_the_video(tmp_path: Path) -> None:
    folder = stray(tmp_path / "a")
    lines = (folder / "odometry.csv").read_text().splitlines()
    (folder / "odometry.csv").write_text("\n".join(lines[:9]))
    with pytest.warns(
        PurifyWarning, match="4 of its 12 frames are left out, odometry.csv has no pose for them"
    ):
        scene = open_capture(folder)
    check(scene, shots()[:8], tolerance=5)


def test_odometry_longer_than_the_video(tmp_path: Path) -> None:
    folder = stray(tmp_path / "a")
    movie(folder / "rgb.mp4", [shot.color for shot in shots()[:10]])
    lines = (folder / "odometry.csv").read_text().splitlines()
    (folder / "odometry.csv").write_text("\n".join([*lines[:-1], lines[-1][:30]]))
    with pytest.warns(
        PurifyWarning, match=r"2 frames are left out: rgb.mp4 has only 10 frames \(000010, 000011\)"
    ):
        scene = open_capture(folder)
    check(scene, shots()[:10], tolerance=5)


def test_a_cut_off_row_and_a_row_that_was_removed(tmp_path: Path) -> None:
    folder = stray(tmp_path / "a")
    lines = (folder / "odometry.csv").read_text().splitlines()
    (folder / "odometry.csv").write_text("\n".join([*lines[:4], *lines[5:-1], lines[-1][:40]]))
    with pytest.warns(PurifyWarning) as caught:
        scene = open_capture(folder)
    said = " ".join(str(warning.message) for warning in caught)
    assert "1 of its 12 frames are left out" in said
    assert "1 frame is left out: found no 'qx' (000011)" in said
    check(scene, [*shots()[:3], *shots()[4:11]], tolerance=5)


def test_frame_numbers_that_go_on_from_an_earlier_recording(tmp_path: Path) -> None:
    """The video begins with the first row; depth images have the numbers of the rows."""
    folder = stray(tmp_path / "a")
    lines = (folder / "odometry.csv").read_text().splitlines()
    rows = [line.replace(f", {i:06d},", f", {i + 500:06d},") for i, line in enumerate(lines[1:])]
    (folder / "odometry.csv").write_text("\n".join([lines[0], *rows]))
    for kind in ("depth", "confidence"):
        for file in find(folder, f"{kind}/"):
            file.rename(file.with_name(f"{int(file.stem) + 500:06d}.png"))
    scene = open_capture(folder)
    check(scene, shots(), tolerance=5)
    assert scene.frames[0].name == "000500"


def test_video_that_is_missing_or_broken(tmp_path: Path) -> None:
    folder = stray(tmp_path / "a")
    whole = (folder / "rgb.mp4").read_bytes()
    for content in (b"", b"no video at all", whole[: len(whole) // 2]):
        (folder / "rgb.mp4").write_bytes(content)
        with pytest.raises(CaptureError, match=r"rgb\.mp4: .*expected a whole video"):
            open_capture(folder)
    (folder / "rgb.mp4").unlink()
    with pytest.raises(CaptureError, match=r"missing are rgb\.mp4"):
        open_capture(folder)


def test_a_damaged_frame_of_a_video_is_named(tmp_path: Path) -> None:
    folder = stray(tmp_path / "a")
    frames = open_capture(folder).frames
    content = bytearray((folder / "rgb.mp4").read_bytes())
    start = content.index(b"mdat") + 1000
    content[start : start + len(content) // 3] = bytes(len(content) // 3)
    (folder / "rgb.mp4").write_bytes(bytes(content))
    for frame in frames:
        try:
            assert frame.color().shape == (48, 64, 3)
        except CaptureError as error:
            assert "rgb.mp4" in str(error)  # noqa: PT017


# Record3D ------------------------------------------------------------------------------------------

#: Record3D turns frames upright: portrait images, and poses of a phone that is held so.
TALL, DEPTH_TALL = (48, 64), (12, 16)


def metadata(**changed: Any) -> str:
    """JSON of w, h, K column by column, and poses as qx qy qz qw tx ty tz with ARKit's axes."""
    keys: dict[str, Any] = {"w": 48, "h": 64, "dw": 12, "dh": 16, "fps": 60}
    keys["K"] = [FX, 0, 0, 0, FY, 0, CX - 8, CY + 8, 1]
    keys["initPose"] = [0, 0, 0, 1, 0, 0, 0]
    stored = [shot.pose @ FLIP for shot in tall()]
    keys["poses"] = [[*Rotation.from_matrix(p[:3, :3]).as_quat(), *p[:3, 3]] for p in stored]
    return json.dumps({key: value for key, value in {**keys, **changed}.items() if value is not None})


def tall() -> list[Shot]:
    return shots(TALL, DEPTH_TALL)


def r3d_parts(conf: bool = True, **changed: Any) -> dict[str, bytes]:
    """Members of a .r3d file by name."""
    parts = {"metadata": metadata(**changed).encode(), "icon": b"", "sound.m4a": b""}
    for i, shot in enumerate(tall()):
        buffer = io.BytesIO()
        Image.fromarray(shot.color).save(buffer, "jpeg", quality=95)
        parts[f"rgbd/{i}.jpg"] = buffer.getvalue()
        parts[f"rgbd/{i}.depth"] = lzfse.compress((shot.mm / 1000).astype("<f4").tobytes())
        if conf:
            parts[f"rgbd/{i}.conf"] = lzfse.compress(shot.confidence.tobytes())
    return parts


@pytest.mark.parametrize("given", [True, False])
def test_depth_that_grows_is_not_unpacked(given: bool, tmp_path: Path) -> None:
    """A member of some kB that would become 400 MB; by the headers of each block, before memory is taken."""
    parts = r3d_parts() if given else r3d_parts(dw=None, dh=None)
    parts["rgbd/0.depth"] = parts["rgbd/1.depth"] = parts["rgbd/2.depth"] = lzfse.compress(bytes(40_000_000))
    path = zipped(tmp_path / "a.r3d", parts)
    with pytest.raises(CaptureError, match="found 40000000 bytes of pixels; expected at most"):
        [frame.depth() for frame in record3d.read(path).frames]


@pytest.mark.parametrize("size", [1, 7, 100, 5000, 200_000])
def test_sizes_of_packed_data_are_those_of_their_headers(size: int) -> None:
    rng = np.random.default_rng(size)
    for data in (bytes(size), rng.bytes(size), b"abc" * size, np.cumsum(rng.normal(size=size)).tobytes()):
        packed = lzfse.compress(data)
        assert unpack(packed, "a", len(data)) == data
        with pytest.raises(CaptureError, match="is no whole LZFSE data"):
            unpack(packed, "a", len(data) - 1)


@pytest.mark.parametrize(
    "data", [b"", b"bvx", b"bvx-", b"bvx2" + bytes(28), b"bvxn\xff\xff\xff\x7f", bytes(64)]
)
def test_what_is_no_packed_data(data: bytes) -> None:
    with pytest.raises(CaptureError, match="is no whole LZFSE data"):
        unpack(data, "a", 1e9)


def exr_parts(folder: Path, prefix: str = "EXR_RGBD/", above: bool = False) -> dict[str, bytes]:
    """Members of the export as EXR + JPG, which has no confidence."""
    parts = {("" if above else prefix) + "metadata.json": metadata(dw=None, dh=None).encode()}
    folder.mkdir(parents=True, exist_ok=True)
    for i, shot in enumerate(tall()):
        buffer = io.BytesIO()
        Image.fromarray(shot.color).save(buffer, "jpeg", quality=95)
        parts[f"{prefix}rgb/{i}.jpg"] = buffer.getvalue()
        header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
        OpenEXR.File(header, {"R": shot.metres.astype(np.float32)}).write(str(folder / "one.exr"))
        parts[f"{prefix}depth/{i}.exr"] = (folder / "one.exr").read_bytes()
    return parts


def zipped(path: Path, parts: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def unzipped(folder: Path, parts: dict[str, bytes]) -> Path:
    for name, content in parts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_record3d(tmp_path: Path) -> None:
    scene = open_capture(zipped(tmp_path / "2026-03-01.r3d", r3d_parts()))
    check(scene, tall(), tolerance=3)
    assert (scene.name, scene.frames[10].name) == ("2026-03-01", "10")
    camera, depth = scene.frames[0].camera, scene.frames[0].depth_camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (FX, FY, 24.5, 30.5)
    assert (depth.fx, depth.fy, depth.cx, depth.cy) == (12.5, 12.75, 5.75, 7.25)
    assert (depth.width, depth.height) == DEPTH_TALL
    check(open_capture(unzipped(tmp_path / "folder", r3d_parts())), tall(), tolerance=3)
    within = {f"2026-03-01/{name}": content for name, content in r3d_parts().items()}
    check(open_capture(zipped(tmp_path / "again.zip", within)), tall(), tolerance=3)


def test_record3d_of_an_early_version(tmp_path: Path) -> None:
    """No size of depth, images smaller than w and h, and no confidence: all depth is used."""
    parts = r3d_parts(conf=False, dw=None, dh=None, w=96, h=128, K=[100, 0, 0, 0, 102, 0, 50, 62, 1])
    scene = open_capture(zipped(tmp_path / "a.r3d", parts))
    camera = scene.frames[0].camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (50, 51, 24.5, 30.5)
    for frame, shot in zip(scene.frames, tall(), strict=True):
        np.testing.assert_allclose(frame.depth(), shot.mm / 1000, atol=1e-6)


def test_record3d_with_intrinsics_of_each_frame(tmp_path: Path) -> None:
    each = [[60 + i, 61, 24, 32] for i in range(COUNT)]
    frames = open_capture(zipped(tmp_path / "a.r3d", r3d_parts(perFrameIntrinsicCoeffs=each))).frames
    assert [frame.camera.fx for frame in frames] == [60 + i for i in range(COUNT)]
    assert {(frame.camera.fy, frame.camera.cx, frame.camera.cy) for frame in frames} == {(61, 23.5, 31.5)}
    frames = open_capture(tmp_path / "a.r3d", intrinsics=(70, 71, 25, 33)).frames
    assert {(f.camera.fx, f.camera.fy, f.camera.cx, f.camera.cy) for f in frames} == {(70, 71, 25, 33)}


@pytest.mark.parametrize("above", [False, True])
def test_record3d_exported_as_exr_and_jpg(tmp_path: Path, above: bool) -> None:
    parts = exr_parts(tmp_path / "exr", above=above)
    check(open_capture(unzipped(tmp_path / "a", parts)), tall(), tolerance=3)
    check(open_capture(zipped(tmp_path / "a.zip", parts)), tall(), tolerance=3)
    if not above:
        check(open_capture(tmp_path / "a" / "EXR_RGBD"), tall(), tolerance=3)
    parts = exr_parts(tmp_path / "exr", prefix="")
    check(open_capture(unzipped(tmp_path / "b", parts)), tall(), tolerance=3)


def test_record3d_files_that_are_cut_off(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "a.r3d", r3d_parts()).read_bytes()
    for content in (b"", b"no zip", whole[: len(whole) // 2], whole[:-4]):
        (tmp_path / "b.r3d").write_bytes(content)
        with pytest.raises(CaptureError, match=r"b\.r3d: is no whole ZIP file"):
            open_capture(tmp_path / "b.r3d")
    with pytest.raises(CaptureError, match=r"expected a \.r3d file"):
        open_capture(zipped(tmp_path / "c.r3d", {"metadata": b"{}"}))


@pytest.mark.parametrize("key", ["w", "h", "K", "poses"])
def test_record3d_metadata_that_lack_a_key(tmp_path: Path, key: str) -> None:
    path = zipped(tmp_path / "a.r3d", r3d_parts(True, **{key: None}))
    with pytest.raises(CaptureError, match=rf"metadata in .*a\.r3d: .*{key}"):
        open_capture(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe{", b"null"])
def test_record3d_metadata_that_are_no_object(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(CaptureError, match=r"metadata in .*a\.r3d"):
        open_capture(zipped(tmp_path / "a.r3d", {**r3d_parts(), "metadata": content}))


def test_record3d_frames_that_cannot_be_used(tmp_path: Path) -> None:
    poses = json.loads(metadata())["poses"]
    poses[0][0], poses[1], poses[2] = float("nan"), poses[1][:6], [0, 0, 0, 3, 0, 0, 0]
    parts = r3d_parts(poses=[*poses, poses[5]])
    for name in ("rgbd/3.jpg", "rgbd/4.depth", "rgbd/6.conf"):
        del parts[name]
    with pytest.warns(PurifyWarning) as caught:
        scene = open_capture(zipped(tmp_path / "a.r3d", parts))
    said = " ".join(str(warning.message) for warning in caught)
    assert "1 frames have no confidence image (6)" in said
    assert "5 frames are left out: " in said
    assert "found 6 numbers" in said
    assert "quaternion of length 3" in said
    assert [frame.name for frame in scene.frames] == ["5", "6", "7", "8", "9", "10", "11"]
    assert scene.skipped == 1
    np.testing.assert_allclose(scene.frames[0].depth(), tall()[5].metres, atol=1e-6)


def test_record3d_depth_that_cannot_be_read(tmp_path: Path) -> None:
    parts = r3d_parts()
    bytes_ = np.ones((16, 12), "<f4").tobytes()
    bad = [lzfse.compress(bytes_[:-4]), b"", b"no lzfse", lzfse.compress(bytes_)[:-6], bytes_]
    for i, content in enumerate(bad):
        parts[f"rgbd/{i}.depth"] = content
    parts["rgbd/5.conf"] = lzfse.compress(bytes(7))
    frames = open_capture(zipped(tmp_path / "a.r3d", parts)).frames
    with pytest.raises(CaptureError, match=r"rgbd/0\.depth in .*: found 764 bytes; expected 768 of 12x16"):
        frames[0].depth()
    for i in range(1, len(bad)):
        with pytest.raises(CaptureError, match=rf"rgbd/{i}\.depth in .*is no whole LZFSE data"):
            frames[i].depth()
    with pytest.raises(CaptureError, match=r"rgbd/5\.conf in .*: found 7 bytes; expected 192"):
        frames[5].depth()


def test_record3d_images_that_cannot_be_read(tmp_path: Path) -> None:
    parts = r3d_parts()
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9)).save(buffer, "jpeg")
    parts |= {"rgbd/1.jpg": b"none", "rgbd/2.jpg": parts["rgbd/2.jpg"][:300], "rgbd/3.jpg": buffer.getvalue()}
    frames = open_capture(zipped(tmp_path / "a.r3d", parts)).frames
    for i, match in ((1, "is damaged"), (2, "is damaged"), (3, "found a colour image of 9x9 pixels")):
        with pytest.raises(CaptureError, match=rf"rgbd/{i}\.jpg in .*{match}"):
            frames[i].color()
    whole = bytearray((tmp_path / "a.r3d").read_bytes())
    at = whole.index(parts["rgbd/4.jpg"])
    whole[at + 100] ^= 255
    (tmp_path / "a.r3d").write_bytes(bytes(whole))
    with pytest.raises(CaptureError, match=r"rgbd/4\.jpg in .*is damaged"):
        frames[4].color()


def test_record3d_of_the_front_camera_has_no_poses(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="LiDAR"):
        open_capture(zipped(tmp_path / "a.r3d", r3d_parts(poses=[])))


# What all share ------------------------------------------------------------------------------------

MAKERS: dict[str, Callable[[Path], Path]] = {"polycam": polycam, "arkitscenes": arkitscenes, "stray": stray}


def find(folder: Path, part: str) -> list[Path]:
    """Files in order of time."""
    files = (file for file in folder.rglob("*") if file.is_file())
    found = [file for file in files if part in str(file.relative_to(folder))]
    return sorted(found, key=lambda file: (len(file.name), file.name))


@pytest.mark.parametrize("format_", MAKERS)
def test_intrinsics_by_hand_win(tmp_path: Path, format_: str) -> None:
    scene = open_capture(MAKERS[format_](tmp_path / "a"), intrinsics=(55, 56, 31, 22))
    camera, depth = scene.frames[0].camera, scene.frames[0].depth_camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (55, 56, 31, 22)
    assert (depth.fx, depth.cx) == (55 / 4, 31.5 / 4 - 0.5)


@pytest.mark.parametrize("format_", MAKERS)
def test_a_missing_depth_image_costs_one_frame(tmp_path: Path, format_: str) -> None:
    folder = MAKERS[format_](tmp_path / "a")
    find(folder, "depth/")[2].unlink()
    with pytest.warns(PurifyWarning, match="1 frame is left out: .*depth"):
        assert len(open_capture(folder).frames) == COUNT - 1


@pytest.mark.parametrize("format_", MAKERS)
def test_a_missing_confidence_image_is_said(tmp_path: Path, format_: str) -> None:
    folder = MAKERS[format_](tmp_path / "a")
    find(folder, "confidence/")[2].unlink()
    with pytest.warns(PurifyWarning, match="1 frames have no confidence image .*all of their depth is used"):
        frames = open_capture(folder).frames
    np.testing.assert_allclose(frames[2].depth(), shots()[2].mm / 1000, atol=1e-6)
    np.testing.assert_allclose(frames[3].depth(), shots()[3].metres, atol=1e-6)


@pytest.mark.parametrize("format_", MAKERS)
def test_depth_of_other_proportions_costs_its_frame(tmp_path: Path, format_: str) -> None:
    folder = MAKERS[format_](tmp_path / "a")
    file = find(folder, "depth/")[1]
    save(file.parent, file.name, np.ones((12, 12), np.uint16))
    with pytest.warns(PurifyWarning, match="depth image of 12x12 pixels for a camera of 64x48"):
        assert len(open_capture(folder).frames) == COUNT - 1


@pytest.mark.parametrize("format_", MAKERS)
def test_confidence_of_another_size_is_refused(tmp_path: Path, format_: str) -> None:
    folder = MAKERS[format_](tmp_path / "a")
    file = find(folder, "confidence/")[1]
    save(file.parent, file.name, np.ones((6, 8), np.uint8))
    with pytest.raises(CaptureError, match="confidence"):
        open_capture(folder).frames[1].depth()


def spoil_pose(folder: Path, format_: str, value: str) -> None:
    """The first number of the third frame's rotation."""
    if format_ == "polycam":
        file = find(folder, "cameras/")[2]
        file.write_text(json.dumps({**json.loads(file.read_text()), "t_00": float(value)}))
        return
    file = folder / ("odometry.csv" if format_ == "stray" else "lowres_wide.traj")
    separator, line, column = (", ", 3, 5) if format_ == "stray" else (" ", 2, 1)
    lines = file.read_text().splitlines()
    words = lines[line].split(separator)
    words[column] = value
    lines[line] = separator.join(words)
    file.write_text("\n".join(lines))


@pytest.mark.parametrize("format_", MAKERS)
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_pose_that_is_not_finite_is_skipped(tmp_path: Path, format_: str, value: str) -> None:
    folder = MAKERS[format_](tmp_path / "a")
    spoil_pose(folder, format_, value)
    scene = open_capture(folder)
    assert (len(scene.frames), scene.skipped) == (COUNT - 1, 1)


@pytest.mark.parametrize("format_", ["polycam", "stray"])
def test_a_pose_that_is_no_rotation_costs_its_frame(tmp_path: Path, format_: str) -> None:
    folder = MAKERS[format_](tmp_path / "a")
    spoil_pose(folder, format_, "7.5")
    with pytest.warns(PurifyWarning, match="1 frame is left out: .*(rotation|quaternion)"):
        assert len(open_capture(folder).frames) == COUNT - 1


def test_polycam_cameras_that_cannot_be_used(tmp_path: Path) -> None:
    folder = polycam(tmp_path / "a")
    first, second, *others = find(folder, "cameras/")
    keys = json.loads(first.read_text())
    del keys["fx"]
    first.write_text(json.dumps(keys))
    second.write_text('{"fx": 1')
    with pytest.warns(PurifyWarning, match="2 frames are left out: .*found no 'fx'.*is not JSON"):
        assert len(open_capture(folder).frames) == COUNT - 2
    for file in others:
        file.write_text("[1]")
    with pytest.raises(CaptureError, match=r"12 of 12 frames cannot be used; 9+: found no 'fx'"):
        open_capture(folder)


def test_intrinsics_of_another_size_are_said_once(tmp_path: Path) -> None:
    folder = stray(tmp_path / "a")
    (folder / "camera_matrix.csv").write_text("50, 0, 50\n0, 51, 37.5\n0, 0, 1")
    with pytest.warns(PurifyWarning, match="far from the middle of 64x48") as caught:
        open_capture(folder)
    assert len(caught) == 1


def test_polycam_without_depth_or_cameras_says_how_to_export(tmp_path: Path) -> None:
    (tmp_path / "keyframes" / "images").mkdir(parents=True)
    with pytest.raises(CaptureError, match="developer mode"):
        open_capture(tmp_path, reader="polycam")


def test_arkitscenes_that_lack_something(tmp_path: Path) -> None:
    folder = arkitscenes(tmp_path / "a")
    find(folder, ".pincam")[0].write_text("64 48 50 51 33")
    find(folder, ".pincam")[1].unlink()
    with pytest.warns(
        PurifyWarning, match=r"2 frames are left out: .*pincam: found other than 6.*no \.pincam"
    ):
        assert len(open_capture(folder).frames) == COUNT - 2
    text = (folder / "lowres_wide.traj").read_text()
    (folder / "lowres_wide.traj").write_text(text.replace("438", "538"))
    with pytest.raises(CaptureError, match="none within 5 ms"):
        open_capture(folder)
    (folder / "lowres_wide.traj").write_text("1 2 3\n")
    with pytest.raises(CaptureError, match="lines of 7 numbers"):
        open_capture(folder)
    (folder / "lowres_wide.traj").unlink()
    with pytest.raises(CaptureError, match=r"missing are lowres_wide\.traj"):
        open_capture(folder)
    save(folder / "lowres_wide", "picture.png", np.zeros((2, 2, 3), np.uint8))
    (folder / "lowres_wide.traj").write_text(text)
    with pytest.raises(CaptureError, match=r"picture\.png: expected a name of a video and seconds"):
        open_capture(folder)


def test_stray_tables_that_cannot_be_used(tmp_path: Path) -> None:
    folder = stray(tmp_path / "a")
    matrix, odometry = folder / "camera_matrix.csv", folder / "odometry.csv"
    whole = matrix.read_text()
    for text in ("", "1,2\n3", "50,0,0\n0,51,0\n33,23,1", "a,b,c"):
        matrix.write_text(text)
        with pytest.raises(CaptureError, match=r"camera_matrix\.csv: .*3"):
            open_capture(folder)
    matrix.write_text(whole)
    for text, match in (
        ("", "found columns none"),
        ("a,b\n1,2", "found columns a, b"),
        ("1,x" + ",0" * 7, "frame"),
    ):
        odometry.write_text(text)
        with pytest.raises(CaptureError, match=rf"odometry\.csv.*{match}"):
            open_capture(folder)


# The pages of the devices --------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["record3d", "polycam", "stray-scanner", "arkitscenes"])
def test_commands_of_the_pages_are_ones_that_exist(page: str) -> None:
    root = Path(__file__).resolve().parents[1]
    text = (root / "docs" / "devices" / f"{page}.md").read_text()
    (command,) = re.findall(r"^    purify3d (segment .*)$", text, re.MULTILINE)
    segment = program.commands["segment"]
    values, rest, _ = segment.make_parser(click.Context(segment)).parse_args(shlex.split(command)[1:])
    assert rest == []
    assert values["labels"]
    assert re.findall(r"`--reader (\w+)` names", text.replace("\n", " "))[0] in FORMATS
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (named,) = re.findall(r'pip install "purify3d\[([\w,]+)\]"', text)
    assert set(named.split(",")) <= set(extras)

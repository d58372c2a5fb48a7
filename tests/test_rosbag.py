"""ROS 2 bags, written by the library's own writer: what was sent comes back, and what bad bags say."""

import io
import pickle
import re
import struct
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.writer import zstd
from rosbags.typesys import Stores, get_typestore
from scipy.spatial.transform import Rotation

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.captures import FORMATS, open_capture
from purify3d.captures.formats import ros_bags, ros_images, rosbag
from purify3d.captures.formats.transforms import Transforms
from purify3d.types import Scene

STORE = get_typestore(Stores.ROS2_JAZZY)
WIDTH, HEIGHT = 16, 10
K = (20.0, 21.0, 7.25, 4.75)
START = 1_700_000_000 * 10**9
FRAME_NS = 100_000_000
COLOR, DEPTH = "/camera/color/image_raw", "/camera/aligned_depth_to_color/image_raw"
OPTICAL = "camera_color_optical_frame"
#: Optical axes (x right, y down, z forward) in a ROS body (x forward, y left, z up).
BODY_FROM_OPTICAL = Rotation.from_matrix([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])

_rng = np.random.default_rng(0)
COLORS = _rng.integers(0, 256, (3, HEIGHT, WIDTH, 3), dtype=np.uint8)
MM = _rng.integers(0, 6000, (3, HEIGHT, WIDTH)).astype(np.uint16)


def message(kind: str, **fields: Any) -> Any:
    return STORE.types[kind](**fields)


def stamp(ns: int) -> Any:
    return message("builtin_interfaces/msg/Time", sec=ns // 10**9, nanosec=ns % 10**9)


def header(ns: int, frame: str) -> Any:
    return message("std_msgs/msg/Header", stamp=stamp(ns), frame_id=frame)


def raw(
    ns: int, values: np.ndarray, encoding: str, frame: str = OPTICAL, *, big: bool = False, pad: int = 0
) -> Any:
    height, width = values.shape[:2]
    stored = values.astype(values.dtype.newbyteorder(">")) if big else values
    rows = np.frombuffer(stored.tobytes(), np.uint8).reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, pad)), constant_values=99)
    return message(
        "sensor_msgs/msg/Image",
        header=header(ns, frame),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=int(big),
        step=rows.shape[1],
        data=rows.ravel(),
    )


def png(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


def compressed(ns: int, form: str, data: bytes, frame: str = OPTICAL) -> Any:
    packed = np.frombuffer(data, np.uint8)
    return message("sensor_msgs/msg/CompressedImage", header=header(ns, frame), format=form, data=packed)


def info(frame: str = OPTICAL, **changes: Any) -> Any:
    fx, fy, cx, cy = K
    region = {"x_offset": 0, "y_offset": 0, "height": 0, "width": 0, "do_rectify": False}
    fields = {
        "header": header(START, frame),
        "height": HEIGHT,
        "width": WIDTH,
        "distortion_model": "plumb_bob",
        "d": np.zeros(5),
        "k": np.array([fx, 0, cx, 0, fy, cy, 0, 0, 1]),
        "r": np.eye(3).ravel(),
        "p": np.array([fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1, 0]),
        "binning_x": 0,
        "binning_y": 0,
        "roi": message("sensor_msgs/msg/RegionOfInterest", **region),
    }
    return message("sensor_msgs/msg/CameraInfo", **(fields | changes))


def transform(ns: int, parent: str, child: str, place: Any, turn: Rotation) -> Any:
    x, y, z, w = (float(value) for value in turn.as_quat())
    moved = dict(zip("xyz", map(float, place), strict=True))
    return message(
        "geometry_msgs/msg/TransformStamped",
        header=header(ns, parent),
        child_frame_id=child,
        transform=message(
            "geometry_msgs/msg/Transform",
            translation=message("geometry_msgs/msg/Vector3", **moved),
            rotation=message("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w),
        ),
    )


def tf(*transforms: Any) -> Any:
    return message("tf2_msgs/msg/TFMessage", transforms=list(transforms))


def at(i: int) -> int:
    return START + i * FRAME_NS


def body(share: float) -> tuple[np.ndarray, Rotation]:
    """Where the robot is after `share` of a tenth of a second: it drives and turns at constant speeds."""
    return np.array([0.5 * share, -0.2 * share, 0.0]), Rotation.from_euler("z", 20 * share, degrees=True)


def expected(i: int) -> np.ndarray:
    """map_from_optical of image i."""
    place, turn = body(i)
    pose = np.eye(4)
    pose[:3, :3] = (turn * BODY_FROM_OPTICAL).as_matrix()
    pose[:3, 3] = place + turn.apply([0.1, 0.05, 1.2]) + [3.0, 4.0, 0.0]
    return pose


Sent = list[tuple[str, int, Any]]


def recording() -> Sent:
    """(topic, when it was logged, message): images every 100 ms, transforms half way between them."""
    sent: Sent = [
        ("/tf_static", at(0), tf(transform(at(0), "base", OPTICAL, (0.1, 0.05, 1.2), BODY_FROM_OPTICAL))),
        ("/tf_static", at(0), tf(transform(at(0), "map", "odom", (3.0, 4.0, 0.0), Rotation.identity()))),
        ("/camera/color/camera_info", at(0), info()),
        ("/camera/aligned_depth_to_color/camera_info", at(0), info()),
    ]
    for i in range(-1, 4):
        ns = at(i) + FRAME_NS // 2
        sent.append(("/tf", ns, tf(transform(ns, "odom", "base", *body(i + 0.5)))))
    for i in range(3):
        sent.append((COLOR, at(i) + 9_000_000, raw(at(i), COLORS[i], "rgb8")))
        sent.append((DEPTH, at(i) + 8_000_000, raw(at(i) + 5_000_000, MM[i], "16UC1")))
    return sent


def write(path: Path, sent: Sent, *, mcap: bool = True, packed: bool = False) -> Path:
    plugin = StoragePlugin.MCAP if mcap else StoragePlugin.SQLITE3
    writer = Writer(path, version=9, storage_plugin=plugin)
    if packed:
        mode = CompressionMode.STORAGE if mcap else CompressionMode.MESSAGE
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        topics: dict[str, Any] = {}
        for topic, logged, one in sorted(sent, key=lambda entry: entry[1]):
            kind = one.__msgtype__
            if topic not in topics:
                topics[topic] = writer.add_connection(topic, kind, typestore=STORE)
            data = one.damaged if isinstance(one, Damaged) else STORE.serialize_cdr(one, kind)
            writer.write(topics[topic], logged, data)
    return path


class Damaged(SimpleNamespace):
    """A message of which only the first bytes were sent."""


def damaged(one: Any, size: int) -> Damaged:
    return Damaged(__msgtype__=one.__msgtype__, damaged=STORE.serialize_cdr(one, one.__msgtype__)[:size])


def check(scene: Scene, kept: tuple[int, ...] = (0, 1, 2)) -> None:
    assert [frame.name for frame in scene.frames] == [f"{at(i) // 10**9}.{at(i) % 10**9:09d}" for i in kept]
    np.testing.assert_allclose(scene.up, [0, 0, 1], atol=1e-9)
    for i, sent in zip(kept, scene.frames, strict=True):
        frame = pickle.loads(pickle.dumps(sent))
        for camera in (frame.camera, frame.depth_camera):
            assert (camera.fx, camera.fy, camera.cx, camera.cy) == K
            assert (camera.width, camera.height) == (WIDTH, HEIGHT)
        np.testing.assert_allclose(frame.world_from_camera, expected(i), atol=2e-3)
        np.testing.assert_array_equal(frame.color(), COLORS[i])
        depth = frame.depth()
        assert depth.dtype == np.float32
        np.testing.assert_allclose(depth, MM[i] / 1000, atol=1e-6)
        assert frame.files
        assert all(file.is_file() for file in frame.files)


@pytest.mark.parametrize("kind", ["chunk", "message", "file"])
def test_packed_data_that_grow(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few kB that would become gigabytes: chunks of .mcap, messages of .db3, whole recordings."""
    sent = recording()
    large = raw(at(9), COLORS[0], "rgb8")
    large.data = np.zeros(30_000_000, np.uint8)
    sent.append((COLOR, at(9), large))
    path = write(tmp_path / "bag", sent, mcap=kind == "chunk", packed=kind != "file")
    if kind == "file":
        (database,) = path.glob("*.db3")
        packed = path / f"{database.name}.zstd"
        packed.write_bytes(zstd.compress(database.read_bytes()))
        database.unlink()
        text = (path / "metadata.yaml").read_text().replace(database.name, packed.name)
        text = re.sub("compression_format: .*", "compression_format: zstd", text)
        (path / "metadata.yaml").write_text(re.sub("compression_mode: .*", "compression_mode: FILE", text))
    with pytest.warns(PurifyWarning, match="no depth image within 20 ms"):
        rosbag.read(path)  # within the limit
    ros_bags._open.key = None
    monkeypatch.setenv("PURIFY3D_UNPACKED_GB", "0.02")
    with pytest.raises(CaptureError, match=r"would take \d+ MB once unpacked|grows? more than 100 times"):
        rosbag.read(path)


def test_packed_data_that_say_less_than_they_have() -> None:
    data = zstd.compress(bytes(1000)) + zstd.compress(bytes(10))  # two frames are one message
    assert len(ros_bags._unpack(zstd.ZstdDecompressor, data, 1010)) == 1010
    for most, part in ((1009, data), (1010, data[:-3])):
        with pytest.raises(ValueError, match=r"more than the 1009 bytes|cut off"):
            ros_bags._unpack(zstd.ZstdDecompressor, part, most)


def test_an_endless_metadata(tmp_path: Path) -> None:
    path = write(tmp_path / "bag", recording())
    with (path / "metadata.yaml").open("a") as file:
        file.write("# a line\n" * 1_000_000)
    with pytest.raises(CaptureError, match=r"metadata\.yaml: found \d+ MB; expected at most 4 MB"):
        rosbag.read(path)


def replaced(sent: Sent, topic: str, change: Callable[[int, Any], tuple[str, Any] | None]) -> Sent:
    """The recording with each message of a topic sent as another one, or not at all."""
    result, count = [], 0
    for name, logged, one in sent:
        new: tuple[str, Any] | None = (name, one)
        if name == topic:
            new, count = change(count, one), count + 1
        if new is not None:
            result.append((new[0], logged, new[1]))
    return result


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("mcap", [False, True])
def test_what_was_sent_comes_back(tmp_path: Path, mcap: bool, packed: bool) -> None:
    bag = write(tmp_path / "drive", recording(), mcap=mcap, packed=packed)
    assert rosbag.recognises(bag)
    assert not rosbag.recognises(tmp_path)
    assert [key for key, module in FORMATS.items() if import_module(module).recognises(bag)] == ["ros"]
    scene = open_capture(bag)
    check(scene)
    half = open_capture(bag, depth_unit=0.0005).frames[0].depth()
    np.testing.assert_allclose(half, MM[0] / 2000, atol=1e-6)
    assert scene.name == "drive"


def test_one_file_will_do(tmp_path: Path) -> None:
    bag = write(tmp_path / "drive", recording())
    (bag / "metadata.yaml").unlink()
    (file,) = bag.iterdir()
    for path in (file, bag):
        assert rosbag.recognises(path)
        check(rosbag.read(path))


def test_images_are_read_in_threads(tmp_path: Path) -> None:
    scene = rosbag.read(write(tmp_path / "drive", recording()))
    wrong: list[int] = []

    def work() -> None:
        wrong.extend(i for i in (2, 0, 1) * 5 if not np.array_equal(scene.frames[i].color(), COLORS[i]))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


# ---- Pixels


@pytest.mark.parametrize(
    ("encoding", "values"),
    [
        ("bgr8", COLORS[..., ::-1]),
        ("rgba8", np.concatenate([COLORS, COLORS[..., :1]], axis=-1)),
        ("bgra8", np.concatenate([COLORS[..., ::-1], COLORS[..., :1]], axis=-1)),
    ],
)
def test_colour_encodings(tmp_path: Path, encoding: str, values: np.ndarray) -> None:
    sent = replaced(recording(), COLOR, lambda i, _: (COLOR, raw(at(i), values[i], encoding, pad=5)))
    check(rosbag.read(write(tmp_path / "drive", sent)))


def test_grey_images_become_colour() -> None:
    grey = COLORS[0, ..., 0]
    np.testing.assert_array_equal(ros_images.color(raw(0, grey, "mono8")), np.stack([grey] * 3, axis=-1))
    wide = grey.astype(np.uint16) * 256 + 77
    for big in (False, True):
        seen = ros_images.color(raw(0, wide, "mono16", big=big))
        np.testing.assert_array_equal(seen, np.stack([grey] * 3, axis=-1))


def test_depth_in_metres_and_in_either_byte_order(tmp_path: Path) -> None:
    metres = (MM / 1000).astype(np.float32)
    metres[MM == 0] = np.nan
    metres[0, 0, 0], metres[0, 0, 1] = np.inf, -1
    sent = replaced(
        recording(), DEPTH, lambda i, _: (DEPTH, raw(at(i), metres[i], "32FC1", big=i == 1, pad=i))
    )
    scene = rosbag.read(write(tmp_path / "drive", sent))
    for i, frame in enumerate(scene.frames):
        wanted = np.where(np.isfinite(metres[i]) & (metres[i] > 0), metres[i], 0)
        np.testing.assert_array_equal(frame.depth(), wanted)
    np.testing.assert_allclose(ros_images.depth(raw(0, MM[0], "16UC1", big=True)), MM[0] / 1000, atol=1e-6)


def test_compressed_topics(tmp_path: Path) -> None:
    sent = replaced(
        recording(),
        COLOR,
        lambda i, _: (f"{COLOR}/compressed", compressed(at(i), "rgb8; png compressed bgr8", png(COLORS[i]))),
    )
    head = struct.pack("<iff", 0, 0.0, 0.0)
    sent = replaced(
        sent,
        DEPTH,
        lambda i, _: (
            f"{DEPTH}/compressedDepth",
            compressed(at(i), "16UC1; compressedDepth png", head + png(MM[i])),
        ),
    )
    check(rosbag.read(write(tmp_path / "drive", sent)))


def test_compressed_depth_of_floats_is_inverse() -> None:
    a, b = 100.0 * 101.0, 1 - 100.0 * 101.0 / 10.0
    metres = np.array([[1.0, 2.5, 9.0, 0.0]])
    quantised = np.where(metres > 0, np.rint(a / np.maximum(metres, 0.1) + b), 0).astype(np.uint16)
    data = struct.pack("<iff", 0, a, b) + png(quantised)
    depth = ros_images.depth(compressed(0, "32FC1; compressedDepth", data))
    np.testing.assert_allclose(depth, metres, rtol=0.005)
    with pytest.raises(ValueError, match="without the header"):
        ros_images.depth(compressed(0, "32FC1; png compressed", data[12:]))


def test_jpeg_colour() -> None:
    plain = np.full((HEIGHT, WIDTH, 3), (200, 100, 50), np.uint8)
    file = io.BytesIO()
    Image.fromarray(plain).save(file, "JPEG", quality=95)
    seen = ros_images.color(compressed(0, "bgr8; jpeg compressed bgr8", file.getvalue()))
    assert np.abs(seen.astype(int) - plain).max() <= 4


@pytest.mark.parametrize("form", ["16UC1; compressedDepth rvl", "rgb8; jpeg compressed bgr8"])
def test_bytes_that_are_no_image(form: str) -> None:
    for data in (b"", b"x" * 40, png(MM[0])[:60]):
        with pytest.raises(ValueError, match="no whole jpeg or png"):
            ros_images.size(compressed(0, form, data))


# ---- Cameras


def edited(topic: str, **changes: Any) -> Sent:
    return replaced(
        recording(), f"{topic.rpartition('/')[0]}/camera_info", lambda *_: (_info(topic), info(**changes))
    )


def _info(topic: str) -> str:
    return f"{topic.rpartition('/')[0]}/camera_info"


@pytest.mark.parametrize("topic", [COLOR, DEPTH])
def test_plumb_bob_is_undone(tmp_path: Path, topic: str) -> None:
    k1, k2, p1, p2, k3 = bent = np.array([0.5, -0.3, 0.1, 0.15, 0.4])
    frame = rosbag.read(write(tmp_path / "drive", edited(topic, d=bent))).frames[0]
    moved = 0
    depth, color = frame.depth(), frame.color()
    if topic == DEPTH:
        np.testing.assert_array_equal(color, COLORS[0])
    else:
        np.testing.assert_allclose(depth, MM[0] / 1000, atol=1e-6)
        assert (color != COLORS[0]).any()
        return
    for row, column in np.ndindex(HEIGHT, WIDTH):
        x, y = (column - K[2]) / K[0], (row - K[3]) / K[1]
        r2 = x * x + y * y
        radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
        u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
        v = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
        seen = round(v * K[1] + K[3]), round(u * K[0] + K[2])
        inside = 0 <= seen[0] < HEIGHT and 0 <= seen[1] < WIDTH
        moved += seen != (row, column)
        assert depth[row, column] == pytest.approx(MM[0][seen] / 1000 if inside else 0, abs=1e-6)
    assert moved > 10


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"distortion_model": "equidistant", "d": np.zeros(4)}, "equidistant"),
        ({"distortion_model": "rational_polynomial", "d": np.full(8, 0.1)}, "rational_polynomial"),
        ({"distortion_model": "", "d": np.full(5, 0.1)}, "distortion model ''"),
        ({"d": np.array([np.nan, 0, 0, 0, 0])}, "finite"),
        ({"width": 2 * WIDTH}, "32x10 pixels"),
        ({"binning_x": 2}, "binned"),
        ({"k": np.zeros(9)}, "positive"),
        ({"k": np.full(9, np.nan)}, "positive|finite"),
    ],
)
def test_cameras_that_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(CaptureError, match=said):
        rosbag.read(write(tmp_path / "drive", edited(COLOR, **changes)))


def test_rectified_topics_have_the_intrinsics_of_p(tmp_path: Path) -> None:
    sent = replaced(recording(), COLOR, lambda i, one: ("/camera/color/image_rect_color", one))
    p = np.array([20.0, 0, 7.25, 0, 0, 21.0, 4.75, 0, 0, 0, 1, 0])
    k = np.array([30.0, 0, 7.0, 0, 30.0, 4.0, 0, 0, 1])
    bent = info(k=k, p=p, d=np.full(5, 0.1))
    sent = replaced(sent, "/camera/color/camera_info", lambda *_: ("/camera/color/camera_info", bent))
    check(rosbag.read(write(tmp_path / "drive", sent)))


def test_intrinsics_given_by_hand(tmp_path: Path) -> None:
    sent = recording()
    for topic in (COLOR, DEPTH):
        sent = replaced(sent, _info(topic), lambda *_: None)
    bag = write(tmp_path / "drive", sent)
    with pytest.raises(CaptureError, match=r"no /camera/color/camera_info.*--intrinsics"):
        rosbag.read(bag)
    check(rosbag.read(bag, intrinsics=K))


# ---- Which topic


def test_aligned_depth_is_preferred_and_ambiguous_topics_are_listed(tmp_path: Path) -> None:
    own = [("/camera/depth/image_rect_raw", at(0), raw(at(0), MM[1], "16UC1", "camera_depth_optical_frame"))]
    infrared = [("/camera/infra1/image_rect_raw", at(0), raw(at(0), COLORS[1, ..., 0], "mono8"))]
    packed = [(f"{COLOR}/compressed", at(0), compressed(at(0), "rgb8; png compressed bgr8", png(COLORS[1])))]
    check(rosbag.read(write(tmp_path / "drive", recording() + own + infrared + packed)))
    second = [("/other/image_raw", at(0), raw(at(0), COLORS[1], "rgb8"))]
    with pytest.raises(CaptureError, match=r"several topics that can be colour: .*/color/image_raw.*/other/"):
        rosbag.read(write(tmp_path / "two", recording() + second))


@pytest.mark.parametrize(("topic", "what"), [(COLOR, "colour"), (DEPTH, "depth")])
def test_a_topic_that_is_missing(tmp_path: Path, topic: str, what: str) -> None:
    sent = replaced(recording(), topic, lambda *_: None)
    with pytest.raises(CaptureError, match=f"no topic of {what} images among"):
        rosbag.read(write(tmp_path / "drive", sent))


def test_encodings_that_are_not_read_are_named(tmp_path: Path) -> None:
    values = np.zeros((HEIGHT, WIDTH, 2), np.uint8)
    sent = replaced(recording(), COLOR, lambda i, _: (COLOR, raw(at(i), values, "yuv422_yuy2")))
    with pytest.raises(CaptureError, match=r"no topic of colour.*image_raw \(yuv422_yuy2\).*rgb8"):
        rosbag.read(write(tmp_path / "drive", sent))


# ---- Poses


def other_depth_frame(*static: Any) -> Sent:
    sent = replaced(recording(), DEPTH, lambda i, _: (DEPTH, raw(at(i), MM[i], "16UC1", "depth_frame")))
    return [*sent, *(("/tf_static", at(0), tf(one)) for one in static)]


def test_depth_of_another_frame_at_the_same_pose(tmp_path: Path) -> None:
    same = transform(0, OPTICAL, "depth_frame", (0, 0, 0.0005), Rotation.identity())
    check(rosbag.read(write(tmp_path / "drive", other_depth_frame(same))))


@pytest.mark.parametrize(
    ("place", "turn", "said"),
    [
        ((0.015, 0, 0), 0.0, "15.0 mm and 0.00 degrees apart.*align_depth"),
        ((0, 0, 0), 0.5, "0.0 mm and 0.50 degrees apart.*align_depth"),
        (None, 0.0, "unknown apart.*align_depth"),
    ],
)
def test_depth_of_another_camera_is_refused(tmp_path: Path, place: Any, turn: float, said: str) -> None:
    about = Rotation.from_euler("y", turn, degrees=True)
    static = [] if place is None else [transform(0, OPTICAL, "depth_frame", place, about)]
    with pytest.raises(CaptureError, match=said):
        rosbag.read(write(tmp_path / "drive", other_depth_frame(*static)))


def test_images_outside_the_recorded_transforms_are_left_out(tmp_path: Path) -> None:
    sent = replaced(recording(), "/tf", lambda i, one: ("/tf", one) if i in (1, 2) else None)
    with pytest.warns(PurifyWarning, match=r"2 frames are left out: no transform from map at its time"):
        check(rosbag.read(write(tmp_path / "drive", sent)), (1,))


def test_transforms_that_are_not_finite_are_gaps(tmp_path: Path) -> None:
    def lost(i: int, one: Any) -> tuple[str, Any]:
        if i == 0:
            one.transforms[0].transform.translation.x = np.nan
        return "/tf", one

    with pytest.warns(PurifyWarning, match=r"1 frame is left out: no transform from map at its time"):
        check(rosbag.read(write(tmp_path / "drive", replaced(recording(), "/tf", lost))), (1, 2))


@pytest.mark.parametrize("number", [0.0, 1e200, np.nan])
def test_transforms_without_a_rotation_are_not_taken(number: float) -> None:
    tree = Transforms()
    tree.add("map", "base", 0, np.zeros(3), np.array([0, 0, 0, number]), static=False)
    assert tree.chain("base") == ["base"]


def test_no_transforms(tmp_path: Path) -> None:
    sent = replaced(replaced(recording(), "/tf", lambda *_: None), "/tf_static", lambda *_: None)
    with pytest.raises(CaptureError, match=r"no transform leads to 'camera_color_optical_frame'.*Record /tf"):
        rosbag.read(write(tmp_path / "drive", sent))


def placed(parent: str, child: str, share: float) -> dict[str, Any]:
    """Fields of a message that says where the robot is."""
    place, turn = body(share)
    x, y, z, w = (float(value) for value in turn.as_quat())
    pose = message(
        "geometry_msgs/msg/Pose",
        position=message("geometry_msgs/msg/Point", **dict(zip("xyz", place.tolist(), strict=True))),
        orientation=message("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w),
    )
    return {"header": header(at(0) + int(share * FRAME_NS), parent), "pose": pose, "child_frame_id": child}


def odometry(child: str, share: float) -> Any:
    fields = placed("odom", child, share)
    still = message("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0)
    twist = message("geometry_msgs/msg/Twist", linear=still, angular=still)
    fields["pose"] = message(
        "geometry_msgs/msg/PoseWithCovariance", pose=fields["pose"], covariance=np.zeros(36)
    )
    fields["twist"] = message("geometry_msgs/msg/TwistWithCovariance", twist=twist, covariance=np.zeros(36))
    return message("nav_msgs/msg/Odometry", **fields)


def without_motion() -> Sent:
    """The recording with the camera fixed to the robot, and nothing that moves the robot."""
    return [
        (topic, ns, one)
        for topic, ns, one in replaced(recording(), "/tf", lambda *_: None)
        if topic != "/tf_static" or one.transforms[0].child_frame_id == OPTICAL
    ]


def test_odometry_moves_the_camera_where_tf_does_not(tmp_path: Path) -> None:
    sent = without_motion() + [
        ("/odom", at(0) + int(k * FRAME_NS), odometry("base", k)) for k in np.arange(-0.5, 4)
    ]
    scene = rosbag.read(write(tmp_path / "drive", sent))
    for i, frame in enumerate(scene.frames):
        by_odom = expected(i)
        by_odom[:3, 3] -= [3.0, 4.0, 0.0]  # from odom, not from map
        np.testing.assert_allclose(frame.world_from_camera, by_odom, atol=2e-3)
    twice = [*sent, ("/other", at(0), odometry("base", 0.0))]
    with pytest.raises(CaptureError, match=r"odometry of 'base' in several topics: /odom, /other"):
        rosbag.read(write(tmp_path / "twice", twice))


def test_odometry_is_not_asked_where_tf_moves_the_camera(tmp_path: Path) -> None:
    sent = [*recording(), ("/odom", at(0), odometry("base", 2.0)), ("/odom", at(3), odometry("base", 9.0))]
    check(rosbag.read(write(tmp_path / "drive", sent)))


@pytest.mark.parametrize("kind", ["tf", "odometry", "pose"])
def test_what_moves_and_is_not_linked_to_the_camera_is_named(kind: str, tmp_path: Path) -> None:
    free = placed("map", "", 0.0)
    del free["child_frame_id"]
    loose = {
        "tf": ("/tf", tf(transform(at(0), "map", "robot", *body(0)))),
        "odometry": ("/odom", odometry("robot", 0.0)),
        "pose": ("/pose", message("geometry_msgs/msg/PoseStamped", **free)),
    }
    topic, one = loose[kind]
    said = {
        "tf": "map -> robot (tf)",
        "odometry": "/odom (odometry of 'robot')",
        "pose": "/pose (geometry_msgs/msg/PoseStamped)",
    }
    wanted = f"nothing links 'base', the root of '{OPTICAL}', to what moves: {said[kind]}"
    with pytest.raises(CaptureError, match=re.escape(wanted)):
        rosbag.read(write(tmp_path / "drive", [*without_motion(), (topic, at(0), one)]))


def test_a_camera_that_never_moves_is_said(tmp_path: Path) -> None:
    sent = replaced(recording(), "/tf", lambda *_: None)
    with pytest.warns(PurifyWarning, match="never moves"):
        scene = rosbag.read(write(tmp_path / "drive", sent))
    assert len(scene.frames) == 3


def test_a_frame_with_two_parents_is_refused(tmp_path: Path) -> None:
    second = ("/tf", at(0), tf(transform(at(0), "vicon", "base", (0, 0, 0), Rotation.identity())))
    with pytest.raises(CaptureError, match="'base' has several parents: odom, vicon"):
        rosbag.read(write(tmp_path / "drive", [*recording(), second]))


def test_interpolation() -> None:
    tree = Transforms()
    for time, place, degrees in ((0, 0.0, 0.0), (10**9, 4.0, 80.0), (3 * 10**9, 5.0, 90.0)):
        turn = Rotation.from_euler("z", degrees, degrees=True)
        tree.add("map", "base", time, np.array([place, 0, 0]), turn.as_quat(), static=False)
    pose = tree.pose("map", "base", 250_000_000)
    assert pose is not None
    np.testing.assert_allclose(pose[:3, 3], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(pose[:2, 0], [np.cos(np.radians(20)), np.sin(np.radians(20))], atol=1e-12)
    end = tree.pose("map", "base", 3 * 10**9)
    assert end is not None
    assert end[0, 3] == 5.0
    assert tree.pose("map", "base", 2 * 10**9) is None  # within a gap of two seconds
    assert tree.pose("map", "base", -1) is None
    assert tree.pose("map", "base", 3 * 10**9 + 1) is None


def test_a_circle_of_frames_is_refused() -> None:
    tree = Transforms()
    for parent, child in (("a", "b"), ("b", "c"), ("c", "a")):
        tree.add(parent, child, 0, np.zeros(3), np.array([0, 0, 0, 1.0]), static=True)
    with pytest.raises(ValueError, match="its own ancestor"):
        tree.chain("a")


# ---- Damage


def test_images_without_depth_in_time_are_left_out(tmp_path: Path) -> None:
    sent = replaced(
        recording(), DEPTH, lambda i, one: (DEPTH, raw(at(i) + (21_000_000 if i == 1 else 0), MM[i], "16UC1"))
    )
    name = rf"{at(1) // 10**9}\.100000000"
    with pytest.warns(PurifyWarning, match=rf"1 frame is left out: no depth image within 20 ms \({name}\)"):
        check(rosbag.read(write(tmp_path / "drive", sent)), (0, 2))


def test_a_message_that_cannot_be_decoded_is_left_out(tmp_path: Path) -> None:
    sent = replaced(recording(), COLOR, lambda i, one: (COLOR, damaged(one, 30) if i == 0 else one))
    with pytest.warns(
        PurifyWarning,
        match=r"1 frame is left out: content that cannot be decoded \(/camera/color/image_raw at",
    ):
        check(rosbag.read(write(tmp_path / "drive", sent)), (1, 2))


def test_an_image_with_too_few_bytes_says_so(tmp_path: Path) -> None:
    def short(i: int, one: Any) -> tuple[str, Any]:
        if i == 1:
            one.data = one.data[:-1]
        return COLOR, one

    scene = rosbag.read(write(tmp_path / "drive", replaced(recording(), COLOR, short)))
    np.testing.assert_array_equal(scene.frames[0].color(), COLORS[0])
    with pytest.raises(CaptureError, match=r"found 479 bytes for 16x10 pixels of rgb8 in /camera/color"):
        scene.frames[1].color()


@pytest.mark.parametrize("mcap", [False, True])
def test_files_that_are_cut_off(tmp_path: Path, mcap: bool) -> None:
    bag = write(tmp_path / "drive", recording(), mcap=mcap)
    (file,) = (f for f in bag.iterdir() if f.name != "metadata.yaml")
    whole = file.read_bytes()
    for share in (0.0, 0.001, 0.3, 0.9):
        file.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(CaptureError, match=r"drive.*(re-copy|recover)"):
            rosbag.read(bag)


def test_a_bag_that_is_cut_off_after_it_was_opened(tmp_path: Path) -> None:
    bag = write(tmp_path / "drive", recording())
    scene = rosbag.read(bag)
    (file,) = bag.glob("*.mcap")
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(CaptureError, match="drive"):
        scene.frames[0].color()


@pytest.mark.parametrize("text", ["", "a: [", "rosbag2_bagfile_information: {version: 99}"])
def test_metadata_that_is_damaged(tmp_path: Path, text: str) -> None:
    bag = write(tmp_path / "drive", recording())
    (bag / "metadata.yaml").write_text(text)
    with pytest.raises(CaptureError, match="cannot be read as a ROS 2 bag"):
        rosbag.read(bag)


def test_no_bag(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="expected a ROS 2 bag"):
        rosbag.read(tmp_path)


def test_many_entries_for_one_chunk(tmp_path: Path) -> None:
    """An index of a megabyte could unpack one chunk ten thousand times."""
    path = write(tmp_path / "bag", recording(), packed=True)
    with ros_bags.open_bag(path) as reader:
        ros_bags.check_growth(path, reader)
        (storage,) = reader.storage.storages
        assert storage.chunks
        storage.chunks *= 1_000_000
        with pytest.raises(CaptureError, match="its chunks grow more than 100 times"):
            ros_bags.check_growth(path, reader)

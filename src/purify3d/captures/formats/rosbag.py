"""ROS 2 bags (.mcap or .db3) with colour, depth, their CameraInfo, and tf.

The camera's pose is the chain of transforms from a fixed frame (map, odom, world, else the root of the tree)
to the frame that the colour images name, which by the comment of sensor_msgs/Image is an optical frame: x
right, y down, z forward. Where tf holds the camera still, odometry (nav_msgs/Odometry) of a frame that it is
fixed to moves it; poses that do not say of which frame (PoseStamped, Path) are named, not used. Intrinsics
have integer pixel centres (`K`; `P` where the topic holds rectified images). The bag is read with the library
`rosbags` (extra `ros`), no ROS needed: once when it is opened, for times and transforms, then image by image.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.captures.formats import ros_bags, ros_images, tum
from purify3d.captures.formats.transforms import Transforms
from purify3d.captures.reading import images
from purify3d.captures.reading.dropped import Dropped
from purify3d.captures.reading.images import Intrinsics, Lens, Size
from purify3d.types import Camera, Frame, Scene

#: What the path must hold, for people.
EXPECTS = "a ROS 2 bag: metadata.yaml with .mcap or .db3 files, or one .mcap"

#: How the format stores poses.
POSES = "opencv", "camera-to-world"

_IMAGE, _COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
_INFO, _TF = "sensor_msgs/msg/CameraInfo", "tf2_msgs/msg/TFMessage"
_ODOMETRY = "nav_msgs/msg/Odometry"
#: Poses that do not say of which frame.
_OF_NO_FRAME = (
    "geometry_msgs/msg/PoseStamped",
    "geometry_msgs/msg/PoseWithCovarianceStamped",
    "nav_msgs/msg/Path",
)
_FIXED = ("map", "odom", "world")
#: In the names of topics whose depth was registered to colour (RealSense, OpenNI and others, Azure Kinect).
_ALIGNED = ("aligned_depth_to_color", "depth_registered", "depth_to_rgb")
_ALIGN = "Record the depth that is aligned to colour (RealSense: align_depth.enable:=true)"
_SAME_METRES, _SAME_DEGREES = 0.001, 0.1


@dataclass(frozen=True)
class _Topic:
    """A topic of images, and what its first message said."""

    name: str
    kind: str
    encoding: str
    frame: str
    size: Size

    @property
    def base(self) -> str:
        """The name without what image transports append."""
        return self.name.removesuffix("/compressed").removesuffix("/compressedDepth")

    def loss(self) -> int:
        """Orders the transports of one topic: raw, compressedDepth, compressed."""
        return 0 if self.name == self.base else 1 if self.name.endswith("compressedDepth") else 2

    @property
    def info(self) -> str:
        return self.base.rpartition("/")[0] + "/camera_info"

    @property
    def rectified(self) -> bool:
        return re.search(r"(^|_)rect", self.base.rpartition("/")[2]) is not None


@dataclass
class _Index:
    """What the one pass over the bag found: of each topic the stamp of each message and when it was
    logged."""

    stamps: defaultdict[str, list[Size]] = field(default_factory=lambda: defaultdict(list))
    infos: dict[str, Any] = field(default_factory=dict)
    transforms: Transforms = field(default_factory=Transforms)
    odometry: defaultdict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    unreadable: list[str] = field(default_factory=list)


def recognises(path: Path) -> bool:
    """Does the path look like this format?"""
    return ros_bags.find_bag(path) is not None


def read(path: Path, *, intrinsics: Intrinsics | None = None) -> Scene:
    """Read a bag; images stay in it until asked for.

    Args:
        intrinsics: (fx, fy, cx, cy) of colour images without distortion, in place of its CameraInfo.

    Returns:
        A frame per colour image that has a depth image within 20 ms and a pose at its stamp, in order of
        time. `up` is +z in the frames map, odom and world (REP 103, REP 105), else guessed.

    Raises:
        CaptureError: no bag, or one that is damaged; topics are missing or ambiguous; a lens that cannot be
            undistorted; depth that another camera took; no transforms; no usable frame.
        MissingPackageError: `rosbags` is not installed.

    Warns:
        PurifyWarning: frames were left out, or the camera never moves.
    """
    bag = ros_bags.find_bag(path)
    if bag is None:
        raise CaptureError(f"{path}: expected {EXPECTS}. Point to the folder of the recording")
    with ros_bags.reading(bag), ros_bags.open_bag(bag) as reader:
        ros_bags.check_growth(bag, reader)
        topics = list(_topics(reader))
        color_topic, depth_topic = _choose(topics, bag)
        index = _index(reader, color_topic, depth_topic)
        unused = sorted(f"{c.topic} ({c.msgtype})" for c in reader.connections if c.msgtype in _OF_NO_FRAME)
    camera, lens, depth_camera, depth_lens = _cameras(index, color_topic, depth_topic, bag, intrinsics)
    fixed = _fixed_frame(index, color_topic, depth_topic, bag, unused)

    dropped = Dropped(path)
    for name in index.unreadable:
        dropped.refuse(name, "content that cannot be decoded")
    for stamp, count in Counter(stamp for stamp, _ in index.stamps[color_topic.name]).items():
        if count > 1:
            dropped.lacks(_name(stamp), "the same stamp as another image")
    colors, depths = (sorted(dict(index.stamps[t.name]).items()) for t in (color_topic, depth_topic))
    pairs = _pairs(colors, depths)
    files = ros_bags.bag_files(bag)
    frames = []
    for number, (stamp, logged) in enumerate(colors):
        name = _name(stamp)
        if number not in pairs:
            dropped.lacks(name, "no depth image within 20 ms")
            continue
        pose = index.transforms.pose(fixed, color_topic.frame, stamp)
        if pose is None:
            dropped.lacks(name, f"no transform from {fixed} at its time")
            continue
        color, depth = (logged, stamp), depths[pairs[number]][::-1]
        frames.append(
            Frame(
                name=name,
                camera=camera,
                depth_camera=depth_camera,
                world_from_camera=pose,
                color=partial(_pixels, bag, color_topic.name, color, camera, lens, depth=False),
                depth=partial(_pixels, bag, depth_topic.name, depth, depth_camera, depth_lens, depth=True),
                depth_unit=None if depth_topic.encoding.startswith("32FC1") else 0.001,
                files=files,
            )
        )
    up = np.array([0.0, 0.0, 1.0]) if fixed in _FIXED else None
    return dropped.scene(frames, up, name=path.resolve().stem, files=files)


def _name(stamp: int) -> str:
    return f"{stamp // 10**9}.{stamp % 10**9:09d}"


def _topics(reader: Any) -> Iterator[_Topic]:
    """Topics of images, by the first message of each that can be decoded."""
    for connection in reader.connections:
        if connection.msgtype not in (_IMAGE, _COMPRESSED):
            continue
        for _, _, raw in reader.messages([connection]):
            message = ros_bags.decoded(raw, connection.msgtype)
            if message is None:
                continue
            try:
                size = ros_images.size(message)
            except ValueError:
                continue
            kind = ros_images.kind(message, "depth" in connection.topic.lower())
            encoding = message.format if connection.msgtype == _COMPRESSED else message.encoding
            yield _Topic(connection.topic, kind, encoding, _plain(message.header.frame_id), size)
            break


def _plain(frame: str) -> str:
    return frame.removeprefix("/")


def _choose(topics: Sequence[_Topic], bag: Path) -> tuple[_Topic, _Topic]:
    """The topic of colour and that of depth."""
    color = [topic for topic in topics if topic.kind == "color"] or [t for t in topics if t.kind == "grey"]
    color = [topic for topic in color if "depth" not in topic.name.lower()] or color
    depth = [topic for topic in topics if topic.kind == "depth"]
    depth = [topic for topic in depth if any(word in topic.name for word in _ALIGNED)] or depth
    return _only(color, "colour", topics, bag), _only(depth, "depth", topics, bag)


def _only(fit: Sequence[_Topic], what: str, topics: Sequence[_Topic], bag: Path) -> _Topic:
    # A topic that was recorded raw and compressed holds the same images twice; raw lost nothing.
    best = {topic.base: topic for topic in sorted(fit, key=_Topic.loss, reverse=True)}
    if len(best) == 1:
        return next(iter(best.values()))
    names = ", ".join(sorted(f"{topic.name} ({topic.encoding})" for topic in (fit or topics))) or "no images"
    if fit:
        raise CaptureError(
            f"{bag}: found several topics that can be {what}: {names}; expected one. Keep one in a copy "
            "of the bag (ros2 bag convert), or record it alone"
        )
    raise CaptureError(
        f"{bag}: found no topic of {what} images among: {names}; expected sensor_msgs/Image or "
        f"CompressedImage ({ros_images.READABLE}; depth has depth in its name). Record that topic"
    )


def _index(reader: Any, color: _Topic, depth: _Topic) -> _Index:
    index = _Index()
    used = {color.name, depth.name, color.info, depth.info}
    wanted = [c for c in reader.connections if c.topic in used or c.msgtype in (_TF, _ODOMETRY)]
    for connection, logged, raw in reader.messages(wanted):
        topic, kind = connection.topic, connection.msgtype
        if kind == _INFO and topic in index.infos:
            continue
        message = ros_bags.decoded(raw, kind)
        if message is None:
            if kind in (_IMAGE, _COMPRESSED):
                index.unreadable.append(f"{topic} at {_name(logged)}")
        elif kind == _TF:
            for one in message.transforms:
                moved, static = one.transform, topic.endswith("tf_static")
                _take(index.transforms, one, moved.translation, moved.rotation, static=static)
        elif kind == _ODOMETRY:
            index.odometry[topic].append(message)
        elif kind == _INFO:
            index.infos[topic] = message
        elif kind in (_IMAGE, _COMPRESSED):
            index.stamps[topic].append((ros_bags.stamp_of(message), logged))
    return index


def _take(transforms: Transforms, message: Any, moved: Any, turned: Any, *, static: bool) -> None:
    """Where the child frame that a message names is in the frame of its header."""
    transforms.add(
        _plain(message.header.frame_id),
        _plain(message.child_frame_id),
        ros_bags.stamp_of(message),
        np.array([moved.x, moved.y, moved.z]),
        np.array([turned.x, turned.y, turned.z, turned.w]),
        static=static,
    )


def _pairs(colors: Sequence[Size], depths: Sequence[Size]) -> dict[int, int]:
    """Which depth image belongs to which colour image, by their stamps in ns."""
    if not colors or not depths:
        return {}
    start = colors[0][0]  # seconds since then lose nothing to rounding
    color_at, depth_at = (np.array([(stamp - start) / 1e9 for stamp, _ in some]) for some in (colors, depths))
    return dict(tum.associate(color_at, depth_at).tolist())


def _cameras(
    index: _Index, color: _Topic, depth: _Topic, bag: Path, intrinsics: Intrinsics | None
) -> tuple[Camera, Lens | None, Camera, Lens | None]:
    if intrinsics is not None:
        camera, lens = images.make_camera(intrinsics, color.size, "--intrinsics"), None
    else:
        camera, lens = _camera(index, color, bag)
    if depth.info in index.infos:
        return camera, lens, *_camera(index, depth, bag)
    # Aligned depth is as colour, also where its own CameraInfo was not recorded.
    if depth.frame != color.frame:
        raise CaptureError(f"{bag}: found no {depth.info}; expected the CameraInfo of {depth.name}. {_ALIGN}")
    return camera, lens, images.resized(camera, depth.size, "depth image", bag), lens


def _camera(index: _Index, topic: _Topic, bag: Path) -> tuple[Camera, Lens | None]:
    info, where = index.infos.get(topic.info), f"{bag}, {topic.info}"
    if info is None:
        raise CaptureError(
            f"{bag}: found no {topic.info}; expected the CameraInfo of {topic.name}. Record it, or pass "
            "--intrinsics fx,fy,cx,cy"
        )
    made_for = int(info.width), int(info.height)
    region = info.roi
    cut = info.binning_x > 1 or info.binning_y > 1 or (region.width and (region.x_offset or region.y_offset))
    if made_for not in (topic.size, (0, 0)) or cut:
        raise CaptureError(
            f"{where}: found intrinsics for {made_for[0]}x{made_for[1]} "
            f"pixels{' binned or cropped' if cut else ''}; the images have "
            f"{topic.size[0]}x{topic.size[1]}. Record the CameraInfo that belongs to the images"
        )
    k, p = np.reshape(info.k, (3, 3)), np.reshape(info.p, (3, 4))
    if topic.rectified and p[0, 0] > 0:
        return images.make_camera((p[0, 0], p[1, 1], p[0, 2], p[1, 2]), topic.size, where), None
    camera = images.make_camera((k[0, 0], k[1, 1], k[0, 2], k[1, 2]), topic.size, where)
    return camera, None if topic.rectified else _lens(info, where)


def _lens(info: Any, where: str) -> Lens | None:
    """k1, k2, p1, p2, k3 of plumb_bob, None where all are 0."""
    bent = [float(value) for value in info.d]
    model = str(info.distortion_model)
    if not np.isfinite(bent).all():
        raise CaptureError(f"{where}: found distortion {bent}; expected finite numbers. Calibrate the camera")
    plain = model in ("plumb_bob", "rational_polynomial", "") and not any(bent[5:])
    if not any(bent) and (plain or model not in ("equidistant", "fisheye")):
        return None
    if not plain or model == "":
        raise CaptureError(
            f"{where}: found distortion model {model!r} with {len(bent)} numbers; expected plumb_bob, or "
            "images without distortion. Record the rectified images (image_proc)"
        )
    return Lens(**dict(zip(("k1", "k2", "p1", "p2", "k3"), bent, strict=False)))


def _fixed_frame(index: _Index, color: _Topic, depth: _Topic, bag: Path, unused: Sequence[str]) -> str:
    """The frame that poses are given in, once colour and depth are known to be one camera.

    Args:
        unused: topics of poses that do not say of which frame.
    """
    transforms = index.transforms
    try:
        if depth.frame != color.frame:
            _check_same_place(transforms.fixed_between(color.frame, depth.frame), color, depth, bag)
        if not transforms.moves(transforms.chain(color.frame)[-1], color.frame):
            _take_odometry(index, color)
        chain = transforms.chain(color.frame)
        fixed = next((frame for frame in _FIXED if frame in chain), chain[-1])
        if not transforms.moves(fixed, color.frame) and (loose := _moving_elsewhere(index, unused)):
            raise ValueError(
                f"nothing links {chain[-1]!r}, the root of {color.frame!r}, to what moves: {loose}"
            )
        if len(chain) < 2:
            raise ValueError(f"no transform leads to {color.frame!r}, the frame of {color.name}")
    except ValueError as error:
        raise CaptureError(
            f"{bag}: {error}; expected transforms from map, odom or world to the camera. Record /tf and "
            "/tf_static while something tracks the camera (RTAB-Map, ORB-SLAM, odometry)"
        ) from error
    if not transforms.moves(fixed, color.frame):
        warnings.warn(
            f"{bag}: the camera never moves, all transforms from {fixed} to {color.frame} are static; if "
            "it did move, record /tf while something tracks it",
            PurifyWarning,
            stacklevel=3,
        )
    return fixed


def _take_odometry(index: _Index, color: _Topic) -> None:
    """Where tf does not move the camera: odometry of a frame that the camera is fixed to.

    Raises:
        ValueError: several topics tell of it.
    """
    root = index.transforms.chain(color.frame)[-1]
    fit = {
        topic: messages
        for topic, messages in index.odometry.items()
        if root in {_plain(message.child_frame_id) for message in messages}
    }
    if len(fit) > 1:
        raise ValueError(f"found odometry of {root!r} in several topics: {', '.join(sorted(fit))}")
    for message in (message for messages in fit.values() for message in messages):
        pose = message.pose.pose
        _take(index.transforms, message, pose.position, pose.orientation, static=False)


def _moving_elsewhere(index: _Index, unused: Sequence[str]) -> str:
    """What moves in the recording, and is not the camera."""
    links = [f"{parent} -> {child} (tf)" for parent, child in index.transforms.moving]
    poses = [f"{topic} (odometry of {_plain(m[0].child_frame_id)!r})" for topic, m in index.odometry.items()]
    return ", ".join([*links, *poses, *unused])


def _check_same_place(offset: np.ndarray | None, color: _Topic, depth: _Topic, bag: Path) -> None:
    found = "unknown"
    if offset is not None:
        moved = float(np.linalg.norm(offset[:3, 3]))
        turned = float(np.degrees(np.arccos(np.clip((np.trace(offset[:3, :3]) - 1) / 2, -1, 1))))
        if moved <= _SAME_METRES and turned <= _SAME_DEGREES:
            return
        found = f"{1000 * moved:.1f} mm and {turned:.2f} degrees"
    raise CaptureError(
        f"{bag}: found depth in frame {depth.frame!r} and colour in {color.frame!r}, {found} apart; "
        f"expected one pose for both. {_ALIGN}"
    )


def _pixels(bag: Path, topic: str, at: Size, camera: Camera, lens: Lens | None, *, depth: bool) -> np.ndarray:
    """The image of a message, without distortion."""
    message = ros_bags.read_message(bag, topic, at)
    try:
        values = ros_images.depth(message) if depth else ros_images.color(message)
        if values.shape[:2] != (camera.height, camera.width):
            raise ValueError(f"{values.shape[1]}x{values.shape[0]} pixels, expected as the first image has")
    except ValueError as error:
        raise CaptureError(
            f"{bag}: found {error} in {topic} at {at[1] / 1e9:.3f} s. Record it again"
        ) from error
    return images.undistort(values, camera, lens, smooth=not depth)

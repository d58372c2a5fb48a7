"""Captures: cameras, frames, points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from purify3d.base.axes import describe_axis, guess_up, parse_direction
from purify3d.base.devices import Movable
from purify3d.types.checks import Array, array, check, measured

#: Label of a point that has none.
NO_LABEL = -1


_NARROWEST, _WIDEST = 1e-3, 1e9  # pixels that a focal length can be


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without lens distortion.

    Attributes:
        fx, fy, cx, cy: focal lengths and principal point in pixels; integer coordinates are pixel centres.
        width, height: image size in pixels.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def __post_init__(self) -> None:
        focal, center = (self.fx, self.fy), (self.cx, self.cy)
        check(
            all(_NARROWEST < f < _WIDEST for f in focal) and all(abs(c) < _WIDEST for c in center),
            f"focal lengths must be positive, and none of its numbers beyond reason, found {self}",
        )
        check(self.width > 0 and self.height > 0, f"an image has at least one pixel, found {self}")


def _size(camera: Camera) -> str:
    return f"{camera.width}x{camera.height}"


def _camera(intrinsics: Sequence[float] | Camera, image: np.ndarray) -> Camera:
    """The camera of images like this one."""
    if isinstance(intrinsics, Camera):
        return intrinsics
    values = np.asarray(intrinsics, dtype=np.float64)
    check(values.shape == (4,), f"intrinsics must be fx, fy, cx, cy, found {values.shape}")
    height, width = np.shape(image)[:2]
    fx, fy, cx, cy = values.tolist()
    return Camera(fx, fy, cx, cy, width, height)


def _plain(image: Array) -> np.ndarray:
    """An image as numpy array, also where it is a tensor that has a gradient or lies on a device."""
    return image.detach().cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)


def _ids(values: Array, name: str, count: int) -> np.ndarray:
    """(count,) whole numbers that int32 holds: a cast would make others of the rest."""
    ids = array(values, name, (count,))
    wrong = ids[(ids != np.rint(ids)) | (np.abs(ids) >= 2**31)]
    check(not len(wrong), f"{name} must be whole numbers below 2^31, found {wrong[:1].tolist()}")
    return ids


def _check_rigid(poses: np.ndarray) -> None:
    """Refuse what turns, mirrors and scales: points would be placed where nothing is."""
    turn = poses[:, :3, :3]
    off = np.abs(turn @ turn.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2)) > 0.01
    off |= (np.linalg.det(turn) < 0) | (np.abs(poses[:, 3] - [0, 0, 0, 1]).max(axis=1) > 1e-6)
    check(
        not off.any(),
        f"world_from_camera[{int(off.argmax())}] is no rigid transform (rotation and translation in metres, "
        "last row 0 0 0 1), found a scale, a mirror or another last row; divide the rotation by its scale",
    )


@dataclass(frozen=True, eq=False, repr=False)
class Frame:
    """One posed RGB-D view. Images are read when asked for, so a capture of any length costs no memory.

    Attributes:
        name: what the frame is called in its capture.
        camera, depth_camera: of the colour and of the depth image; sizes may differ, the pose is shared.
        world_from_camera: (4, 4) float64, OpenCV axes (x right, y down, z forward), metres.
        color: () -> (H, W, 3) uint8 RGB.
        depth: () -> (h, w) float32, metres along z, 0 = none.
        label: () -> (h, w) int32 truth ids in the depth camera, -1 = none; None: the capture has no truth.
        instance: the same of truth objects, each with an id of its own in the whole capture.
        turns: quarter turns counter-clockwise, already in everything above, since the capture's own files.
        depth_unit: metres per unit of the stored depth; None: it is stored in metres, or not at all.
        files: what the images and the pose are read from; a run notices when one of them changes.
    """

    name: str
    camera: Camera
    depth_camera: Camera
    world_from_camera: np.ndarray
    color: Callable[[], np.ndarray]
    depth: Callable[[], np.ndarray]
    label: Callable[[], np.ndarray] | None = None
    instance: Callable[[], np.ndarray] | None = None
    turns: int = 0
    depth_unit: float | None = None
    files: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        pose = self.world_from_camera
        check(pose.shape == (4, 4), f"world_from_camera must be (4, 4), found {pose.shape}")
        check(bool(np.isfinite(pose).all()), f"frame {self.name}: the pose is not finite")

    def __repr__(self) -> str:
        depth = self.depth_camera
        return f"Frame({self.name!r}, {_size(self.camera)}, depth {_size(depth)})"


@dataclass(frozen=True, eq=False, repr=False)
class PointCloud(Movable):
    """Points of a scan in world coordinates.

    Attributes:
        xyz: (N, 3) float32, metres.
        rgb: (N, 3) uint8.
        normal: (N, 3) float32, unit length, towards the side the cameras were on; zero where unknown.
        label: (N,) int32 truth ids, -1 = none.
        instance: (N,) int32 ids of truth objects, -1 = none, as everywhere when it is not given.
        missing: (M,) int64, ascending: rows of the file, of its N + M, that are no points because their
            coordinates are not finite. Files that are written have these rows again; see `file_rows`.
    """

    xyz: Tensor
    rgb: Tensor
    normal: Tensor
    label: Tensor
    instance: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int32, device="cpu"))
    missing: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64, device="cpu"))

    def __post_init__(self) -> None:
        n = len(self.xyz)
        if not len(self.instance):
            none = torch.full((n,), NO_LABEL, dtype=torch.int32, device=self.xyz.device)
            object.__setattr__(self, "instance", none)
        for name, shape, dtype in (
            ("xyz", (n, 3), torch.float32),
            ("rgb", (n, 3), torch.uint8),
            ("normal", (n, 3), torch.float32),
            ("label", (n,), torch.int32),
            ("instance", (n,), torch.int32),
            ("missing", (len(self.missing),), torch.int64),
        ):
            value: Tensor = getattr(self, name)
            check(
                tuple(value.shape) == shape and value.dtype == dtype,
                f"{name} must be {shape} {dtype}, found {tuple(value.shape)} {value.dtype}",
            )

        rows = self.missing
        inside = not len(rows) or (int(rows[0]) >= 0 and int(rows[-1]) < n + len(rows))
        check(inside and bool((rows[1:] > rows[:-1]).all()), f"missing must be ascending rows, found {rows}")

    def __len__(self) -> int:
        return len(self.xyz)

    def file_rows(self, values: np.ndarray, missing: float) -> np.ndarray:
        """(N, ...) values of the points -> (N + M, ...) in the order of the file they came from.

        Args:
            missing: what stands in the rows that are no points.
        """
        if not len(self.missing):
            return values
        rows = np.full((len(values) + len(self.missing), *values.shape[1:]), missing, values.dtype)
        there = np.ones(len(rows), dtype=bool)
        there[self.missing.cpu().numpy()] = False
        rows[there] = values
        return rows

    def __repr__(self) -> str:
        if not len(self):
            return "PointCloud(0 points)"
        size = " x ".join(f"{side:.2f}" for side in (self.xyz.amax(0) - self.xyz.amin(0)).tolist())
        return f"PointCloud({len(self):,} points, {size} m)"

    @classmethod
    def from_arrays(
        cls,
        xyz: Array,
        rgb: Array | None = None,
        normal: Array | None = None,
        label: Array | None = None,
        instance: Array | None = None,
    ) -> PointCloud:
        """From numpy arrays or tensors of any real type.

        Args:
            xyz: (N, 3) metres.
            rgb: (N, 3) 0..255, or floats 0..1; None: mid grey.
            normal: (N, 3) of any length; None: unknown, `with_points` estimates them.
            label: (N,) truth ids, -1 = none; None: none.
            instance: (N,) ids of truth objects, -1 = none; None: none.

        Raises:
            ValueError: shapes that do not fit, values that are not finite or out of range, or coordinates so
                far from the origin that float32 cannot tell points 5 mm apart.
        """
        place = array(xyz, "xyz", (-1, 3))
        n = len(place)
        reach = np.float32(np.abs(place).max()) if n else np.float32(0)
        check(
            bool(np.spacing(reach) <= 0.005),
            f"found coordinates up to {reach:.0f} m, where 32-bit numbers are {np.spacing(reach):.3f} m "
            "apart; move the points (and the camera poses) near the origin",
        )
        color = np.full((n, 3), 128.0) if rgb is None else array(rgb, "rgb", (n, 3))
        if rgb is not None and _plain(rgb).dtype.kind == "f" and color.max(initial=0) <= 1:
            color = color * 255
        check(
            color.min(initial=0) >= 0 and color.max(initial=0) <= 255,
            f"rgb must be 0..255 or 0..1, found {color.min(initial=0):g}..{color.max(initial=0):g}",
        )
        direction = np.zeros((n, 3)) if normal is None else array(normal, "normal", (n, 3))
        length = np.linalg.norm(direction, axis=1, keepdims=True)
        direction = np.divide(direction, length, out=np.zeros((n, 3)), where=length > 1e-6)
        ids, objects = (
            np.full(n, NO_LABEL) if given is None else _ids(given, name, n)
            for name, given in (("label", label), ("instance", instance))
        )
        return cls(
            torch.from_numpy(place.astype(np.float32)),
            torch.from_numpy(color.round().astype(np.uint8)),
            torch.from_numpy(direction.astype(np.float32)),
            torch.from_numpy(ids.astype(np.int32)),
            torch.from_numpy(objects.astype(np.int32)),
        )


@dataclass(frozen=True, eq=False, repr=False)
class Scene:
    """A capture: posed frames, and the points they see.

    Attributes:
        name: for people.
        frames: in capture order.
        up: (3,) float64 unit vector in the world, against gravity.
        points: the cloud to label; None until `surface.with_points` has made or read one.
        truth: names of the truth label ids, empty where the capture has no truth.
        skipped: frames left out because their pose was not finite.
        files: what it was read from beside the files of its frames.
        origin: (3,) float64 metres, the one offset there is: poses and points are relative to it, and what is
            written or printed adds it back. Zero unless the capture lies far out (georeferenced scans), where
            32-bit numbers are too coarse.
    """

    name: str
    frames: tuple[Frame, ...]
    up: np.ndarray
    points: PointCloud | None = None
    truth: Mapping[int, str] = field(default_factory=dict)
    skipped: int = 0
    files: tuple[Path, ...] = ()
    origin: np.ndarray = field(default_factory=lambda: np.zeros(3))

    def __post_init__(self) -> None:
        check(
            np.shape(self.origin) == (3,) and bool(np.isfinite(self.origin).all()),
            f"origin must be 3 finite numbers, found {self.origin}",
        )
        length = float(np.linalg.norm(self.up)) if np.shape(self.up) == (3,) else 0.0
        check(abs(length - 1) < 1e-3, f"up must be 3 numbers of length 1, found {self.up}")

    def __repr__(self) -> str:
        sizes = {_size(frame.camera) for frame in self.frames}
        points = "no points yet" if self.points is None else f"{len(self.points):,} points"
        frames = f"{len(self.frames)} frames {'/'.join(sorted(sizes)[:3])}".strip()
        return f"Scene({self.name!r}, {frames}, up {describe_axis(self.up)}, {points})"

    @classmethod
    def from_arrays(
        cls,
        color: Sequence[Array],
        depth: Sequence[Array],
        world_from_camera: Array,
        intrinsics: Sequence[float] | Camera,
        *,
        depth_intrinsics: Sequence[float] | Camera | None = None,
        up: str | Sequence[float] | None = None,
        points: PointCloud | None = None,
        name: str = "scene",
    ) -> Scene:
        """A scene of F frames that lie in memory.

        Args:
            color: F times (H, W, 3) uint8 RGB.
            depth: F times (h, w) metres along z, 0 or not finite = none.
            world_from_camera: (F, 4, 4), OpenCV axes (x right, y down, z forward), metres.
            intrinsics: fx, fy, cx, cy of the colour images in pixels, integer pixel centres.
            depth_intrinsics: of the depth images; None: those of colour, for depth of its size.
            up: `+z`, `-y`, three numbers; None: guessed from the cameras.
            points: the cloud to label; None: `with_points` fuses the frames.

        Raises:
            ValueError: lists of different lengths, images of different sizes, or values that cannot be.
        """
        poses = array(world_from_camera, "world_from_camera", (-1, 4, 4))
        check(
            len(color) == len(depth) == len(poses) > 0,
            f"found {len(color)} colour images, {len(depth)} depth images and {len(poses)} poses; expected "
            "as many of each, and at least one",
        )
        _check_rigid(poses)
        colors, depths = [_plain(image) for image in color], [_plain(metres) for metres in depth]
        own = intrinsics if depth_intrinsics is None else depth_intrinsics
        if depth_intrinsics is None and depths[0].shape[:2] != colors[0].shape[:2]:
            raise ValueError("depth images of another size than colour need depth_intrinsics")
        camera, depth_camera = _camera(intrinsics, colors[0]), _camera(own, depths[0])
        for i, (image, metres) in enumerate(zip(colors, depths, strict=True)):
            check(
                image.shape == (camera.height, camera.width, 3) and image.dtype == np.uint8,
                f"color[{i}] must be {(camera.height, camera.width, 3)} uint8, found {image.shape} "
                f"{image.dtype}",
            )
            check(
                metres.shape == (depth_camera.height, depth_camera.width),
                f"depth[{i}] must be {(depth_camera.height, depth_camera.width)}, found {metres.shape}",
            )
        frames = [
            Frame(
                f"{i:05d}",
                camera,
                depth_camera,
                pose,
                partial(np.asarray, image),
                partial(measured, metres),
            )
            for i, (image, metres, pose) in enumerate(zip(colors, depths, poses, strict=True))
        ]
        return cls(name, tuple(frames), guess_up(poses) if up is None else parse_direction(up), points)

    def cloud(self) -> PointCloud:
        """The points.

        Raises:
            ValueError: the scene has none yet.
        """
        if self.points is None:
            raise ValueError("the scene has no points yet; call with_points(scene) first")
        return self.points

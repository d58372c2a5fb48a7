"""What may be wrong with a capture, and the capture without it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import permutations, product

import numpy as np
from scipy.spatial.transform import Rotation

from purify3d.captures.conventions import Stored, along_axis, ray_lengths
from purify3d.captures.selecting import naming
from purify3d.checking.agreement import Views
from purify3d.checking.outliers import Wrong, described
from purify3d.checking.sizes import UNITS as POSE_UNITS
from purify3d.checking.sizes import likely_units, usual_depth
from purify3d.grid.projection import OPENCV_FROM_OPENGL, inverse
from purify3d.types import Camera, Frame, Scene

#: What no flag can say.
MEND = "write a corrected capture with purify3d check CAPTURE --fix FOLDER"

#: Metres per unit of stored depth that formats and exporters use.
UNITS = {
    1.0: "metres",
    1 / 1000: "millimetres",
    1 / 4000: "1/4000 m (Matterport)",
    1 / 5000: "1/5000 m (TUM)",
    1 / 6553.5: "1/6553.5 m (Replica)",
    1 / 10000: "1/10000 m",
}


@dataclass(frozen=True)
class Fix:
    """One thing that may be wrong, and how a capture is without it.

    Attributes:
        wrong: what is wrong, for people; goes on from "probably".
        advice: what to do, for people.
        poses: (T, 4, 4) of all frames of the capture -> (T, 4, 4).
        depth_scale: what depth is to be multiplied with.
        lens: (4,) fx, fy, cx, cy and (width, height) -> (4,).
        along: 1: depth along the ray becomes that along the axis; -1: the other way round; 0: it stays.
        without: names of frames that are left out.
    """

    wrong: str
    advice: str
    poses: Callable[[np.ndarray], np.ndarray] = lambda poses: poses
    depth_scale: float = 1.0
    lens: Callable[[np.ndarray, tuple[int, int]], np.ndarray] = lambda lens, size: lens
    along: int = 0
    without: frozenset[str] = frozenset()

    def of_views(self, views: Views, poses: np.ndarray) -> Views:
        """The same images as they are without what is wrong; `poses` are those of the whole capture. Frames
        are left out by `Views.only`."""
        sizes = [(image.shape[1], image.shape[0]) for image in views.depth]
        lens = [self.lens(row, size) for row, size in zip(views.lens, sizes, strict=True)]
        depth = views.depth
        if self.along:
            depth = tuple(_along(image, row, self.along) for image, row in zip(depth, lens, strict=True))
        return replace(
            views,
            depth=depth,
            pose=self.poses(poses)[views.number],
            lens=np.array(lens).reshape(-1, 4),
            depth_scale=views.depth_scale * self.depth_scale,
        )

    def of_scene(self, scene: Scene) -> Scene:
        """The capture without what is wrong."""
        poses = self.poses(np.stack([frame.world_from_camera for frame in scene.frames]))
        frames = [
            replace(
                frame,
                world_from_camera=pose,
                camera=self._camera(frame.camera),
                depth_camera=self._camera(frame.depth_camera),
                depth=self._depth(frame),
                depth_unit=None if frame.depth_unit is None else frame.depth_unit * self.depth_scale,
            )
            for frame, pose in zip(scene.frames, poses, strict=True)
            if frame.name not in self.without
        ]
        return replace(scene, frames=tuple(frames))

    def _depth(self, frame: Frame) -> Callable[[], np.ndarray]:
        read = frame.depth
        if self.along:
            read = partial(along_axis, read, self._camera(frame.depth_camera), self.along < 0)
        return read if self.depth_scale == 1 else partial(_scaled, read, self.depth_scale)

    def _camera(self, camera: Camera) -> Camera:
        values = np.array([camera.fx, camera.fy, camera.cx, camera.cy])
        fx, fy, cx, cy = self.lens(values, (camera.width, camera.height)).tolist()
        return replace(camera, fx=fx, fy=fy, cx=cx, cy=cy)

    def then(self, other: Fix) -> Fix:
        """Both, one after the other."""
        return Fix(
            f"{self.wrong}, and {other.wrong}",
            f"{self.advice}; {other.advice}",
            lambda poses: other.poses(self.poses(poses)),
            self.depth_scale * other.depth_scale,
            lambda lens, size: other.lens(self.lens(lens, size), size),
            self.along + other.along,
            self.without | other.without,
        )


def _scaled(read: Callable[[], np.ndarray], factor: float) -> np.ndarray:
    return np.asarray(read() * np.float32(factor))


def _along(image: np.ndarray, lens: np.ndarray, along: int) -> np.ndarray:
    column, row = np.meshgrid(np.arange(image.shape[1]), np.arange(image.shape[0]))
    return np.asarray((image * ray_lengths(column, row, lens) ** -along).astype(np.float32))


def rays(stored: Stored) -> Fix:
    """Depth along the rays of pixels that was taken to be along the axis of the camera, or the reverse.

    Args:
        stored: how depth was taken to be stored.
    """
    if stored.along == "ray":
        return Fix("depth is measured along the axis of the camera", "leave --depth-along ray away", along=-1)
    wrong = "depth is measured along the ray of each pixel (the distance to the camera), not along the axis"
    return Fix(wrong, "give --depth-along ray", along=1)


def left_out(frames: Sequence[Frame], wrong: Sequence[Wrong]) -> Fix:
    """Single frames have a wrong pose."""
    flag = naming(frames, [one.number for one in wrong])
    return Fix(
        described(wrong, len(frames)),
        MEND if flag is None else f"give --leave-out {flag}",
        without=frozenset(one.name for one in wrong),
    )


def resized(factor: float, unit: float | None, name: str) -> Fix:
    """Poses and depth fit each other, and both are in another unit.

    Args:
        factor: metres per unit that they are in; name: of this unit.
        unit: metres per unit of the stored depth, as it was read.
    """
    return Fix(
        f"everything is in {name}",
        f"give --scale {factor:.4g} --depth-unit {(unit or 1) * factor:.4g}",
        partial(_rescaled, factor),
        factor,
    )


def turns() -> list[np.ndarray]:
    """The 48 turns and mirrorings, (3, 3), that map axes onto axes."""
    signs = [np.diag([x, y, z]) for x, y, z in product((1.0, -1.0), repeat=3)]
    return [np.eye(3)[list(order)] @ sign for order in permutations(range(3)) for sign in signs]


def axes_and_direction(stored: Stored) -> Iterator[Fix]:
    """Camera axes turned or mirrored, poses that map the world to the camera.

    Args:
        stored: how the poses were taken to be stored.
    """
    for inverted, turn in product((False, True), turns()):
        axes = np.eye(4)
        axes[:3, :3] = turn
        if inverted or not np.array_equal(turn, np.eye(3)):
            yield Fix(
                _axes_wrong(axes, inverted),
                _axes_advice(axes, inverted, stored),
                partial(_turned, axes, inverted),
            )


def _turned(axes: np.ndarray, inverted: bool, pose: np.ndarray) -> np.ndarray:
    if inverted:
        pose = inverse(pose)
    turned = pose @ axes
    if np.linalg.det(axes[:3, :3]) < 0:  # mirrored axes come from a mirrored world
        turned = np.eye(4)[[0, 2, 1, 3]] @ turned
    return np.asarray(turned)


def _axes_wrong(axes: np.ndarray, inverted: bool) -> str:
    wrong = ["the poses map the wrong way"] if inverted else []
    if np.array_equal(axes, OPENCV_FROM_OPENGL):
        wrong.append(
            "the camera axes follow the other convention (OpenCV: y down, z forward; OpenGL: y up, z back)"
        )
    elif np.linalg.det(axes[:3, :3]) < 0:
        wrong.append(f"the world is mirrored, its y and z swapped, and the camera axes are {_named(axes)}")
    elif not np.array_equal(axes, np.eye(4)):
        wrong.append(f"the camera axes are {_named(axes)}")
    return " and ".join(wrong)


def _named(axes: np.ndarray) -> str:
    """The stored axes that are right, down and forward."""
    names = []
    for column, way in zip(axes[:3, :3].T, ("right", "down", "forward"), strict=True):
        axis = int(np.abs(column).argmax())
        names.append(f"{'-' if column[axis] < 0 else ''}{'xyz'[axis]} {way}")
    return ", ".join(names)


def _axes_advice(axes: np.ndarray, inverted: bool, stored: Stored) -> str:
    flipped = np.array_equal(axes, OPENCV_FROM_OPENGL)
    if not (flipped or np.array_equal(axes, np.eye(4))):
        return MEND
    # What stands left of an inverted pose is a turn of the world, which no frame can tell.
    opengl = flipped if inverted else flipped != (stored.convention == "opengl")
    convention = "opengl" if opengl else "opencv"
    other = "camera-to-world" if stored.direction == "world-to-camera" else "world-to-camera"
    flags = [f"--pose-direction {other}"] if inverted else []
    if convention != stored.convention:
        flags.append(f"--pose-convention {convention}")
    return f"give {' '.join(flags)}"


def quaternions() -> Iterator[Fix]:
    """The numbers of a quaternion taken in the wrong order."""
    for w_first, inverted, opengl in product((True, False), (False, True), (False, True)):
        found, expected = ("x y z w", "w x y z") if w_first else ("w x y z", "x y z w")
        yield Fix(
            f"the quaternions are stored as {expected} and were read as {found}",
            MEND,
            partial(_reordered, w_first, inverted, opengl),
        )


def _reordered(w_first: bool, inverted: bool, opengl: bool, pose: np.ndarray) -> np.ndarray:
    axes = OPENCV_FROM_OPENGL if opengl else np.eye(4)
    stored = pose @ axes
    stored = inverse(stored) if inverted else stored.copy()
    read = Rotation.from_matrix(stored[:, :3, :3]).as_quat()  # x, y, z, w as they were taken
    right = read[:, [1, 2, 3, 0]] if w_first else read[:, [3, 0, 1, 2]]
    stored[:, :3, :3] = Rotation.from_quat(right).as_matrix()
    return np.asarray((inverse(stored) if inverted else stored) @ axes)


def shifts() -> Iterator[Fix]:
    """Each frame has the pose of its neighbour."""
    for step in (1, -1):
        yield Fix(
            f"each frame has the pose of the one {'before' if step == 1 else 'after'} it (shifted by one)",
            MEND,
            partial(_shifted, step),
        )


def _shifted(step: int, pose: np.ndarray) -> np.ndarray:
    number = np.arange(len(pose)) + step
    return np.asarray(pose[number.clip(0, len(pose) - 1)])


def lenses() -> Iterator[Fix]:
    """Intrinsics of another size, swapped, or with the middle elsewhere."""
    advice = "give the right ones with --intrinsics fx,fy,cx,cy"

    def scaled(factor: float, lens: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        return np.append(lens[:2] * factor, (lens[2:] + 0.5) * factor - 0.5)

    def focal(factor: float, lens: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        return np.append(lens[:2] * factor, lens[2:])

    def swapped(order: Sequence[int], lens: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        return lens[list(order)]

    def centred(lens: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        return np.append(lens[:2], [(size[0] - 1) / 2, (size[1] - 1) / 2])

    for factor in (2.0, 0.5, 4.0, 0.25, 3.0, 1 / 3, 1.5, 1 / 1.5):
        yield Fix(
            f"the intrinsics were made for images of {1 / factor:.3g} times this size",
            f"multiply them by {factor:.3g} and {advice}",
            lens=partial(scaled, factor),
        )
    yield Fix("fx and fy are swapped", advice, lens=partial(swapped, (1, 0, 2, 3)))
    yield Fix("cx and cy are swapped", advice, lens=partial(swapped, (0, 1, 3, 2)))
    yield Fix("fx and fy, and cx and cy are swapped", advice, lens=partial(swapped, (1, 0, 3, 2)))
    yield Fix("cx and cy are not those of the image: its middle fits better", advice, lens=centred)
    for factor in (0.7, 0.8, 0.9, 1.1, 1.25, 1.4):
        yield Fix(
            f"the focal length is wrong: {factor:g} times as long fits better",
            advice,
            lens=partial(focal, factor),
        )


def scale(factor: float, unit: float | None, middle: float = math.nan) -> Fix:
    """Depth and poses of different scale: depth times `factor` fits the poses.

    Args:
        unit: metres per unit of the stored depth, as it was read.
        middle: metres, of the depth as it was read; what would not be that of a scan is not advised.
    """
    known = next((u for u in UNITS if unit and abs(u / unit / factor - 1) < 0.03), None)
    of_poses = next((u for u in POSE_UNITS if abs(u * factor - 1) < 0.03), 1 / factor)
    factor = factor if known is None or not unit else known / unit
    if known is not None and unit and usual_depth(middle * factor):
        read = next((name for u, name in UNITS.items() if abs(u / unit - 1) < 1e-3), f"units of {unit:.4g} m")
        return Fix(
            f"the stored depth is in {UNITS[known]} and was read in {read}",
            f"give --depth-unit {known:.6g} (or, if only the poses are wrong, --scale {of_poses:.3g})",
            depth_scale=factor,
        )
    wrong = (
        f"the poses and the depth are of different scale, poses times {of_poses:.3g} (or depth times "
        f"{factor:.3g}) fit"
    )
    scaled = (unit or 1) * factor
    if (
        not usual_depth(middle)
        and not usual_depth(middle * factor)
        and (likely := likely_units(middle * factor))
    ):
        metres, name = likely[0]
        return Fix(
            f"{wrong}, and the poses are in {name}",
            f"give --scale {metres:.4g} --depth-unit {scaled * metres:.4g} (or, if the depth is right, "
            f"--scale {of_poses:.3g} alone)",
            partial(_rescaled, metres),
            factor * metres,
        )
    if not usual_depth(middle) and usual_depth(middle * factor):
        return Fix(wrong, f"give --depth-unit {scaled:.4g}", depth_scale=factor)
    other = (
        f" (or, if the poses are right, --depth-unit {scaled:.4g})" if usual_depth(middle * factor) else ""
    )
    return Fix(wrong, f"give --scale {of_poses:.3g}{other}", partial(_rescaled, of_poses))


def _rescaled(factor: float, pose: np.ndarray) -> np.ndarray:
    scaled = pose.copy()
    scaled[:, :3, 3] *= factor
    return scaled

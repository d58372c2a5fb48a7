"""Does `purify3d check` name a planted fault, and does it leave right captures alone?

    python benchmarks/check.py [--captures kitchen=FOLDER house=FOLDER room=synthetic:4]

Each of FAULTS is planted in each capture, and single wrong poses of three KINDS in 1, 5 and 20 % of its
frames. `share` is how much frames agree with it. Good captures are the same three and ROOMS procedural rooms
(seeds from 400) with sensor noise, of 12 to 60 frames, in three image sizes, every third one held sideways
and every third one with y up.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
from scipy.spatial.transform import Rotation

from purify3d.captures import CaptureConfig
from purify3d.captures.conventions import Stored, along_axis
from purify3d.checking import examine
from purify3d.grid.projection import OPENCV_FROM_OPENGL, turn_camera
from purify3d.types import Frame, Scene

SIZES = ((320, 240), (256, 192), (640, 480))
FRAMES = (48, 12, 24, 60)
SWAP = np.eye(4)[[0, 2, 1, 3]]
#: Pixels that hold the largest 16-bit number in millimetres where nothing was measured.
SENTINEL = np.float32(65.535)

Fault = Callable[[Scene], Scene]


def posed(change: Callable[[np.ndarray], np.ndarray], scene: Scene) -> Scene:
    """With (F, 4, 4) other poses."""
    poses = change(np.stack([frame.world_from_camera for frame in scene.frames]))
    frames = [replace(f, world_from_camera=pose) for f, pose in zip(scene.frames, poses, strict=True)]
    return replace(scene, frames=tuple(frames))


def measured(factor: float, unit: bool, scene: Scene) -> Scene:
    """With depth read in another unit (which the reader knows), or stored in one."""
    frames = [
        replace(
            frame,
            depth=partial(lambda read, by: read() * np.float32(by), frame.depth, factor),
            depth_unit=(frame.depth_unit or 0.001) * (factor if unit else 1),
        )
        for frame in scene.frames
    ]
    return replace(scene, frames=tuple(frames))


def depths(change: Callable[[np.ndarray], np.ndarray], scene: Scene) -> Scene:
    """With other values of depth."""
    frames = [replace(f, depth=partial(lambda read: change(read()), f.depth)) for f in scene.frames]
    return replace(scene, frames=tuple(frames))


def along_rays(scene: Scene) -> Scene:
    """With the distance to the camera in place of that along its axis."""
    frames = [replace(f, depth=partial(along_axis, f.depth, f.depth_camera, back=True)) for f in scene.frames]
    return replace(scene, frames=tuple(frames))


def lensed(change: Callable[[np.ndarray], np.ndarray], scene: Scene) -> Scene:
    """With other fx, fy, cx, cy."""

    def camera(old):  # type: ignore[no-untyped-def]
        fx, fy, cx, cy = change(np.array([old.fx, old.fy, old.cx, old.cy])).tolist()
        return replace(old, fx=fx, fy=fy, cx=cx, cy=cy)

    frames = [replace(f, camera=camera(f.camera), depth_camera=camera(f.depth_camera)) for f in scene.frames]
    return replace(scene, frames=tuple(frames))


def sentinels(scene: Scene) -> Scene:
    """With the largest number where nothing was measured, as a reader that does not know it gives it."""

    def full(read: Callable[[], np.ndarray]) -> np.ndarray:
        depth = read()
        return np.where(depth > 0, depth, SENTINEL)

    return replace(scene, frames=tuple(replace(f, depth=partial(full, f.depth)) for f in scene.frames))


def reordered(poses: np.ndarray) -> np.ndarray:
    """Quaternions stored w first and read with w last."""
    stored = Rotation.from_matrix(poses[:, :3, :3]).as_quat()
    poses = poses.copy()
    poses[:, :3, :3] = Rotation.from_quat(stored[:, [3, 0, 1, 2]]).as_matrix()
    return poses


def stretched(factor: float, poses: np.ndarray) -> np.ndarray:
    poses = poses.copy()
    poses[:, :3, 3] *= factor
    return poses


#: name -> (what plants it, what the sentence must say).
FAULTS: dict[str, tuple[Fault, str]] = {
    "OpenGL axes": (partial(posed, lambda p: p @ OPENCV_FROM_OPENGL), r"--pose-convention opengl"),
    "inverse poses": (partial(posed, np.linalg.inv), r"--pose-direction world-to-camera"),
    "quaternion order": (partial(posed, reordered), r"stored as w x y z and were read as x y z w"),
    "y and z swapped": (partial(posed, lambda p: SWAP @ p @ SWAP), r"y and z swapped"),
    "depth x 0.2": (partial(measured, 0.2, True), r"in millimetres and was read in 1/5000 m"),
    "depth x 5": (partial(measured, 5.0, False), r"in 1/5000 m .* and was read in millimetres"),
    "depth x 6.55": (partial(measured, 6.5535, False), r"in 1/6553.5 m .* and was read in millimetres"),
    "depth x 1.2": (partial(measured, 1.2, False), r"different scale, poses times 1\.(1[789]|2)"),
    "depth x 1000": (partial(measured, 1000.0, True), r"in millimetres and was read in metres"),
    "poses x 0.3": (partial(posed, partial(stretched, 0.3)), r"different scale, poses times 3\.[234]"),
    "cx and cy off": (partial(lensed, lambda k: k * [1, 1, 0.8, 1.25]), r"cx and cy are not those"),
    "half intrinsics": (partial(lensed, lambda k: k * 0.5), r"made for images of 0\.5 times this size"),
    "shifted by one": (partial(posed, lambda p: np.roll(p, 1, axis=0)), r"shifted by one"),
    "poses in mm": (partial(posed, partial(stretched, 1000.0)), r"--scale 0\.001\b"),
    "all in mm": (
        lambda s: measured(1000.0, True, posed(partial(stretched, 1000.0), s)),
        r"in millimetres: give --scale 0\.001 ",
    ),
    "all in cm": (
        lambda s: measured(100.0, True, posed(partial(stretched, 100.0), s)),
        r"in centimetres: give --scale 0\.01 ",
    ),
    "all in inches": (
        lambda s: measured(39.37, True, posed(partial(stretched, 39.37), s)),
        r"--scale 0\.0254 ",
    ),
    "whole metres": (partial(depths, lambda z: np.float32(0.001) * np.rint(z)), r"rounded, to whole metres"),
    "depth along rays": (along_rays, r"give --depth-along ray"),
    "65535 sentinels": (sentinels, r"beyond 20 m .* sentinel"),
}


def identity(poses: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """The pose of a tracker that knows nothing."""
    return np.eye(4)


def jump(poses: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """1 m away in any direction, and turned by 30 degrees."""
    pose, away = poses[number].copy(), rng.normal(size=3)
    pose[:3, 3] += away / np.linalg.norm(away)
    pose[:3, :3] = (
        pose[:3, :3]
        @ Rotation.from_rotvec(np.radians(30) * away[[1, 2, 0]] / np.linalg.norm(away)).as_matrix()
    )
    return pose


def repeat(poses: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """The pose of the frame before: what a tracker gives that lost its way."""
    return poses[number - 1]


KINDS = {"identity": identity, "jump": jump, "repeat": repeat}
SHARES = (0.01, 0.05, 0.2)


def misposed(kind: str, share: float, scene: Scene) -> tuple[Scene, set[str]]:
    """With wrong poses in a share of the frames, at least one; their names."""
    rng = np.random.default_rng(0)
    poses = np.stack([frame.world_from_camera for frame in scene.frames])
    count = max(1, round(share * len(poses)))
    numbers = np.sort(1 + rng.permutation(len(poses) - 1)[:count])
    for number in numbers:
        poses[number] = KINDS[kind](poses, number, rng)
    return posed(lambda _: poses, scene), {scene.frames[number].name for number in numbers}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--captures", nargs="+", default=["room=synthetic:4?frames=48"], help="NAME=PATH of right captures"
    )
    parser.add_argument("--rooms", type=int, default=28)
    args = parser.parse_args()
    named = total = 0
    singles = np.zeros(3, int)
    good: list[tuple[str, Scene]] = []
    for entry in args.captures:
        name, _, path = entry.partition("=")
        scene = in_memory(CaptureConfig(path).whole()[0])
        good.append((name, scene))
        for fault, (plant, expected) in FAULTS.items():
            report = examine(plant(scene), Stored())
            told = " ".join([report.verdict, *report.remarks, report.far or ""])
            right = re.search(expected, told) is not None
            named, total = named + right, total + 1
            print(
                f"{name:8s} {fault:18s} share {report.agreement.share:.2f} {'named' if right else 'MISSED'}"
            )
            if not right:
                print(f"         said: {told}")
        for kind, share in product(KINDS, SHARES):
            spoilt, wrong = misposed(kind, share, scene)
            report = examine(spoilt, Stored())
            named_wrong = {frame.name for frame in report.wrong}
            hit, amiss = len(named_wrong & wrong), len(named_wrong - wrong)
            singles += np.array([hit, len(wrong), amiss])
            also = f", and {amiss} right ones" if amiss else ""
            fault = f"{kind} {share:.0%}"
            print(
                f"{name:8s} {fault:18s} share {report.agreement.share:.2f} named {hit} of {len(wrong)}{also}"
            )
    print(f"{named} of {total} faults are named")
    print(f"{singles[0]} of {singles[1]} single wrong poses are named, and {singles[2]} right ones")
    good += [(f"room {400 + i}", room(400 + i, i)) for i in range(args.rooms)]
    alarms = 0
    for name, scene in good:
        report = examine(scene, Stored())
        if not report.good:
            alarms += 1
            print(f"FALSE ALARM: {name}: {report.verdict}")
        else:
            print(f"{name:10s} share {report.agreement.share:.3f}", file=sys.stderr)
    print(f"{alarms} false alarms on {len(good)} right captures")


def room(seed: int, kind: int) -> Scene:
    """A room; `kind` chooses frames, size, whether it is held sideways, and which way is up."""
    width, height = SIZES[kind % 3]
    address = f"synthetic:{seed}?frames={FRAMES[kind % 4]}&width={width}&height={height}"
    scene = in_memory(CaptureConfig(address).whole()[0])
    if kind // 3 % 3 == 1:
        scene = replace(scene, frames=tuple(sideways(frame) for frame in scene.frames))
    if kind // 3 % 3 == 2:  # y up: a turn of the world
        turn = np.eye(4)
        turn[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
        scene = replace(posed(lambda p: turn @ p, scene), up=np.array([0.0, 1.0, 0.0]))
    return scene


def sideways(frame: Frame) -> Frame:
    """The frame of a camera held sideways."""
    camera, pose = turn_camera(frame.camera, frame.world_from_camera, 1)
    depth_camera, _ = turn_camera(frame.depth_camera, frame.world_from_camera, 1)
    return replace(
        frame,
        camera=camera,
        depth_camera=depth_camera,
        world_from_camera=pose,
        depth=partial(lambda read: np.ascontiguousarray(np.rot90(read())), frame.depth),
        color=partial(lambda read: np.ascontiguousarray(np.rot90(read())), frame.color),
    )


def in_memory(scene: Scene) -> Scene:
    """With depth read or rendered once: every check reads it again."""
    frames = [replace(f, depth=partial(np.copy, f.depth())) for f in scene.frames]
    return replace(scene, frames=tuple(frames))


if __name__ == "__main__":
    main()

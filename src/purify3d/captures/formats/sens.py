"""Scenes of the ScanNet release as they are downloaded: NAME.sens, with the mesh and its labels beside it.

A .sens file, version 4, is little-endian without padding. First uint32 version; uint64 length and the
sensor's name; four 4x4 float32 matrices row by row: colour intrinsic, colour extrinsic, depth intrinsic,
depth extrinsic; int32 compression of colour (0 raw, 1 png, 2 jpeg) and of depth (0 raw, 1 zlib, 2 occi; 16
bits each); uint32 width and height of colour and of depth; float32 depth units per metre; uint64 number of
frames. Then the frames: camera-to-world (16 float32, OpenCV axes, metres, not finite where tracking was
lost), uint64 times of colour and of depth, uint64 bytes of colour and of depth, and these bytes. Then uint64
number of IMU records of 128 bytes, which are not used. Pixel centres are integers. Reference: the SensReader
of the ScanNet release.

Beside it lie the mesh `_vh_clean_2.ply` and its truth, see `scannet_truth.py`.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.base.files import check_file
from purify3d.captures.formats import scannet_truth
from purify3d.captures.reading import images
from purify3d.captures.reading.dropped import Dropped
from purify3d.captures.reading.frame_names import list_files
from purify3d.captures.reading.images import Intrinsics, Size
from purify3d.captures.reading.opening import check_pixels, opened_bytes
from purify3d.captures.reading.poses import rigid_pose
from purify3d.clouds import read_cloud
from purify3d.types import Camera, Frame, Scene

#: What the path must hold, for people.
EXPECTS = "a .sens file, or a folder with one"

#: How the format stores poses.
POSES = "opencv", "camera-to-world"

_VERSION = 4
_LONGEST_NAME = 4096
_MOST_FRAMES = 1_000_000  # nine hours
_HEAD = struct.Struct("<64f2i4IfQ")
_FRAME = struct.Struct("<16f4Q")
_COLORS = {0: "raw", 1: "png", 2: "jpg"}
_DEPTHS = {0: "raw", 1: "zlib"}
_OTHERS = {-1: "unknown", 2: "occi"}
_NO_DEPTH = 65535


@dataclass(frozen=True)
class Stored:
    """Where one frame lies in the file.

    Attributes:
        world_from_camera: (4, 4) float64 as stored, not finite where tracking was lost.
        start: byte at which the colour image begins; the depth image follows it.
        color_bytes, depth_bytes: their lengths.
    """

    world_from_camera: np.ndarray
    start: int
    color_bytes: int
    depth_bytes: int


@dataclass(frozen=True)
class Recording:
    """The index of a .sens file; where there are two of something, that of colour comes first.

    Attributes:
        matrices: (4, 4, 4) float64, intrinsics and extrinsics of colour, then of depth.
        kinds: raw, png or jpg of colour; raw or zlib of depth.
        sizes: (width, height).
        units_per_metre: of the stored depth.
        frames: those that lie in the file whole, in order.
        promised: how many the header says there are.
    """

    path: Path
    matrices: np.ndarray
    kinds: tuple[str, str]
    sizes: tuple[Size, Size]
    units_per_metre: float
    frames: tuple[Stored, ...]
    promised: int

    def color_file(self, number: int) -> bytes:
        """The bytes of a colour image as they are stored.

        Raises:
            CaptureError: the file became shorter.
        """
        frame = self.frames[number]
        return _bytes(self.path, frame.start, frame.color_bytes)


def recognises(path: Path) -> bool:
    """Does the path look like this format?"""
    return path.suffix.lower() == ".sens" if path.is_file() else bool(list_files(path, (".sens",)))


def read(path: Path, *, intrinsics: Intrinsics | None = None, labels: str | None = None) -> Scene:
    """Read a .sens file, or the folder of a scene; images stay on disk until asked for.

    Args:
        intrinsics: (fx, fy, cx, cy) of the colour image, in place of the file's.
        labels: the truth of which benchmark, `scannet20` or `scannet200`; None: see `scannet_truth.read`.

    Returns:
        Frames called by their number, from 0, in the file's order; `up` is +z. `points` is the mesh
        `_vh_clean_2.ply` where it lies beside the file, in its own order, with truth as far as there is any.

    Raises:
        CaptureError: no such file, not version 4, a compression that is not read, or no usable frame; or the
            mesh and its truth do not fit each other.

    Warns:
        PurifyWarning: frames are left out, or truth is.
    """
    file = _recording(path)
    recording = read_index(file)
    (color_kind, depth_kind), unit = recording.kinds, 1 / recording.units_per_metre
    color_matrix, color_extrinsic, depth_matrix, depth_extrinsic = recording.matrices
    apart = max(_apart(color_extrinsic), _apart(depth_extrinsic))
    if apart > 1e-3:
        warnings.warn(
            f"{file}: colour and depth have extrinsics that differ from identity by {apart:.3g}; "
            "they are not applied, since both share a pose",
            PurifyWarning,
            stacklevel=2,
        )
    where = "--intrinsics" if intrinsics else f"{file}, colour"
    camera = images.make_camera(intrinsics or _pinhole(color_matrix), recording.sizes[0], where)
    depth_camera = images.make_camera(_pinhole(depth_matrix), recording.sizes[1], f"{file}, depth")
    dropped, frames = Dropped(file), []
    for number, stored in enumerate(recording.frames):
        name, after = f"{file}, frame {number}", stored.start + stored.color_bytes
        pose = dropped.attempt(str(number), partial(rigid_pose, stored.world_from_camera, name))
        if pose is not None:
            color = _Image(name, file, stored.start, stored.color_bytes, color_kind, camera)
            depth = _Image(name, file, after, stored.depth_bytes, depth_kind, depth_camera)
            frames.append(
                Frame(
                    name=str(number),
                    camera=camera,
                    depth_camera=depth_camera,
                    world_from_camera=pose,
                    color=color.color,
                    depth=partial(depth.depth, unit),
                    depth_unit=unit,
                    files=(file,),
                )
            )
    whole, promised = len(recording.frames), recording.promised
    ended = f"{file}: ends after {whole} of {promised} frames; download it again"
    for number in range(whole, promised):
        dropped.refuse(str(number), ended)
    scene = dropped.scene(frames, np.array([0.0, 0.0, 1.0]), name=file.resolve().stem, files=(file,))
    mesh = file.with_name(f"{file.stem}_vh_clean_2.ply")
    if not mesh.is_file():
        return scene
    points, names, used = scannet_truth.read(file.parent, file.stem, read_cloud(mesh), labels)
    return replace(scene, points=points, truth=names, files=(file, mesh, *used))


def read_index(file: Path) -> Recording:
    """Where everything lies in a .sens file; no image is read.

    A file that ends too early gives the frames that are whole.

    Raises:
        CaptureError: not version 4, a header that cannot be, or a compression that is not read.
    """
    size = check_file(file)
    with file.open("rb") as stream:
        version, length = struct.unpack("<IQ", _head(stream, 12))
        if version != _VERSION:
            raise CaptureError(
                f"{file}: found version {version} in the first 4 bytes; expected a .sens file of version "
                f"{_VERSION}. Download it again"
            )
        if length > _LONGEST_NAME:
            raise _damaged(file, f"a sensor name of {length} bytes")
        _head(stream, length)
        values = _HEAD.unpack(_head(stream, _HEAD.size))
        matrices = np.array(values[:64]).reshape(4, 4, 4)
        kinds = _kind(file, values[64], _COLORS, "colour"), _kind(file, values[65], _DEPTHS, "depth")
        sizes = values[66:68], values[68:70]
        for size_of_image in sizes:
            check_pixels(file, *size_of_image)
        units, promised = values[70], values[71]
        if not (np.isfinite(units) and units > 0):
            raise _damaged(file, f"{units:g} depth units per metre")
        start = stream.tell()
        if promised > _MOST_FRAMES:
            raise _damaged(file, f"a number of {promised} frames")
        frames: list[Stored] = []
        while len(frames) < promised and start + _FRAME.size <= size:
            stream.seek(start)
            *pose, _, _, color_bytes, depth_bytes = _FRAME.unpack(stream.read(_FRAME.size))
            start += _FRAME.size
            if color_bytes + depth_bytes > size - start:
                break
            frames.append(Stored(np.array(pose).reshape(4, 4), start, color_bytes, depth_bytes))
            start += color_bytes + depth_bytes
    return Recording(file, matrices, kinds, sizes, float(units), tuple(frames), promised)


def _recording(path: Path) -> Path:
    if path.is_file():
        return path
    found = list_files(path, (".sens",))
    if len(found) != 1:
        held = ", ".join(file.name for file in found[:4]) or "none"
        raise CaptureError(f"{path}: expected one .sens file, found {held}. Point to the file itself")
    return found[0]


def _head(stream: BinaryIO, expected: int) -> bytes:
    data = stream.read(expected)
    if len(data) < expected:
        raise CaptureError(
            f"{stream.name}: the file ends within its header; expected a .sens file of version {_VERSION}. "
            "Download it again"
        )
    return data


def _damaged(file: Path, found: str) -> CaptureError:
    return CaptureError(f"{file}: found {found}; the header is damaged. Download the file again")


def _kind(file: Path, number: int, known: dict[int, str], what: str) -> str:
    if number not in known:
        found = _OTHERS.get(number, "not known to the format")
        expected = ", ".join(f"{value} ({i})" for i, value in known.items())
        raise CaptureError(
            f"{file}: found {what} of compression {number} ({found}); expected {expected}. Export the scene "
            "with the SensReader of the release to color/ depth/ pose/ intrinsic/"
        )
    return known[number]


def _apart(extrinsic: np.ndarray) -> float:
    """How much differs from identity; a matrix of zeros says nothing."""
    if not extrinsic.any() or not np.isfinite(extrinsic).all():
        return 0.0
    return float(np.abs(extrinsic - np.eye(4)).max())


def _pinhole(matrix: np.ndarray) -> Intrinsics:
    return float(matrix[0, 0]), float(matrix[1, 1]), float(matrix[0, 2]), float(matrix[1, 2])


def _bytes(file: Path, start: int, count: int) -> bytes:
    check_file(file)
    try:
        with file.open("rb") as stream:
            stream.seek(start)
            data = stream.read(count)
    except OSError as error:
        raise CaptureError(f"{file}: cannot be read ({error.strerror}). Check the disk") from error
    if len(data) < count:
        raise CaptureError(f"{file}: became shorter since it was opened; download it again")
    return data


@dataclass(frozen=True)
class _Image:
    """What messages call an image, where it lies in the file, its compression and its camera.

    Its methods, not closures, are in the frames, so that these can be sent to other processes.
    """

    called: str
    file: Path
    start: int
    count: int
    kind: str
    camera: Camera

    def color(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        data, size = _bytes(self.file, self.start, self.count), (self.camera.width, self.camera.height)
        if self.kind == "raw":
            return self._array(data, "colour image", np.dtype(("u1", 3))).copy()
        called, formats = f"{self.called}: the colour image", ["PNG" if self.kind == "png" else "JPEG"]
        with opened_bytes(data, called, formats) as image:
            if image.size != size:
                raise CaptureError(
                    f"{self.called}: found a colour image of {image.size[0]}x{image.size[1]} pixels; the "
                    f"header says {size[0]}x{size[1]}. Download the file again"
                )
            return np.array(image.convert("RGB"))

    def depth(self, metres_per_unit: float) -> np.ndarray:
        """(h, w) float32 metres, 0 = none."""
        data = _bytes(self.file, self.start, self.count)
        if self.kind == "zlib":
            try:
                # One byte more than there should be is enough to see that there are too many.
                data = zlib.decompressobj().decompress(data, 2 * self.camera.width * self.camera.height + 1)
            except zlib.error as error:
                raise CaptureError(
                    f"{self.called}: the depth image is damaged ({error}); download the file again"
                ) from error
        stored = self._array(data, "depth image", np.dtype("<u2"))
        metres = stored.astype(np.float32) * np.float32(metres_per_unit)
        metres[stored == _NO_DEPTH] = 0
        return metres

    def _array(self, data: bytes, what: str, pixel: np.dtype) -> np.ndarray:
        found, expected = len(data), self.camera.width * self.camera.height * pixel.itemsize
        if found != expected:
            more = "more than " if found > expected else ""
            raise CaptureError(
                f"{self.called}: found a {what} of {more}{min(found, expected)} bytes; expected {expected} "
                "for the size in the header. Download the file again"
            )
        shape = self.camera.height, self.camera.width, *pixel.shape
        return np.frombuffer(data, dtype=pixel.base).reshape(shape)

"""Record3D: a `.r3d` file, or the export as EXR + JPG, each zipped or as a folder.

Reference: what the app's author says of both formats in the repository of its library,
marek-simonik/record3d.

* `.r3d` is a ZIP file of `metadata` (JSON) and `rgbd/` with `N.jpg`, `N.depth` and `N.conf`. Depth is float32
  metres row by row, and confidence bytes of 0 low, 1 medium, 2 high, both compressed with LZFSE. Recordings
  of the front camera have no confidence.
* EXR + JPG is `metadata.json` beside `rgb/N.jpg` and `depth/N.exr`, most often in a folder EXR_RGBD. It has
  no confidence: all depth is used.

Metadata: `w`, `h` of the images and `dw`, `dh` of depth (not in early versions), `K`, the 3x3 intrinsic
matrix of the first image column by column, `perFrameIntrinsicCoeffs` (later versions) with fx, fy, cx, cy of
each, and `poses`, qx qy qz qw tx ty tz in metres, camera-to-world with ARKit's axes (x right, y up, z back;
the world is y-up). `initPose` is not used: the poses agree with each other without it. Depth of low
confidence is left out (`phones.LOWEST_CONFIDENCE`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from purify3d.base.errors import CaptureError
from purify3d.captures.reading import archives, exr, images, lzfse, phones
from purify3d.captures.reading.depths import check_size
from purify3d.captures.reading.images import Intrinsics, Size
from purify3d.captures.reading.opening import opened_bytes
from purify3d.grid import projection
from purify3d.types import Camera, Frame, Scene
from purify3d.types.checks import measured

#: What the path must hold, for people.
EXPECTS = "a .r3d file, or metadata.json with rgb/ and depth/*.exr"

#: How the format stores poses.
POSES = "opengl", "camera-to-world"

_NUMBERED = re.compile(r"(?:(.*)/)?([^/]+)/([0-9]{1,9})(\.\w+)")


@dataclass(frozen=True)
class _Layout:
    """Where things are: the name of the metadata, and files of each frame number."""

    metadata: str
    color: Mapping[int, str]
    depth: Mapping[int, str]
    confidence: Mapping[int, str]


def recognises(path: Path) -> bool:
    """Does the path look like this format?"""
    if path.is_file():
        if path.suffix.lower() == ".r3d":
            return True
        return path.suffix.lower() == ".zip" and archives.is_archive(path) and _layout(path) is not None
    if (path / "metadata").is_file() and (path / "rgbd").is_dir():
        return True
    # Names of all files are listed only where the few that matter are there.
    inside = path / "EXR_RGBD" if (path / "EXR_RGBD").is_dir() else path
    named = any((folder / "metadata.json").is_file() for folder in (inside, path))
    return named and (inside / "rgb").is_dir() and (inside / "depth").is_dir() and _layout(path) is not None


def read(path: Path, *, intrinsics: Intrinsics | None = None) -> Scene:
    """Read a recording; images stay in the file until asked for.

    Args:
        intrinsics: (fx, fy, cx, cy) of the colour images, in place of those in the metadata.

    Returns:
        Frames in their order. `up` is +y.

    Raises:
        CaptureError: no whole file, metadata that lack something, or no usable frame.
        MissingPackageError: lzfse (of `.r3d`) or OpenEXR (of EXR + JPG) is not installed.

    Warns:
        PurifyWarning: frames are left out, or some lack confidence.
    """
    layout = _layout(path)
    if layout is None:
        raise CaptureError(f"{path}: expected {EXPECTS}. Export it from Record3D as .r3d, or as EXR + JPG")
    source = f"{layout.metadata} in {path}"
    meta = phones.read_json(archives.read_member(path, layout.metadata), source)
    poses = meta.get("poses")
    if not isinstance(poses, list) or not poses:
        raise CaptureError(
            f"{source}: found no poses; expected one of each frame. Record with the LiDAR camera and a "
            "recent version of Record3D"
        )
    sieve, whole = phones.Sieve(path), []
    for n in sorted(layout.color.keys() | layout.depth.keys() | set(range(len(poses)))):
        parts = {"image": n in layout.color, "depth": n in layout.depth, "pose": n < len(poses)}
        whole += [n] if sieve.is_whole(str(n), parts) else []
    if whole:
        make = _maker(path, source, meta, layout, whole[0], intrinsics)
        for n in whole:
            sieve.add(str(n), partial(make, n), layout.confidence.get(n))
    own = path if path.is_file() else path / layout.metadata
    return sieve.done(name=path.resolve().stem, files=(own,))


def _layout(path: Path) -> _Layout | None:
    """Of the folder nearest to the top that has frames and metadata; None: there is none."""
    names = archives.members(path)
    held = set(names)
    files: dict[tuple[str, str], dict[str, dict[int, str]]] = {}
    for name in names:
        found = _NUMBERED.fullmatch(name)
        if found:
            folder = files.setdefault((found[1] or "", found[2]), {})
            folder.setdefault(found[4].lower(), {})[int(found[3])] = name
    for place in sorted({place for place, _ in files}, key=lambda place: (place.count("/"), place)):
        rgbd, rgb, depth = (files.get((place, inside), {}) for inside in ("rgbd", "rgb", "depth"))
        above = place.rpartition("/")[0]
        if ".depth" in rgbd and (meta := _join(place, "metadata")) in held:
            return _Layout(meta, _images(rgbd), rgbd[".depth"], rgbd.get(".conf", {}))
        for meta in (_join(place, "metadata.json"), _join(above, "metadata.json")):
            if ".exr" in depth and rgb and meta in held:
                return _Layout(meta, _images(rgb), depth[".exr"], {})
    return None


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _images(folder: Mapping[str, dict[int, str]]) -> dict[int, str]:
    return {
        number: name for suffix in images.COLOR_SUFFIXES for number, name in folder.get(suffix, {}).items()
    }


def _maker(
    path: Path,
    source: str,
    meta: Mapping[str, Any],
    layout: _Layout,
    first: int,
    intrinsics: Intrinsics | None,
) -> Callable[[int], Frame | None]:
    """Makes a frame by its number; the images of all have the sizes of the first."""
    with _image(path, layout.color[first]) as image:
        size = image.size
    try:
        made_for = (int(meta["w"]), int(meta["h"])) if intrinsics is None else size
        # Column by column: fx 0 0, 0 fy 0, cx cy 1.
        shared = [float(meta["K"][i]) for i in (0, 4, 6, 7)] if intrinsics is None else []
        given = (int(meta["dw"]), int(meta["dh"])) if "dw" in meta and "dh" in meta else None
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise CaptureError(
            f"{source}: w, h, K, dw, dh lack something ({error!r}); expected sizes and 9 numbers. Export "
            "it again, or pass --intrinsics fx,fy,cx,cy"
        ) from error
    each = meta.get("perFrameIntrinsicCoeffs")
    depth_size = _depth_size(path, layout.depth[first], size, given)

    def made(number: int) -> Frame | None:
        """None if its pose is not finite."""
        pose = phones.pose_from_quaternion(meta["poses"][number], f"{path}, pose {number}")
        if pose is None:
            return None
        own = each[number] if isinstance(each, list) and number < len(each) else shared
        values = [float(value) for value in own[:4]] if intrinsics is None else []
        camera = phones.make_camera(intrinsics, values, made_for, size, source)
        depth_camera = images.resized(camera, depth_size, "depth image", source)
        color, depth, confidence = layout.color[number], layout.depth[number], layout.confidence.get(number)
        names = [name for name in (color, depth, confidence) if name is not None]
        return Frame(
            name=str(number),
            camera=camera,
            depth_camera=depth_camera,
            world_from_camera=pose @ projection.OPENCV_FROM_OPENGL,
            color=partial(_color, path, color, camera),
            depth=partial(_depth, path, depth, confidence, depth_camera),
            files=(path,) if path.is_file() else tuple(path / name for name in names),
        )

    return made


def _color(path: Path, name: str, camera: Camera) -> np.ndarray:
    with _image(path, name) as image:
        check_size(f"{name} in {path}", image.size, camera, "colour image")
        return np.array(image.convert("RGB"))


def _image(path: Path, name: str) -> AbstractContextManager[Image.Image]:
    return opened_bytes(archives.read_member(path, name), f"{name} in {path}:")


def _depth_size(path: Path, name: str, color: Size, given: Size | None) -> Size:
    """(width, height): an EXR says it itself, else the metadata; else it has the image's proportions."""
    data = archives.read_member(path, name)
    if name.lower().endswith(".exr"):
        return exr.exr_size(data, f"{name} in {path}")
    if given is not None:
        return given
    # Depth has no more pixels than the photo.
    count = len(lzfse.unpack(data, f"{name} in {path}", 4 * color[0] * color[1])) // 4
    scale = (count / (color[0] * color[1])) ** 0.5
    width, height = round(color[0] * scale), round(color[1] * scale)
    if count == 0 or width * height != count:
        raise CaptureError(
            f"{name} in {path}: found {count} values and no dw, dh in the metadata; expected the "
            f"proportions of an image of {color[0]}x{color[1]} pixels. Export it "
            "with a recent version of Record3D"
        )
    return width, height


def _depth(path: Path, name: str, confidence: str | None, camera: Camera) -> np.ndarray:
    called, size = f"{name} in {path}", (camera.height, camera.width)
    data = archives.read_member(path, name)
    if name.lower().endswith(".exr"):
        metres = exr.read_exr(data, called)
        check_size(called, (metres.shape[1], metres.shape[0]), camera, "depth image")
        return metres
    metres = measured(_plane(data, "<f4", called, size))
    if confidence is None:
        return metres
    data = archives.read_member(path, confidence)
    return phones.confident(metres, _plane(data, "u1", f"{confidence} in {path}", size))


def _plane(data: bytes, dtype: str, called: str, size: Size) -> np.ndarray:
    """(h, w) of numbers compressed with LZFSE."""
    expected = size[0] * size[1] * np.dtype(dtype).itemsize
    raw = lzfse.unpack(data, called, expected)
    if len(raw) != expected:
        raise CaptureError(
            f"{called}: found {len(raw)} bytes; expected {expected} of {size[1]}x{size[0]} pixels, the size "
            "in the metadata. Copy or export the capture again"
        )
    return np.frombuffer(raw, dtype=dtype).reshape(size)

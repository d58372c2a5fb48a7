"""What every reader of clouds gives, and how values that formats store in different ways become one."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from purify3d.base.arrays import DAMAGED
from purify3d.base.errors import CaptureError
from purify3d.base.files import check_file, check_scans
from purify3d.types import NO_LABEL

#: Pillow's names of what textures are stored as; others of its formats start programs.
_TEXTURES = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "TGA", "GIF", "DDS")
_ROWS = 256  # of a texture that are converted at a time

#: Colour of points that have none.
GREY = 128


@dataclass(frozen=True)
class Vertices:
    """Points as a file has them, in its order.

    Attributes:
        xyz: (N, 3) float64.
        rgb: (N, 3) uint8; None: the file has no colours.
        normal: (N, 3) float64 of any length, zero where unknown.
        label, instance: (N,) int32 ids of classes and of objects, -1 = none; None: the file has none.
    """

    xyz: np.ndarray
    rgb: np.ndarray | None
    normal: np.ndarray
    label: np.ndarray | None = None
    instance: np.ndarray | None = None


def no_colors(count: int) -> np.ndarray:
    """(N, 3) uint8 grey."""
    return np.full((count, 3), GREY, dtype=np.uint8)


def no_labels(count: int) -> np.ndarray:
    """(N,) int32, none."""
    return np.full(count, NO_LABEL, dtype=np.int32)


def picture(source: Path | BytesIO) -> np.ndarray | None:
    """(H, W, 3) uint8 of a texture; None where it cannot be read: a mesh without it is still a mesh."""
    try:
        if isinstance(source, Path):
            check_file(source)
        with Image.open(source, formats=_TEXTURES) as opened:
            if opened.format in ("JPEG", "MPO"):
                check_scans(opened.fp, "a texture")
            found = np.empty((opened.height, opened.width, 3), dtype=np.uint8)
            for row in range(0, opened.height, _ROWS):  # Pillow takes four bytes a pixel for each step
                strip = opened.crop((0, row, opened.width, min(row + _ROWS, opened.height)))
                found[row : row + _ROWS] = np.asarray(strip.convert("RGB"))
            return found
    except (CaptureError, OSError, *DAMAGED, Image.DecompressionBombError):
        return None


def colors_at(image: np.ndarray, place: np.ndarray) -> np.ndarray:
    """(N, 3) colours of an image at (N, 2) shares of its width and height, 0..1 from the top left."""
    size = np.array([image.shape[1], image.shape[0]])
    column, row = np.minimum(place * size, size - 1).astype(int).T
    return np.asarray(image[row, column])


def bytes_of_colors(stored: np.ndarray) -> np.ndarray:
    """Colours as formats store them, any shape -> uint8: floats of 0..1 or 0..255, integers of 8 or 16 bits.

    Which of the two it is follows from the largest value: many writers leave 8-bit values in 16-bit fields.
    """
    if len(stored) == 0:
        return stored.astype(np.uint8)
    if stored.dtype.kind == "f":
        values = np.nan_to_num(stored.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        # A shade more than 1 comes of computing; as 0..255 it would be black anyway.
        return (values * 255 if values.max() < 1.01 else values).round().clip(0, 255).astype(np.uint8)
    whole = stored.astype(np.int64)
    return (whole >> 8 if whole.max() > 255 else whole).clip(0, 255).astype(np.uint8)


def greys_of_intensity(stored: np.ndarray) -> np.ndarray:
    """(N,) strengths of a laser's return in any unit -> (N, 3) uint8 grey; the strongest percent is white."""
    values = np.nan_to_num(stored.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0).clip(0)
    top = float(np.quantile(values, 0.99)) if len(values) else 0.0
    if top <= 0:
        return no_colors(len(values))
    return np.repeat((values / top * 255).round().clip(0, 255).astype(np.uint8)[:, None], 3, axis=1)


def bytes_of_packed(stored: np.ndarray) -> np.ndarray:
    """(N,) colours as the Point Cloud Library packs them -> (N, 3) uint8.

    Each is 0xAARRGGBB, as a whole number or as the bits of a float.
    """
    bits = stored.astype("<f4").view("<u4") if stored.dtype.kind == "f" else stored.astype(np.int64)
    return np.stack([bits >> shift & 255 for shift in (16, 8, 0)], axis=1).astype(np.uint8)


def ids_of_labels(stored: np.ndarray) -> np.ndarray:
    """(N,) label ids of any number type -> int32; what is no id of 32 bits is none."""
    if stored.dtype.kind == "f":
        stored = np.where(np.isfinite(stored), stored, NO_LABEL).round()
    fits = (stored >= -(2**31)) & (stored < 2**31)
    return np.where(fits, stored, NO_LABEL).astype(np.int64).astype(np.int32)


def vertex_normals(xyz: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(N, 3) sum of the normals of the (F, 3) triangles around each of (N, 3) vertices, weighted by area."""
    a, b, c = (xyz[triangles[:, i]] for i in range(3))
    with np.errstate(invalid="ignore", over="ignore"):  # of corners that are not finite
        face = np.cross(b - a, c - a)
    face = np.where(np.isfinite(face), face, 0)
    total = np.zeros(xyz.shape)
    for corner in triangles.T:
        for axis in range(3):
            total[:, axis] += np.bincount(corner, weights=face[:, axis], minlength=len(xyz))
    return total


def fans(polygons: np.ndarray) -> np.ndarray:
    """(P, k) polygons of k corners -> (P * (k - 2), 3) int64 triangles around the first corner of each."""
    corners = polygons.astype(np.int64)
    first = np.broadcast_to(corners[:, :1], (len(corners), max(0, corners.shape[1] - 2)))
    return np.stack([first, corners[:, 1:-1], corners[:, 2:]], axis=2).reshape(-1, 3)

"""Poses as people store them, and what is wrong with those that cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from purify3d.base.arrays import load_array
from purify3d.base.errors import CaptureError
from purify3d.base.files import check_file, read_text
from purify3d.captures.reading.opening import unreadable

#: A camera is lost beyond this many metres from where the others are, and this many times their own spread.
_FAR_METRES = 100.0
_FARTHEST = 1e12  # metres, where doubles are exact to a tenth of a millimetre
_FAR_TIMES = 50.0
#: Bytes of a text file that holds one matrix.
_MOST_BYTES = 1_000_000
_BRACKETS = str.maketrans(",;[]()", "      ")


def read_numbers(path: Path, most: int = _MOST_BYTES) -> np.ndarray:
    """The numbers of a text file as a float64 matrix, inf and nan included; commas count as space.

    Args:
        most: bytes; one matrix needs few, a trajectory many.

    Raises:
        CaptureError: not a table of numbers.
    """
    rows: list[list[float]] = []
    for number, line in enumerate(read_text(path, most).splitlines(), start=1):
        words = line.translate(_BRACKETS).split()
        if not words or words[0].startswith("#"):
            continue
        try:
            rows.append([float(word) for word in words])
        except ValueError as error:
            raise _no_matrix(path, f"line {number} is {line.strip()[:60]!r}") from error
        if len(rows[-1]) != len(rows[0]):
            raise _no_matrix(path, f"line {number} has {len(rows[-1])} numbers, the first has {len(rows[0])}")
    if not rows:
        raise _no_matrix(path, "it is empty")
    return np.array(rows, dtype=np.float64)


def _no_matrix(path: Path, why: str) -> CaptureError:
    return CaptureError(
        f"{path}: found something that is not a matrix of numbers ({why}); re-copy the capture, or "
        "delete this frame's files"
    )


def read_pose(path: Path) -> np.ndarray | None:
    """(4, 4) of a text or .npy file of 4x4, 3x4, or 12 or 16 numbers row by row; None where it is not finite.

    Raises:
        CaptureError: as `read_numbers` and `rigid_pose`.
    """
    if path.suffix.lower() == ".npy":
        if check_file(path) > _MOST_BYTES:
            raise _no_matrix(path, "it is too large for a pose")
        try:
            values = load_array(path)
        except (OSError, ValueError) as error:
            raise unreadable(path, error) from error
        if values.dtype.kind not in "iuf":
            raise _no_matrix(path, f"an array of {values.dtype}")
        values = values.astype(np.float64)
    else:
        values = read_numbers(path)
    return rigid_pose(values.reshape(-1, 4) if values.size in (12, 16) else values, path)


def is_known(numbers: Sequence[float] | np.ndarray, source: Path | str) -> bool:
    """Whether the numbers of a pose are finite; where tracking was lost they are not.

    Raises:
        CaptureError: finite ones that no position has.
    """
    values = np.abs(np.asarray(numbers, dtype=np.float64))
    if not np.isfinite(values).all():
        return False
    if values.max(initial=0) > _FARTHEST:
        raise CaptureError(
            f"{source}: found {values.max():.3g} in a pose; expected metres and a rotation. Re-export it"
        )
    return True


def is_turn(quaternion: Sequence[float] | np.ndarray) -> bool:
    """Whether four numbers can be a unit quaternion; what is far from length 1 was damaged."""
    values = np.asarray(quaternion, dtype=np.float64)
    return bool((np.abs(values) < 2).all() and abs(np.linalg.norm(values) - 1) < 0.1)


def rigid_pose(values: np.ndarray, source: Path | str) -> np.ndarray | None:
    """(3, 4) or (4, 4) world_from_camera -> (4, 4) float64; None where it is not finite (tracking was lost).

    Raises:
        CaptureError: another shape, all zeros, stored column by column, or no rotation (scaled, mirrored or
            sheared).
    """
    if values.shape not in ((3, 4), (4, 4)):
        raise CaptureError(f"{source}: found a pose of shape {values.shape}; expected 4x4 numbers")
    if not is_known(values, source):
        return None
    if not values[:3, :3].any():
        raise CaptureError(f"{source}: found a pose of zeros; expected a rigid camera-to-world transform")
    if len(values) == 4 and np.abs(values[3] - [0, 0, 0, 1]).max() > 1e-3:
        last = " ".join(f"{value:g}" for value in values[3])
        turned = not values[:3, 3].any()
        raise CaptureError(
            f"{source}: found a pose with the last row {last}; expected 0 0 0 1. "
            + ("It is stored column by column: transpose it" if turned else "Export rigid transforms")
        )
    pose = np.eye(4)
    pose[:3] = values[:3]
    rotation = pose[:3, :3]
    with np.errstate(all="ignore"):  # of numbers next to none
        determinant = float(np.linalg.det(rotation))
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 0.01 or determinant < 0:
        scale = np.cbrt(abs(determinant))
        even = scale > 0 and np.abs(rotation @ rotation.T / scale**2 - np.eye(3)).max() < 0.01
        kind = f"scaled by {scale:.4g}" if abs(scale - 1) > 0.003 else "mirrored"
        kind = kind if even else "sheared, or scaled by axis"
        raise CaptureError(
            f"{source}: found a pose whose 3x3 part is no rotation (determinant {determinant:.3g}: {kind}); "
            "expected a rigid camera-to-world transform in metres. Undo the scale or mirroring of the poses"
        )
    return pose


def far_away(poses: Sequence[np.ndarray]) -> np.ndarray:
    """(F,) bool: cameras more than 100 m, and 50 times the others' spread, from the middle of all.

    Args:
        poses: F times (4, 4) world_from_camera, metres.
    """
    if len(poses) < 3:  # of two, nobody knows which one is lost
        return np.zeros(len(poses), dtype=bool)
    places = np.stack([pose[:3, 3] for pose in poses])
    distance = np.linalg.norm(places - np.median(places, axis=0), axis=1)
    return np.asarray(distance > max(_FAR_METRES, _FAR_TIMES * float(np.median(distance))))

"""A tree of frames that move: poses at any time, by interpolation between the times that were recorded."""

from __future__ import annotations

from array import array
from itertools import pairwise

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from purify3d.captures.reading.poses import is_turn
from purify3d.grid import projection

#: Seconds between two records beyond which nothing is said of the time between them.
MAX_GAP = 1.0

_NUMBERS = 7
_FARTHEST = 1e12  # metres


class _Link:
    """Where a child is in its parent: rows of tx ty tz qx qy qz qw, with their times in ns."""

    def __init__(self) -> None:
        self.times, self.numbers = array("q"), array("d")
        self.sorted: tuple[np.ndarray, np.ndarray] | None = None

    def add(self, time: int, numbers: np.ndarray) -> None:
        self.times.append(time)
        self.numbers.extend(numbers)
        self.sorted = None

    def at(self, time: int) -> np.ndarray | None:
        if self.sorted is None:
            times = np.array(self.times, dtype=np.int64)
            order = np.argsort(times, kind="stable")
            self.sorted = times[order], np.array(self.numbers).reshape(-1, _NUMBERS)[order]
        times, rows = self.sorted
        after = int(np.searchsorted(times, time))
        if after < len(times) and times[after] == time:
            return _matrix(rows[after])
        if after == 0 or after == len(times) or times[after] - times[after - 1] > MAX_GAP * 1e9:
            return None
        share = float(time - times[after - 1]) / float(times[after] - times[after - 1])
        first, second = rows[after - 1], rows[after]
        turn = Slerp([0, 1], Rotation.from_quat(np.stack([first[3:], second[3:]])))(share)
        place = (1 - share) * first[:3] + share * second[:3]
        return projection.pose_from_quaternion(turn.as_quat(), place)


def _matrix(row: np.ndarray) -> np.ndarray:
    return projection.pose_from_quaternion(row[3:], row[:3])


class Transforms:
    """Frames by name; each but the root has a parent."""

    def __init__(self) -> None:
        self._moving: dict[tuple[str, str], _Link] = {}
        self._static: dict[tuple[str, str], np.ndarray] = {}
        self._parents: dict[str, set[str]] = {}

    def add(
        self, parent: str, child: str, time: int, translation: np.ndarray, xyzw: np.ndarray, *, static: bool
    ) -> None:
        """Take a record: where `child` is in `parent` at `time` (ns), or always. Metres, unit quaternion.

        What is not finite, or without a rotation, is not taken.
        """
        numbers = np.array([*translation, *xyzw], dtype=np.float64)
        if not (np.abs(numbers) < _FARTHEST).all() or not is_turn(numbers[3:]):
            return
        self._parents.setdefault(child, set()).add(parent)
        if static:
            self._static[parent, child] = _matrix(numbers)
        else:
            self._moving.setdefault((parent, child), _Link()).add(time, numbers)

    def chain(self, frame: str) -> list[str]:
        """The frame, its parent, and so on to the root.

        Raises:
            ValueError: a frame on the way has two parents, or is its own ancestor.
        """
        chain = [frame]
        while parents := self._parents.get(chain[-1]):
            if len(parents) > 1:
                raise ValueError(f"frame {chain[-1]!r} has several parents: {', '.join(sorted(parents))}")
            (parent,) = parents
            if parent in chain:
                raise ValueError(f"frame {parent!r} is its own ancestor")
            chain.append(parent)
        return chain

    @property
    def moving(self) -> list[tuple[str, str]]:
        """Parent and child of each transform that was recorded over time."""
        return sorted(self._moving)

    def moves(self, fixed: str, frame: str) -> bool:
        """Whether any transform between a frame and its ancestor was recorded over time."""
        chain = self.chain(frame)
        chain = chain[: chain.index(fixed) + 1]
        return any(pair[::-1] in self._moving for pair in pairwise(chain))

    def pose(self, fixed: str, frame: str, time: int) -> np.ndarray | None:
        """(4, 4) float64 fixed_from_frame at a time in ns; None where it was not recorded.

        Nothing is made up before the first and after the last record, or in gaps of more than a second.
        """
        pose = np.eye(4)
        chain = self.chain(frame)
        for child, parent in pairwise(chain[: chain.index(fixed) + 1]):
            link = self._moving.get((parent, child))
            step = self._static[parent, child] if link is None else link.at(time)
            if step is None:
                return None
            pose = step @ pose
        return pose

    def fixed_between(self, a: str, b: str) -> np.ndarray | None:
        """(4, 4) float64 a_from_b, None unless both hang together by transforms that never change."""
        above, below = self.chain(a), self.chain(b)
        shared = next((frame for frame in above if frame in below), None)
        if shared is None or self.moves(shared, a) or self.moves(shared, b):
            return None
        shared_from_a, shared_from_b = self.pose(shared, a, 0), self.pose(shared, b, 0)
        if shared_from_a is None or shared_from_b is None:
            return None
        return projection.inverse(shared_from_a) @ shared_from_b

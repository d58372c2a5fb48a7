"""Do the frames of a capture agree with each other?

Points that one frame measures are looked up in the others. Where the other frame measures the same depth,
they agree; where it measures farther, it sees through a surface, which cannot be; where it measures nearer,
something stands in between, which says nothing. With right poses, units and intrinsics nearly all agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from purify3d.features.surface import depth_jumps
from purify3d.types import Frame

#: Share of the depth within which two frames measure the same.
TOLERANCE = 0.05
_PIXELS = 400  # of each frame that are looked up in the others
_WIDE = 320  # pixels that a depth image is thinned to
#: Pixels that must tell something.
FEWEST = 100


@dataclass(frozen=True, eq=False)
class Views:
    """F frames, thinned: what is needed to look pixels of one up in the others.

    Attributes:
        number: (F,) which frame of the capture each is.
        depth: F images (h, w) float32 metres, 0 = none or at an edge.
        pixel: F times (P, 2) int64, (column, row) of some measured pixels.
        pose: (F, 4, 4) world_from_camera.
        lens: (F, 4) fx, fy, cx, cy of the thinned images.
        measured: (M,) metres, all depth of the thinned images, edges too.
        missing: share of their pixels without depth.
        depth_scale: what all depth is multiplied with.
    """

    number: np.ndarray
    depth: tuple[np.ndarray, ...]
    pixel: tuple[np.ndarray, ...]
    pose: np.ndarray
    lens: np.ndarray
    measured: np.ndarray
    missing: float = 0.0
    depth_scale: float = 1.0

    def __len__(self) -> int:
        return len(self.depth)

    def within(self, max_depth: float) -> Views:
        """Without what is measured farther than `max_depth` metres."""
        depth = tuple(np.where(image <= max_depth, image, np.float32(0)) for image in self.depth)
        pixel = tuple(p[d[p[:, 1], p[:, 0]] > 0] for p, d in zip(self.pixel, depth, strict=True))
        return replace(self, depth=depth, pixel=pixel)

    def only(self, kept: np.ndarray) -> Views:
        """Some of the frames, (F,) bool; what is measured stays that of all."""
        which = np.flatnonzero(kept)
        return replace(
            self,
            number=self.number[kept],
            depth=tuple(self.depth[i] for i in which),
            pixel=tuple(self.pixel[i] for i in which),
            pose=self.pose[kept],
            lens=self.lens[kept],
        )

    def points(self, i: int) -> np.ndarray:
        """(P, 3) where the looked up pixels of the i-th frame lie in the world, metres."""
        column, row = self.pixel[i].T
        z = self.depth[i][row, column].astype(np.float64) * self.depth_scale
        fx, fy, cx, cy = self.lens[i]
        local = np.stack([(column - cx) / fx * z, (row - cy) / fy * z, z], axis=1)
        return np.asarray(local @ self.pose[i, :3, :3].T + self.pose[i, :3, 3])

    def compare(self, world: np.ndarray, j: int) -> tuple[np.ndarray, np.ndarray]:
        """Points in the view of the j-th frame.

        Args:
            world: (N, 3) metres.

        Returns:
            (M,) numbers of the points that fall on a measured pixel; (M,) measured depth / their own - 1.
        """
        there = (world - self.pose[j, :3, 3]) @ self.pose[j, :3, :3]
        front = np.nonzero(there[:, 2] > 1e-6)[0]
        fx, fy, cx, cy = self.lens[j]
        x, y, z = there[front].T
        height, width = self.depth[j].shape
        u, v = np.rint(x / z * fx + cx), np.rint(y / z * fy + cy)
        inside = (u >= 0) & (v >= 0) & (u < width) & (v < height)
        measured = self.depth[j][v[inside].astype(int), u[inside].astype(int)] * self.depth_scale
        known = measured > 0
        return front[inside][known], measured[known] / z[inside][known] - 1


@dataclass(frozen=True)
class Agreement:
    """How the pixels fared that were looked up.

    Attributes:
        agree, through, hidden: pixels that another frame measures where they are, behind, before.
    """

    agree: int
    through: int
    hidden: int

    @property
    def share(self) -> float:
        """agree / (agree + through), 0..1; nan where hardly any frame looks at what another one sees."""
        compared = self.agree + self.through
        return self.agree / compared if compared >= FEWEST else float("nan")


def look(frames: Sequence[Frame], *, count: int = 24, even: bool = False) -> Views:
    """Some of the frames, half of them spread over the capture and half following one of these.

    Frames whose depth image is empty are left out.

    Args:
        even: all of them spread over the capture.

    Raises:
        CaptureError: a depth image cannot be read.
    """
    numbers, depth, pixel, lens, measured, pixels = [], [], [], [], [np.zeros(0, np.float32)], 0
    rng = np.random.default_rng(0)
    chosen = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int).tolist()
    for number in chosen if even else spread(len(frames), count):
        image, camera = frames[number].depth(), frames[number].depth_camera
        step = max(1, round(image.shape[1] / _WIDE))
        thin = np.ascontiguousarray(image[::step, ::step])
        measured.append(thin[thin > 0])
        pixels += thin.size
        thin = np.where(depth_jumps(thin), np.float32(0), thin)
        row, column = np.nonzero(thin > 0)
        if len(row) == 0:
            continue
        some = rng.permutation(len(row))[:_PIXELS]
        numbers.append(number)
        depth.append(thin)
        pixel.append(np.stack([column[some], row[some]], axis=1))
        lens.append(np.array([camera.fx, camera.fy, camera.cx, camera.cy]) / step)
    pose = np.array([frames[i].world_from_camera for i in numbers]).reshape(-1, 4, 4)
    known = np.concatenate(measured)
    return Views(
        np.array(numbers, int),
        tuple(depth),
        tuple(pixel),
        pose,
        np.array(lens).reshape(-1, 4),
        known,
        1 - len(known) / max(pixels, 1),
    )


def spread(total: int, count: int) -> list[int]:
    """Numbers of at most `count` of `total` frames: evenly spread ones, and for each one soon after it."""
    if total <= count:
        return list(range(total))
    anchors = np.linspace(0, total - 1, count // 2).round().astype(int)
    step = max(1, total // 60)
    return sorted({int(i) for i in anchors} | {min(int(i) + step, total - 1) for i in anchors})


def agreement(views: Views, *, tolerance: float = TOLERANCE) -> Agreement:
    """
    Args:
        tolerance: share of the depth within which two frames measure the same.
    """
    world = [views.points(i) for i in range(len(views))]
    fared = np.zeros(3, dtype=int)
    for j in range(len(views)):  # not pair by pair: a search for the mistake comes here hundreds of times
        _, ahead = views.compare(np.concatenate([np.zeros((0, 3)), *world[:j], *world[j + 1 :]]), j)
        fared += [np.sum(np.abs(ahead) <= tolerance), np.sum(ahead > tolerance), np.sum(ahead < -tolerance)]
    return Agreement(*fared.tolist())

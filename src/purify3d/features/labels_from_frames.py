"""Truth from images of ids: what the points of a capture really are, and which object each belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from purify3d.base.progress import Progress, silent
from purify3d.features.frustum import FrustumIndex
from purify3d.features.lifting import measured_points
from purify3d.types import NO_LABEL, Frame, PointCloud, Vocabulary

#: Share of the depth: label images are exact at their pixels, so a point must lie on the very surface shown.
_EXACT = 0.01
_SMALLEST_ID = -(2**31)
_MERGE_ROWS = 8_000_000  # votes held at least before equal ones are counted: about 200 MB


def fuse_labels(frames: Sequence[Frame], points: PointCloud, *, progress: Progress = silent) -> Tensor:
    """(N,) int32 truth ids by majority over the frames that see a point, see `fuse_ids`."""
    return fuse_ids(frames, points, "label", progress=progress)


def fuse_instances(frames: Sequence[Frame], points: PointCloud, *, progress: Progress = silent) -> Tensor:
    """(N,) int32 ids of truth objects by majority over the frames that see a point, see `fuse_ids`."""
    return fuse_ids(frames, points, "instance", progress=progress)


def fuse_ids(
    frames: Sequence[Frame], points: PointCloud, image: Literal["label", "instance"], *, progress: Progress
) -> Tensor:
    """Ids of points by majority over the frames that see them.

    Frames without such an image are passed over; ties go to the smaller id. Memory grows with the different
    ids that a point was given, not with the number of ids there are.

    Args:
        image: of a frame, (h, w) int32 ids in its depth camera, -1 = none.

    Returns:
        (N,) int32; -1 where no frame sees the point or most say none.
    """
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    held, room = 0, _MERGE_ROWS
    index: FrustumIndex | None = None
    for frame in progress(frames, name="truth", total=len(frames)):
        read = getattr(frame, image)
        if read is None:
            continue
        index = index or FrustumIndex.of(points.xyz)
        seen, uv = measured_points(index, frame, _EXACT, 0)
        column, row = uv.cpu().numpy().round().astype(np.int64).T
        # One number for a point and an id, sorted by point first.
        vote = (seen.cpu().numpy() << 32) + (read()[row, column].astype(np.int64) - _SMALLEST_ID)
        parts.append((vote, np.ones(len(vote), dtype=np.int64)))
        held += len(vote)
        if held > room:
            parts = [_counted(parts)]
            held = len(parts[0][0])
            room = max(_MERGE_ROWS, 2 * held)
    ids = np.full(len(points), NO_LABEL, dtype=np.int32)
    if parts:
        vote, count = _counted(parts)
        point, number = vote >> 32, (vote & 0xFFFFFFFF) + _SMALLEST_ID
        # Of each point the last stays: the one of most votes, and of these the smallest id.
        order = np.lexsort((-number, count, point))
        ids[point[order]] = number[order]
    return torch.from_numpy(ids).to(points.xyz.device)


def _counted(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Different votes, sorted, and how many there are of each."""
    votes, of_vote = np.unique(np.concatenate([vote for vote, _ in parts]), return_inverse=True)
    count = np.zeros(len(votes), dtype=np.int64)
    np.add.at(count, of_vote.reshape(-1), np.concatenate([count for _, count in parts]))
    return votes, count


def in_vocabulary(label: Tensor, names: Mapping[int, str], vocabulary: Vocabulary) -> Tensor:
    """(N,) truth ids -> (N,) int32 indices into the vocabulary; -1 where truth is none of its wordings.

    Names are compared as words, without regard to case; every synonym counts.
    """
    index = {word.lower(): i for i, words in enumerate(vocabulary.synonyms) for word in words}
    # By the ids that occur: a table is as long as its highest id, and counts -7 from its end.
    ids, of_point = label.unique(return_inverse=True)
    known = (names[i].strip().lower() if i in names and i >= 0 else "" for i in ids.tolist())
    found = [index.get(name, NO_LABEL) for name in known]
    return torch.tensor(found, dtype=torch.int32, device=label.device)[of_point]

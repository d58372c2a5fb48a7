"""Truth from label images: what the points of a capture really are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from purify3d.lifting import measured_points
from purify3d.progress import Progress, silent
from purify3d.types import NO_LABEL, Frame, PointCloud, Vocabulary

#: Share of the depth: label images are exact at their pixels, so a point must lie on the very surface shown.
_EXACT = 0.01


def fuse_labels(frames: Sequence[Frame], points: PointCloud, *, progress: Progress = silent) -> Tensor:
    """(N,) int32 truth ids by majority over the frames that see a point; -1 where none does or most say none.

    Frames without truth are passed over; ties go to the smaller id.
    """
    votes: dict[int, Tensor] = {}
    for frame in progress(frames, name="truth", total=len(frames)):
        if frame.label is None:
            continue
        point, uv = measured_points(points.xyz, frame, _EXACT, 0)
        column, row = uv.round().long().T
        seen = torch.from_numpy(frame.label())[row, column]
        for label in seen.unique().tolist():
            count = votes.setdefault(label, torch.zeros(len(points), dtype=torch.int16))
            count[point[seen == label]] += 1
    if not votes:
        return torch.full((len(points),), NO_LABEL, dtype=torch.int32)
    ids = torch.tensor(sorted(votes), dtype=torch.int32)
    best, winner = torch.stack([votes[label] for label in ids.tolist()]).max(0)
    return torch.where(best > 0, ids[winner], NO_LABEL)


def in_vocabulary(label: Tensor, names: Mapping[int, str], vocabulary: Vocabulary) -> Tensor:
    """(N,) truth ids -> (N,) int32 indices into the vocabulary; -1 where truth is none of its wordings.

    Names are compared as words, without regard to case; every synonym counts.
    """
    index = {word.lower(): i for i, words in enumerate(vocabulary.synonyms) for word in words}
    table = torch.full((max(names, default=0) + 2,), NO_LABEL, dtype=torch.int32)
    for truth_id, name in names.items():
        table[truth_id] = index.get(name.strip().lower(), NO_LABEL)
    return table[label.long().clamp_max(len(table) - 1)]

"""From what single images say of points to one feature per point.

A view of a frame is three small things: which points it sees, which row of a table each of them takes, and
that table. For a mask-type model the table has a row per mask, for a dense one a row per visible point; what
follows does not need to know which. Views are streamed: no array of points x views x channels ever exists,
and nothing that is done for a view takes longer because the scene has more points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from purify3d.base.devices import falling_back
from purify3d.base.errors import CaptureError
from purify3d.types import TextEmbeddings, factored_norm

_WAITING = 1 << 22  # pairs of a point and a row that are added up at once: some 150 MB
_ADDED = 1 << 12  # points that are added up at a time where each has its own row: they stay in the cache
_FINISHED = 1 << 16  # points that are finished at a time

#: What is kept of the features of some points, whose basis is given with them: (n, R) -> (n, C).
Finish = Callable[[Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class View:
    """One frame's contribution: point `point[i]` takes the feature `table[row[i]]`.

    Attributes:
        point: (n,) int64, ascending; row: (n,) int64; table: (m, R) float32; basis: (R, D) or None.
    """

    point: Tensor
    row: Tensor
    table: Tensor
    basis: Tensor | None


class _Sum:
    """Adds rows of tables up at points; many points that share few rows are added up together."""

    def __init__(self, count: int, channels: int, device: torch.device) -> None:
        self._total = torch.zeros(count, channels, device=device)
        self._waiting: list[tuple[Tensor, Tensor, Tensor]] = []
        self._pairs = 0

    def add(self, point: Tensor, row: Tensor, table: Tensor) -> None:
        """`table[row]` at `point`, each point once."""
        if 2 * len(table) > len(point):
            # A point is named once, so plain indexing adds correctly and is faster than index_add.
            for some, of_table in zip(point.split(_ADDED), row.split(_ADDED), strict=True):
                self._total[some] += table[of_table]
            return
        self._waiting.append((point.int(), row.int(), table))
        self._pairs += len(point)
        if self._pairs > _WAITING:
            self._settle()

    def total(self) -> Tensor:
        """(N, C) the sums."""
        self._settle()
        return self._total

    def _settle(self) -> None:
        if self._waiting:
            point, of_point = _summed(*_joined(self._waiting))
            self._total[point] += of_point
            self._waiting, self._pairs = [], 0


def _joined(parts: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """Points, rows and tables of several as of one."""
    points, rows, tables = map(list, zip(*parts, strict=True))
    before = accumulate(map(len, tables[:-1]), initial=0)
    rows = [row + first for row, first in zip(rows, before, strict=True)]
    return torch.cat(points), torch.cat(rows), torch.cat(tables)


@falling_back
def _summed(point: Tensor, row: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """(M,) the different points, ascending, and (M, C) the sum of `table[row]` over each."""
    order = point.argsort(stable=True)
    point, size = point[order].unique_consecutive(return_counts=True)
    start = (size.cumsum(0) - size).to(row.dtype)
    return point.long(), embedding_bag(row[order], table, start, mode="sum")


def fuse_mean(
    views: Iterable[View], count: int, finish: Finish | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Plain average over the views of each of `count` points: values (N, R), views (N,), basis.

    Args:
        finish: makes what is kept of the values; None: they are kept as they are.
    """
    total, seen, basis = None, None, None
    for view in views:
        if total is None or seen is None:
            device = view.point.device
            total, basis = _Sum(count, view.table.shape[1], device), view.basis
            seen = torch.zeros(count, dtype=torch.int32, device=device)
        total.add(view.point, view.row, view.table)
        seen[view.point] += 1
    if total is None or seen is None:
        raise CaptureError("found no frame to lift features from")
    values = total.total().div_(seen.clamp_min(1)[:, None])
    if finish is not None:
        values = torch.cat([finish(some, basis) for some in values.split(_FINISHED)])
    return values, seen, basis


def fuse_consensus(
    views: Callable[[], Iterable[View]],
    count: int,
    text_embeddings: TextEmbeddings,
    top_views: int,
    finish: Finish | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The paper's fusion: views that agree with the point's mean opinion, weighted by how strongly.

    The mean logits over a point's views choose its consensus label (a view's logit for a label is that of its
    best wording); the `top_views` views with the highest logit for that label are averaged with softmax
    weights over those logits. Reads the views twice: memory is N x (labels + top_views), and the smaller of
    all tables and N x top_views x channels, beside what is returned.

    Args:
        views: called twice, gives the same views both times.
        text_embeddings: on the device of the views.
        finish: makes what is kept of the values of some points at a time, so that those of all never exist;
            None: they are kept as they are.
    """
    device = text_embeddings.embedding.device
    opinion, rows = _Sum(count, len(text_embeddings.vocabulary), device), 0
    seen = torch.zeros(count, dtype=torch.int32, device=device)
    for view in views():
        opinion.add(view.point, view.row, _logits(view, text_embeddings))
        seen[view.point] += 1
        rows += len(view.table)
    consensus = opinion.total().argmax(1)

    best = torch.full((count, top_views), -torch.inf, device=device)
    kept: _Rows | _Values | None = None
    basis = None
    for view in views():
        if kept is None:
            few = rows <= count * top_views
            kept = _Rows(best) if few else _Values(best, view.table.shape[1])
            basis = view.basis
        logit = _logits(view, text_embeddings)[view.row, consensus[view.point]]
        unit = view.table / factored_norm(view.table, view.basis).clamp_min(1e-12)[:, None]
        weakest = best[view.point].min(1)  # the weakest view kept so far gives way
        better = logit > weakest.values
        point, slot = view.point[better], weakest.indices[better]
        best[point, slot] = logit[better]
        kept.put(point, slot, view.row[better], unit)
    if kept is None:
        raise CaptureError("found no frame to lift features from")
    weight = torch.where(best.isfinite(), best, -torch.inf).softmax(1).nan_to_num()
    if finish is None:
        return kept.weighted(weight), seen, basis
    parts = (slice(first, first + _FINISHED) for first in range(0, count, _FINISHED))
    return torch.cat([finish(kept.weighted(weight[some], some), basis) for some in parts]), seen, basis


_ALL = slice(None)


class _Values:
    """The features of the best views of each point."""

    def __init__(self, best: Tensor, channels: int) -> None:
        self._values = torch.zeros(*best.shape, channels, device=best.device)

    def put(self, point: Tensor, slot: Tensor, row: Tensor, table: Tensor) -> None:
        self._values[point, slot] = table[row]

    def weighted(self, weight: Tensor, some: slice = _ALL) -> Tensor:
        """(n, R) their sums with weights (n, top_views), of some of the points."""
        return (weight[:, None] @ self._values[some])[:, 0]


class _Rows:
    """Which rows of all tables hold the best views of each point, where the tables are the smaller."""

    def __init__(self, best: Tensor) -> None:
        self._row = torch.zeros(best.shape, dtype=torch.int32, device=best.device)
        self._tables: list[Tensor] = []
        self._before = 0

    def put(self, point: Tensor, slot: Tensor, row: Tensor, table: Tensor) -> None:
        self._row[point, slot] = (row + self._before).int()
        self._tables.append(table)
        self._before += len(table)

    def weighted(self, weight: Tensor, some: slice = _ALL) -> Tensor:
        self._tables = [torch.cat(self._tables)]
        return _weighted(self._row[some], weight, self._tables[0])


@falling_back
def _weighted(row: Tensor, weight: Tensor, table: Tensor) -> Tensor:
    return embedding_bag(row, table, mode="sum", per_sample_weights=weight)


def _logits(view: View, text_embeddings: TextEmbeddings) -> Tensor:
    """(m, C) logits of a view's table for each label: scale * cosine with its best wording."""
    text = text_embeddings.embedding if view.basis is None else text_embeddings.embedding @ view.basis.T
    length = factored_norm(view.table, view.basis).clamp_min(1e-12)
    return text_embeddings.best(text_embeddings.space.logit_scale * (view.table @ text.T) / length[:, None])

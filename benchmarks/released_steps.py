"""The steps of the authors' released code that come after the 2D model, in our own words and without the
libraries that it needs.

A flat search for neighbours (faiss-cpu), an affinity for which both sides of every pair are gathered,
products of a COO matrix with all channels in float32, and the student as a sparse engine computes it on CPUs:
for each offset of the kernel, gather what is read, multiply it with the weights of the offset, add it to who
reads; float32, batch norm and relu afterwards. Two things are faster here than there: which voxel reads which
is found by sorted keys in place of a hash table, and torch's products are those of MKL or oneDNN.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from purify3d.affinities.config import PurifyConfig, StudentConfig
from purify3d.affinities.student import Student
from purify3d.base.errors import require
from purify3d.grid.convolution import KernelMap

DATA = Path(__file__).resolve().parents[1] / "tests" / "data"
K = PurifyConfig.neighbors
_PAIRS = 1 << 28  # numbers of one side of the pairs gathered at a time: 1 GiB

Pairs = list[tuple[Tensor, Tensor]]


def flat_neighbors(index: Tensor, k: int) -> Tensor:
    """(V, k) int64 the nearest others by comparing each voxel with all."""
    faiss: Any = require("faiss", "bench")
    faiss.omp_set_num_threads(torch.get_num_threads())
    cells = np.ascontiguousarray(index.numpy(), dtype=np.float32)
    search = faiss.IndexFlatL2(3)
    search.add(cells)
    _, found = search.search(cells, k + 1)
    return torch.from_numpy(found[:, 1:])  # only a voxel itself is at distance 0


def pair_affinity(embedding: Tensor, neighbor: Tensor, sharpness: float, *, unit: bool) -> Tensor:
    """(V, K) softmax over neighbours, both sides of every pair gathered.

    Of the cosine for unit embeddings, else of minus half the squared distance. At most 1 GiB a side at a
    time, for memory.
    """
    rows = max(1, _PAIRS // (neighbor.shape[1] * embedding.shape[1]))
    parts = []
    for start in range(0, len(neighbor), rows):
        near = neighbor[start : start + rows]
        own = torch.arange(start, start + len(near)).repeat_interleave(near.shape[1])
        one, other = embedding[own], embedding[near.reshape(-1)]
        alike = (one * other).sum(1) if unit else -(one - other).square().sum(1) / 2
        parts.append((sharpness * alike).reshape(near.shape).softmax(1))
    return torch.cat(parts)


def coo_products(neighbor: Tensor, weight: Tensor, values: Tensor, rounds: int) -> Tensor:
    """(V, C) values times the affinity, `rounds` times, as products with a COO matrix."""
    count, k = neighbor.shape
    place = torch.stack([torch.arange(count).repeat_interleave(k), neighbor.reshape(-1)])
    matrix = torch.sparse_coo_tensor(place, weight.reshape(-1), (count, count), check_invariants=False)
    matrix = matrix.coalesce()
    for _ in range(rounds):
        values = torch.sparse.mm(matrix, values)
    return values


def kernel_pairs(index: Tensor) -> Pairs:
    """For each of the 27 offsets who reads and what is read, both (n,) int64; found once for all layers."""
    source = KernelMap.of(index).source
    readers = [(source[:, k] < len(source)).nonzero()[:, 0] for k in range(source.shape[1])]
    return [(reader, source[reader, k].long()) for k, reader in enumerate(readers)]


def conv(x: Tensor, kernel: Tensor, pairs: Pairs) -> Tensor:
    """(V, Cout) of (V, Cin): gather, multiply, scatter, offset after offset."""
    out = x.new_zeros(len(x), kernel.shape[2])
    for (reader, read), weight in zip(pairs, kernel, strict=True):
        out.index_add_(0, reader, x.index_select(0, read) @ weight)
    return out


@torch.no_grad()
def embedded(student: Student, inputs: Tensor, pairs: Pairs) -> Tensor:
    """(V, E) float32, not normalised, of (V, C) inputs; the student is in eval mode."""

    def layer(x: Tensor, convolution: nn.Module, norm: nn.Module) -> Tensor:
        return cast(Tensor, norm.bn(conv(x, cast(Tensor, convolution.kernel), pairs)))  # type: ignore[operator]

    first, norm = student.input_layer
    x = layer(inputs, first, norm).relu()
    for block in student.res_blocks:
        inner = layer(x, block.conv1, block.norm1).relu()  # type: ignore[arg-type]
        x = (layer(inner, block.conv2, block.norm2) + x).relu()  # type: ignore[arg-type]
    return x @ student.output_layer.kernel


def unit_embedding(student: Student, values: Tensor, index: Tensor) -> Tensor:
    """(V, E) rows of length 1 from a scene's (V, C) voxel inputs and (V, 3) cells."""
    return normalize(embedded(student.eval(), values, kernel_pairs(index)), dim=1)


def farness(cells: Tensor, near: Tensor) -> Tensor:
    """(V, K) squared distances to neighbours, ascending."""
    cells = cells.int()
    return torch.cat(
        [
            (cells[n] - c[:, None]).square().sum(2).sort(1).values
            for n, c in zip(near.split(8192), cells.split(8192), strict=True)
        ]
    )


def check_baseline() -> None:
    """The released steps give what the released code gave (`tests/data/pooling.npz`, `student.npz`).

    Raises:
        AssertionError: they do not.
    """
    data = _recorded("pooling.npz")
    near = data["neighbours"].long()
    cells = data["voxel_coords"].long()
    assert torch.equal(farness(cells, flat_neighbors(cells, K)), farness(cells, near))
    weight = pair_affinity(data["embedding"], near, float(data["sharpening"]), unit=True)
    pooled = coo_products(near, weight, data["voxel_inputs"], int(data["iterations"]))
    step, *shape = data["refined_point_features@thin"].tolist()
    found = pooled[data["point_to_voxel"].long()][:, : shape[1]]
    torch.testing.assert_close(found.flatten()[::step], data["refined_point_features"], rtol=1e-4, atol=1e-5)
    data = _recorded("student.npz")
    student = Student(StudentConfig(feature_dim=16, width=16, blocks=4, out_channels=8)).eval()
    state = {key.removeprefix("state/"): value for key, value in data.items() if key.startswith("state/")}
    student.load_state_dict(state)
    embedding = embedded(student, data["features"], kernel_pairs(data["coords"]))
    torch.testing.assert_close(embedding, data["embedding_eval"], rtol=1e-4, atol=1e-4)


def _recorded(name: str) -> dict[str, Tensor]:
    with np.load(DATA / name) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}

"""Voxels and neighbours against brute force."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from purify3d.grid import neighbors
from purify3d.grid.cells import pack_cells
from purify3d.grid.neighbors import grid_neighbors, nearest_known, spacing
from purify3d.grid.voxels import voxelize
from purify3d.training.gather import gather_rows


def nearest_by_brute_force(cells: torch.Tensor, k: int) -> torch.Tensor:
    """What `grid_neighbors` means: all distances, ordered by (squared distance, cell number)."""
    cells = cells.long()
    key = (cells[:, None] - cells[None]).square().sum(2) * len(cells) + torch.arange(len(cells))
    key.fill_diagonal_(2**62)
    return key.argsort(1)[:, : min(k, len(cells) - 1)].int()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(2, 9))
def test_grid_neighbors_are_brute_force_with_ties_by_index(seed: int, k: int, side: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    cells = torch.unique(torch.randint(0, side, (150, 3), generator=generator), dim=0)
    assert torch.equal(grid_neighbors(cells.int(), k), nearest_by_brute_force(cells, k))


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 120),
    st.sampled_from([(40, 40, 2), (2, 60, 30), (9, 9, 9), (90, 3, 3), (300, 300, 300)]),
    st.sampled_from([0, -7, 2**20]),
    st.booleans(),
)
def test_grid_neighbors_of_sheets_lines_blocks_and_lonely_cells(
    seed: int, k: int, shape: tuple[int, int, int], corner: int, sorted_: bool
) -> None:
    """Cells of all kinds of grids with a few lonely ones beside, in both orders, near and far from zero."""
    generator = torch.Generator().manual_seed(seed)
    cells = (torch.rand(900, 3, generator=generator) * torch.tensor(shape)).int()
    lonely = torch.randint(400, 1_000_000, (3, 3), generator=generator)
    cells = torch.unique(torch.cat([cells, lonely.int()]), dim=0) + corner
    if not sorted_:
        cells = cells[torch.randperm(len(cells), generator=generator)]
    assert torch.equal(grid_neighbors(cells, k), nearest_by_brute_force(cells, k))


def wavy_sheet(side: int) -> torch.Tensor:
    x, y = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    z = (4 * torch.sin(x / 9) * torch.cos(y / 7)).round().long()
    return torch.stack([x, y, z], dim=2).reshape(-1, 3)


def test_neighbors_of_a_surface_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a sample and what lies at corners is left for the tree; both ways agree."""
    cells, asked = wavy_sheet(64), []

    def ask(tree: cKDTree, cells: np.ndarray, rows: np.ndarray, *args: Any) -> np.ndarray:
        asked.append(len(rows))
        return original(tree, cells, rows, *args)

    original = neighbors._ask_tree
    monkeypatch.setattr(neighbors, "_ask_tree", ask)
    found = grid_neighbors(cells, 96)
    assert sum(asked) < 0.2 * len(cells)
    monkeypatch.setattr(neighbors, "_ball_sizes", lambda *_: [])
    assert torch.equal(found, grid_neighbors(cells, 96))
    assert torch.equal(found, nearest_by_brute_force(cells, 96))


def test_neighbors_depend_neither_on_parts_nor_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = wavy_sheet(12)
    expected = grid_neighbors(cells, 30)
    for brick, table, at_a_time, threads in ((16, 1, 1, 1), (3, 5000, 999, 3), (100, 1 << 30, 1 << 30, 2)):
        monkeypatch.setattr(neighbors, "_BRICK", brick)
        monkeypatch.setattr(neighbors, "_TABLE", table)
        monkeypatch.setattr(neighbors, "_AT_A_TIME", at_a_time)
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert torch.equal(grid_neighbors(cells, 30), expected)


def test_a_wide_grid_is_searched_as_well() -> None:
    """Cells farther apart than keys can tell."""
    cells = wavy_sheet(12).int()
    cells[-1] = 2**22
    assert torch.equal(grid_neighbors(cells, 20), nearest_by_brute_force(cells, 20))


def test_neighbors_complete_shells_wider_than_the_first_search() -> None:
    """On a full 3D block more than 48 cells tie at the k-th distance; the lowest indices must win."""
    axis = torch.arange(12)
    cells = torch.cartesian_prod(axis, axis, axis)
    for order in (torch.arange(len(cells)), torch.arange(len(cells)).flip(0)):
        assert torch.equal(grid_neighbors(cells[order], 96), nearest_by_brute_force(cells[order], 96))


def test_a_single_voxel_has_no_neighbors() -> None:
    assert grid_neighbors(torch.zeros(1, 3, dtype=torch.int32), 96).shape == (1, 0)


def test_voxel_mean_and_spread() -> None:
    xyz = torch.tensor([[0.001, 0, 0], [0.019, 0, 0], [0.021, 0, 0], [-0.001, 0, 0]])
    voxels = voxelize(xyz, 0.02)
    assert voxels.index.tolist() == [[0, 0, 0], [1, 0, 0], [2, 0, 0]]
    mean = voxels.mean(torch.tensor([1.0, 3.0, 5.0, 7.0]))
    assert mean.tolist() == [7.0, 2.0, 5.0]
    assert voxels.to_points(mean).tolist() == [2.0, 2.0, 5.0, 7.0]
    centers = voxels.origin + (voxels.index + 0.5) * voxels.size
    torch.testing.assert_close(centers[1], torch.tensor([0.01, 0.01, 0.01], dtype=torch.float64))


def test_a_voxel_is_the_mean_of_its_points_whatever_their_order_and_however_many_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = torch.Generator().manual_seed(4)
    xyz, values = torch.rand(500, 3, generator=generator), torch.rand(500, 2, 3, generator=generator)
    voxels = voxelize(xyz, 0.2)
    expected = torch.stack([values[voxels.of_point == v].mean(0) for v in range(len(voxels))])
    torch.testing.assert_close(voxels.mean(values), expected)
    monkeypatch.setattr("purify3d.types.features._VOXELS", 7)
    asked: list[torch.Tensor] = []

    def channels(point: torch.Tensor) -> torch.Tensor:
        asked.append(point)
        return values[point, 0]

    torch.testing.assert_close(voxels.mean_of(channels, 3), expected[:, 0])
    assert torch.cat(asked).sort().values.tolist() == [*range(500)]
    assert max(map(len, asked)) < 100
    assert torch.equal(
        voxels.mean(torch.full((500,), 200, dtype=torch.uint8)), torch.full((len(voxels),), 200.0)
    )


def test_voxels_do_not_depend_on_what_else_is_there() -> None:
    xyz = torch.rand(200, 3, generator=torch.Generator().manual_seed(0))
    few, many = voxelize(xyz[:50], 0.05), voxelize(xyz, 0.05)
    world = [v.index + (v.origin / v.size).round().int() for v in (few, many)]
    assert torch.equal(world[0][few.of_point], world[1][many.of_point[:50]])


@pytest.mark.parametrize(
    ("xyz", "size", "message"),
    [
        (torch.empty(0, 3), 0.02, "empty cloud"),
        (torch.zeros(1, 3), 0.0, "must be positive"),
        (torch.tensor([[0.0, 0, 0], [1e6, 0, 0]]), 0.02, "in metres"),
    ],
)
def test_voxelize_refuses(xyz: torch.Tensor, size: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        voxelize(xyz, size)


def test_nearest_known() -> None:
    xyz = torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [0.9, 0, 0]])
    source, gap = nearest_known(torch.tensor([True, True, False]), xyz)
    assert source.tolist() == [0, 1, 1]
    assert gap.tolist() == pytest.approx([0, 0, 0.1])
    with pytest.raises(ValueError, match="no point"):
        nearest_known(torch.zeros(3, dtype=torch.bool), xyz)


def test_spacing_is_the_distance_to_the_next_place() -> None:
    axis = torch.arange(40) * 0.03
    grid = torch.cartesian_prod(axis, axis, axis[:20])
    assert spacing(grid) == pytest.approx(0.03, rel=1e-4)
    assert spacing(grid.repeat_interleave(6, 0)) == pytest.approx(0.03, rel=1e-4)  # seams of a mesh
    lonely = torch.cat([grid, 100 + 50 * torch.rand(100, 3, generator=torch.Generator().manual_seed(0))])
    assert spacing(lonely) == pytest.approx(0.03, rel=1e-4)
    assert spacing(grid, sample=10) == spacing(grid, sample=10)


def test_spacing_of_next_to_nothing() -> None:
    assert spacing(torch.zeros(0, 3)) == spacing(torch.zeros(1, 3)) == spacing(torch.zeros(5, 3)) == 0
    assert spacing(torch.tensor([[0.0, 0, 0], [0, 2, 0]])) == 2


def test_cells_that_do_not_fit_are_refused() -> None:
    for cell in (-1, 1 << 21):
        with pytest.raises(ValueError, match="expected 0 to 2097151"):
            pack_cells(np.array([[0, 0, 0], [0, cell, 0]]))


def test_gathered_rows_have_the_gradient_of_indexing_the_same_every_time() -> None:
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(50, (400, 30), generator=generator)  # rows are taken many times
    upstream = torch.randn(400, 30, 7, generator=generator)
    gradients = []
    for _ in range(5):
        values = torch.arange(350.0).reshape(50, 7).requires_grad_()
        found = gather_rows(values, index)
        assert torch.equal(found, values[index])
        (found * upstream).sum().backward()
        gradients.append(values.grad)
    plain = torch.arange(350.0).reshape(50, 7).requires_grad_()
    (plain[index] * upstream).sum().backward()
    assert plain.grad is not None
    torch.testing.assert_close(gradients[0], plain.grad, atol=1e-4, rtol=1e-5)
    assert all(torch.equal(gradients[0], gradient) for gradient in gradients[1:])

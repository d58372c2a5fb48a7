import pytest
import torch
from oracles import submanifold_conv_dense

from purify3d.grid.convolution import CENTRE, OFFSETS, KernelMap, submanifold_conv


def random_cells(seed: int, count: int = 150, extent: int = 9) -> torch.Tensor:
    """A crowded blob in shuffled order, with negative coordinates and two voxels far from everything."""
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randint(-extent // 2, extent // 2, (count, 3), generator=generator, dtype=torch.int32)
    cells = torch.cat([cells, torch.tensor([[extent + 2, 0, 0], [0, -extent - 2, 3]], dtype=torch.int32)])
    cells = torch.unique(cells, dim=0)
    return cells[torch.randperm(len(cells), generator=generator)]


def random_layer(seed: int, count: int, channels: tuple[int, int], dtype: torch.dtype = torch.float32):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(count, channels[0], generator=generator, dtype=dtype)
    kernel = torch.randn(27, *channels, generator=generator, dtype=dtype) / 5
    return features.requires_grad_(), kernel.requires_grad_()


def pairs(kernel_map: KernelMap, k: int) -> set[tuple[int, int]]:
    """(voxel that is read, voxel that reads) at offset k."""
    column = kernel_map.source[:, k].tolist()
    return {(source, target) for target, source in enumerate(column) if source < len(kernel_map)}


def test_offsets_run_x_first_and_mirror_about_the_centre():
    assert OFFSETS[0] == (-1, -1, -1)
    assert OFFSETS[1] == (0, -1, -1)
    assert OFFSETS[3] == (-1, 0, -1)
    assert OFFSETS[CENTRE] == (0, 0, 0)
    assert all(tuple(-c for c in OFFSETS[26 - k]) == offset for k, offset in enumerate(OFFSETS))


def test_kernel_map_holds_every_occupied_pair():
    cells = random_cells(0)
    at = {tuple(cell): i for i, cell in enumerate(cells.tolist())}
    found = KernelMap.of(cells)
    for k, (dx, dy, dz) in enumerate(OFFSETS):
        expected = {
            (at[x + dx, y + dy, z + dz], i) for (x, y, z), i in at.items() if (x + dx, y + dy, z + dz) in at
        }
        assert pairs(found, k) == expected


def test_cells_at_opposite_ends_of_an_axis_are_no_neighbours():
    """Packed keys of such cells are adjacent numbers if coordinates may borrow from each other."""
    last = (1 << 21) - 3
    cells = torch.tensor([[0, 0, 0], [0, 0, last], [0, 1, 0], [0, last, 0], [1, 0, 0], [last, 0, 0]])
    found = {pair for k in range(13) for pair in pairs(KernelMap.of(cells), k)}
    assert {tuple(sorted(pair)) for pair in found} == {(0, 2), (0, 4), (2, 4)}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("channels", [(1, 1), (5, 3)])
@pytest.mark.parametrize("wide", [96, 0])  # all offsets at once, one after the other
def test_agrees_with_dense_convolution_in_values_and_gradients(seed, channels, wide, monkeypatch):
    monkeypatch.setattr("purify3d.grid.convolution._WIDE", wide)
    cells = random_cells(seed)
    features, kernel = random_layer(seed, len(cells), channels)
    weight = torch.randn(len(cells), channels[1], generator=torch.Generator().manual_seed(99))
    ours = submanifold_conv(features, kernel, KernelMap.of(cells))
    oracle = submanifold_conv_dense(features, kernel, cells)
    torch.testing.assert_close(ours, oracle, rtol=1e-5, atol=1e-5)
    for found, expected in zip(
        *(torch.autograd.grad((out.sin() * weight).sum(), (features, kernel)) for out in (ours, oracle)),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_one_weight_reads_the_voxel_at_its_offset():
    cells = torch.tensor([[4, 5, 6], [4, 4, 5]])  # the second lies at (0, -1, -1) of the first: offset 1
    kernel = torch.zeros(27, 1, 1)
    kernel[1] = 10.0
    out = submanifold_conv(torch.tensor([[1.0], [2.0]]), kernel, KernelMap.of(cells))
    assert out.tolist() == [[20.0], [0.0]]


def test_a_lone_voxel_sees_the_centre_only():
    features, kernel = random_layer(0, 1, (4, 3))
    kernel_map = KernelMap.of(torch.tensor([[7, -3, 100]]))
    assert int((kernel_map.source == 0).sum()) == 1
    torch.testing.assert_close(submanifold_conv(features, kernel, kernel_map), features @ kernel[CENTRE])


def test_gradcheck():
    cells = random_cells(1, count=12, extent=4)
    features, kernel = random_layer(1, len(cells), (2, 3), torch.float64)
    kernel_map = KernelMap.of(cells)
    assert torch.autograd.gradcheck(lambda f, k: submanifold_conv(f, k, kernel_map), (features, kernel))


def test_only_the_inputs_are_kept_for_the_backward_pass():
    cells = random_cells(2)
    features, kernel = random_layer(2, len(cells), (6, 6))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.data_ptr()) or t, lambda t: t):
        submanifold_conv(features, kernel, KernelMap.of(cells))
    assert sorted(kept) == sorted([features.data_ptr(), kernel.data_ptr()])


@pytest.mark.parametrize("wide", [96, 0])
def test_pieces_do_not_change_the_result(wide, monkeypatch):
    monkeypatch.setattr("purify3d.grid.convolution._WIDE", wide)
    cells = random_cells(3)
    features, kernel = random_layer(3, len(cells), (4, 4))
    kernel_map = KernelMap.of(cells)
    whole = submanifold_conv(features, kernel, kernel_map)
    again = submanifold_conv(features, kernel, kernel_map)
    assert torch.equal(whole, again)
    monkeypatch.setattr("purify3d.grid.convolution._PIECE", 30)
    monkeypatch.setattr("purify3d.grid.convolution._FEWEST", 7)
    monkeypatch.setattr("purify3d.grid.convolution._PART", 7)
    pieces = submanifold_conv(features, kernel, kernel_map)
    torch.testing.assert_close(pieces, whole)
    for a, b in zip(
        torch.autograd.grad(pieces.square().sum(), (features, kernel)),
        torch.autograd.grad(whole.square().sum(), (features, kernel)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("wide", [256, 0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 1e-2), (torch.float16, 2e-3)])
def test_half_precision_is_close(dtype, tolerance, wide, monkeypatch):
    monkeypatch.setattr("purify3d.grid.convolution._WIDE_HALF", wide)
    cells = random_cells(4, count=400)
    features, kernel = random_layer(4, len(cells), (32, 32))
    kernel_map = KernelMap.of(cells)
    exact = submanifold_conv(features, kernel, kernel_map)
    rounded = submanifold_conv(features.to(dtype), kernel.to(dtype), kernel_map)
    assert rounded.dtype == dtype
    assert (rounded.float() - exact).abs().max() < tolerance * exact.abs().max()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="no voxels"):
        KernelMap.of(torch.empty(0, 3, dtype=torch.int32))
    with pytest.raises(ValueError, match="occurs twice"):
        KernelMap.of(torch.tensor([[0, 0, 0], [1, 0, 0], [0, 0, 0]]))
    with pytest.raises(ValueError, match="at most 2097150"):
        KernelMap.of(torch.tensor([[0, 0, 0], [0, 1 << 21, 0]]))
    kernel_map = KernelMap.of(torch.tensor([[0, 0, 0], [1, 0, 0]]))
    for features, kernel in (
        (torch.zeros(3, 4), torch.zeros(27, 4, 2)),
        (torch.zeros(2, 5), torch.zeros(27, 4, 2)),
        (torch.zeros(2, 4), torch.zeros(8, 4, 2)),
        (torch.zeros(2, 4, dtype=torch.bfloat16), torch.zeros(27, 4, 2)),
    ):
        with pytest.raises(ValueError, match="expected features"):
            submanifold_conv(features, kernel, kernel_map)

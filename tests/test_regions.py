"""Places where heat stands out, whatever the density of the cloud."""

import tracemalloc

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import connected_components

from purify3d.labels import regions
from purify3d.labels.regions import find_regions, heat, heat_range


def plate(width: float, step: float, at: tuple[float, float, float]) -> torch.Tensor:
    axis = torch.arange(round(width / step)) * step
    return torch.cartesian_prod(axis, axis, torch.zeros(1)) + torch.tensor(at)


def scored(parts: list[tuple[torch.Tensor, float]]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.cat([xyz for xyz, _ in parts]), torch.cat(
        [torch.full((len(xyz),), value) for xyz, value in parts]
    )


def test_regions_are_connected_and_measured() -> None:
    block, small = plate(0.5, 0.02, (0, 0, 0)), plate(0.12, 0.02, (2.0, 0, 0))
    rest = torch.cat([plate(0.5, 0.02, (0, 0, z)) for z in (1.0, 2.0, 3.0)])
    xyz, score = scored([(block, 0.8), (small, 0.9), (rest, 0.1)])
    found = find_regions(xyz, score)
    assert [r.points for r in found] == [len(block), len(small)]
    assert found[0].center == pytest.approx((0.24, 0.24, 0.0), abs=1e-3)
    assert found[0].size == pytest.approx((0.48, 0.48, 0.0), abs=0.03)
    assert found[1].score == pytest.approx(0.9)
    assert find_regions(xyz, score, limit=1) == found[:1]


@pytest.mark.parametrize("step", [0.005, 0.02, 0.1, 0.5])
def test_regions_follow_the_spacing_of_the_cloud(step: float) -> None:
    """Two plates of 24 x 24 points with a gap of five spacings, a speck of four points, and cold ground."""
    side = 24 * step
    gap = max(5 * step, 0.1)
    hot = [plate(side, step, (0, 0, 0)), plate(side, step, (side + gap, 0, 0))]
    speck = plate(2 * step, step, (0, side + 2 * gap, 0))
    xyz, score = scored([(hot[0], 0.9), (hot[1], 0.8), (speck, 0.9), (plate(3 * side, step, (0, 0, 9)), 0.1)])
    assert [r.points for r in find_regions(xyz, score)] == [576, 576]


def test_a_hole_does_not_split_a_region() -> None:
    left, right = plate(0.4, 0.02, (0, 0, 0)), plate(0.4, 0.02, (0.42, 0, 0))
    xyz, score = scored([(left, 0.9), (right, 0.9), (plate(2.0, 0.02, (0, 0, 5)), 0.1)])
    assert [r.points for r in find_regions(xyz, score)] == [800]


@pytest.mark.parametrize("pairs", [regions._PAIRS, 1])
def test_parts_are_those_of_all_pairs_within_reach(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against single linkage by brute force, on scattered points that make many parts."""
    xyz = torch.rand(400, 3, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(regions, "_PAIRS", pairs)  # kept at a time
    monkeypatch.setattr(regions, "_REACH", 0.09)
    monkeypatch.setattr(regions, "_REACH_SPACINGS", 0)
    grid = regions.Grid.of(xyz)
    member = torch.from_numpy(regions._connected(xyz.numpy(), np.arange(400), grid))
    near = torch.cdist(xyz.double(), xyz.double()) <= 0.09
    assert (member[:, None] == member)[near].all()
    exact = connected_components(near.numpy())[0]
    assert 0.9 * exact <= len(member.unique()) <= exact  # boxes join a few more, never fewer
    assert exact > 50


def test_memory_does_not_grow_with_the_number_of_pairs() -> None:
    """100 000 hot points within a few centimetres have five thousand million pairs."""
    generator = torch.Generator().manual_seed(0)
    clump = torch.rand(100_000, 3, generator=generator) * 0.05
    xyz, score = scored([(clump, 0.9), (plate(4.0, 0.01, (0, 0, 5)), 0.1)])
    tracemalloc.start()
    try:
        assert [r.points for r in find_regions(xyz, score)] == [100_000]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200 * len(xyz)


def test_far_from_the_origin_regions_are_the_same() -> None:
    xyz, score = scored([(plate(0.5, 0.02, (0, 0, 0)), 0.9), (plate(2.0, 0.02, (0, 0, 3)), 0.1)])
    far = find_regions(xyz + torch.tensor([-3000.0, 0, 0]), score)
    assert [r.points for r in far] == [r.points for r in find_regions(xyz, score)] == [625]


def test_heat_spans_the_scene() -> None:
    score = torch.linspace(0.2, 0.4, 2001)
    warmth = heat(score)
    assert warmth[:1000].max() == 0
    assert warmth.max() == 1
    assert heat_range(score) == pytest.approx((0.3, 0.3998), abs=1e-6)


def test_points_of_which_nothing_is_known_are_cold_and_no_part_of_the_median() -> None:
    known = torch.linspace(-0.4, -0.2, 2001)  # below 0: what is unknown must not win
    both = heat(torch.cat([known, torch.zeros(5000)]))
    assert torch.equal(both[:2001], heat(known))
    assert both[2001:].max() == 0
    assert heat(torch.zeros(5)).tolist() == [0] * 5
    assert find_regions(torch.rand(5, 3), torch.zeros(5)) == []


def test_nothing_stands_out_in_a_flat_scene() -> None:
    assert find_regions(torch.rand(100, 3), torch.full((100,), 0.3)) == []

"""Targets, the teachers that need no weights, and what is made of a targets."""

import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from oracles import region_vote_plain
from torch import Tensor

from purify3d.base.errors import CaptureError, CheckpointError
from purify3d.benchmarking.votes import region_vote
from purify3d.features.labels_from_frames import fuse_instances
from purify3d.features.surface import with_points
from purify3d.grid.neighbors import grid_neighbors
from purify3d.grid.voxels import voxelize
from purify3d.training import teachers
from purify3d.training.config import TrainConfig
from purify3d.training.distill import Pairs, mine, mine_targets
from purify3d.training.teachers import Targets, load_teacher, sonata
from purify3d.training.teachers.geometric import GeometricTeacher, GeometricTeacherConfig
from purify3d.training.teachers.oversegment import Links, link, merge_regions
from purify3d.training.teachers.truth import Truth
from purify3d.types import PointCloud, Scene

Z = np.array([0.0, 0.0, 1.0])


def random_groups(points: int, counts: tuple[int, ...], seed: int = 0, unknown: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    columns = [torch.randint(count, (points,), generator=generator) for count in counts]
    group = torch.stack(columns, 1)
    return torch.where(torch.rand(group.shape, generator=generator) < unknown, -1, group)


# --- targets ------------------------------------------------------------------------------------------------


def test_a_lesson_says_what_it_is() -> None:
    group = torch.tensor([[0, 5], [0, 6], [-1, -1], [1, -1]])
    assert repr(Targets(group)) == "Targets(4 points, 2/2 groups, 75% known)"
    assert Targets(group).known.tolist() == [True, True, False, True]
    assert len(Targets(group)) == 4
    feature = torch.tensor([[1.0, 2, 3], [4, 5, 6]])
    assert (
        repr(Targets(group.abs()[:, :1], feature))
        == "Targets(4 points, 2 features of 3 channels, 100% known)"
    )


@pytest.mark.parametrize(
    ("group", "feature", "message"),
    [
        (torch.zeros(4, dtype=torch.int64), None, r"group must be \(N, S\) torch.int64.* found \(4,\)"),
        (torch.zeros(4, 0, dtype=torch.int64), None, r"found \(4, 0\)"),
        (torch.zeros(4, 1, dtype=torch.int32), None, r"found \(4, 1\) torch.int32"),
        (torch.full((4, 1), -2), None, "found group -2"),
        (torch.zeros(4, 2, dtype=torch.int64), torch.zeros(1, 3), "found features and 2 scales"),
        (
            torch.ones(4, 1, dtype=torch.int64),
            torch.zeros(1, 3),
            "groups 1 to 1; expected of each point a row of 1",
        ),
        (torch.full((4, 1), -1), torch.zeros(1, 3), "groups -1 to -1; expected of each point a row of 1"),
        (torch.zeros(4, 1, dtype=torch.int64), torch.zeros(3), r"feature must be \(G, C\)"),
        (torch.zeros(4, 1, dtype=torch.int64), torch.zeros(1, 3).double(), r"found \(1, 3\) torch.float64"),
        (torch.zeros(4, 1, dtype=torch.int64), torch.full((1, 3), torch.nan), "not finite"),
    ],
)
def test_what_is_no_lesson(group: Tensor, feature: Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Targets(group, feature)


# --- by name ------------------------------------------------------------------------------------------------


def test_teachers_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def load(argument: str, *, device: str) -> SimpleNamespace:
        asked.append((argument, device))
        return SimpleNamespace(name="sonata")

    monkeypatch.setattr(sonata, "load", load)
    names = ("geometric", "truth", "sonata", "sonata:a/b.pth", "sonata:facebook/sonata@main")
    assert [load_teacher(name).name for name in names] == ["geometric", "truth"] + ["sonata"] * 3
    assert asked == [("facebook/sonata", "cpu"), ("a/b.pth", "cpu"), ("facebook/sonata@main", "cpu")]
    load_teacher("sonata", device="cuda")
    assert asked[-1] == ("facebook/sonata", "cuda")


@pytest.mark.parametrize("name", ["", "sonata:", "geometric:x", "truth:", "sonata2", "nobody", "Truth"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(CheckpointError, match=f"found teacher '{name}'; expected geometric, truth, sonata"):
        load_teacher(name)


def test_teachers_without_weights_warn_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("geometric", "truth"):
            assert load_teacher(name).licence
    assert teachers.__all__ == ["Targets", "Teacher", "load_teacher"]


# --- truth --------------------------------------------------------------------------------------------------


def test_truth_is_the_objects() -> None:
    points = PointCloud.from_arrays(np.zeros((4, 3)), label=[1, 1, 1, 1], instance=[7, 0, 7, -5])
    targets = Truth().teach(points, up=Z)
    assert targets.group.tolist() == [[7], [0], [7], [-1]]
    assert targets.feature is None


def test_truth_names_what_is_missing() -> None:
    points = PointCloud.from_arrays(np.zeros((4, 3)), label=[1, 1, 1, 1])
    with pytest.raises(
        CaptureError, match=r"no truth object on any of 4 points.*instance_file_path.*geometric"
    ):
        Truth().teach(points, up=Z)


# --- regions ------------------------------------------------------------------------------------------------


def plain_links(index: np.ndarray, gap: float) -> dict[tuple[int, int], float]:
    square = ((index[:, None].astype(int) - index[None]) ** 2).sum(-1)
    most = np.abs(index[:, None].astype(int) - index[None]).max(-1)
    found = {(int(a), int(b)): 1.0 for a, b in zip(*np.nonzero(most == 1), strict=True) if a < b}
    for a in np.flatnonzero((most == 1).sum(1) < 6):
        for b in sorted(range(len(index)), key=lambda b: (square[a, b], b))[1:5]:
            if 3.5 < square[a, b] < gap**2:
                found[(int(min(a, b)), int(max(a, b)))] = 1 / float(square[a, b])
    return found


def test_links_are_the_26_neighbours_and_the_nearest_across_gaps() -> None:
    # No two distances tie among those across gaps: five single voxels along a line beside a block.
    block = np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 3)
    index = np.concatenate([block, [[20, 0, 0], [22, 0, 0], [25, 0, 0], [29, 0, 0], [60, 0, 0]]])
    links = link(index.astype(np.int32), 4.5)
    assert (links.pairs[:, 0] < links.pairs[:, 1]).all()
    found = dict(zip(map(tuple, links.pairs.tolist()), links.length.tolist(), strict=True))
    assert len(found) == len(links.pairs)
    expected = plain_links(index, 4.5)
    assert found.keys() == expected.keys()
    assert np.allclose([found[pair] for pair in expected], list(expected.values()))
    assert found[(27, 28)] == pytest.approx(0.25)
    assert (30, 31) not in found


def test_a_single_voxel_has_no_links() -> None:
    assert len(link(np.zeros((1, 3), np.int32), 4).pairs) == 0


def strip(count: int) -> tuple[np.ndarray, Links]:
    """Voxels in a row."""
    pairs = np.stack([np.arange(count - 1), np.arange(1, count)], 1)
    return np.zeros((count, 3)), Links(pairs, np.ones(count - 1))


def test_two_regions_merge_when_the_boundary_costs_more_than_they_differ() -> None:
    """Two halves of 8 voxels that differ by d merge at price 8 * 8 / 16 d^2 = 4 d^2."""
    normal, links = strip(16)
    color = np.where(np.arange(16) < 8, 0.0, 3.0)[:, None]
    flat = np.zeros(15)
    regions = merge_regions(normal, color, links, flat, [1.0, 35.9, 36.1])
    assert regions[:, 0].tolist() == regions[:, 1].tolist() == [0] * 8 + [1] * 8
    assert regions[:, 2].tolist() == [0] * 16


def test_convex_edges_count_less() -> None:
    normal, links = strip(16)
    normal[8:, 0] = 3.0
    for bend, merged in ((1.0, True), (-1.0, False)):
        convexity = np.zeros(15)
        convexity[7] = bend
        regions = merge_regions(normal, np.zeros((16, 1)), links, convexity, [20.0], convex_discount=0.5)
        assert (len(np.unique(regions)) == 1) == merged


def test_half_as_much_boundary_makes_merging_twice_as_dear() -> None:
    normal, links = strip(16)
    color = np.where(np.arange(16) < 8, 0.0, 3.0)[:, None]
    thin = replace(links, length=np.where(np.arange(15) == 7, 0.5, 1.0))
    assert len(np.unique(merge_regions(normal, color, thin, np.zeros(15), [71.9]))) == 2
    assert len(np.unique(merge_regions(normal, color, thin, np.zeros(15), [72.1]))) == 1


@pytest.mark.parametrize("seed", range(3))
def test_regions_are_nested_connected_and_none_is_left_that_should_merge(seed: int) -> None:
    rng = np.random.default_rng(seed)
    index = np.unique(rng.integers(0, 9, (400, 3)), axis=0)
    links = link(index, 1.5)
    normal, color = rng.normal(size=(len(index), 3)), rng.normal(size=(len(index), 2))
    prices = [0.5, 2.0, 5.0]
    bend = rng.normal(size=len(links.pairs))
    regions = merge_regions(normal, color, links, bend, prices, seed=seed)
    counts = [len(np.unique(column)) for column in regions.T]
    assert counts[0] > counts[1] > counts[2] >= 1
    for column, count in zip(regions.T, counts, strict=True):
        assert np.array_equal(np.unique(column), np.arange(count))
    for fine, coarse in zip(regions.T[:-1], regions.T[1:], strict=True):
        assert len(np.unique(fine * len(index) + coarse)) == len(np.unique(fine))
    values = np.concatenate([normal, color], 1)
    for column, price in zip(regions.T, prices, strict=True):
        border: dict[tuple[int, int], float] = {}
        for (a, b), length in zip(links.pairs.tolist(), links.length.tolist(), strict=True):
            pair = (min(column[a], column[b]), max(column[a], column[b]))
            if pair[0] != pair[1]:
                border[pair] = border.get(pair, 0.0) + length

        def error(which: np.ndarray) -> float:
            return float(((values[which] - values[which].mean(0)) ** 2).sum())

        for (a, b), length in border.items():
            more = error((column == a) | (column == b)) - error(column == a) - error(column == b)
            assert more >= price * length * (1 - 1e-9)
    # Regions hold together: within each, links reach every voxel.
    label = np.arange(len(index))
    inside = links.pairs[regions[links.pairs[:, 0], 1] == regions[links.pairs[:, 1], 1]]
    for _ in range(len(index)):
        low = np.minimum(label[inside[:, 0]], label[inside[:, 1]])
        before = label.copy()
        np.minimum.at(label, inside[:, 0], low)
        np.minimum.at(label, inside[:, 1], low)
        if np.array_equal(before, label):
            break
    assert len(np.unique(label)) == counts[1]


@pytest.mark.parametrize("prices", [[], [0.0, 1.0], [2.0, 1.0], [1.0, 1.0]])
def test_prices_ascend(prices: list[float]) -> None:
    normal, links = strip(3)
    with pytest.raises(ValueError, match="positive numbers in ascending order"):
        merge_regions(normal, np.zeros((3, 1)), links, np.zeros(2), prices)


def table_in_a_room(step: float = 0.01) -> PointCloud:
    """A brown floor, a white wall, and a red box that stands on the floor; `instance` says which."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(0, 1, step), np.arange(0, 1, step)), -1).reshape(-1, 2)
    zero, one = np.zeros((len(grid), 1)), np.ones((len(grid), 1))
    box = grid * 0.3 + 0.3
    parts = [
        (np.concatenate([grid, zero], 1), [0, 0, 1], [120, 80, 40], 0),
        (np.concatenate([grid[:, :1], one, grid[:, 1:]], 1), [0, -1, 0], [240, 240, 235], 1),
        (np.concatenate([box, 0.3 * one], 1), [0, 0, 1], [200, 30, 30], 2),
        (np.concatenate([box[:, :1], 0.3 * one, box[:, 1:] - 0.3], 1), [0, -1, 0], [200, 30, 30], 2),
        (np.concatenate([0.3 * one, box[:, :1], box[:, 1:] - 0.3], 1), [-1, 0, 0], [200, 30, 30], 2),
    ]
    xyz = np.concatenate([part[0] for part in parts])
    normal, color, which = (
        np.concatenate([np.repeat([part[i]], len(part[0]), 0) for part in parts]) for i in (1, 2, 3)
    )
    noisy = normal + 0.1 * rng.normal(size=normal.shape)
    shade = (color + 6 * rng.normal(size=color.shape)).clip(0, 255)
    return PointCloud.from_arrays(xyz, shade.astype(np.uint8), noisy, instance=which)


def test_geometry_finds_the_objects_of_a_plain_room() -> None:
    points = table_in_a_room()
    targets = GeometricTeacher().teach(points, up=Z)
    assert targets.feature is None
    assert len(targets) == len(points)
    assert bool((targets.group >= 0).all())
    floor, wall, box = (points.instance == i for i in range(3))
    coarse = targets.group[:, -1]
    most = [int(coarse[which].mode().values) for which in (floor, wall, box)]
    assert len(set(most)) == 3
    for which, region in zip((floor, wall, box), most, strict=True):
        assert (coarse[which] == region).float().mean() > 0.9
        assert (which[coarse == region]).float().mean() > 0.9


def test_geometry_knows_the_objects_of_a_furnished_room(room: Scene) -> None:
    points = with_points(room, voxel=0.03).cloud()
    instance = fuse_instances(room.frames, points)
    seen = (instance >= 0).nonzero()[:, 0]
    targets = GeometricTeacher(GeometricTeacherConfig(voxel=0.03)).teach(points, up=Z)
    neighbor = grid_neighbors(voxelize(points.xyz[seen], 0.001).index, 24)
    at = torch.empty(len(seen), dtype=torch.int64)
    at[voxelize(points.xyz[seen], 0.001).of_point] = seen
    same = instance[at[neighbor]] == instance[at][:, None]
    counts, purity, one, two = [], [], [], []
    for group in targets.group.T:
        pairs, size = torch.stack([group[seen], instance[seen]], 1).unique(dim=0, return_counts=True)
        largest = torch.zeros(int(group.max()) + 1, dtype=torch.int64)
        largest.scatter_reduce_(0, pairs[:, 0], size, "amax")
        together = group[at[neighbor]] == group[at][:, None]
        counts.append(int(group.max()) + 1)
        purity.append(float(largest.sum()) / len(seen))
        one.append(float(together[same].float().mean()))
        two.append(float(together[~same].float().mean()))
    assert counts == sorted(counts, reverse=True)
    assert purity[0] > 0.98
    assert purity[-1] > 0.9
    assert one[-1] > 0.9
    assert two[0] < 0.06
    assert all(a - b > 0.4 for a, b in zip(one, two, strict=True))


def test_geometry_says_the_same_again_and_its_fingerprint_changes_with_it() -> None:
    points = table_in_a_room(0.03)
    first, again = (GeometricTeacher().teach(points, up=Z).group for _ in range(2))
    assert torch.equal(first, again)
    other = GeometricTeacher(GeometricTeacherConfig(prices=(0.5, 2.0)))
    assert other.teach(points, up=Z).group.shape[1] == 2
    fingerprints = {
        GeometricTeacher().fingerprint,
        other.fingerprint,
        GeometricTeacher(GeometricTeacherConfig(seed=1)).fingerprint,
    }
    assert len(fingerprints) == 3
    assert GeometricTeacher().fingerprint == GeometricTeacher().fingerprint
    with pytest.raises(ValueError, match="convex_discount of 0 to 1"):
        GeometricTeacherConfig(convex_discount=2.0)


# --- mining -------------------------------------------------------------------------------------------------

SMALL = TrainConfig(anchors=50, macro=6, micro=4, neighbors=12)


def neighbors_of(points: int, k: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(points, points, generator=generator).fill_diagonal_(2).argsort(1)
    return order[:, :k]


def shares(group: Tensor) -> Tensor:
    """(N, N) scales at which two points are together, by a loop."""
    table = [
        [sum(int(a == b and a >= 0) for a, b in zip(x, y, strict=True)) for y in group.tolist()]
        for x in group.tolist()
    ]
    return torch.tensor(table)


@pytest.mark.parametrize("chunk", [1, 7, 4096])
@pytest.mark.parametrize("unknown", [0.0, 0.8])
def test_pairs_of_groups_are_those_of_the_whole_matrix(unknown: float, chunk: int) -> None:
    group = random_groups(120, (40, 12, 5), 1, unknown)
    neighbor, anchors = neighbors_of(120, 12), torch.arange(0, 120, 2)
    pairs = mine_targets(Targets(group), neighbor, anchors, config=SMALL, seed=0, chunk=chunk)
    together, known = shares(group), (group >= 0).any(1)
    alone = together.clone().fill_diagonal_(0).amax(1) == 0
    assert pairs.anchor.tolist() == [a for a in anchors.tolist() if known[a] and not alone[a]]
    if unknown:
        assert len(pairs.anchor) < len(anchors)
    empty = 0
    for row, (a, p) in enumerate(zip(pairs.anchor.tolist(), pairs.positive.tolist(), strict=True)):
        others = [i for i in known.nonzero()[:, 0].tolist() if i != a]
        assert p in others
        assert together[a, p] == max(int(together[a, i]) for i in others)
        negatives = pairs.negative[row].tolist()
        assert set(negatives) <= set(others) - {p}
        macro, micro = negatives[:6], negatives[6:]
        assert len(set(macro)) == 6
        least = sorted(int(together[a, i]) for i in others if i != p)
        assert [int(together[a, i]) for i in macro] == least[:6]
        near = [i for i in neighbor[a].tolist() if i in others and i != p and together[a, i] < together[a, p]]
        nearest = sorted(int(together[a, i]) for i in near)[:4]
        assert [int(together[a, i]) for i in micro[: len(nearest)]] == nearest
        assert set(micro[: len(nearest)]) <= set(near)
        further = micro[len(nearest) :]
        assert [int(together[a, i]) for i in further] == least[6 : 6 + len(further)]
        empty += len(further)
    assert (empty > 0) == bool(unknown)


def test_positives_share_most_scales_and_macro_negatives_none() -> None:
    """Nested regions, as geometry gives them."""
    fine = torch.arange(400) // 10
    group = torch.stack([fine, fine // 4, fine // 20], 1)
    pairs = mine_targets(Targets(group), neighbors_of(400, 12), torch.arange(400), config=SMALL, seed=0)
    assert torch.equal(fine[pairs.positive], fine[pairs.anchor])
    assert not (group[pairs.negative[:, :6]] == group[pairs.anchor][:, None]).any()


def test_neighbours_as_alike_as_the_positive_are_no_negatives() -> None:
    """All neighbours of a point are in its own region: its micro negatives come from elsewhere."""
    region = torch.arange(90) // 30
    neighbor = torch.stack(
        [(torch.arange(90) // 30) * 30 + (torch.arange(90) + k) % 30 for k in range(1, 13)], 1
    )
    pairs = mine_targets(Targets(region[:, None]), neighbor, torch.arange(90), config=SMALL, seed=0)
    assert not (region[pairs.negative] == region[pairs.anchor][:, None]).any()
    assert all(len(set(row)) == 10 for row in pairs.negative.tolist())


def counted(pairs: list[Pairs], points: int) -> tuple[Tensor, Tensor]:
    positive = torch.stack([pair.positive[0] for pair in pairs]).bincount(minlength=points)
    return positive, torch.cat([pair.negative[0] for pair in pairs]).bincount(minlength=points)


def test_points_of_groups_that_tie_are_taken_equally_often() -> None:
    group = torch.tensor([0] * 9 + [1] * 3 + [2] * 12)[:, None]
    config, neighbor = replace(SMALL, macro=4, micro=0, neighbors=5), neighbors_of(24, 5)
    pairs = [
        mine_targets(Targets(group), neighbor, torch.tensor([0]), config=config, seed=seed)
        for seed in range(1000)
    ]
    positive, negative = counted(pairs, 24)
    assert positive[0] == 0
    assert positive[9:].sum() == 0
    assert negative[:9].sum() == 0
    # Binomial: 1000 draws of one in 8, and of 4 in 15; five standard deviations.
    assert (positive[1:9] - 125).abs().max() < 5 * (1000 / 8 * 7 / 8) ** 0.5
    assert (negative[9:] - 4000 / 15).abs().max() < 5 * (1000 * 4 / 15 * 11 / 15) ** 0.5


def test_lessons_with_features_are_mined_as_before() -> None:
    generator = torch.Generator().manual_seed(0)
    feature, group = torch.randn(30, 5, generator=generator), torch.arange(120) // 4
    neighbor, anchors = neighbors_of(120, 12), torch.arange(40)
    ours = mine_targets(Targets(group[:, None], feature), neighbor, anchors, config=SMALL, seed=3)
    theirs = mine(feature, neighbor, anchors, config=SMALL, seed=3, group=group)
    for name in ("anchor", "positive", "negative"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name))


def test_the_seed_decides_pairs_of_groups() -> None:
    targets, neighbor = Targets(random_groups(120, (10, 4))), neighbors_of(120, 12)
    first, again, other = (
        mine_targets(targets, neighbor, torch.arange(50), config=SMALL, seed=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(first.negative, again.negative)
    assert torch.equal(first.positive, again.positive)
    assert not torch.equal(first.positive, other.positive)


def test_lessons_that_teach_nothing_are_refused() -> None:
    neighbor, anchors = neighbors_of(120, 12), torch.arange(120)
    single = Targets(torch.arange(120)[:, None])
    with pytest.raises(ValueError, match="no anchor among 120 that is in a group with another point"):
        mine_targets(single, neighbor, anchors, config=SMALL, seed=0)
    few = Targets(torch.where(torch.arange(120) < 11, 0, -1)[:, None])
    with pytest.raises(ValueError, match="found 11 of 120 points of which the teacher knows something"):
        mine_targets(few, neighbor, anchors, config=SMALL, seed=0)
    with pytest.raises(ValueError, match=r"found neighbours \(120, 12\), expected \(100, K\)"):
        mine_targets(Targets(torch.zeros(100, 1).long()), neighbor, anchors[:5], config=SMALL, seed=0)
    unknown = Targets(torch.where(torch.arange(120) < 60, 0, -1)[:, None])
    with pytest.raises(ValueError, match="no anchor among 30"):
        mine_targets(unknown, neighbor, anchors[90:], config=SMALL, seed=0)


# --- voting -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unknown", [0.0, 0.4])
@pytest.mark.parametrize("block", [7, 1 << 16])
def test_regions_vote_like_the_matrix(monkeypatch: pytest.MonkeyPatch, unknown: float, block: int) -> None:
    monkeypatch.setattr("purify3d.benchmarking.votes._BLOCK", block)
    group = random_groups(60, (20, 6, 2), 2, unknown)
    targets = Targets(torch.where(group >= 0, group * 1_000_003, -1))
    values = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    voted = region_vote(values, targets)
    assert voted.dtype == torch.float32
    assert torch.allclose(voted, region_vote_plain(values, targets), atol=1e-6)
    assert (voted - values).abs().max() > 0.1


def test_votes_by_hand() -> None:
    group = torch.tensor([[0, 7], [0, 8], [-1, 7], [-1, -1]])
    voted = region_vote(torch.tensor([[1.0], [3.0], [5.0], [9.0]]), Targets(group))
    # Point 0: (2 + 3) / 2, point 1: (2 + 3) / 2, point 2: its one scale, point 3: its own.
    assert voted[:, 0].tolist() == [2.5, 2.5, 3.0, 9.0]


def test_large_regions_lose_no_precision() -> None:
    targets = Targets(torch.zeros(200_000, 1, dtype=torch.int64))
    assert abs(float(region_vote(torch.full((200_000, 1), 0.1), targets)[0]) - 0.1) < 1e-8


def test_votes_of_other_points_are_refused() -> None:
    for vote in (region_vote, region_vote_plain):
        with pytest.raises(ValueError, match=r"found values \(3, 2\) and a targets of 4 points"):
            vote(torch.zeros(3, 2), Targets(torch.zeros(4, 1).long()))


# --- sonata -------------------------------------------------------------------------------------------------


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no file .*gone\.pth"):
        load_teacher(f"sonata:{tmp_path / 'gone.pth'}")

"""Pair mining and the loss against golden values, the plain twin, and the statistics of ties."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from oracles import mine_plain
from recorded import Recorded
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode

from purify3d.training.config import PAPER_TRAINING, TrainConfig
from purify3d.training.distill import Pairs, info_nce, mine

SMALL = TrainConfig(anchors=40, macro=6, micro=4, neighbors=12)


def random_neighbors(points: int, k: int, generator: torch.Generator) -> Tensor:
    """(N, K) different points, self excluded."""
    order = torch.rand(points, points, generator=generator).fill_diagonal_(2).argsort(1)
    return order[:, :k]


def drawn(points: int, count: int, seed: int) -> Tensor:
    """Some anchors."""
    return torch.randperm(points, generator=torch.Generator().manual_seed(seed))[:count]


def assert_same(actual: Pairs, expected: Pairs, config: TrainConfig) -> None:
    """The same points; those of one part in any order."""
    assert torch.equal(actual.anchor, expected.anchor)
    assert torch.equal(actual.positive, expected.positive)
    assert actual.negative.shape == expected.negative.shape
    for part in (slice(config.macro), slice(config.macro, None)):
        assert torch.equal(actual.negative[:, part].sort(1).values, expected.negative[:, part].sort(1).values)


# Golden values


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return {k: torch.from_numpy(v) for k, v in Recorded("distillation").items()}


@pytest.mark.parametrize("search", [mine, partial(mine, chunk=37), mine_plain])
def test_pairs_are_golden(golden: dict[str, Tensor], search: Callable[..., Pairs]) -> None:
    config = TrainConfig(macro=int(golden["macro_negatives"]), micro=int(golden["micro_negatives"]))
    found = search(golden["teacher_features"], golden["neighbours"], golden["anchors"], config=config, seed=0)
    assert_same(found, Pairs(golden["anchors"], golden["positives"], golden["negatives"]), config)


def test_loss_is_golden(golden: dict[str, Tensor]) -> None:
    pairs = Pairs(golden["anchors"], golden["positives"], golden["negatives"])
    loss = info_nce(golden["student_embedding"], pairs, float(golden["temperature"]))
    torch.testing.assert_close(loss.double(), golden["loss"], rtol=1e-5, atol=0)


# The twin


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
@pytest.mark.parametrize("scene", range(3))
def test_without_ties_streaming_finds_what_the_whole_matrix_shows(scene: int, chunk: int) -> None:
    generator = torch.Generator().manual_seed(scene)
    teacher = torch.randn(150, 5, generator=generator) * torch.rand(150, 1, generator=generator)
    neighbor = random_neighbors(150, 12, generator)
    anchors = drawn(150, SMALL.anchors, scene)
    expected = mine_plain(teacher, neighbor, anchors, config=SMALL, seed=0)
    found = mine(teacher, neighbor, anchors, config=SMALL, seed=1, chunk=chunk)
    assert_same(found, expected, SMALL)
    # From the most unlike on, in both parts.
    cosine = torch.cosine_similarity(teacher[anchors, None], teacher[found.negative], dim=2)
    macro, micro = cosine.split([SMALL.macro, SMALL.micro], 1)
    assert (macro.diff(dim=1) >= -1e-6).all()
    assert (micro.diff(dim=1) >= -1e-6).all()


def test_half_precision_teachers_are_mined_in_single(golden: dict[str, Tensor]) -> None:
    stored = golden["teacher_features"].half()
    arguments = golden["neighbours"], golden["anchors"]
    found = mine(stored, *arguments, config=SMALL, seed=0)
    assert_same(found, mine_plain(stored.float(), *arguments, config=SMALL, seed=0), SMALL)


def test_anchor_and_positive_are_no_negatives_even_where_all_points_tie() -> None:
    generator = torch.Generator().manual_seed(0)
    neighbor, anchors = random_neighbors(SMALL.macro + 2, 6, generator), torch.arange(SMALL.macro + 2)
    for seed in range(20):
        for group in (None, torch.zeros(len(anchors), dtype=torch.int64)):
            teacher = torch.ones(len(anchors) if group is None else 1, 3)
            pairs = mine(teacher, neighbor, anchors, config=SMALL, seed=seed, group=group, chunk=3)
            macro, micro = pairs.negative.split([SMALL.macro, SMALL.micro], 1)
            everything = torch.cat([pairs.anchor[:, None], pairs.positive[:, None], macro], 1)
            assert torch.equal(everything.sort(1).values, anchors.expand(len(anchors), -1))
            neither = torch.stack([pairs.anchor, pairs.positive], 1)
            assert not (micro[..., None] == neither[:, None]).any()
            assert (micro[..., None] == neighbor[:, None]).any(2).all()
            assert (micro.sort(1).values.diff(dim=1) > 0).all()


# Ties

TIED = TrainConfig(macro=20, micro=4)  # many of those that tie, so that what is taken matters for the rest
SIZES = (9, 1, 4, 16, 30)  # points of five groups
GROUP = torch.arange(len(SIZES)).repeat_interleave(torch.tensor(SIZES))
TEACHERS = {
    # Each group is as far from all others: ties between points and between groups.
    "apart": torch.eye(len(SIZES)),
    # As seen from the first group, the last two tie as the most unlike and the second is fairly like.
    "opposite": torch.tensor([[1.0, 0], [1, 1], [0, 1], [-1, 0], [-3, 0]]),
}


def search_of(kind: str, teacher: Tensor) -> Callable[..., Pairs]:
    if kind == "groups":
        return partial(mine, teacher, group=GROUP, chunk=2)
    return (
        partial(mine, teacher[GROUP], chunk=17) if kind == "points" else partial(mine_plain, teacher[GROUP])
    )


def assert_fair(taken: Tensor, part: Tensor, times: int) -> None:
    """Rows of points taken without repetition (times, k) hold points of each part as often as its size asks
    for; `part` says of every point which part it belongs to, -1 for those never to be taken."""
    k, n = taken.shape[1], int((part >= 0).sum())
    found = part[taken.flatten()]
    assert len(found) == times * k
    assert (found >= 0).all()
    share = torch.bincount(part[part >= 0]).double() / n
    variance = times * k * share * (1 - share) * (n - k) / max(n - 1, 1)  # hypergeometric
    surplus = torch.bincount(found, minlength=len(share)) - times * k * share
    assert (surplus.abs() <= 4.5 * variance.sqrt()).all()


@pytest.mark.parametrize("kind", ["groups", "points", "plain"])
@pytest.mark.parametrize("name", TEACHERS)
def test_tied_points_are_taken_equally_often(name: str, kind: str) -> None:
    """Of groups of any size, by anchors of one call and over seeds."""
    search, times, anchor = search_of(kind, TEACHERS[name]), 1000, 4
    neighbor = random_neighbors(len(GROUP), 40, torch.Generator().manual_seed(1))
    one_call = search(neighbor, torch.full((times,), anchor), config=TIED, seed=0)
    one = torch.tensor([anchor])
    calls = [search(neighbor, one, config=TIED, seed=seed) for seed in range(times)]
    point = torch.arange(len(GROUP))
    mates = (GROUP == 0) & (point != anchor)
    far = GROUP != 0 if name == "apart" else GROUP >= 3
    near = torch.zeros_like(far).index_fill(0, neighbor[anchor], True) & far
    positive = torch.cat([pairs.positive for pairs in calls])
    assert_fair(positive[:, None], torch.where(mates, point, -1), times)
    for negative in (one_call.negative, torch.cat([pairs.negative for pairs in calls])):
        macro, micro = negative.split([TIED.macro, TIED.micro], 1)
        for part in (point, GROUP):
            assert_fair(macro, torch.where(far, part, -1), times)
            assert_fair(micro, torch.where(near, part, -1), times)


@pytest.mark.parametrize("kind", ["groups", "points", "plain"])
def test_tied_points_are_taken_independently_of_each_other(kind: str) -> None:
    """Over seeds, any two are together as often as chance has it."""
    search, times = search_of(kind, TEACHERS["opposite"]), 1500
    neighbor = random_neighbors(len(GROUP), 40, torch.Generator().manual_seed(1))
    one = torch.tensor([0])
    calls = [search(neighbor, one, config=TIED, seed=seed).negative for seed in range(times)]
    taken = torch.zeros(times, len(GROUP)).scatter_(1, torch.cat(calls)[:, : TIED.macro], 1)[:, GROUP >= 3]
    tied = taken.shape[1]
    together = (taken.T @ taken)[tuple(torch.triu_indices(tied, tied, 1))]
    chance = TIED.macro * (TIED.macro - 1) / (tied * (tied - 1))
    assert (together - times * chance).abs().max() < 5 * (times * chance * (1 - chance)) ** 0.5


@pytest.mark.parametrize("sizes", [(1,) * 3000, (1, 9) * 200, (300,) * 10])
@pytest.mark.parametrize("chunk", [128, 4096])
def test_masses_of_tied_points_share_alike(sizes: tuple[int, ...], chunk: int) -> None:
    """More groups than are kept, of unequal sizes, in many chunks: no part of the scene is preferred."""
    times, mates = 600, SMALL.neighbors + 1
    group = torch.arange(1 + len(sizes)).repeat_interleave(torch.tensor([mates, *sizes]))
    teacher = torch.tensor([[1.0, 1.0]] + [[-1.0, -1.0]] * len(sizes))
    neighbor = torch.arange(1, mates).expand(len(group), -1)
    anchors = torch.zeros(times, dtype=torch.int64)
    pairs = mine(teacher, neighbor, anchors, config=SMALL, seed=0, group=group, chunk=chunk)
    tenth = torch.arange(len(group)) * 10 // len(group)
    crowd = torch.tensor([0, *sizes])[group] > 1
    for part in (tenth, crowd.long()):
        assert_fair(pairs.negative[:, : SMALL.macro], torch.where(group > 0, part, -1), times)


def test_a_group_is_used_up_before_the_next_more_like_one() -> None:
    """Of 5 points opposite the anchor and 20 beside it all 5 are taken, and one of the 20."""
    teacher = torch.tensor([[1.0, 0], [-1, 0], [0, 1]])
    group = torch.tensor([0] * 10 + [1] * 5 + [2] * 20)
    neighbor = random_neighbors(len(group), 30, torch.Generator().manual_seed(0))
    pairs = mine(teacher, neighbor, torch.arange(10), config=SMALL, seed=0, group=group, chunk=1)
    macro = group[pairs.negative[:, : SMALL.macro]]
    assert torch.equal(macro, torch.tensor([1, 1, 1, 1, 1, 2]).expand(10, -1))
    assert (group[pairs.positive] == 0).all()
    assert (pairs.positive != pairs.anchor).all()


def test_rows_of_the_teacher_without_points_are_no_candidates() -> None:
    teacher = torch.cat([TEACHERS["opposite"], torch.tensor([[-1.0, 0.0]])])[[5, 0, 1, 2, 3, 4, 5]]
    neighbor = random_neighbors(len(GROUP), 12, torch.Generator().manual_seed(0))
    anchors = torch.arange(len(GROUP))
    pairs = mine(teacher, neighbor, anchors, config=SMALL, seed=3, group=GROUP + 1, chunk=2)
    same = mine(TEACHERS["opposite"], neighbor, anchors, config=SMALL, seed=3, group=GROUP, chunk=2)
    assert_same(pairs, same, SMALL)


@pytest.mark.parametrize("kind", ["groups", "points", "plain"])
def test_the_seed_alone_decides(kind: str) -> None:
    search = search_of(kind, TEACHERS["apart"])
    neighbor = random_neighbors(len(GROUP), 40, torch.Generator().manual_seed(1))
    state = torch.get_rng_state()
    anchors = drawn(len(GROUP), SMALL.anchors, 5)
    first, again, other = (search(neighbor, anchors, config=SMALL, seed=seed) for seed in (7, 7, 8))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.positive, again.positive)
    assert torch.equal(first.negative, again.negative)
    assert not torch.equal(first.positive, other.positive)
    assert not torch.equal(first.negative, other.negative)


# Memory


class Largest(TorchDispatchMode):
    """Number of values in the largest tensor that is made inside."""

    def __init__(self) -> None:
        super().__init__()
        self.values = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(tensor, Tensor):
                self.values = max(self.values, tensor.numel())
        return made


def test_anchors_times_points_never_exist_at_once() -> None:
    points, chunk = 6000, 100
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(points, 8, generator=generator)
    neighbor = torch.randint(points, (points, SMALL.neighbors), generator=generator)
    anchors = drawn(points, 1000, 0)
    with Largest() as largest:
        mine(teacher, neighbor, anchors, config=SMALL, seed=0, chunk=chunk)
    assert largest.values <= len(anchors) * chunk
    with Largest() as largest:  # the measure sees what it is meant to see
        mine_plain(teacher, neighbor, anchors, config=SMALL, seed=0)
    assert largest.values >= len(anchors) * points


# The loss


def test_loss_is_the_cross_entropy_of_each_anchor() -> None:
    generator = torch.Generator().manual_seed(0)
    embedding = normalize(torch.randn(30, 4, generator=generator, dtype=torch.float64), dim=1)
    pairs = Pairs(*(torch.randint(30, shape, generator=generator) for shape in ((5,), (5,), (5, 7))))
    total = 0.0
    for a, p, negatives in zip(pairs.anchor, pairs.positive, pairs.negative, strict=True):
        right = float(embedding[a] @ embedding[p]) / 0.07
        wrong = [float(embedding[a] @ embedding[n]) / 0.07 for n in negatives]
        total -= np.log(np.exp(right) / (np.exp(right) + np.exp(wrong).sum()))
    assert float(info_nce(embedding, pairs, 0.07)) == pytest.approx(total / 5, rel=1e-10)
    embedding.requires_grad_()
    assert torch.autograd.gradcheck(partial(info_nce, pairs=pairs, temperature=0.5), (embedding,))


def test_descending_the_loss_brings_the_teachers_segments_together() -> None:
    teacher, config = torch.eye(len(SIZES))[GROUP], SMALL
    neighbor = random_neighbors(len(GROUP), 12, torch.Generator().manual_seed(0))
    embedding = torch.randn(len(GROUP), 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    optimizer = torch.optim.Adam([embedding], lr=0.1)
    for step in range(60):
        anchors = drawn(len(GROUP), config.anchors, step)
        pairs = mine(teacher, neighbor, anchors, config=config, seed=step)
        optimizer.zero_grad()
        info_nce(normalize(embedding, dim=1), pairs, config.temperature).backward()
        optimizer.step()
    unit = normalize(embedding.detach(), dim=1)
    cosine, same = (unit @ unit.T).fill_diagonal_(-1), GROUP[:, None] == GROUP
    crowd = torch.tensor(SIZES)[GROUP] > 1
    assert (GROUP[cosine.argmax(1)] == GROUP)[crowd].all()
    assert cosine[same].median() - cosine[~same].median() > 0.5


# Anchors and what is refused


def test_the_paper_has_48_macro_and_16_micro_negatives_among_96_neighbours() -> None:
    config = PAPER_TRAINING
    assert (config.anchors, config.macro, config.micro, config.neighbors) == (4096, 48, 16, 96)
    assert config.temperature == 0.07


def test_no_more_micro_negatives_than_neighbours() -> None:
    scene = torch.eye(80), random_neighbors(80, 16, torch.Generator().manual_seed(0)), torch.arange(8)
    with pytest.raises(ValueError, match="found 16 neighbours and 16 micro negatives; expected more"):
        mine(*scene, config=TrainConfig(neighbors=16), seed=0)


@pytest.mark.parametrize("search", [mine, mine_plain])
def test_scenes_too_small_to_mine_are_refused(search: Callable[..., Pairs]) -> None:
    teacher, anchors = torch.eye(8), torch.arange(8)
    everyone = random_neighbors(8, 7, torch.Generator().manual_seed(0))
    search(teacher, everyone[:, :6], anchors, config=SMALL, seed=0)
    with pytest.raises(ValueError, match="a scene of 7 points, expected at least 8"):
        search(teacher[:7], everyone[:7], anchors[:7], config=SMALL, seed=0)
    with pytest.raises(ValueError, match=r"found neighbours \(7, 7\), expected \(8, K\)"):
        search(teacher, everyone[:7], anchors, config=SMALL, seed=0)
    # Four neighbours are enough for four negatives only where the positive is none of them.
    with pytest.raises(ValueError, match="4 neighbours, less the anchor and its positive, are too few for 4"):
        search(torch.ones(8, 1), everyone[:, :4], anchors, config=SMALL, seed=0)

"""Affinity and pooling against golden values, the plain twin, and the algebra that saves work."""

import numpy as np
import pytest
import torch
from fakes import softmax_affinity
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import pool_plain
from recorded import Recorded, pair

from purify3d.affinities import pooling, softmax
from purify3d.affinities.building import affinity, agreement
from purify3d.affinities.config import PurifyConfig
from purify3d.affinities.embeddings import geometric_embedding
from purify3d.affinities.pooling import pool, pool_features
from purify3d.affinities.softmax import softmax_plain
from purify3d.base.colors import rgb_to_lab
from purify3d.base.progress import silent
from purify3d.benchmarking.votes import label_by_regions
from purify3d.grid.neighbors import grid_neighbors
from purify3d.grid.voxels import voxelize
from purify3d.labels.config import SegmentConfig
from purify3d.labels.labelling import label_points
from purify3d.labels.questions import scores
from purify3d.types import Affinity, FeatureSpace, PointCloud, PointFeatures, TextEmbeddings, Vocabulary


def random_affinity(seed: int, voxels: int = 60, k: int = 9) -> Affinity:
    generator = torch.Generator().manual_seed(seed)
    cells = torch.unique(torch.randint(0, 9, (voxels * 2, 3), generator=generator), dim=0)[:voxels]
    embedding = torch.nn.functional.normalize(torch.randn(len(cells), 5, generator=generator), dim=1)
    return softmax_affinity(embedding, grid_neighbors(cells, k))


def test_pooling_is_golden() -> None:
    recorded = Recorded("pooling")
    inputs = ("embedding", "neighbours", "voxel_inputs", "point_to_voxel")
    data = {key: torch.from_numpy(recorded[key]) for key in inputs}
    a = softmax_affinity(data["embedding"], data["neighbours"].long(), 20.0)
    pooled = pool(a, data["voxel_inputs"], 19)[data["point_to_voxel"].long()]
    found, expected = pair(pooled[:, :512], recorded["refined_point_features"])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_affinity_of_unit_embeddings_is_softmax_of_cosines() -> None:
    generator = torch.Generator().manual_seed(0)
    embedding = torch.nn.functional.normalize(torch.randn(50, 8, generator=generator), dim=1)
    neighbor = torch.randint(50, (50, 7), generator=generator)
    expected = (20 * (embedding[neighbor] * embedding[:, None]).sum(2)).softmax(1)
    torch.testing.assert_close(softmax_affinity(embedding, neighbor).weight, expected)


def test_lightness_counts_half() -> None:
    """Distances of embeddings are those of colours whose lightness is halved, times one number."""
    rgb = np.array([[40, 40, 40], [200, 200, 200], [180, 60, 60], [60, 150, 70], [30, 40, 160]], np.uint8)
    points = PointCloud.from_arrays(np.arange(15).reshape(5, 3), rgb=rgb, normal=np.tile([0, 0, 1], (5, 1)))
    found = torch.pdist(geometric_embedding(points, voxelize(points.xyz, 0.02)).double())
    half = rgb_to_lab(torch.from_numpy(rgb / 255)) * torch.tensor([0.5, 1, 1])
    ratio = found / torch.pdist(half.double())
    torch.testing.assert_close(ratio, ratio[:1].expand(10), rtol=1e-4, atol=0)


def test_affinity_prefers_the_alike_at_any_length() -> None:
    embedding = torch.tensor([[0.0, 3.0], [0.0, 3.1], [0.0, 30.0]])
    weight = softmax_affinity(embedding, torch.tensor([[1, 2], [0, 2], [0, 1]])).weight
    assert weight[0, 0] > 0.99
    assert weight[1, 0] > 0.99


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 5), st.sampled_from([1, 4, 21, 70, 129]), st.booleans())
def test_pool_equals_its_plain_twin(seed: int, rounds: int, channels: int, wide: bool) -> None:
    a = random_affinity(seed)
    a = Affinity(a.neighbor.long() if wide else a.neighbor, a.weight)
    values = torch.randn(len(a.neighbor), channels, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(pool(a, values, rounds), pool_plain(a, values, rounds))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_pooling_scores_labels_as_pooling_features_does(seed: int) -> None:
    """method.md section 4: (A^n F) t = A^n (F t), so the labels of a fixed vocabulary are the same."""
    a = random_affinity(seed)
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(len(a.neighbor), 64, generator=generator, dtype=torch.float64)
    text = torch.randn(6, 64, generator=generator, dtype=torch.float64)
    a = Affinity(a.neighbor, a.weight.double())
    by_features = pool(a, features, 19) @ text.T
    by_scores = pool(a, features @ text.T, 19)
    torch.testing.assert_close(by_features, by_scores)
    assert torch.equal(by_features.argmax(1), by_scores.argmax(1))


def test_trust_listens_to_those_whose_views_agree() -> None:
    neighbor = torch.tensor([[1, 2], [0, 2], [0, 1]])
    values = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]])
    features = PointFeatures(values, torch.ones(3, dtype=torch.int32), FeatureSpace("test", 2, 1.0))
    voxels = voxelize(torch.tensor([[0.0, 0, 0], [0.03, 0, 0], [0.05, 0, 0]]), 0.02)
    weight = softmax_affinity(torch.zeros(3, 1), neighbor, bias=agreement(features, voxels, 4)).weight
    torch.testing.assert_close(weight.sum(1), torch.ones(3))
    assert weight[0].tolist() == pytest.approx([0.8, 0.2])  # lengths 1 and sqrt(1/2), to the fourth power
    assert weight[2].tolist() == pytest.approx([0.5, 0.5])


def test_agreement_multiplies_weights_with_a_power_of_length() -> None:
    generator = torch.Generator().manual_seed(3)
    values, embedding = torch.rand(40, 3, generator=generator), torch.randn(40, 5, generator=generator)
    neighbor = torch.randint(40, (40, 9), generator=generator)
    features = PointFeatures(values, torch.ones(40, dtype=torch.int32), FeatureSpace("test", 3, 1.0))
    voxels = voxelize(torch.arange(40)[:, None].expand(-1, 3) * 0.05, 0.02)
    expected = softmax_affinity(embedding, neighbor, 2.0).weight * values.norm(dim=1)[neighbor] ** 4
    found = softmax_affinity(embedding, neighbor, 2.0, bias=agreement(features, voxels, 4)).weight
    torch.testing.assert_close(found, expected / expected.sum(1, keepdim=True))


def test_a_sure_poster_keeps_its_own_on_a_wavering_wall_unless_told_otherwise() -> None:
    """9 x 9 points that look alike: five of a poster, whose views agree, on a wall whose views waver."""
    column, row = torch.meshgrid(torch.arange(9), torch.arange(9), indexing="ij")
    xyz = torch.stack([column, row, torch.zeros_like(row)], dim=2).reshape(-1, 3) * 0.02 + 0.01
    poster = ((column - 4).abs() + (row - 4).abs() <= 1).reshape(-1)
    count = torch.ones(81, dtype=torch.int32)
    points = PointCloud(xyz, torch.zeros(81, 3).byte(), torch.tensor([0.0, 0, 1]).repeat(81, 1), -count)
    values = torch.where(poster[:, None], torch.tensor([0.0, 1, 0]), torch.tensor([0.25, 0.0, 0.25]))
    space = FeatureSpace("test", 3, 1.0, length_is_confidence=True)
    features = PointFeatures(values, count, space)
    text_embeddings = TextEmbeddings(
        Vocabulary.parse("wall, poster"), torch.eye(3)[:2], torch.arange(2), space
    )
    for confidence, kept in ((None, True), (0.0, False)):
        config = PurifyConfig() if confidence is None else PurifyConfig(confidence=confidence)
        label = label_points(points, features, text_embeddings, SegmentConfig(purify=config)).label
        assert bool((label[poster] == 1).any()) == kept


def test_lengths_weigh_only_where_they_mean_confidence() -> None:
    xyz = torch.tensor([[0.0, 0, 0], [0.03, 0, 0], [0.05, 0, 0]])
    count = torch.ones(3, dtype=torch.int32)
    points = PointCloud(xyz, torch.zeros(3, 3).byte(), torch.tensor([[0.0, 0, 1]]).repeat(3, 1), -count)
    values = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.5]])
    config = PurifyConfig(affinity="geometric", neighbors=2, confidence=4.0)
    heard = []
    for sure in (False, True):
        space = FeatureSpace("test", 2, 1.0, length_is_confidence=sure)
        heard.append(affinity(points, PointFeatures(values, count, space), config)[1].weight)
    torch.testing.assert_close(heard[0], torch.full((3, 2), 0.5))
    assert heard[1][0].tolist() == pytest.approx([16 / 17, 1 / 17])  # 1 and 1/2, to the fourth power


def test_lab_of_known_colors() -> None:
    lab = rgb_to_lab(torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))
    expected = torch.tensor([[100.0, 0.0, 0.0], [0.0, 0.0, 0.0], [53.24, 80.09, 67.20]])
    torch.testing.assert_close(lab, expected, atol=0.02, rtol=0)


def test_pooling_in_blocks_of_rows_is_pooling(monkeypatch: pytest.MonkeyPatch) -> None:
    a = random_affinity(4)
    values = torch.randn(len(a.neighbor), 3, generator=torch.Generator().manual_seed(0))
    whole = pool(a, values, 3)
    monkeypatch.setattr(pooling, "_LARGEST", 100)
    assert torch.equal(pool(a, values, 3), whole)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 12), st.sampled_from([1, 6, 38]), st.booleans())
def test_softmax_on_the_cpu_equals_its_plain_twin(seed: int, k: int, channels: int, small: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    key = torch.randn(50, 1 + channels, generator=generator)
    neighbor = torch.randint(50, (50, k), generator=generator, dtype=torch.int32)
    rows = torch.randint(50, (50,), generator=generator)
    with pytest.MonkeyPatch.context() as patch:
        if small:  # a voxel at a time
            patch.setattr(softmax, "_IN_CACHE", 1)
            patch.setattr(softmax, "_ELSEWHERE", 1)
        for some in (None, rows):
            found = softmax._softmax_on_cpu(key, neighbor, some, silent)
            torch.testing.assert_close(found, softmax_plain(key, neighbor, some))


def test_copies_from_afar_say_nothing() -> None:
    xyz = torch.tensor([[0.0, 0, 0], [0.05, 0, 0], [0.10, 0, 0], [0.15, 0, 0]])
    values = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    views = torch.tensor([3, 0, 0, 0], dtype=torch.int32)
    features = PointFeatures(
        values, views, FeatureSpace("test", 2, 1.0), gap=torch.tensor([0, 0.05, 0.1, 0.15])
    )
    voxels = voxelize(xyz, 0.02)
    even = Affinity(grid_neighbors(voxels.index, 3), torch.full((4, 3), 1 / 3))
    assert features.within(float("inf")) is features
    seen = features.within(0)
    assert seen.known.tolist() == [True, False, False, False]
    pooled = pool_features(seen, voxels, even, 2)
    assert pooled.values[0].tolist() == [pooled.length[0], 0]  # only what was seen is heard
    assert not pooled.values[1:].any()
    assert features.within(0.11).known.tolist() == [True, True, True, False]


def test_regions_are_heard_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two planes at a right angle: each takes its own mean."""
    axis = torch.arange(20) * 0.02
    floor = torch.cartesian_prod(axis, axis, torch.zeros(1))
    wall = torch.cartesian_prod(torch.full((1,), -0.02), axis, axis + 0.02)
    xyz = torch.cat([floor, wall])
    normal = torch.cat([torch.eye(3)[2].expand(400, 3), torch.eye(3)[0].expand(400, 3)])
    points = PointCloud.from_arrays(xyz, normal=normal)
    values = torch.randn(800, 2, generator=torch.Generator().manual_seed(0)).abs()
    values[:400, 0] += 3
    values[400:, 1] += 3
    features = PointFeatures(values, torch.ones(800, dtype=torch.int32), FeatureSpace("test", 2, 1.0))
    text_embeddings = TextEmbeddings(
        Vocabulary.parse("floor, wall"), torch.eye(2), torch.arange(2), features.space
    )
    voted = label_by_regions(points, features, text_embeddings, PurifyConfig())
    assert (voted.label == torch.arange(800) // 400).all()
    assert voted.score[:400].std() < 0.02 < scores(features, text_embeddings)[:400].amax(1).std()

"""Words and labels."""

import pytest
import torch
from fakes import softmax_affinity

from purify3d.affinities.pooling import pool_features, pool_scores
from purify3d.base.errors import LabelError, SpaceMismatchError
from purify3d.grid.neighbors import grid_neighbors
from purify3d.grid.voxels import voxelize
from purify3d.labels.questions import classify, scores
from purify3d.types import FeatureSpace, PointFeatures, TextEmbeddings, Vocabulary
from purify3d.types.labelsets import label_set_names, load_label_set, read_labels

SPACE = FeatureSpace("test", 16, 10.0)


def text_embeddings(labels: str, seed: int = 0) -> TextEmbeddings:
    vocabulary = Vocabulary.parse(labels)
    owner = [i for i, words in enumerate(vocabulary.synonyms) for _ in words]
    rows = torch.randn(len(owner), 16, generator=torch.Generator().manual_seed(seed))
    return TextEmbeddings(vocabulary, torch.nn.functional.normalize(rows, dim=1), torch.tensor(owner), SPACE)


@pytest.mark.parametrize("factored", [False, True])
@pytest.mark.parametrize("rounds", [0, 1, 19])
def test_pooled_scores_are_scores_of_pooled_features(factored: bool, rounds: int) -> None:
    generator = torch.Generator().manual_seed(1)
    xyz = torch.rand(500, 3, generator=generator) * 0.2
    basis = torch.randn(5, 16, generator=generator) if factored else None
    values = torch.randn(500, 5 if factored else 16, generator=generator)
    features = PointFeatures(values, torch.ones(500, dtype=torch.int32), SPACE, basis)
    voxels = voxelize(xyz, 0.02)
    a = softmax_affinity(torch.randn(len(voxels), 3, generator=generator), grid_neighbors(voxels.index, 12))
    words = text_embeddings("a|b, c, d")
    slow = scores(pool_features(features, voxels, a, rounds), words)
    fast = pool_scores(features, words, voxels, a, rounds)
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)
    # ... and the labels are those of the pooled features themselves, whatever their length.
    pooled = pool_features(features, voxels, a, rounds).dense()
    plain = words.best(torch.nn.functional.normalize(pooled, dim=1) @ words.embedding.T).argmax(1)
    assert (classify(fast, words).label == plain).float().mean() > 0.995


def test_raw_scores_are_cosines() -> None:
    words = text_embeddings("a, b")
    values = torch.cat([3 * words.embedding, -words.embedding])
    features = PointFeatures(values, torch.ones(4, dtype=torch.int32), SPACE)
    assert scores(features, words).diagonal().tolist() == pytest.approx([1.0, 1.0])
    assert scores(features, words)[2, 0] == pytest.approx(-1.0)


def test_a_label_is_as_good_as_its_best_wording_and_thresholds_apply() -> None:
    words = text_embeddings("a|b, c")
    result = classify(torch.tensor([[0.1, 0.9, 0.5], [0.2, 0.1, 0.4], [0.1, 0.1, 0.2]]), words, threshold=0.3)
    assert result.label.tolist() == [0, 1, -1]
    assert result.score.tolist() == pytest.approx([0.9, 0.4, 0.2])


def test_spaces_must_agree() -> None:
    other = PointFeatures(torch.ones(1, 4), torch.ones(1, dtype=torch.int32), FeatureSpace("other", 4, 1.0))
    with pytest.raises(SpaceMismatchError, match="features of 'other' and text embeddings of 'test'"):
        scores(other, text_embeddings("a"))


@pytest.mark.parametrize("name", label_set_names())
def test_label_sets_load(name: str) -> None:
    chosen = load_label_set(name)
    assert len(chosen.vocabulary) >= 19
    for split in (chosen.base, chosen.novel):
        assert split is None or max(split) < len(chosen.vocabulary)


def test_labels_by_set_or_by_name() -> None:
    assert read_labels("scannet20").names[5] == "sofa"
    assert read_labels("sofa|couch, table").synonyms == (("sofa", "couch"), ("table",))
    assert read_labels(["a1"]).names == ("a1",)
    with pytest.raises(LabelError, match="expected one of matterport160"):
        load_label_set("scannet21")

"""Features in at most 64 bytes a point."""

import shutil
from pathlib import Path

import pytest
import torch
from fakes import LABELS
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize

from purify3d.affinities.config import StudentConfig
from purify3d.affinities.student import Student
from purify3d.backbones import embed_vocabulary, load_backbone
from purify3d.base.errors import RunError
from purify3d.features.codec import BUDGET, decode, encode, only_words
from purify3d.pipeline import run_job
from purify3d.runs import Run
from purify3d.runs.artefacts import read_features, read_scene
from purify3d.runs.folder import Folder
from purify3d.runs.job import changed, job
from purify3d.types import FeatureSpace, PointFeatures, TextEmbeddings, Vocabulary


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def falling(count: int, dim: int, power: float, seed: int = 0) -> Tensor:
    """(count, dim) unit rows whose singular values fall as 1 / k^power, in directions of no axis."""
    spread = torch.arange(1, dim + 1).float() ** -power
    return normalize(
        drawn(count, dim, seed=seed) * spread @ torch.linalg.qr(drawn(dim, dim, seed=9))[0], dim=1
    )


def of(
    values: Tensor, basis: Tensor | None = None, *, confident: bool = True, **more: Tensor
) -> PointFeatures:
    dim = values.shape[1] if basis is None else basis.shape[1]
    views = torch.arange(len(values), dtype=torch.int32) % 200
    return PointFeatures(values, views, FeatureSpace("tiny", dim, 1.0, confident), basis, **more)


def size(features: PointFeatures) -> float:
    """Bytes a point."""
    kept = encode(features).tensors().values()
    return sum(tensor.numel() * tensor.element_size() for tensor in kept) / len(features)


def best(features: PointFeatures, words: Tensor) -> Tensor:
    return features.dot(words).argmax(1)


def test_few_channels_come_back_as_they_were() -> None:
    values, basis = drawn(40_000, 32).softmax(1) * torch.rand(40_000, 1), normalize(drawn(32, 384), dim=1)
    features = of(values, basis, gap=torch.rand(40_000))
    kept = encode(features).features()
    assert size(features) <= BUDGET
    torch.testing.assert_close(kept.dense(), features.dense(), atol=0.01, rtol=0)
    torch.testing.assert_close(kept.norm(), features.norm(), atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(kept.sure(), values.norm(dim=1), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(kept.gap, features.gap, atol=1e-3, rtol=0)
    assert torch.equal(kept.views, features.views)
    words = normalize(drawn(20, 384, seed=1), dim=1)
    assert (best(kept, words) == best(features, words)).float().mean() > 0.99


def test_channels_that_say_the_same_are_one_direction() -> None:
    """Two bytes each, where all directions have room: half a step of 1/32767 of the range is lost."""
    basis = drawn(3, 8)
    features = of(drawn(500, 3) @ drawn(3, 6, seed=1), torch.linalg.pinv(drawn(3, 6, seed=1)) @ basis)
    kept = encode(features)
    assert kept.fine.shape == (500, 3)
    assert kept.coarse.shape == (500, 0)
    assert kept.lost < 1e-9
    torch.testing.assert_close(kept.features().dense(), features.dense(), atol=2e-3, rtol=0)
    torch.testing.assert_close(kept.basis @ kept.basis.T, torch.eye(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("power", [1.0, 1.5])
def test_of_512_channels_those_that_matter(power: float) -> None:
    """With singular values that fall as 1 / k or faster, words among the features keep 99 % of the labels."""
    features = of(falling(40_000, 512, power), gap=torch.zeros(40_000))
    kept = encode(features)
    assert size(features) <= BUDGET
    assert kept.lost < 0.03
    words = falling(20, 512, power, seed=1)
    assert (best(kept.features(), words) == best(features, words)).float().mean() >= 0.99
    torch.testing.assert_close(kept.features().norm(), features.norm(), atol=1e-3, rtol=0)


def test_a_flat_spectrum_does_not_fit_and_says_how_much_is_lost() -> None:
    kept = encode(of(falling(20_000, 512, 0.0)))
    share = 1 - len(kept.basis) / 512
    assert kept.lost == pytest.approx(share, abs=0.05)


def test_what_is_pooled_keeps_its_length_and_has_no_agreement() -> None:
    features = of(drawn(300, 4), drawn(4, 16), length=torch.linspace(0.5, 3, 300))
    kept = encode(features).features()
    torch.testing.assert_close(kept.length, features.length, atol=2e-3, rtol=0)
    assert kept.agreement is None
    assert encode(of(drawn(300, 4), confident=False)).agreement is None


@pytest.mark.parametrize("most", [255, 256, 65_535, 65_536])
def test_views_take_the_bytes_they_need(most: int, tmp_path: Path) -> None:
    features = PointFeatures(
        drawn(3, 2), torch.tensor([0, 1, most], dtype=torch.int32), FeatureSpace("s", 2, 1.0)
    )
    kept = encode(features)
    save_file(kept.tensors(), tmp_path / "kept")
    back = decode(load_file(tmp_path / "kept"), features.space)
    assert back.views.tolist() == [0, 1, most]
    assert back.views.dtype == torch.int32
    assert kept.views.element_size() == {255: 1, 256: 2, 65_535: 2, 65_536: 4}[most]
    assert torch.equal(back.values, kept.features().values)


def test_points_that_say_nothing_say_nothing() -> None:
    values = drawn(100, 600)
    values[::2] = 0
    features = of(values, gap=torch.where(torch.arange(100) % 2 == 0, torch.inf, 1e5))
    kept = encode(features).features()
    assert not kept.values[::2].any()
    assert not kept.norm()[::2].any()
    assert torch.equal(kept.known, features.known)
    assert encode(of(torch.zeros(5, 3))).features().values.eq(0).all()
    assert len(encode(of(torch.zeros(0, 3))).features()) == 0
    assert encode(of(drawn(5, 3), torch.zeros(3, 4))).features().dense().eq(0).all()


def test_one_long_feature_does_not_silence_the_others() -> None:
    values = drawn(50, 8)
    values[7] *= 1e8
    kept = encode(of(values)).features()
    assert torch.cosine_similarity(kept.dense(), values).min() > 0.9999
    ratio = kept.norm() / values.norm(dim=1)
    torch.testing.assert_close(ratio / ratio[7], torch.ones(50), rtol=2e-3, atol=0)


def test_what_is_silenced_has_no_length() -> None:
    features = of(drawn(4, 600), gap=torch.tensor([0.0, 1, 2, 3]))
    near = encode(features).features().within(1.5)
    assert (near.norm() > 0).tolist() == [True, True, False, False]
    assert (near.sure() > 0).tolist() == [True, True, False, False]
    assert (near.at(torch.tensor([2, 0])).norm() > 0).tolist() == [False, True]


def test_the_same_features_give_the_same_bytes() -> None:
    one, two = (encode(of(falling(2_000, 100, 0.5))).tensors() for _ in range(2))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_columns_that_do_not_fit_each_other_are_refused() -> None:
    tensors = encode(of(drawn(10, 4))).tensors()
    with pytest.raises(ValueError, match="a step for each"):
        decode(tensors | {"step": tensors["step"][:-1]}, FeatureSpace("tiny", 4, 1.0))
    with pytest.raises(ValueError, match="at least 24"):
        encode(of(drawn(10, 4)), budget=8)


# ------------------------------------------------------------------------------------------------ in a run


def test_only_words_keeps_scores_and_nothing_else() -> None:
    features = of(drawn(200, 32), drawn(32, 64))
    words = normalize(drawn(5, 64, seed=1), dim=1)
    text_embeddings = TextEmbeddings(
        Vocabulary.parse("a, b, c, d, e"), words, torch.arange(5), features.space
    )
    kept = only_words(features, text_embeddings)
    assert kept.values.shape == (200, 5)
    torch.testing.assert_close(kept.dot(words), features.dot(words), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(kept.norm(), features.norm())
    torch.testing.assert_close(kept.sure(), features.values.norm(dim=1))
    other = normalize(drawn(1, 64, seed=2), dim=1)
    assert (kept.dot(other) - features.dot(other)).abs().mean() > 0.5


@pytest.fixture(scope="module")
def runs(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """The same capture with features, and with scores alone."""
    run = Run.open(finished)
    return run, run_job(changed(run.job, {"no_query": True}), tmp_path_factory.mktemp("without") / "run")


def test_features_of_another_version_are_said_to_be(runs: tuple[Run, Run], tmp_path: Path) -> None:
    """As runs were before: half precision, one column."""
    old = Folder(shutil.copytree(runs[0].files.path, tmp_path / "old"))
    with safe_open(old.path / "features.safetensors", framework="pt") as file:
        metadata = file.metadata()
    values = {"values": torch.zeros(3, 4).half(), "views": torch.ones(3, dtype=torch.int32)}
    save_file(values, old.path / "features.safetensors", metadata=metadata)
    with pytest.raises(RunError, match=r"found no 'fine' in .*another version wrote it.*--overwrite$"):
        read_features(old, "features.safetensors", read_scene(old).cloud())


def test_without_questions_labels_are_the_same(runs: tuple[Run, Run]) -> None:
    said, other = (run.labels for run in runs)
    assert len(said) > 5_000
    assert (said.label >= 0).float().mean() > 0.5
    assert (said.label == other.label).float().mean() > 0.999
    torch.testing.assert_close(said.score, other.score, atol=2e-3, rtol=0)
    assert not (runs[1].files.path / "purified.safetensors").exists()
    assert '"no_query": true' in (runs[1].files.path / "config.json").read_text()


def test_without_questions_none_is_answered(runs: tuple[Run, Run]) -> None:
    with pytest.raises(RunError, match=r"--no-query .* repeat its 'segment' command with --query and --over"):
        runs[1].query("lamp")
    assert runs[0].query("bed").text == "bed"


def test_without_questions_an_affinity_that_reads_features_is_refused(
    room_folder: Path, tmp_path: Path
) -> None:
    Student(StudentConfig(feature_dim=384, width=8, out_channels=4)).save_pretrained(tmp_path / "student")
    with pytest.raises(RunError, match=r"--no-query and the affinity .*student"):
        run_job(job(room_folder, LABELS, affinity=str(tmp_path / "student"), no_query=True), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_features_of_a_run_take_64_bytes_and_are_pooled_with_the_labels(runs: tuple[Run, Run]) -> None:
    run, scene = runs[0], runs[0].scene
    for name in ("features.safetensors", "purified.safetensors"):
        tensors = load_file(run.files.path / name)
        basis = tensors.pop("basis")
        assert basis.shape[1] == 384
        assert sum(t.numel() * t.element_size() for t in tensors.values()) <= BUDGET * len(scene.cloud())
    pooled = read_features(run.files, "purified.safetensors", scene.cloud())
    words = embed_vocabulary(load_backbone("segmenter:lite"), LABELS)
    said = words.owner[pooled.dot(words.embedding).argmax(1)]
    label = torch.where(pooled.norm() > 0, said.int(), -1)
    assert torch.equal(label, run.labels.label)


def test_a_switch_and_its_opposite(purify3d: object, tmp_path: Path, runs: tuple[Run, Run]) -> None:
    call = purify3d
    config = runs[1].files.path / "config.json"
    assert callable(call)
    code, _, _ = call(
        "segment", "--config", config, "--query", "--no-check", "-o", tmp_path / "run", "--limit", 2
    )
    assert code == 0
    assert not Folder(tmp_path / "run").job.no_query
    code, _, err = call("query", runs[1].folder, "lamp")
    assert code == 1
    assert err.splitlines()[-1].startswith("error: the run in")

"""Features in at most 64 bytes a point."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize

from purify3d.compact import BUDGET, compact, restore
from purify3d.types import FeatureSpace, PointFeatures


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
    kept = compact(features).tensors().values()
    return sum(tensor.numel() * tensor.element_size() for tensor in kept) / len(features)


def best(features: PointFeatures, words: Tensor) -> Tensor:
    return features.dot(words).argmax(1)


def test_few_channels_come_back_as_they_were() -> None:
    values, basis = drawn(40_000, 32).softmax(1) * torch.rand(40_000, 1), normalize(drawn(32, 384), dim=1)
    features = of(values, basis, gap=torch.rand(40_000))
    kept = compact(features).features()
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
    kept = compact(features)
    assert kept.fine.shape == (500, 3)
    assert kept.coarse.shape == (500, 0)
    assert kept.lost < 1e-9
    torch.testing.assert_close(kept.features().dense(), features.dense(), atol=2e-3, rtol=0)
    torch.testing.assert_close(kept.basis @ kept.basis.T, torch.eye(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("power", [1.0, 1.5])
def test_of_512_channels_those_that_matter(power: float) -> None:
    """With singular values that fall as 1 / k or faster, words among the features keep 99 % of the labels."""
    features = of(falling(40_000, 512, power), gap=torch.zeros(40_000))
    kept = compact(features)
    assert size(features) <= BUDGET
    assert kept.lost < 0.03
    words = falling(20, 512, power, seed=1)
    assert (best(kept.features(), words) == best(features, words)).float().mean() >= 0.99
    torch.testing.assert_close(kept.features().norm(), features.norm(), atol=1e-3, rtol=0)


def test_a_flat_spectrum_does_not_fit_and_says_how_much_is_lost() -> None:
    kept = compact(of(falling(20_000, 512, 0.0)))
    share = 1 - len(kept.basis) / 512
    assert kept.lost == pytest.approx(share, abs=0.05)


def test_what_is_pooled_keeps_its_length_and_has_no_agreement() -> None:
    features = of(drawn(300, 4), drawn(4, 16), length=torch.linspace(0.5, 3, 300))
    kept = compact(features).features()
    torch.testing.assert_close(kept.length, features.length, atol=2e-3, rtol=0)
    assert kept.agreement is None
    assert compact(of(drawn(300, 4), confident=False)).agreement is None


@pytest.mark.parametrize("most", [255, 256, 65_535, 65_536])
def test_views_take_the_bytes_they_need(most: int, tmp_path: Path) -> None:
    features = PointFeatures(
        drawn(3, 2), torch.tensor([0, 1, most], dtype=torch.int32), FeatureSpace("s", 2, 1.0)
    )
    kept = compact(features)
    save_file(kept.tensors(), tmp_path / "kept")
    back = restore(load_file(tmp_path / "kept"), features.space)
    assert back.views.tolist() == [0, 1, most]
    assert back.views.dtype == torch.int32
    assert kept.views.element_size() == {255: 1, 256: 2, 65_535: 2, 65_536: 4}[most]
    assert torch.equal(back.values, kept.features().values)


def test_points_that_say_nothing_say_nothing() -> None:
    values = drawn(100, 600)
    values[::2] = 0
    features = of(values, gap=torch.where(torch.arange(100) % 2 == 0, torch.inf, 1e5))
    kept = compact(features).features()
    assert not kept.values[::2].any()
    assert not kept.norm()[::2].any()
    assert torch.equal(kept.known, features.known)
    assert compact(of(torch.zeros(5, 3))).features().values.eq(0).all()
    assert len(compact(of(torch.zeros(0, 3))).features()) == 0


def test_what_is_silenced_has_no_length() -> None:
    features = of(drawn(4, 600), gap=torch.tensor([0.0, 1, 2, 3]))
    near = compact(features).features().within(1.5)
    assert (near.norm() > 0).tolist() == [True, True, False, False]
    assert (near.sure() > 0).tolist() == [True, True, False, False]
    assert (near.at(torch.tensor([2, 0])).norm() > 0).tolist() == [False, True]


def test_the_same_features_give_the_same_bytes() -> None:
    one, two = (compact(of(falling(2_000, 100, 0.5))).tensors() for _ in range(2))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_columns_that_do_not_fit_each_other_are_refused() -> None:
    tensors = compact(of(drawn(10, 4))).tensors()
    with pytest.raises(ValueError, match="a step for each"):
        restore(tensors | {"step": tensors["step"][:-1]}, FeatureSpace("tiny", 4, 1.0))
    with pytest.raises(ValueError, match="at least 24"):
        compact(of(drawn(10, 4)), budget=8)

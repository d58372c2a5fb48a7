"""LSeg against arrays of the official code on a scaled-down model, and its checkpoint's keys at full size."""

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from fractions import Fraction
from math import ceil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from fakes import frames_of
from recorded import Kept, Recorded, manifest, pair
from torch import Tensor
from torch.nn.functional import interpolate, pad

from purify3d.backbones import lseg
from purify3d.backbones.lseg import LSeg
from purify3d.backbones.lseg.network import LSegConfig, LSegNetwork
from purify3d.backbones.lseg.weights import UNUSED, load_network
from purify3d.backbones.tokenizer import clip_tokenizer
from purify3d.base.errors import BackboneError, CheckpointError
from purify3d.types import FeatureSpace, TextEmbeddings, Vocabulary

pytest.importorskip("tokenizers")

TINY = LSegConfig(
    width=64,
    depth=6,
    heads=4,
    grid=6,
    taps=(1, 2, 4, 5),
    reassembled=(12, 20, 28, 36),
    decoder=24,
    text_width=32,
    text_depth=2,
    text_heads=4,
)
SPACE = FeatureSpace("lseg-test", 512, lseg.LOGIT_SCALE)


@pytest.fixture(scope="module")
def golden() -> Recorded:
    return Recorded("lseg_tiny")


@pytest.fixture(scope="module")
def meta(golden: Recorded) -> dict:
    return json.loads(bytes(golden["meta_json"]))


@pytest.fixture(scope="module")
def state(golden: Recorded) -> dict[str, Tensor]:
    """The official state dict, dtypes as stored (CLIP's weights are float16)."""
    return {f"net.{k[2:]}": torch.from_numpy(v) for k, v in golden.items() if k.startswith("w/")}


@pytest.fixture
def checkpoint(tmp_path: Path, state: dict[str, Tensor]) -> Path:
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "tiny.ckpt")
    return tmp_path / "tiny.ckpt"


@pytest.fixture(scope="module")
def network(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> LSegNetwork:
    path = tmp_path_factory.mktemp("lseg") / "tiny.ckpt"
    torch.save({"state_dict": state}, path)
    return load_network(path, TINY)


@pytest.fixture(scope="module")
def model(network: LSegNetwork) -> LSeg:
    return LSeg(network, clip_tokenizer(), SPACE, Path("demo_e200.ckpt"), window=96)


def text_embeddings(model: LSeg) -> TextEmbeddings:
    vocabulary = Vocabulary.parse("wall")
    return TextEmbeddings(vocabulary, model.encode(vocabulary.names), torch.tensor([0]), model.space)


def close(actual: Tensor, recorded: np.ndarray | Kept, relative: float, name: str = "") -> None:
    """Largest error against the spread of the recorded array."""
    assert actual.shape == recorded.shape, name
    found, expected = pair(actual, recorded)
    error = np.abs(found - expected).max() / expected.std()
    assert error < relative, f"{name}: {error:.2e} of the spread"


def logits(network: LSegNetwork, image: Tensor, text: Tensor) -> Tensor:
    """(B, K, H, W) as the official model ends: at half size, then enlarged."""
    half = torch.einsum("bdhw,kd->bkhw", network(image), text) * lseg.LOGIT_SCALE
    return interpolate(half, scale_factor=2, mode="bilinear", align_corners=True)


# ---- the network


def taps() -> Iterator[tuple[str, str]]:
    """Stored array -> the module whose output it is."""
    yield "vit/patch_conv", "pretrained.model.patch_embed.proj"
    for level, block in enumerate(TINY.taps, start=1):
        yield f"vit/block_hook{level}", f"pretrained.model.blocks.{block}"
        yield f"reassemble/readout{level}", f"pretrained.act_postprocess{level}.0"
        yield f"reassemble/layer_{level}", f"pretrained.act_postprocess{level}"
        yield f"decoder/layer{level}_rn", f"scratch.layer{level}_rn"
        yield f"decoder/path_{level}", f"scratch.refinenet{level}"
    yield "decoder/head1", "scratch.head1"
    yield "text/features", "clip_pretrained"


def test_the_token_table_is_drawn_as_it_was(golden: Recorded) -> None:
    table, rows, stored = golden.drawn("w/clip_pretrained.token_embedding.weight")
    assert len(rows) > 100
    np.testing.assert_allclose(table[rows], stored, atol=1e-5)


@pytest.mark.parametrize("case", ["case_a", "case_b"])
def test_every_intermediate_is_golden(golden: Recorded, network: LSegNetwork, case: str) -> None:
    seen: dict[str, Tensor] = {}
    hooks = [
        network.get_submodule(module).register_forward_hook(
            lambda _, __, output, name=name: seen.update({name: output})
        )
        for name, module in taps()
    ]
    image = torch.from_numpy(golden[f"{case}/image"]) / 127.5 - 1
    text = network.encode_text(torch.from_numpy(golden[f"{case}/text/ids"]).long())
    seen["decoder/logits_half_res"] = torch.einsum("bdhw,kd->bkhw", network(image), text) / 0.07
    seen["final/logits"] = logits(network, image, text)
    for hook in hooks:
        hook.remove()

    stored = {key for key in golden if key.startswith(f"{case}/")} - {f"{case}/image", f"{case}/text/ids"}
    assert stored == {f"{case}/{name}" for name in seen}
    for name, actual in seen.items():
        close(actual, golden[f"{case}/{name}"], 1e-5, name)
    # The official run in half precision differs by rounding only.
    found, expected = pair(seen["final/logits"], golden[f"{case}_half/final/logits"])
    assert np.abs(found - expected).max() < 5e-3
    close(seen["text/features"], golden[f"{case}_half/text/features"].astype(np.float32), 5e-3)


def test_official_multiscale_scores_are_golden(
    golden: Recorded, meta: dict, network: LSegNetwork, model: LSeg
) -> None:
    """The official evaluator, written out here: it covers sizes, flips and paddings that the cases do not."""
    base, crop = meta["multieval"]["base_size"], meta["multieval"]["crop_size"]
    image = torch.from_numpy(golden["multieval/image0"]) / 127.5 - 1
    text = model.encode(meta["labels"])
    height, width = image.shape[2:]
    total = torch.zeros(1, len(text), height, width)

    def window(x: Tensor) -> Tensor:
        h, w = x.shape[2:]
        x = pad(x, (0, crop - w, 0, crop - h), value=-1.0)
        return (logits(network, x, text) + logits(network, x.flip(3), text).flip(3))[:, :, :h, :w]

    for scale in map(Fraction, meta["multieval"]["scales"]):
        long = ceil(base * scale)
        h, w = (int(side * long / max(height, width) + 0.5) for side in (height, width))
        x = interpolate(image, size=(h, w), mode="bilinear", align_corners=True)
        if long > crop:
            x = pad(x, (0, max(0, crop - w), 0, max(0, crop - h)), value=-1.0)
        stride = int(crop * 2 / 3)
        scores, count = torch.zeros(1, len(text), *x.shape[2:]), torch.zeros(x.shape[2:])
        for top in range(0, max(1, ceil((x.shape[2] - crop) / stride) + 1) * stride, stride):
            for left in range(0, max(1, ceil((x.shape[3] - crop) / stride) + 1) * stride, stride):
                area = np.s_[..., top : top + crop, left : left + crop]
                scores[area] += window(x[area])
                count[area] += 1
        scores = (scores / count)[:, :, :h, :w]
        total += interpolate(scores, size=(height, width), mode="bilinear", align_corners=True)
    close(total, golden["multieval/scores"], 1e-5)


# ---- the backbone


def test_observe_is_openscenes_extraction(golden: Recorded, model: LSeg) -> None:
    image = golden["openscene/image0"][0].transpose(1, 2, 0)
    (seen,) = model.observe(frames_of(image), text_embeddings(model))
    assert seen.basis is None
    close(seen.values[None], golden["openscene/features"], 1e-5)


def test_observe_shrinks_large_images_and_keeps_their_aspect(model: LSeg) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((60, 120), (70, 50), (1, 200))]
    seen = model.observe(frames_of(*images), text_embeddings(model))
    assert [tuple(one.values.shape) for one in seen] == [(512, 24, 48), (512, 48, 34), (512, 1, 48)]
    assert all(one.values.isfinite().all() and one.values.dtype == torch.float32 for one in seen)
    # An image of twice the pixels is first brought to the size of the features, so it looks the same.
    smooth = np.linspace(0, 255, 48)[None, :, None].repeat(36, 0).repeat(3, 2).round().astype(np.uint8)
    larger = np.linspace(0, 255, 95)[None, :, None].repeat(71, 0).repeat(3, 2).round().astype(np.uint8)
    one, two = model.observe(frames_of(smooth, larger), text_embeddings(model))
    assert torch.cosine_similarity(one.values, two.values, dim=0).min() > 0.99


def test_observe_takes_turned_and_read_only_images(golden: Recorded, model: LSeg) -> None:
    image = golden["openscene/image0"][0].transpose(1, 2, 0)
    turned = np.rot90(image)
    turned.setflags(write=False)
    a, b = model.observe(frames_of(turned, turned.copy()), text_embeddings(model))
    assert a.values.equal(b.values)


def test_bfloat16_is_close(golden: Recorded, network: LSegNetwork, model: LSeg) -> None:
    image = golden["openscene/image0"][0].transpose(1, 2, 0)
    half = LSeg(network, clip_tokenizer(), SPACE, Path("demo_e200.ckpt"), window=96, dtype=torch.bfloat16)
    (a,), (b,) = (
        model.observe(frames_of(image), text_embeddings(model)),
        half.observe(frames_of(image), text_embeddings(model)),
    )
    assert b.values.dtype == torch.float32
    assert not a.values.equal(b.values)
    # Random weights have no stable directions; measured 0.9995 at worst.
    assert torch.cosine_similarity(a.values, b.values, dim=0).min() > 0.99


def test_encode_is_golden_and_cached(
    golden: Recorded, meta: dict, model: LSeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = golden["case_a/text/features"]
    expected = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    close(model.encode(meta["labels"]), expected, 1e-5)
    model.encode(["a lamp"])
    monkeypatch.setattr(model, "_tokenizer", None)
    again = model.encode([meta["labels"][1], "a lamp", meta["labels"][1]])
    close(again[0], expected[1], 1e-5)
    assert again[0].equal(again[2])
    assert model.encode([]).shape == (0, 512)


# ---- the checkpoint


def test_words_become_the_published_token_ids(golden: Recorded, meta: dict) -> None:
    for words, ids in (("labels", "case_a/text/ids"), ("ade20k_labels", "text/ade20k_ids")):
        np.testing.assert_array_equal(clip_tokenizer()(meta[words], pad=0), golden[ids])


def test_full_model_has_exactly_the_official_keys() -> None:
    full = manifest("lseg")["keys"]
    with torch.device("meta"):
        ours = LSegNetwork(LSegConfig()).state_dict()
    unused = {key for key in full if key.startswith(UNUSED)}
    assert {k: list(v.shape) for k, v in ours.items()} == {
        k: v["shape"] for k, v in full.items() if k not in unused
    }
    # The list holds exactly what inference does not read; batch norm's counters are loaded all the same.
    idle = {key for key, entry in full.items() if not entry["used_in_inference"]}
    assert unused == {key for key in idle if key in unused or not key.endswith("num_batches_tracked")}
    assert all(any(key.startswith(beginning) for key in full) for beginning in UNUSED)


def test_weights_are_float32_and_frozen(network: LSegNetwork) -> None:
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in network.parameters())
    assert not any(module.training for module in network.modules())


def test_load_makes_a_backbone(checkpoint: Path, monkeypatch: pytest.MonkeyPatch, model: LSeg) -> None:
    monkeypatch.setattr(lseg, "LSegConfig", lambda: TINY)
    loaded = lseg.load(str(checkpoint))
    assert loaded.space.dim == 512
    assert loaded.space.logit_scale == pytest.approx(14.2857, abs=1e-4)
    assert loaded.encode(["sofa"]).equal(model.encode(["sofa"]))
    assert loaded.facts.kind == "dense"
    assert loaded.facts.source == str(checkpoint)
    assert loaded.facts.disk_bytes == checkpoint.stat().st_size
    assert loaded.facts.licence.startswith("not stated")
    assert "640" in loaded.facts.input_size
    # Other weights are another space.
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"]["net.scratch.head1.bias"] += 1
    torch.save(content, checkpoint)
    assert lseg.load(str(checkpoint)).space.id != loaded.space.id


def test_load_needs_a_file(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"nothing\.ckpt; expected lseg:PATH"):
        lseg.load(str(tmp_path / "nothing.ckpt"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("net.scratch.head1.bias"), r"1 missing \(scratch.head1.bias\)"),
        (lambda s: s.update({"net.scratch.extra": torch.ones(1)}), r"1 unexpected \(scratch.extra\)"),
        (lambda s: s.update({"auxiliary": torch.ones(1)}), r"1 unexpected \(auxiliary\)"),
        (
            lambda s: s.update({"net.scratch.head1.bias": torch.ones(3)}),
            r"1 of another shape \(scratch.head1.bias \(3,\) instead of \(512,\)\)",
        ),
        (lambda s: [s.pop(k) for k in list(s) if "blocks" in k], r"missing \(.*, \.\.\.\)"),
    ],
)
def test_wrong_keys_are_named(
    tmp_path: Path, state: dict[str, Tensor], change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    changed = dict(state)
    change(changed)
    torch.save({"state_dict": changed}, tmp_path / "wrong.ckpt")
    with pytest.raises(CheckpointError, match=message):
        load_network(tmp_path / "wrong.ckpt", TINY)


def test_unused_keys_may_be_absent(tmp_path: Path, state: dict[str, Tensor]) -> None:
    slim = {k: v for k, v in state.items() if not k.removeprefix("net.").startswith(UNUSED)}
    assert len(slim) < len(state)
    torch.save({"state_dict": slim}, tmp_path / "slim.ckpt")
    load_network(tmp_path / "slim.ckpt", TINY)


def save_with_class(path: Path, state: dict[str, Tensor], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Lightning writes: the class of a callback as a key, hyper-parameters as an instance of a dict."""
    module, _, qualified = name.rpartition(".")
    cls = type(qualified, (dict,), {"__module__": module})
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:end]), ModuleType(".".join(parts[:end])))
    setattr(sys.modules[module], qualified, cls)
    hyper = cls()
    hyper["lr"] = 0.1
    content = {"state_dict": state, "callbacks": {cls: {"best": 1.0}}, "hyper_parameters": hyper}
    torch.save({**content, "args": Namespace(epochs=1)}, path)
    monkeypatch.undo()


@pytest.mark.parametrize(
    "name",
    [
        "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
        "pytorch_lightning.utilities.parsing.AttributeDict",
    ],
)
def test_lightnings_own_objects_are_read_without_lightning(
    tmp_path: Path, state: dict[str, Tensor], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_with_class(tmp_path / "a.ckpt", state, name, monkeypatch)
    load_network(tmp_path / "a.ckpt", TINY)


def test_other_objects_are_refused_by_name(
    tmp_path: Path, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_with_class(tmp_path / "a.ckpt", state, "evil.module.Thing", monkeypatch)
    with pytest.raises(CheckpointError, match=r"unknown object evil\.module\.Thing.*weights_only=False"):
        load_network(tmp_path / "a.ckpt", TINY)


def test_unreadable_files_are_refused(tmp_path: Path, checkpoint: Path) -> None:
    broken = tmp_path / "broken.ckpt"
    for content in (b"", b"<html>not found</html>", checkpoint.read_bytes()[:100_000]):
        broken.write_bytes(content)
        with pytest.raises(CheckpointError, match="is the download complete"):
            load_network(broken, TINY)
    torch.save([1, 2], broken)
    with pytest.raises(CheckpointError, match="holds a list; expected a 'state_dict'"):
        load_network(broken, TINY)

"""Closed-set segmenters opened to any words, from every kind of provider."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import frames_of
from safetensors.torch import load_file, save_file

from purify3d.backbones import embed_vocabulary, load_backbone
from purify3d.backbones.facts import Facts
from purify3d.backbones.segmenter import Segmenter, likeliest, spoken
from purify3d.base.errors import BackboneError, CheckpointError, PurifyError
from purify3d.types import Vocabulary

IMAGE = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)


def constant(logits: list[float]) -> Segmenter:
    maps = torch.tensor(logits)[:, None, None].expand(-1, 2, 3)
    return Segmenter(
        "test",
        lambda images: [maps] * len(images),
        ["sofa", "table", "other", "bed", "wall", "tree"],
        Facts("dense", "none", 0, "any", "here"),
    )


def test_a_pixel_is_the_posterior_weighted_sum_of_its_five_likeliest_names() -> None:
    backbone = constant([2.0, 1.0, 0.5, 0.0, -1.0, -2.0])
    seen = backbone.observe(frames_of(IMAGE), embed_vocabulary(backbone, Vocabulary.parse("x")))[0]
    assert seen.basis is not None
    posterior = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -2.0]).softmax(0)[:5]
    names = backbone.encode(["sofa", "table", "other", "bed", "wall"])
    names[2] = 0  # "other" says nothing
    expected = (posterior / posterior.sum()) @ names
    torch.testing.assert_close(seen.values[:, 1, 2] @ seen.basis, expected)


def test_other_wordings_find_what_the_segmenter_knows() -> None:
    backbone = constant([9.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    words = embed_vocabulary(backbone, Vocabulary.parse("couch, window, refrigerator, floor"))
    seen = backbone.observe(frames_of(IMAGE), words)[0]
    assert seen.basis is not None
    assert int((words.embedding @ (seen.values[:, 0, 0] @ seen.basis)).argmax()) == 0


def test_likeliest_keeps_five_and_sums_to_one() -> None:
    kept = likeliest(torch.rand(9, 4, 4).softmax(0))
    assert (kept > 0).sum(0).unique().tolist() == [5]
    torch.testing.assert_close(kept.sum(0), torch.ones(4, 4))


def test_names_as_one_says_them() -> None:
    assert spoken("windowpane;window") == "windowpane"
    assert spoken("Shower-Curtain") == "shower curtain"


def test_lite() -> None:
    backbone = load_backbone("segmenter:lite")
    words = embed_vocabulary(backbone, Vocabulary.parse("chair, table"))
    small, large = backbone.observe(frames_of(IMAGE, IMAGE.repeat(3, 0).repeat(3, 1)), words)
    assert backbone.space.dim == words.embedding.shape[1] == 384
    assert small.values.shape == large.values.shape  # both are seen at the size it was trained on
    assert (backbone.facts.kind, backbone.facts.licence) == ("dense", "Apache-2.0")
    assert backbone.facts.source.endswith("lite.safetensors")
    assert 1e6 < backbone.facts.disk_bytes < 5e6
    assert backbone.facts.input_size == "longer side 320 px"


def test_tflite(shared: Path) -> None:
    backbone = load_backbone(f"segmenter:{shared / 'weights' / 'mosaic_ade31.tflite'}")
    words = embed_vocabulary(backbone, Vocabulary.parse("sofa, floor"))
    seen = backbone.observe(frames_of(IMAGE), words)[0]
    assert seen.values.shape == (31, 128, 128)  # class 0 is "other" and says nothing
    assert seen.basis is not None
    assert words.embedding[0] @ seen.basis[23] == pytest.approx(1, abs=1e-5)
    weights = shared / "weights" / "mosaic_ade31.tflite"
    assert (backbone.facts.source, backbone.facts.input_size) == (str(weights), "512x512")
    assert backbone.facts.licence.startswith("not in the file")
    labels = weights.with_suffix(".labels.txt")
    assert backbone.facts.disk_bytes == weights.stat().st_size + labels.stat().st_size


@pytest.mark.parametrize(
    ("labels", "message"), [(None, "found no class names"), ("a\nb\n", "maps .* expected")]
)
def test_tflite_needs_its_names(shared: Path, tmp_path: Path, labels: str | None, message: str) -> None:
    weights = shared / "weights" / "mosaic_ade31.tflite"
    (tmp_path / "m.tflite").write_bytes(weights.read_bytes())
    if labels:
        (tmp_path / "m.labels.txt").write_text(labels)
    with pytest.raises(BackboneError, match=message):
        load_backbone(f"segmenter:{tmp_path / 'm.tflite'}")


def test_a_damaged_tflite_file(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(b"not a model")
    (tmp_path / "m.labels.txt").write_text("a\n")
    with pytest.raises(BackboneError, match="cannot read"):
        load_backbone(f"segmenter:{tmp_path / 'm.tflite'}")


def test_any_transformers_segmenter(tmp_path: Path) -> None:
    """A tiny random SegFormer, saved as the hub would hold it: our logits are its own forward pass."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        num_encoder_blocks=4,
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 16, 24, 32],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
        id2label={0: "wall", 1: "floor;flooring", 2: "chair"},
        label2id={"wall": 0, "floor;flooring": 1, "chair": 2},
    )
    model = transformers.SegformerForSemanticSegmentation(config).eval()
    model.save_pretrained(tmp_path)
    from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil

    processor = SegformerImageProcessorPil(size={"height": 64, "width": 64})
    processor.save_pretrained(tmp_path)
    backbone = load_backbone(f"segmenter:{tmp_path}")
    assert isinstance(backbone, Segmenter)
    assert backbone.names == ("wall", "floor", "chair")
    seen = backbone.observe(frames_of(IMAGE), embed_vocabulary(backbone, Vocabulary.parse("chair")))[0]
    with torch.inference_mode():
        logits = model(**processor(images=IMAGE, return_tensors="pt")).logits[0]
    torch.testing.assert_close(seen.values, logits.softmax(0))
    assert (backbone.facts.source, backbone.facts.licence) == (str(tmp_path), "see the model's card")
    assert backbone.facts.disk_bytes > 1000
    assert backbone.facts.input_size == "height 64 px, width 64 px"
    with torch.no_grad():
        model.decode_head.classifier.bias.add_(1)
    model.save_pretrained(tmp_path)
    assert load_backbone(f"segmenter:{tmp_path}").space.id != backbone.space.id  # other weights


def small_segformer(folder: Path) -> Path:
    transformers = pytest.importorskip("transformers")
    sizes = {"depths": [1] * 4, "hidden_sizes": [8, 8, 8, 8], "num_attention_heads": [1] * 4}
    config = transformers.SegformerConfig(**sizes, decoder_hidden_size=8)
    transformers.SegformerForSemanticSegmentation(config).save_pretrained(folder)
    transformers.SegformerImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_and_partial_weights_are_refused(tmp_path: Path) -> None:
    weights = small_segformer(tmp_path) / "model.safetensors"
    whole = weights.read_bytes()
    for content in (whole[:-100], whole[:50], b"", b"<html>"):
        weights.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"cannot load the weights of .*Is the download complete"):
            load_backbone(f"segmenter:{tmp_path}")
    weights.unlink()
    for content in (b"<html>", pickle.dumps({"a": torch.ones(1)}, protocol=4)):
        (tmp_path / "pytorch_model.bin").write_bytes(content)
        with pytest.raises(PurifyError) as error:
            load_backbone(f"segmenter:{tmp_path}")
        assert "weights_only" not in str(error.value)
    (tmp_path / "pytorch_model.bin").unlink()
    weights.write_bytes(whole)
    state = load_file(weights)
    del state["decode_head.classifier.weight"]  # as in a checkpoint of the image side alone
    save_file(state, weights, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lack 1 keys: decode_head\.classifier\.weight; expected"):
        load_backbone(f"segmenter:{tmp_path}")


def test_a_revision_reaches_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers")
    small_segformer(tmp_path)
    asked = []
    for name in ("AutoModelForSemanticSegmentation", "AutoImageProcessor"):
        kind = getattr(transformers, name)

        def fake(source: str, *, real: Any = kind.from_pretrained, **options: Any) -> Any:
            asked.append((source, options.pop("revision", None)))
            return real(str(tmp_path), **options)

        monkeypatch.setattr(kind, "from_pretrained", fake)
    monkeypatch.setattr(
        transformers.utils, "cached_file", lambda source, file, **options: str(tmp_path / file)
    )
    backbone = load_backbone("segmenter:some/one@refs/pr/3")
    assert asked == [("some/one", "refs/pr/3")] * 2
    assert backbone.space.id.startswith("segmenter:some/one@")
    assert backbone.space.id == load_backbone("segmenter:some/one").space.id  # the same weights
    assert asked[2:] == [("some/one", None)] * 2


def test_unknown_names_say_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="as a semantic segmenter"):
        load_backbone(f"segmenter:{tmp_path}")
    for name in ("lite", "segmenter", "segmenter:", "unknown:x"):
        with pytest.raises(BackboneError, match=r"expected one of segmenter:\.\.\."):
            load_backbone(name)

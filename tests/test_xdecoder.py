"""X-Decoder against the published implementation at small size, its loader, and where its masks lie."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import frames_of
from recorded import Kept, Recorded, manifest, pair
from torch import Tensor
from torch.nn.functional import interpolate

from purify3d.backbones import embed_vocabulary, xdecoder
from purify3d.backbones.tokenizer import END, clip_tokenizer
from purify3d.backbones.xdecoder import XDecoderBackbone, resize
from purify3d.backbones.xdecoder.checkpoint import UNUSED, read_network
from purify3d.backbones.xdecoder.config import XDecoderConfig
from purify3d.backbones.xdecoder.decoder import Prediction, blocked_cells
from purify3d.backbones.xdecoder.layers import sine_positions, unit
from purify3d.backbones.xdecoder.network import XDecoder, padded_batch, padded_size
from purify3d.backbones.xdecoder.prompts import TEMPLATES, sentences
from purify3d.base.errors import BackboneError, CheckpointError, SpaceMismatchError
from purify3d.features.lifting import bicubic, cubic_weights
from purify3d.types import Camera, FeatureSpace, TextEmbeddings, Vocabulary

TINY = XDecoderConfig(
    stem_dim=16,
    depths=(1, 1, 2, 1),
    conv_dim=64,
    mask_dim=48,
    feedforward=96,
    encoder_layers=2,
    decoder_layers=4,
    queries=11,
    embedding_dim=40,
    text_width=24,
    text_heads=4,
    text_layers=3,
)
TEXT, UNIT, FEATURE, MASK = 1e-5, 1e-6, 5e-5, 1e-3  # largest absolute differences allowed


class Golden:
    def __init__(self) -> None:
        self.file = Recorded("xdecoder_tiny")
        self.meta = json.loads(self.file["meta_json"].tobytes())
        self.checked: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.checked.add(key)
        value = self.file[key]
        return value if isinstance(value, Kept) else torch.from_numpy(value)

    def unread(self, case: str, *parts: str) -> set[str]:
        """Stored arrays of some parts of a case that nothing was compared with."""
        prefixes = tuple(f"case_{case}/{part}/" for part in parts)
        return {key for key in self.file if key.startswith(prefixes)} - self.checked

    def images(self, case: str) -> list[Tensor]:
        return [self[f"case_{case}/image{n}"] for n in range(self.meta["cases"][case]["n_images"])]

    def state(self) -> dict[str, Tensor]:
        return {key[2:]: torch.from_numpy(self.file[key]) for key in self.file if key.startswith("w/")}


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden()


@pytest.fixture(scope="module")
def checkpoint(golden: Golden, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("xdecoder") / "tiny.pt"
    torch.save(golden.state(), path)
    return path


@pytest.fixture(scope="module")
def network(checkpoint: Path) -> XDecoder:
    return read_network(checkpoint, TINY)


@pytest.fixture
def backbone(network: XDecoder, checkpoint: Path) -> XDecoderBackbone:
    pytest.importorskip("tokenizers")
    return XDecoderBackbone(network, checkpoint)


@pytest.fixture
def outputs(network: XDecoder) -> Iterator[dict[str, Tensor]]:
    """What each module gave out last, by name."""
    seen: dict[str, Tensor] = {}

    def hook(name: str) -> object:
        return lambda module, inputs, output: seen.__setitem__(name, output)

    handles = [module.register_forward_hook(hook(name)) for name, module in network.named_modules()]
    yield seen
    for handle in handles:
        handle.remove()


def close(actual: Tensor, expected: Tensor | Kept, tolerance: float) -> None:
    if isinstance(expected, Kept):
        actual, expected = map(torch.from_numpy, pair(actual, expected))
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def test_the_token_table_is_drawn_as_it_was(golden: Golden) -> None:
    key = "w/sem_seg_head.predictor.lang_encoder.lang_encoder.token_embedding.weight"
    table, rows, stored = golden.file.drawn(key)
    assert len(rows) > 10
    np.testing.assert_allclose(table[rows], stored, atol=1e-5)


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_every_intermediate_of_the_image_path(
    golden: Golden, network: XDecoder, outputs: dict[str, Tensor], case: str
) -> None:
    pixels = padded_batch(golden.images(case))
    assert list(pixels.shape[2:]) == golden.meta["cases"][case]["padded_hw"]
    maps = network.backbone(pixels)
    prefix, head = f"case_{case}", network.sem_seg_head
    for number, level in enumerate(maps):
        close(level, golden[f"{prefix}/backbone/res{number + 2}"], FEATURE)
        tokens = outputs[f"backbone.layers.{number}.blocks"].flatten(1, 2)
        close(tokens, golden[f"{prefix}/backbone/stage{number}_tokens_prenorm"], FEATURE)
    stem = outputs["backbone.patch_embed"].permute(0, 3, 1, 2)
    close(stem, golden[f"{prefix}/backbone/patch_embed"], FEATURE)

    features, levels = head.pixel_decoder(maps)
    close(features, golden[f"{prefix}/pixdec/mask_features"], FEATURE)
    for number, level in enumerate(levels):
        close(level, golden[f"{prefix}/pixdec/multi_scale{number}"], FEATURE)
    projected = outputs["sem_seg_head.pixel_decoder.input_proj"]
    close(projected, golden[f"{prefix}/pixdec/input_proj"], FEATURE)
    last = outputs["sem_seg_head.pixel_decoder.transformer.encoder.layers.1"].transpose(1, 2)
    close(last.view_as(projected), golden[f"{prefix}/pixdec/transformer"], FEATURE)
    position = sine_positions(projected).T.view_as(projected[0]).expand_as(projected)
    close(position, golden[f"{prefix}/pixdec/pos_embed"], UNIT)

    text, scale = golden["text/default_text_embeddings"], head.predictor.lang_encoder.logit_scale.exp()
    for number, prediction in enumerate(head.predictor.refine(features, levels)):
        key = f"{prefix}/decoder/head{number}"
        close(prediction.embedding, golden[f"{key}/outputs_embed"], FEATURE)
        close(prediction.masks, golden[f"{key}/outputs_mask"], MASK)
        logits = scale * unit(prediction.embedding) @ text.T
        close(logits, golden[f"{key}/outputs_class"], FEATURE)
        blocked = blocked_cells(prediction.masks, levels[number % 3])
        assert torch.equal(blocked, golden[f"{key}/attn_mask_prefix"])
        if number:
            for ours, theirs in (("cross_attention", "cross"), ("self_attention", "self"), ("ffn", "ffn")):
                state = outputs[f"sem_seg_head.predictor.transformer_{ours}_layers.{number - 1}"]
                key = f"{prefix}/decoder/layer{number - 1}/{theirs}"
                close(state.transpose(0, 1), golden[key], FEATURE)
    assert not golden.unread(case, "backbone", "pixdec", "decoder")


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_final_output_and_published_semantic_map(golden: Golden, network: XDecoder, case: str) -> None:
    pixels = padded_batch(golden.images(case))
    embedding, masks = network(pixels)
    text = golden["text/default_text_embeddings"]
    scale = network.sem_seg_head.predictor.lang_encoder.logit_scale.exp()
    logits = scale * unit(embedding) @ text.T
    facts, key = golden.meta["cases"][case], f"case_{case}/final"
    close(logits[:, :-1], golden[f"{key}/pred_logits"], FEATURE)
    close(masks[:, :-1], golden[f"{key}/pred_masks"], MASK)
    for name in ("mask_embed", "pred_captions"):
        close(embedding[:, :-1], golden[f"{key}/{name}"], FEATURE)
    close(text, torch.cat([golden[f"{key}/text_embed"], golden[f"{key}/null_embed"]]), UNIT)
    close(scale, golden[f"{key}/logit_scale"], FEATURE)
    uncropped = resized_bicubic(masks[:, :-1], facts["mask_shape"])
    close(uncropped, golden[f"{key}/pred_masks_resized_mask_shape"], MASK)
    for number, image in enumerate(golden.images(case)):
        full = resized_bicubic(masks[number][None], pixels.shape[2:])[..., : image.shape[1], : image.shape[2]]
        probability = resized_bicubic(full, facts["evaluate_hw"][number])[0].sigmoid()
        semantic = torch.einsum("qc,qhw->chw", logits[number].softmax(-1)[:, :-1], probability)
        close(semantic, golden[f"case_{case}/evaluate/sem_seg_{number}"], MASK)
    assert not golden.unread(case, "final", "evaluate")


def resized_bicubic(maps: Tensor, size: object) -> Tensor:
    return interpolate(maps, tuple(size), mode="bicubic", antialias=True, align_corners=False)


def test_text_encoder(golden: Golden, network: XDecoder) -> None:
    encoder = network.sem_seg_head.predictor.lang_encoder
    ids = golden["text/prompt_ids"].long()
    close(encoder.lang_encoder(ids), golden["text/last_hidden_state"], TEXT)
    close(encoder(ids), golden["text/prompt_embed_unnormed"], TEXT)
    close(unit(encoder(ids)), golden["text/prompt_embed_normed"], UNIT)
    # Columns behind the longest text are not read, whatever stands there.
    assert torch.equal(encoder(ids[:, :9]), encoder(ids))
    labels = golden["text/label_template_ids"].long()
    mean = unit(encoder(labels.flatten(0, 1))).view(*labels.shape[:2], -1).mean(1)
    close(mean / mean.norm(dim=1, keepdim=True), golden["text/default_text_embeddings"], UNIT)


def test_words_become_the_published_token_ids(golden: Golden) -> None:
    pytest.importorskip("tokenizers")
    assert list(TEMPLATES) == golden.meta["templates"]
    for row, text in enumerate(golden.meta["labelset"]):
        ids = clip_tokenizer()(sentences(text), pad=END)
        assert torch.equal(ids, golden["text/label_template_ids"][row].long())
    ids = clip_tokenizer()(golden.meta["prompts"], pad=END)
    assert torch.equal(ids, golden["text/prompt_ids"].long())
    assert sentences("tree-merged")[0] == "tree."


def test_encode_wraps_labels_and_keeps_them(golden: Golden, backbone: XDecoderBackbone) -> None:
    rows = backbone.encode(["wall", "shower curtain", "night stand", "tv"])
    close(rows, golden["text/default_text_embeddings"][:4], UNIT)
    assert rows.dtype == torch.float32
    backbone._tokenize = None  # a second reading needs no tokeniser
    assert torch.equal(backbone.encode(["tv", "wall"]), rows[[3, 0]])


def test_observe_agrees_with_the_published_output(golden: Golden, backbone: XDecoderBackbone) -> None:
    images = [image.permute(1, 2, 0).numpy() for image in golden.images("a")]
    text_embeddings = embed_vocabulary(backbone, Vocabulary.parse("wall, shower curtain, night stand, tv"))
    seen = backbone.observe(frames_of(*images), text_embeddings)[0]
    close(seen.logits[None], golden["case_a/final/pred_masks"], MASK)
    close(seen.embedding[None], golden["case_a/final/mask_embed"], FEATURE)
    expected = golden["case_a/final/pred_logits"][0].softmax(1)[:, :-1].amax(1)
    close(seen.score, expected, FEATURE)


def test_a_synonym_does_not_split_a_label(backbone: XDecoderBackbone) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    rows = backbone.encode(["wall", "wall", "tv"])

    def score(labels: str, rows: Tensor, owner: list[int]) -> Tensor:
        text_embeddings = TextEmbeddings(Vocabulary.parse(labels), rows, torch.tensor(owner), backbone.space)
        return backbone.observe(frames_of(image), text_embeddings)[0].score

    once = score("wall, tv", rows[1:], [0, 1])
    close(score("wall|walls, tv", rows, [0, 0, 1]), once, 1e-6)
    assert (score("wall, walls, tv", rows, [0, 1, 2]) - once).abs().max() > 0.05


def test_company_does_not_change_an_image(backbone: XDecoderBackbone) -> None:
    rng = np.random.default_rng(0)
    sizes = [(64, 90), (75, 61), (60, 92), (64, 90)]
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    images[1] = np.rot90(images[1])  # a turned frame has negative strides
    text_embeddings = embed_vocabulary(backbone, Vocabulary.parse("wall, tv"))
    together = backbone.observe(frames_of(*images), text_embeddings)
    for image, seen in zip(images, together, strict=True):
        alone = backbone.observe(frames_of(image), text_embeddings)[0]
        close(seen.logits, alone.logits, MASK)
        close(seen.embedding, alone.embedding, FEATURE)
        assert seen.logits.shape[1:] == tuple(side // 4 for side in resize(image).shape[1:])
        assert not any(value.requires_grad for value in (seen.logits, seen.score, seen.embedding))


def test_facts(backbone: XDecoderBackbone, checkpoint: Path) -> None:
    facts = backbone.facts
    assert (facts.kind, facts.licence, facts.source) == ("mask-type", "Apache-2.0", str(checkpoint))
    assert facts.disk_bytes == checkpoint.stat().st_size
    assert "640" in facts.input_size


def test_labels_of_another_model_are_refused(backbone: XDecoderBackbone) -> None:
    space = FeatureSpace("lseg:x", 40, 1.0)
    text_embeddings = TextEmbeddings(Vocabulary.parse("wall"), torch.eye(40)[:1], torch.tensor([0]), space)
    with pytest.raises(SpaceMismatchError, match="lseg:x"):
        backbone.observe(frames_of(np.zeros((32, 32, 3), np.uint8)), text_embeddings)


def test_bfloat16_stays_close(network: XDecoder, checkpoint: Path, golden: Golden) -> None:
    pytest.importorskip("tokenizers")
    image = golden.images("a")[0].permute(1, 2, 0).numpy()
    exact, rough = (XDecoderBackbone(network, checkpoint, dtype=d) for d in (None, torch.bfloat16))
    text_embeddings = embed_vocabulary(exact, Vocabulary.parse("wall, tv"))
    a, b = (
        exact.observe(frames_of(image), text_embeddings)[0],
        rough.observe(frames_of(image), text_embeddings)[0],
    )
    assert b.logits.dtype == b.embedding.dtype == torch.float32
    cosine = torch.cosine_similarity(a.embedding, b.embedding, dim=1)
    assert cosine.median() > 0.99


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((968, 1296), (484, 648)),  # ScanNet, as GeoPurify's loader
        ((1024, 1280), (512, 640)),  # Matterport3D, likewise
        ((1440, 1920), (480, 640)),
        ((360, 540), (360, 540)),
        ((363, 541), (364, 540)),
    ],
)
def test_size_the_network_sees(given: tuple[int, int], expected: tuple[int, int]) -> None:
    assert resize(np.zeros((*given, 3), np.uint8)).shape == (3, *expected)


def test_half_size_is_the_rounded_mean_of_four_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (968, 1296, 3), dtype=np.uint8)
    four = image.reshape(484, 2, 648, 2, 3).astype(int).sum((1, 3))
    assert np.array_equal(resize(image).permute(1, 2, 0).numpy(), (four + 2) // 4)


@pytest.mark.parametrize("shape", [(968, 1296), (484, 648), (363, 541), (83, 117), (1440, 1920)])
def test_masks_lie_on_the_image(
    backbone: XDecoderBackbone, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]
) -> None:
    """Masks that say where in the padded image their cells lie must say where in the photo its pixels lie."""

    def ramps(pixels: Tensor) -> Prediction:
        y, x = (torch.arange(side // 4) * 4.0 + 1.5 for side in pixels.shape[2:])  # centres of 4x4 pixels
        masks = torch.stack(
            [x.expand(len(y), -1), y[:, None].expand(-1, len(x)), torch.zeros(len(y), len(x))]
        )
        padded.append(masks[:2])
        return Prediction(torch.ones(1, 3, TINY.embedding_dim), masks[None])

    padded: list[Tensor] = []
    text_embeddings = embed_vocabulary(backbone, Vocabulary.parse("wall"))
    monkeypatch.setattr(backbone._network, "forward", ramps)
    image = np.zeros((*shape, 3), np.uint8)
    logits = backbone.observe(frames_of(image), text_embeddings)[0].logits
    height, width = resize(image).shape[1:]

    rng = np.random.default_rng(0)
    margin = 4 * -(-max(shape) // 640) * 2  # where bicubic interpolation sees no border
    high = [shape[1] - margin, shape[0] - margin]
    pixel = torch.from_numpy(rng.integers(margin, high, (500, 2)))
    scale = torch.tensor([shape[1] / width, shape[0] / height])
    camera = Camera(500, 500, 0, 0, shape[1], shape[0])

    def sampled(maps: Tensor) -> Tensor:
        return (bicubic(maps.flatten(1).T, *cubic_weights(maps, camera), pixel) + 0.5) * scale - 0.5

    found = sampled(logits)
    assert (found - pixel).abs().max() < 0.01 * scale.max()

    # What resizing without cropping does: an error that grows to the whole padding at the far border.
    squeezed = sampled(padded[-1])
    sides = padded_size(height, width)
    stretch = torch.tensor([sides[1] / width, sides[0] / height])
    close(squeezed - pixel, (pixel + 0.5) * (stretch - 1), 0.02 * float(scale.max()))


def test_full_size_has_the_keys_and_shapes_of_the_manifest() -> None:
    listed = manifest("xdecoder")
    with torch.device("meta"):
        full = XDecoder(XDecoderConfig())
    ours = {key: list(value.shape) for key, value in full.state_dict().items()}
    theirs = {key: facts["shape"] for key, facts in listed["keys"].items()}
    assert set(theirs) >= UNUSED
    assert ours == {key: shape for key, shape in theirs.items() if key not in UNUSED}
    count = sum(value.numel() for value in full.parameters())
    assert count == listed["meta"]["num_parameters_used_in_seg_path"]


def test_own_self_attention_mask_is_the_stored_one(golden: Golden, network: XDecoder) -> None:
    fresh = XDecoder(TINY).sem_seg_head.predictor.self_attn_mask[:, :11, :11]
    stored = golden.state()["sem_seg_head.predictor.self_attn_mask"][:, :11, :11]
    assert torch.equal(fresh, stored)


def test_only_the_listed_keys_may_be_left_over(golden: Golden, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    state = golden.state()
    assert UNUSED & set(state)
    torch.save({key: value for key, value in state.items() if key not in UNUSED}, path)
    read_network(path, TINY)
    torch.save({**state, "extra.weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=r"1 unexpected \(extra\.weight\)"):
        read_network(path, TINY)
    torch.save({key: value for key, value in state.items() if "query_feat" not in key}, path)
    with pytest.raises(CheckpointError, match=r"1 missing \(sem_seg_head\.predictor\.query_feat\.weight\)"):
        read_network(path, TINY)
    torch.save({**state, "backbone.norm0.bias": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match=r"norm0\.bias \(3,\) instead of \(16,\)"):
        read_network(path, TINY)


def test_the_pretraining_file_is_recognised(golden: Golden, tmp_path: Path) -> None:
    path = tmp_path / "focall_vision_focalb_lang_unicl.pt"
    kept = ("backbone.", "sem_seg_head.predictor.lang_encoder.")
    torch.save({key: value for key, value in golden.state().items() if key.startswith(kept)}, path)
    with pytest.raises(CheckpointError, match=r"only the pre-training.*xdecoder_focall_last\.pt is needed"):
        read_network(path, TINY)


def test_files_that_are_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="found no file"):
        xdecoder.load(str(tmp_path / "none.pt"))
    path = tmp_path / "model.pt"
    torch.save({"model": Path("x")}, path)
    with pytest.raises(CheckpointError, match=r"unknown object pathlib\."):
        xdecoder.load(str(path))
    torch.save({"model": {"a": torch.zeros(1)}}, path)
    with pytest.raises(CheckpointError, match="holds model; expected a plain mapping"):
        xdecoder.load(str(path))
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(CheckpointError):
        xdecoder.load(str(path))


def test_numbers_of_another_type_are_read_as_float32(golden: Golden, tmp_path: Path) -> None:
    path = tmp_path / "half.pt"
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in golden.state().items()}, path)
    network = read_network(path, TINY)
    assert {value.dtype for value in network.parameters()} == {torch.float32}
    assert not any(value.requires_grad for value in network.parameters())

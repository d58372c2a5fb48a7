"""CLIP and SigLIP backbones against the forward passes of transformers on small random models."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from edges import AWKWARD, edge_shifts, worst
from fakes import frames_of
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from purify3d.backbones.clip import TEMPLATES, Clip, ClipConfig, load_clip, load_siglip
from purify3d.backbones.clip.readout import clip_patches, siglip_patches
from purify3d.backbones.clip.windows import blend, corners, patch_grid, starts
from purify3d.base.errors import BackboneError, CheckpointError
from purify3d.features.lifting import sample
from purify3d.types import Camera, TextEmbeddings, Vocabulary

transformers = pytest.importorskip("transformers")

PATCH, SIDE, WIDTH, DIM = 8, 4, 32, 12
LETTERS = "abcdefghijklmnopqrstuvwxyz."


def scramble(model: Any) -> Any:
    """Weights large enough that attention is far from uniform and every bias matters."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name != "logit_scale":
                noise = torch.randn(value.shape, generator=generator)
                value += noise * (0.5 if value.ndim < 2 else 0.7 * value.shape[-1] ** -0.5)
        model.logit_scale.fill_(2.5)
    return model.eval()


def save_clip(folder: Path, *, image: int = PATCH * SIDE) -> Path:
    specials = ("<|startoftext|>", "<|endoftext|>")
    words = [*LETTERS, *(letter + "</w>" for letter in LETTERS), *specials]
    ids = {word: i for i, word in enumerate(words)}
    start, end = (ids[word] for word in specials)
    sizes = {"intermediate_size": 40, "num_attention_heads": 2}
    text = {"hidden_size": 16, "num_hidden_layers": 2, "vocab_size": len(ids), "max_position_embeddings": 40}
    text |= {"bos_token_id": start, "eos_token_id": end, "pad_token_id": end}
    vision = {"hidden_size": WIDTH, "num_hidden_layers": 3, "image_size": image, "patch_size": PATCH}
    config = transformers.CLIPConfig(
        text_config=sizes | text, vision_config=sizes | vision, projection_dim=DIM
    )
    torch.manual_seed(0)
    scramble(transformers.CLIPModel(config)).save_pretrained(folder)
    transformers.CLIPTokenizer(vocab=ids, merges=[]).save_pretrained(folder)
    processor = transformers.CLIPImageProcessorPil
    processor(size={"shortest_edge": image}, crop_size={"height": image, "width": image}).save_pretrained(
        folder
    )
    return folder


def save_siglip(folder: Path, *, image: int = PATCH * SIDE, head: bool = True) -> Path:
    specials = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
    ids = {word: i for i, word in enumerate([*specials, *LETTERS, "▁"])}
    sizes = {"intermediate_size": 40, "num_attention_heads": 2, "hidden_size": WIDTH}
    text = {"num_hidden_layers": 2, "vocab_size": len(ids), "max_position_embeddings": 40}
    text |= {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
    vision = {"num_hidden_layers": 2, "image_size": image, "patch_size": PATCH, "vision_use_head": head}
    config = transformers.SiglipConfig(text_config=sizes | text, vision_config=sizes | vision)
    torch.manual_seed(0)
    scramble(transformers.SiglipModel(config)).save_pretrained(folder)
    transformers.Siglip2Tokenizer(vocab=ids).save_pretrained(folder)
    transformers.SiglipImageProcessorPil(size={"height": image, "width": image}, resample=2).save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("models") / "clip")


@pytest.fixture(scope="module")
def siglip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_siglip(tmp_path_factory.mktemp("models") / "siglip")


@pytest.fixture(scope="module", params=["clip", "siglip"])
def case(request: pytest.FixtureRequest) -> tuple[Path, Callable[..., Clip], Any]:
    """Folder, loader of the backbone, and transformers' model of each family."""
    folder = request.getfixturevalue(f"{request.param}_folder")
    load, kind = {
        "clip": (load_clip, transformers.CLIPModel),
        "siglip": (load_siglip, transformers.SiglipModel),
    }[request.param]
    return folder, load, kind.from_pretrained(folder).eval()


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng([height, width]).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), AWKWARD)
def test_a_map_covers_exactly_the_image(
    clip_folder: Path, height: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With features that are the means of patches, an edge is found where it is, whatever the size."""
    model = load_clip(str(clip_folder), config=ClipConfig(zoom=2))
    monkeypatch.setattr(model, "_features", lambda windows: avg_pool2d(windows, PATCH).cpu())
    black, white = (observe(model, np.full((8, 8, 3), level, np.uint8))[0][0].mean() for level in (0, 255))

    def brightness(image: np.ndarray) -> Tensor:
        return (observe(model, image)[0][0] - black) / (white - black)

    # Pillow's bicubic swings over at an edge.
    assert worst(edge_shifts(brightness, height, width)) < 0.01 * max(height, width)


def test_a_revision_goes_to_all_parts(clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    for name in ("AutoConfig", "AutoTokenizer", "AutoImageProcessor", "CLIPModel"):
        kind = getattr(transformers, name)
        real = kind.from_pretrained

        def fake(source: str, *, name: str = name, real: Any = real, **options: Any) -> Any:
            asked.append((name, source, options.pop("revision", None)))
            return real(str(clip_folder), **options)

        monkeypatch.setattr(kind, "from_pretrained", fake)
    monkeypatch.setattr(
        transformers.utils,
        "cached_file",
        lambda source, file, *, revision, local_files_only: (
            asked.append(("facts", source, revision)) or str(clip_folder / file)
        ),
    )
    named = load_clip("some/one@v2")
    # The library asks its own parts again, in the folder that stands for the repository.
    asked = [part for part in asked if part[1] == "some/one"]
    assert {part[2] for part in asked} == {"v2"}
    assert {part[0] for part in asked} == {
        "AutoConfig",
        "AutoTokenizer",
        "AutoImageProcessor",
        "CLIPModel",
        "facts",
    }
    monkeypatch.undo()
    assert named.space == load_clip(str(clip_folder)).space  # the weights say which model it is


def test_damaged_weights(clip_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(clip_folder, tmp_path / "damaged"))
    whole = (folder / "model.safetensors").read_bytes()
    for content in (whole[:-100], whole[:50], b"", b"<html>"):
        (folder / "model.safetensors").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"cannot load the weights of .*Is the download complete"):
            load_clip(str(folder))


def observe(model: Clip, *images: np.ndarray) -> list[Tensor]:
    text_embeddings = TextEmbeddings(
        Vocabulary.parse("wall"), torch.zeros(1, model.space.dim), torch.tensor([0]), model.space
    )
    return [seen.values for seen in model.observe(frames_of(*images), text_embeddings)]


def pixels_of(folder: Path, image: np.ndarray) -> Tensor:
    """(1, 3, S, S) as transformers' own processor makes it."""
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    return processor(images=image, return_tensors="pt")["pixel_values"]


def last_attention(model: Any, pixels: Tensor, attend: Callable[[Any, Tensor, Tensor], Tensor]) -> Tensor:
    """(P, D) patches after transformers' own last attention layer, called by `attend(layer, x, mask)`."""
    vision = model.vision_model
    with torch.inference_mode():
        before = vision(pixels, output_hidden_states=True).hidden_states[-2]
        layer = vision.encoder.layers[-1]
        # Zero where a token looks at itself, closed elsewhere.
        mask = torch.full((before.shape[1],) * 2, -torch.inf).fill_diagonal_(0)[None, None]
        output = attend(layer.self_attn, layer.layer_norm1(before), mask)
        return model.visual_projection(vision.post_layernorm(output))[0, 1:]


def test_clip_value_path_is_the_last_attention_with_each_patch_looking_at_itself(clip_folder: Path) -> None:
    model = transformers.CLIPModel.from_pretrained(clip_folder).eval()
    pixels = pixels_of(clip_folder, picture(32, 32))
    expected = last_attention(model, pixels, lambda layer, x, mask: layer(x, attention_mask=mask)[0])
    with torch.inference_mode():
        torch.testing.assert_close(clip_patches(model, pixels, "self")[0], expected)


def test_clip_query_attention_is_the_last_attention_with_keys_made_as_queries(clip_folder: Path) -> None:
    model = transformers.CLIPModel.from_pretrained(clip_folder).eval()
    pixels = pixels_of(clip_folder, picture(32, 32))

    def queries_only(layer: Any, x: Tensor, _mask: Tensor) -> Tensor:
        keys, layer.k_proj = layer.k_proj, layer.q_proj
        try:
            return layer(x)[0]
        finally:
            layer.k_proj = keys

    expected = last_attention(model, pixels, queries_only)
    with torch.inference_mode():
        torch.testing.assert_close(clip_patches(model, pixels, "query")[0], expected)
        alone = clip_patches(model, pixels, "self")[0]
        usual = last_attention(model, pixels, lambda layer, x, _: layer(x)[0])
    assert (alone - expected).abs().max() > 0.1
    assert (usual - expected).abs().max() > 0.1


def test_the_read_out_starts_where_the_image_vector_does(clip_folder: Path) -> None:
    """The state that `last_attention` takes, through the whole last layer, gives the model's image vector."""
    model = transformers.CLIPModel.from_pretrained(clip_folder).eval()
    pixels = pixels_of(clip_folder, picture(32, 32))
    vision = model.vision_model
    with torch.inference_mode():
        before = vision(pixels, output_hidden_states=True).hidden_states[-2]
        token = vision.post_layernorm(vision.encoder.layers[-1](before, None)[:, 0])
        expected = model.get_image_features(pixels).pooler_output
        torch.testing.assert_close(model.visual_projection(token), expected)


def test_clip_leaves_the_model_as_it_was(clip_folder: Path) -> None:
    model = transformers.CLIPModel.from_pretrained(clip_folder).eval()
    pixels = pixels_of(clip_folder, picture(32, 32))
    with torch.inference_mode():
        before = model.get_image_features(pixels).pooler_output
        clip_patches(model, pixels, "query")
        torch.testing.assert_close(model.get_image_features(pixels).pooler_output, before, rtol=0, atol=0)
    assert not model.vision_model.encoder.layers[-1].layer_norm1._forward_hooks


def test_siglip_patch_is_the_pooling_head_looking_at_that_patch_only(siglip_folder: Path) -> None:
    model = transformers.SiglipModel.from_pretrained(siglip_folder).eval()
    pixels = pixels_of(siglip_folder, picture(32, 32))
    head = model.vision_model.head
    with torch.inference_mode():
        tokens = model.vision_model(pixels).last_hidden_state
        found = siglip_patches(model, pixels)[0]
        for patch in range(SIDE**2):
            hidden = torch.ones(1, SIDE**2, dtype=torch.bool)
            hidden[0, patch] = False
            x = head.attention(head.probe, tokens, tokens, key_padding_mask=hidden)[0]
            torch.testing.assert_close(found[patch], (x + head.mlp(head.layernorm(x)))[0, 0])
            torch.testing.assert_close(found[patch], head(tokens[:, patch : patch + 1])[0])
    assert found.std(0).min() > 0.05


def test_the_pooled_image_vector_of_one_equal_patch_field_is_that_patch(siglip_folder: Path) -> None:
    """Ties the dense read-out to `get_image_features`: where all patches agree, pooling changes nothing."""
    model = transformers.SiglipModel.from_pretrained(siglip_folder).eval()
    with torch.no_grad():
        model.vision_model.embeddings.position_embedding.weight.zero_()
    pixels = torch.full((1, 3, 32, 32), 0.3)
    with torch.inference_mode():
        pooled = model.get_image_features(pixels).pooler_output
        torch.testing.assert_close(siglip_patches(model, pixels)[0], pooled.expand(SIDE**2, -1))


def test_an_image_of_the_native_size_is_one_direct_forward(case: Any) -> None:
    folder, load, reference = case
    image = picture(32, 32)
    pixels = pixels_of(folder, image)
    with torch.inference_mode():
        dense = (
            clip_patches(reference, pixels, "query")
            if load is load_clip
            else siglip_patches(reference, pixels)
        )
    [values] = observe(load(str(folder)), image)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values.flatten(1).T, normalize(dense[0], dim=1), rtol=1e-4, atol=1e-5)


def test_pixels_are_those_of_the_processor(case: Any) -> None:
    folder, load, _ = case
    image = picture(57, 57)
    found = load(str(folder))._pixels(image, (SIDE, SIDE))
    torch.testing.assert_close(found[None], pixels_of(folder, image), rtol=0, atol=1e-5)


@pytest.mark.parametrize("zoom", [1.0, 1.5])
def test_windows_agree_with_a_forward_of_each_crop(case: Any, zoom: float) -> None:
    folder, load, reference = case
    image = picture(45, 100)
    model = load(str(folder), config=ClipConfig(zoom=zoom, batch=3, attention="self"))
    [values] = observe(model, image)
    rows = round(SIDE * zoom)
    columns = round(100 / 45 * rows)
    assert values.shape == (model.space.dim, rows, columns)
    resized = Image.fromarray(image).resize((columns * PATCH, rows * PATCH), model._resample)
    sums, counts = torch.zeros(rows, columns, model.space.dim), torch.zeros(rows, columns, 1)
    tops = sorted({*range(0, rows - SIDE, 2), rows - SIDE})
    lefts = sorted({*range(0, columns - SIDE, 2), columns - SIDE})
    for top in tops:
        for left in lefts:
            box = tuple(PATCH * i for i in (left, top, left + SIDE, top + SIDE))
            pixels = pixels_of(folder, np.array(resized.crop(box)))
            with torch.inference_mode():
                dense = (
                    clip_patches(reference, pixels, "self")
                    if load is load_clip
                    else siglip_patches(reference, pixels)
                )
            unit = dense[0] / dense[0].norm(dim=1, keepdim=True)
            sums[top : top + SIDE, left : left + SIDE] += unit.reshape(SIDE, SIDE, -1)
            counts[top : top + SIDE, left : left + SIDE] += 1
    assert counts.min() == 1
    assert counts.max() > 1
    torch.testing.assert_close(values.permute(1, 2, 0), sums / counts, rtol=1e-4, atol=1e-5)


def test_batches_of_images_of_unequal_size_are_seen_like_single_ones(case: Any) -> None:
    folder, load, _ = case
    model = load(str(folder))
    images = [picture(40, 60), picture(90, 30), picture(32, 32)]
    together = observe(model, *images)
    assert [tuple(values.shape[1:]) for values in together] == [(4, 6), (12, 4), (4, 4)]
    for image, values in zip(images, together, strict=True):
        torch.testing.assert_close(values, observe(model, image)[0], rtol=1e-4, atol=1e-5)
    assert observe(model) == []


def test_the_grid_covers_the_whole_image(siglip_folder: Path, tmp_path: Path) -> None:
    """A mark in the image changes the feature at its own place most, at every corner and in the middle, also
    where the model's input is no whole number of patches (35 = 4 patches of 8 and 3 pixels)."""
    folder = save_siglip(tmp_path / "odd", image=35)
    model = load_siglip(str(folder))
    plain = np.full((64, 144, 3), 90, dtype=np.uint8)
    for row, column in ((0, 0), (0, 8), (3, 0), (3, 8), (2, 4)):
        marked = plain.copy()
        marked[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16] = (255, 0, 0)
        before, after = observe(model, plain, marked)
        assert before.shape[1:] == (4, 9)
        change = (after - before).norm(dim=0)
        assert divmod(int(change.argmax()), 9) == (row, column)
        # As lifting will read it: at the mark's pixels of the original image.
        camera = Camera(100.0, 100.0, 71.5, 31.5, 144, 64)
        pixel = torch.tensor([[column * 16 + 8, row * 16 + 8]])
        read = sample(change[None], pixel, camera)
        assert read.item() > 0.9 * change.max()


def test_what_lies_beyond_the_last_whole_patch_is_not_looked_at(tmp_path: Path) -> None:
    """The same weights with an input of 35 and of 32 pixels see the same in their 4 patches of 8."""
    image = picture(32, 56)
    for load, save in ((load_siglip, save_siglip), (load_clip, save_clip)):
        odd = load(str(save(tmp_path / f"{save.__name__}35", image=35)))
        even = load(str(save(tmp_path / f"{save.__name__}32", image=32)))
        torch.testing.assert_close(observe(odd, image)[0], observe(even, image)[0])


def test_windows_cover_every_patch_and_overlap_by_half() -> None:
    for side in (1, 2, 3, 4, 7, 24):
        for length in range(side, 5 * side):
            found = starts(length, side)
            assert found[0] == 0
            assert found[-1] == length - side
            steps = np.diff(found)
            assert (steps > 0).all()
            assert (steps <= max(1, side // 2)).all()
    assert corners((4, 6), 4) == [(0, 0), (0, 2)]
    assert patch_grid(480, 640, 24) == (24, 32)
    assert patch_grid(640, 480, 24) == (32, 24)
    assert patch_grid(10, 10, 7) == (7, 7)


def test_blend_is_the_mean_at_each_patch() -> None:
    field = torch.arange(24.0).reshape(1, 4, 6)
    windows = [((0, left), field[:, :, left : left + 4] + left) for left in (0, 2)]
    offset = torch.tensor([0.0, 0, 1, 1, 2, 2])
    torch.testing.assert_close(blend(windows, (4, 6)), field + offset)


def test_text_is_the_mean_of_get_text_features(case: Any) -> None:
    folder, load, reference = case
    model = load(str(folder))
    names = ["chair", "Wall", "a longer name"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    expected = []
    for name in names:
        sentences = [template.format(name) for template in TEMPLATES]
        if load is load_clip:
            inputs = tokenizer(sentences, padding=True, return_tensors="pt")
        else:
            # One by one, filled up by hand: right padding to 40, lower case, no mask.
            ids = [tokenizer(s.lower()[:-1])["input_ids"] for s in sentences]
            inputs = {"input_ids": torch.tensor([row + [0] * (40 - len(row)) for row in ids])}
        with torch.inference_mode():
            rows = reference.get_text_features(**inputs).pooler_output
        expected.append(normalize(normalize(rows, dim=1).mean(0), dim=0))
    found = model.encode(names)
    torch.testing.assert_close(found, torch.stack(expected))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    assert found.dtype == torch.float32
    assert (found[0] - found[1]).norm() > 0.05


def test_siglip_reads_lower_case_without_a_stop_whatever_its_tokenizer_does(
    siglip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_siglip(str(siglip_folder))
    tokenizer, read = model._tokenizer, []
    monkeypatch.setattr(
        model, "_tokenizer", lambda texts, **options: read.extend(texts) or tokenizer(texts, **options)
    )
    model.encode(["TV. Stand"])
    assert read == ["a photo of a tv. stand", "a photo of the tv. stand", "a tv. stand in a scene"]


def test_text_is_cached_and_may_be_empty_or_repeated(
    clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_clip(str(clip_folder))
    first = model.encode(["chair", "wall"])
    monkeypatch.setattr(model, "_sentences", lambda _: pytest.fail("encoded again"))
    assert model.encode(["wall", "chair", "wall"]).equal(first[[1, 0, 1]])
    assert model.encode([]).shape == (0, DIM)


def test_a_text_beyond_the_context_is_cut(case: Any) -> None:
    folder, load, _ = case
    assert load(str(folder)).encode(["chair " * 50]).isfinite().all()


def test_the_space_names_model_weights_and_readout(case: Any, tmp_path: Path) -> None:
    folder, load, reference = case
    model = load(str(folder))
    assert model.space.logit_scale == pytest.approx(np.exp(2.5))
    assert model.space.dim == model.encode(["x"]).shape[1] == observe(model, picture(32, 32))[0].shape[0]
    assert load(str(folder)).space == model.space
    assert load(str(folder), config=ClipConfig(zoom=2)).space.id != model.space.id
    with torch.no_grad():
        reference.vision_model.encoder.layers[0].mlp.fc1.weight.mul_(1.001)
    other = tmp_path / "other"
    other.mkdir()
    for file in folder.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    reference.save_pretrained(other)
    with torch.no_grad():
        reference.vision_model.encoder.layers[0].mlp.fc1.weight.div_(1.001)
    assert load(str(other)).space.id != model.space.id


def test_half_precision_weights_are_computed_in_float32(clip_folder: Path, tmp_path: Path) -> None:
    half = save_clip(tmp_path / "half")
    transformers.CLIPModel.from_pretrained(half).half().save_pretrained(half)
    image = picture(32, 32)
    [found], [full] = observe(load_clip(str(half)), image), observe(load_clip(str(clip_folder)), image)
    torch.testing.assert_close(found, full, rtol=0.05, atol=0.01)


def test_bfloat16_is_close_to_float32(case: Any) -> None:
    """The path that a GPU takes, on the CPU."""
    folder, load, _ = case
    model = load(str(folder))
    image = picture(48, 40)
    [full] = observe(model, image)
    [half] = observe(load(str(folder), dtype=torch.bfloat16), image)
    assert half.dtype == torch.float32
    assert not half.equal(full)
    assert torch.cosine_similarity(half, full, dim=0).min() > 0.98


def test_facts(case: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, load, _ = case
    facts = load(str(folder)).facts
    assert (facts.kind, facts.licence, facts.source) == ("dense", "see the model's card", str(folder))
    assert facts.disk_bytes == sum(file.stat().st_size for file in folder.iterdir())
    assert "windows of 32x32, shorter side of the image 32 px" in facts.input_size
    assert load(str(folder), config=ClipConfig(zoom=2)).facts.input_size.endswith("64 px")
    assert capsys.readouterr().err == ""  # no bars of the library
    copy = shutil.copytree(folder, tmp_path / "copy")
    for header, licence in (
        ("license: mit\ntags: [x]", "mit"),
        ("license: other\nlicense_name: nvidia-source", "nvidia-source"),
        ("tags: [license]", "see the model's card"),
    ):
        (copy / "README.md").write_text(f"---\n{header}\n---\nlicense: none of it\n")
        assert load(str(copy)).facts.licence == licence


def test_errors_say_what_was_found_and_what_to_do(
    clip_folder: Path, siglip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BackboneError, match=r"found no model .*nothing.*type 'clip'"):
        load_clip(str(tmp_path / "nothing"))
    with pytest.raises(BackboneError, match="name it siglip:"):
        load_clip(str(siglip_folder))
    with pytest.raises(BackboneError, match="name it clip:"):
        load_siglip(str(clip_folder))
    transformers.Siglip2Config().save_pretrained(tmp_path / "naflex")
    with pytest.raises(BackboneError, match=r"NaFlex.*fixed resolution"):
        load_siglip(str(tmp_path / "naflex"))
    transformers.BertConfig().save_pretrained(tmp_path / "bert")
    with pytest.raises(BackboneError, match="type 'bert'"):
        load_clip(str(tmp_path / "bert"))
    with pytest.raises(BackboneError, match="no pooling head"):
        load_siglip(str(save_siglip(tmp_path / "headless", head=False)))
    bare = save_clip(tmp_path / "bare")
    for file in bare.glob("tokenizer*"):
        file.unlink()
    (bare / "preprocessor_config.json").unlink()
    with pytest.raises(BackboneError, match="tokenizer and image processor"):
        load_clip(str(bare))


def test_weights_are_loaded_strictly(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_clip(tmp_path / "clip")
    path = folder / "model.safetensors"
    weights = load_file(path)
    save_file({k: v for k, v in weights.items() if k != "visual_projection.weight"}, path, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lack 1 keys: visual_projection\.weight"):
        load_clip(str(folder))
    save_file(weights | {"stray": torch.zeros(1)}, path, {"format": "pt"})
    with pytest.raises(CheckpointError, match="hold other 1 keys: stray"):
        load_clip(str(folder))
    save_file(weights | {"visual_projection.weight": torch.zeros(5, 5)}, path, {"format": "pt"})
    with pytest.raises(CheckpointError, match="cannot load the weights"):
        load_clip(str(folder))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(CheckpointError, match="cannot load the weights"):
        load_clip(str(folder))
    positions = {"vision_model.embeddings.position_ids": torch.arange(17)[None]}
    save_file(weights | positions, path, {"format": "pt"})
    load_clip(str(folder))

"""A dense model's map covers exactly the image, whatever the image's size: an edge is found where it is.

The networks are replaced by ones that only average, with the strides of the real ones.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from edges import AWKWARD, edge_shifts, pooled, worst
from fakes import frames_of
from torch import Tensor, nn

from purify3d.backbones import lite, tflite
from purify3d.backbones.coverage import excess, fit
from purify3d.backbones.facts import Facts
from purify3d.backbones.hub import HubSegmenter
from purify3d.backbones.lite import seen_size
from purify3d.backbones.lseg import LSeg
from purify3d.backbones.tflite import TfliteSegmenter
from purify3d.base.errors import BackboneError
from purify3d.types import FeatureSpace


def test_the_measure_itself() -> None:
    def rounded_up(image: np.ndarray) -> Tensor:
        return pooled(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255, 4)[0, 0]

    assert worst(edge_shifts(rounded_up, 320, 240)) < 1e-4
    assert edge_shifts(rounded_up, 213, 320)["y=202"] < -2


@pytest.mark.parametrize(("height", "width"), AWKWARD)
def test_lite(monkeypatch: pytest.MonkeyPatch, height: int, width: int) -> None:
    class Means(nn.Module):
        def forward(self, rgb: Tensor) -> Tensor:
            return pooled(rgb / 255, 4)

    monkeypatch.setattr(lite, "load_lite", lambda: (Means(), ("a", "b", "c")))
    logits, _ = lite.lite_logits()
    assert worst(edge_shifts(lambda image: logits([image])[0][0], height, width)) < 0.5


def test_lite_sees_whole_cells_and_rooms_as_they_are() -> None:
    assert seen_size(240, 320) == (240, 320)
    assert seen_size(480, 640) == (240, 320)
    assert seen_size(360, 540) == (208, 320)
    assert seen_size(9, 3000) == (32, 320)
    for size in AWKWARD:
        seen = seen_size(*size)
        assert max(seen) == 320
        assert all(side % 16 == 0 for side in seen)
        assert abs(seen[0] / seen[1] / (size[0] / size[1]) - 1) < 0.07


def test_rooms_are_seen_pixel_by_pixel() -> None:
    """At 320x240 nothing is resized: the logits are the network's own."""
    image = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    network, _ = lite.load_lite()
    logits, _ = lite.lite_logits()
    with torch.inference_mode():
        expected = network(torch.from_numpy(image).permute(2, 0, 1)[None].float())[0]
    assert logits([image])[0].equal(expected)


@pytest.mark.parametrize(("height", "width"), AWKWARD)
def test_lseg(height: int, width: int) -> None:
    class Means(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return pooled((images + 1) / 2, 2)

    space = FeatureSpace("means", 3, 1.0)
    model = LSeg(Means(), None, space, Path("none"))  # type: ignore[arg-type]

    def brightness(image: np.ndarray) -> Tensor:
        return model.observe(frames_of(image), None)[0].values[0] / 2  # type: ignore[arg-type]

    # Officially images are resized corner on corner, which moves what is at the rim by half a map's cell
    # at most.
    assert worst(edge_shifts(brightness, height, width)) < max(height, width) / 320 * 0.5 + 0.25


@pytest.mark.parametrize(("height", "width"), AWKWARD)
def test_tflite(height: int, width: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Interpreter:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def allocate_tensors(self) -> None:
            pass

        def get_input_details(self) -> list[dict]:
            return [{"index": 0, "shape": (1, 128, 192, 3), "dtype": np.float32}]

        def get_output_details(self) -> list[dict]:
            return [{"index": 1, "shape": (1, 32, 48, 3), "quantization": (0, 0)}]

        def set_tensor(self, _: int, value: np.ndarray) -> None:
            self.value = pooled(torch.from_numpy(value).permute(0, 3, 1, 2), 4).permute(0, 2, 3, 1).numpy()

        def invoke(self) -> None:
            pass

        def get_tensor(self, _: int) -> np.ndarray:
            return self.value

    monkeypatch.setattr(tflite, "require", lambda *_: type("litert", (), {"Interpreter": Interpreter}))
    (tmp_path / "m.labels.txt").write_text("a\nb\nc\n")
    model = TfliteSegmenter(tmp_path / "m.tflite")
    assert worst(edge_shifts(lambda image: model([image])[0][0], height, width)) < 0.5


def hub_segmenter(processor: object, monkeypatch: pytest.MonkeyPatch, stride: int = 4) -> HubSegmenter:
    """A segmenter of three classes whose logits are the means of what its processor shows."""
    from types import SimpleNamespace

    from purify3d.backbones import hub

    class Means(nn.Module):
        config = SimpleNamespace(id2label={0: "a", 1: "b", 2: "c"})
        device = torch.device("cpu")

        def forward(self, pixel_values: Tensor) -> SimpleNamespace:
            return SimpleNamespace(logits=pooled(pixel_values, stride))

    library = SimpleNamespace(
        AutoImageProcessor=SimpleNamespace(from_pretrained=lambda *_, **__: processor),
        AutoModelForSemanticSegmentation=None,
    )
    monkeypatch.setattr(hub, "transformers", lambda: library)
    monkeypatch.setattr(hub, "load_model", lambda *_, **__: Means())
    monkeypatch.setattr(hub, "pretrained_facts", lambda name, size: Facts("dense", "none", 0, size, name))
    return HubSegmenter("means")


def processors() -> dict[str, object]:
    """The library's own, of each way to bring an image to the model."""
    transformers = pytest.importorskip("transformers")
    plain = {"image_mean": [0.0] * 3, "image_std": [1.0] * 3}
    return {
        "stretches": transformers.SegformerImageProcessorPil(size={"height": 128, "width": 160}, **plain),
        "keeps the size": transformers.SegformerImageProcessorPil(do_resize=False, **plain),
        "keeps the aspect": transformers.BeitImageProcessorPil(size={"shortest_edge": 128}, **plain),
        "crops": transformers.MobileNetV2ImageProcessorPil(
            size={"shortest_edge": 144}, crop_size={"height": 128, "width": 128}, **plain
        ),
        "pads": transformers.DPTImageProcessorPil(
            size={"height": 150, "width": 150}, do_pad=True, size_divisor=32, **plain
        ),
        "crops always": transformers.ConvNextImageProcessorPil(size={"shortest_edge": 128}, **plain),
    }


@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize("kind", ["stretches", "keeps the size", "keeps the aspect", "crops", "pads"])
def test_segmenters_of_the_hub(kind: str, stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        model = hub_segmenter(processors()[kind], monkeypatch, stride)
    except BackboneError:
        pytest.fail("refused")
    for height, width in AWKWARD:
        # Pillow resizes to whole levels of brightness and, bicubic, swings over at an edge.
        assert worst(edge_shifts(lambda image: model([image])[0][0], height, width)) < 1, (height, width)


def test_a_processor_that_always_crops_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackboneError, match=r"'means' \(ConvNext.*only a part of an image of 640x480"):
        hub_segmenter(processors()["crops always"], monkeypatch)


def test_a_processor_that_crops_some_sizes_is_refused_at_those(monkeypatch: pytest.MonkeyPatch) -> None:
    processor = processors()["keeps the size"]

    def cropping(images: np.ndarray, **options: object) -> object:
        return processor(images=images[:400], **options)  # type: ignore[operator]

    cropping.size = None  # type: ignore[attr-defined]
    with pytest.raises(BackboneError, match="640x480"):
        hub_segmenter(cropping, monkeypatch)
    model = hub_segmenter(processor, monkeypatch)
    model._processor = cropping
    assert model([np.zeros((300, 500, 3), np.uint8)])[0].shape == (3, 75, 125)
    with pytest.raises(BackboneError, match="500x500"):
        model([np.zeros((500, 500, 3), np.uint8)])


def test_maps_that_reach_beyond_are_recognised() -> None:
    assert excess(541, 136) == 544 / 541
    assert excess(513, 33) == 528 / 513
    for seen, cells in ((640, 160), (518, 37), (518, 148), (518, 518), (384, 192)):
        assert excess(seen, cells) == 1
    whole = torch.rand(2, 5, 5)
    assert fit(whole, 20, 20) is whole
    ramp = (torch.arange(5) + 0.5).expand(1, 5, 5) * 4  # pixel coordinates of cells of 4
    fitted = fit(ramp, 20, 17)[0, 0]
    torch.testing.assert_close(fitted[1:-1], (torch.arange(5) + 0.5)[1:-1] * 17 / 5)

"""The bundled segmenter: small, strictly loaded, and right on rooms it has not seen."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from purify3d.backbones import lite as module
from purify3d.backbones.lite import CARD, WEIGHTS, load_lite
from purify3d.base.errors import CheckpointError
from purify3d.labels.metrics import Confusion
from purify3d.rooms import CLASSES, TRAINING_SEEDS, synthetic_scene


@pytest.fixture(scope="module")
def lite():
    return load_lite()


def test_weights_are_small():
    assert WEIGHTS.stat().st_size <= 4 * 2**20


def test_the_number_of_parameters_is_the_documented_one(lite):
    count = sum(value.numel() for value in lite[0].parameters())
    assert f"{count:,} parameters" in module.__doc__


def test_card_describes_what_was_trained_and_measured():
    card = json.loads(CARD.read_text())
    assert tuple(card["names"]) == CLASSES
    first, last = card["training"]["rooms"]
    unseen = card["evaluation"]["rooms"]
    assert first >= TRAINING_SEEDS.start
    assert unseen[1] < first <= last
    assert card["evaluation"]["mIoU"] >= 0.5


@pytest.mark.parametrize(("height", "width"), [(240, 320), (97, 131), (360, 540), (33, 32)])
def test_any_size_gives_a_quarter(lite, height, width):
    network, names = lite
    assert not network.training
    with torch.inference_mode():
        logits = network(torch.rand(2, 3, height, width) * 255)
    assert logits.shape == (2, len(names), -(-height // 4), -(-width // 4))
    assert logits.isfinite().all()


def test_loading_is_strict(tmp_path: Path):
    state = load_file(WEIGHTS)
    state.pop("classify.bias")
    save_file(state, tmp_path / "less.safetensors")
    with pytest.raises(CheckpointError, match=r"classify\.bias"):
        load_lite(tmp_path / "less.safetensors", CARD)
    (tmp_path / "cut.safetensors").write_bytes(WEIGHTS.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"cut\.safetensors cannot be read.*Reinstall purify3d"):
        load_lite(tmp_path / "cut.safetensors", CARD)
    for text in ("", "[]", "{}", '{"config": {"klasses": 3}, "names": []}'):
        (tmp_path / "card.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"card\.json does not describe"):
            load_lite(WEIGHTS, tmp_path / "card.json")
    save_file({**load_file(WEIGHTS), "extra": torch.zeros(1)}, tmp_path / "more.safetensors")
    with pytest.raises(CheckpointError, match="extra"):
        load_lite(tmp_path / "more.safetensors", CARD)
    with pytest.raises(CheckpointError, match="train_lite"):
        load_lite(tmp_path / "none.safetensors", CARD)


def test_unseen_rooms_are_segmented(lite):
    network, names = lite
    confusion = Confusion(names)
    for seed in (1, 2, 3):
        for frame in synthetic_scene(seed).frames[::12]:
            image = torch.from_numpy(frame.color()).permute(2, 0, 1)[None].float()
            truth = torch.from_numpy(frame.label()).long()
            with torch.inference_mode():
                logits = F.interpolate(network(image), truth.shape, mode="bilinear", align_corners=False)
            confusion.add(truth.ravel(), logits[0].argmax(0).ravel())
    scores = confusion.scores()
    assert sum(iou is not None for iou in scores.iou) >= 15
    assert scores.miou is not None
    assert scores.miou > 0.5

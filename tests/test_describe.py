"""What `purify3d info` knows of backbones; each family's own facts are tested beside the family."""

import inspect
import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from purify3d.backbones import FAMILIES, families
from purify3d.cli.describe import describe


def test_every_family_is_there() -> None:
    assert list(FAMILIES) == ["segmenter", "clip", "siglip", "xdecoder", "lseg", "features"]
    assert families()["simulated"] == "purify3d.benchmarking.simulated:load"
    for name in families():
        module, function = families()[name].split(":")
        load = getattr(import_module(module), function)
        assert list(inspect.signature(load).parameters)[:2] == ["argument", "device"]


def test_a_backbone_in_a_few_facts(tmp_path: Path) -> None:
    (tmp_path / "space.json").write_text(json.dumps({"id": "openseg", "dim": 2, "logit_scale": 100}))
    np.savez(tmp_path / "text.npz", names=np.array(["chair"]), embeddings=np.ones((1, 2), np.float32))
    np.save(tmp_path / "0.npy", np.zeros((2, 500, 500), np.float32))
    assert describe(f"features:{tmp_path}") == {
        "backbone": f"features:{tmp_path}",
        "space": "openseg",
        "kind": "dense",
        "channels": 2,
        "licence": "that of the model which made the features",
        "size on disk": "2.0 MB",
        "input size": "none: images are not looked at",
        "loaded from": str(tmp_path),
    }


def test_tflite(shared: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    facts = describe(f"segmenter:{shared / 'weights' / 'mosaic_ade31.tflite'}")
    assert (facts["kind"], facts["channels"], facts["input size"]) == ("dense", 384, "512x512")

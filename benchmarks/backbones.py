"""How long the 2D models take for a frame on this machine's CPU, and how much memory.

    python benchmarks/backbones.py [--only NAME] [--tflite FILE] [--json FILE]

The large models get random float32 weights of their published sizes, which cost the same and need no
download. Each model runs in a process of its own: one frame of 640x480 to warm up, then three, one at a
time. Seconds are their median; the peak is the resident memory of the whole process while it looks at
frames, in 10^9 bytes. Threads are torch's choice, or what OMP_NUM_THREADS says.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import numpy as np
import torch
from torch import nn
from torch.nn.functional import normalize

from purify3d.backbones import ImageBackbone, load_backbone
from purify3d.base.errors import PurifyError
from purify3d.base.stopwatch import Stopwatch
from purify3d.types import Camera, FeatureSpace, Frame, TextEmbeddings, Vocabulary

Network = TypeVar("Network", bound=nn.Module)

WIDTH, HEIGHT = 640, 480
LABELS = 20
FRAMES = 3

#: name -> what it is, the smallest first.
MODELS = {
    "lite": "segmenter:lite (bundled weights)",
    "tflite": "segmenter:FILE.tflite",
    "clip": "CLIP ViT-B/16, 224",
    "siglip": "SigLIP B/16, 256",
    "lseg": "LSeg ViT-L/16",
    "xdecoder": "X-Decoder Focal-L",
}


def build(name: str, tflite: str | None) -> ImageBackbone:
    """One of `MODELS`, on the CPU."""
    torch.manual_seed(0)
    if name == "xdecoder":
        from purify3d.backbones.xdecoder import XDecoderBackbone
        from purify3d.backbones.xdecoder.config import XDecoderConfig
        from purify3d.backbones.xdecoder.network import XDecoder

        return XDecoderBackbone(_random(XDecoder(XDecoderConfig())), Path("random"))
    if name == "lseg":
        from purify3d.backbones.lseg import LOGIT_SCALE, LSeg
        from purify3d.backbones.lseg.network import LSegConfig, LSegNetwork
        from purify3d.backbones.tokenizer import clip_tokenizer

        config = LSegConfig()
        space = FeatureSpace("lseg-random", config.dim, LOGIT_SCALE)
        return LSeg(_random(LSegNetwork(config)), clip_tokenizer(), space, Path("random"))
    if name in ("clip", "siglip"):
        return _transformers_model(cast(Literal["clip", "siglip"], name))
    return cast(ImageBackbone, load_backbone("segmenter:lite" if name == "lite" else f"segmenter:{tflite}"))


def _transformers_model(family: Literal["clip", "siglip"]) -> ImageBackbone:
    import transformers

    from purify3d.backbones.clip import Clip, ClipConfig
    from purify3d.backbones.clip.checkpoint import Checkpoint

    # The configurations' defaults are the base models in all but these.
    model: Any
    if family == "clip":
        vision = {"image_size": 224, "patch_size": 16}
        model = transformers.CLIPModel(transformers.CLIPConfig(vision_config=vision))
    else:
        vision = {"image_size": 256, "patch_size": 16}
        model = transformers.SiglipModel(transformers.SiglipConfig(vision_config=vision))
    half = torch.full((3,), 0.5)
    with tempfile.TemporaryDirectory() as folder:  # stands for the folder of a downloaded model
        checkpoint = Checkpoint(
            name=folder,
            model=_random(model),
            tokenizer=None,
            mean=half,
            std=half,
            resample=3,
            digest="random",
        )
        return Clip(checkpoint, family, ClipConfig())


def _random(network: Network) -> Network:
    """Frozen, with weights that keep activations within the usual range: odd numbers may take odd time."""
    for weight in network.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
    return network.eval().requires_grad_(False)


def look(name: str, tflite: str | None) -> dict[str, Any]:
    """Build a model, show it frames, say what that took."""
    backbone = build(name, tflite)
    generator = torch.Generator().manual_seed(0)
    vocabulary = Vocabulary.parse([f"label {number}" for number in range(LABELS)])
    words = normalize(torch.randn(LABELS, backbone.space.dim, generator=generator), dim=1)
    text_embeddings = TextEmbeddings(vocabulary, words, torch.arange(LABELS), backbone.space)
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    camera = Camera(500.0, 500.0, (WIDTH - 1) / 2, (HEIGHT - 1) / 2, WIDTH, HEIGHT)
    frame = Frame(
        name="noise",
        camera=camera,
        depth_camera=camera,
        world_from_camera=np.eye(4),
        color=lambda: image,
        depth=lambda: np.zeros((HEIGHT, WIDTH), np.float32),
    )
    stopwatch = Stopwatch()
    for turn in range(1 + FRAMES):
        with stopwatch(str(turn)):
            backbone.observe([frame], text_embeddings)
    _, *measured = (stage["seconds"] for stage in stopwatch.stages.values())
    return {
        "seconds": statistics.median(measured),
        "all_seconds": measured,
        "peak_gb": max(stage["peak_gb"] for stage in stopwatch.stages.values()),
        "threads": torch.get_num_threads(),
    }


def cpu_name() -> str:
    """What the processor calls itself."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--only", choices=MODELS, action="append", help="measure this one; may be repeated")
    parser.add_argument("--tflite", metavar="FILE", help="a TensorFlow Lite segmenter to measure as well")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the numbers here")
    arguments = parser.parse_args()
    if "tflite" in (arguments.only or ()) and not arguments.tflite:
        parser.error("--only tflite needs --tflite FILE")
    names = [name for name in MODELS if name in (arguments.only or MODELS)]
    if not arguments.tflite:
        names = [name for name in names if name != "tflite"]

    results: dict[str, dict[str, Any]] = {}
    say(f"{WIDTH}x{HEIGHT}, batch 1, {cpu_name()}, torch {torch.__version__}\n")
    say("| model | seconds a frame | peak GB | threads |\n|---|---:|---:|---:|")
    for name in names:
        try:
            # Spawned: a forked process would share, and count, what this one has in memory.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                row = pool.submit(look, name, arguments.tflite).result()
            say(f"| {MODELS[name]} | {row['seconds']:.3f} | {row['peak_gb']:.2f} | {row['threads']} |")
        except BrokenProcessPool:
            row = {"error": "the process was killed; probably memory ran out"}
            say(f"| {MODELS[name]} | {row['error']} | | |")
        except PurifyError as error:
            row = {"error": str(error)}
            say(f"| {MODELS[name]} | {error} | | |")
        results[name] = {"model": MODELS[name], **row}
    if arguments.json:
        machine = {"cpu": cpu_name(), "torch": torch.__version__, "frame": [WIDTH, HEIGHT]}
        arguments.json.write_text(json.dumps(machine | {"models": results}, indent=2) + "\n")
    return int(any("error" in row for row in results.values()))


if __name__ == "__main__":
    sys.exit(main())

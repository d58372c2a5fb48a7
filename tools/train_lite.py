"""Train the bundled segmenter (purify3d.backbones.lite) from nothing but procedural rooms.

    python tools/train_lite.py --cache DIR

renders training rooms into DIR (rooms found there are kept), trains, measures 2D mIoU on unseen rooms and
writes src/purify3d/data/lite.safetensors and lite.json. The defaults need about 45 minutes of one core's
time, half of that on two idle cores.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from purify3d.backbones.lite import CARD, WEIGHTS, LiteConfig, LiteSegmenter, load_lite
from purify3d.labels.metrics import Confusion, Scores
from purify3d.rooms import CLASSES, TRAINING_SEEDS, synthetic_scene

#: Rooms the network is measured on; no training seed is below TRAINING_SEEDS.
UNSEEN = range(900, 916)
UNSEEN_FRAMES = 12
CROP = (208, 272)  # rows, columns of a training image


def render_room(seed: int, *, frames: int, cache: Path) -> None:
    """Write one room's colour and labels as two arrays, unless they are there already."""
    color, label = (cache / f"{kind}-{seed}-{frames}.npy" for kind in ("color", "label"))
    if label.exists():
        return
    views = synthetic_scene(seed, frames=frames).frames
    # A frame's colour and label share one ray cast while it is the last one asked for.
    images = [(view.color(), view.label()) for view in views if view.label is not None]
    np.save(color, np.stack([image for image, _ in images]))
    whole = label.with_suffix(".part")
    with whole.open("wb") as file:
        np.save(file, np.stack([truth for _, truth in images]).astype(np.uint8))
    whole.rename(label)  # last, so that a room that looks finished is


def render(seeds: range, *, frames: int, cache: Path, processes: int) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    start = time.time()
    with ProcessPoolExecutor(processes) as pool:
        for done, _ in enumerate(
            pool.map(partial(render_room, frames=frames, cache=cache), seeds, chunksize=4), 1
        ):
            if done % 100 == 0 or done == len(seeds):
                print(f"rendered {done} of {len(seeds)} rooms, {time.time() - start:.0f} s", flush=True)


class Crops(Dataset[tuple[Tensor, Tensor]]):
    """Augmented crops; item i is the same in every run with the same seed."""

    def __init__(self, rooms: range, *, frames: int, cache: Path, images: int, seed: int) -> None:
        names = [(cache / f"color-{s}-{frames}.npy", cache / f"label-{s}-{frames}.npy") for s in rooms]
        self.files = [(np.load(c, mmap_mode="r"), np.load(t, mmap_mode="r")) for c, t in names]
        rng = np.random.default_rng(seed)
        total = len(rooms) * frames
        order = np.concatenate([rng.permutation(total) for _ in range(math.ceil(images / total))])
        self.order, self.frames, self.seed = order[:images], frames, seed

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([self.seed, i])
        room, frame = divmod(int(self.order[i]), self.frames)
        color, label = (np.array(values[frame]) for values in self.files[room])
        color, label = _crop(rng, color, label)
        return torch.from_numpy(_disturb(rng, color)), torch.from_numpy(label[2::4, 2::4].astype(np.int64))


def _crop(rng: np.random.Generator, color: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A mirrored, turned or scaled part of an image, CROP pixels large."""
    height, width = label.shape
    scale = np.exp(rng.uniform(np.log(0.87), np.log(1.45)))
    stretch = np.exp(rng.uniform(-0.12, 0.12))
    h, w = min(height, int(CROP[0] / scale * stretch)), min(width, int(CROP[1] / scale / stretch))
    y, x = rng.integers(height - h + 1), rng.integers(width - w + 1)
    size, box = (CROP[1], CROP[0]), (int(x), int(y), int(x) + w, int(y) + h)
    turn = rng.normal(0, 3) if rng.random() < 0.4 else 0.0
    image, truth = Image.fromarray(color), Image.fromarray(label)
    if turn:
        image, truth = image.rotate(turn, Image.Resampling.BILINEAR), truth.rotate(turn, fillcolor=255)
    image = image.resize(size, Image.Resampling.BILINEAR, box=box)
    truth = truth.resize(size, Image.Resampling.NEAREST, box=box)
    color, label = np.asarray(image), np.asarray(truth)
    if rng.random() < 0.5:
        color, label = color[:, ::-1], label[:, ::-1]
    return color, label


def _disturb(rng: np.random.Generator, color: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (3, H, W) float32 0..255, as another camera or another lamp would have it."""
    if rng.random() < 0.2:
        packed = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(color)).save(packed, "JPEG", quality=int(rng.integers(35, 90)))
        color = np.asarray(Image.open(packed))
    x = color.astype(np.float32) / 255
    if rng.random() < 0.6:
        x = x ** np.float32(np.exp(rng.normal(0, 0.25)))
    x = x * np.exp(rng.normal(0, [0.08] * 3) + rng.normal(0, 0.15)).astype(np.float32)
    grey = x.mean(axis=-1, keepdims=True)
    x = grey + (x - grey) * np.float32(rng.uniform(0.4, 1.4))
    if rng.random() < 0.15:
        x = x @ _hue_turn(rng.uniform(-0.6, 0.6))
    x = (x - x.mean()) * np.float32(rng.uniform(0.75, 1.25)) + x.mean()
    planes = torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1)))
    if rng.random() < 0.3:
        kernel = torch.exp(-(torch.arange(-2.0, 3.0) ** 2) / (2 * rng.uniform(0.4, 1.3) ** 2))
        kernel = (kernel / kernel.sum()).expand(3, 1, 1, 5)
        planes = F.conv2d(
            F.conv2d(planes, kernel, padding=(0, 2), groups=3), kernel.mT, padding=(2, 0), groups=3
        )
    noise = rng.standard_normal(planes.shape, dtype=np.float32) * (
        rng.uniform(0, 0.03) if rng.random() < 0.5 else 0
    )
    return np.asarray(255 * (planes.numpy() + noise).clip(0, 1), dtype=np.float32)


def _hue_turn(angle: float) -> np.ndarray:
    """Rotation of RGB about the grey axis."""
    c, s = math.cos(angle), math.sin(angle)
    a, b, d = (1 + 2 * c) / 3, (1 - c) / 3 - s / math.sqrt(3), (1 - c) / 3 + s / math.sqrt(3)
    return np.array([[a, d, b], [b, a, d], [d, b, a]], dtype=np.float32)


def class_weights(data: Crops) -> Tensor:
    """Rare classes count more, by the 0.2th power of their rarity."""
    count = sum(np.bincount(t[0].ravel(), minlength=len(CLASSES)) for _, t in data.files)
    share = torch.tensor(count / np.sum(count), dtype=torch.float32).clamp_min(1e-4)
    weight = share**-0.2
    return weight / (weight * share).sum()


def train(data: Crops, config: LiteConfig, *, batch: int, rate: float, seed: int) -> LiteSegmenter:
    """AdamW with warm-up and cosine, bf16 where it is safe; returns the moving average of the weights."""
    torch.manual_seed(seed)
    network = LiteSegmenter(config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = deepcopy(network).requires_grad_(False)
    weight = class_weights(data)
    steps = len(data) // batch
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.03}, {"params": plain, "weight_decay": 0.0}], lr=rate
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.06)
    loader = DataLoader(data, batch, num_workers=1, drop_last=True, prefetch_factor=4)
    start, shown = time.time(), 0.0
    for step, (rgb, label) in enumerate(loader):
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(rgb.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits.float(), label, weight, ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        _follow(average, network, min(0.998, step / (step + 20)))
        shown += float(loss.detach())
        if (step + 1) % 100 == 0:
            print(
                f"step {step + 1} of {steps}, loss {shown / 100:.3f}, {time.time() - start:.0f} s", flush=True
            )
            shown = 0.0
    return average.eval()


def _follow(average: LiteSegmenter, network: LiteSegmenter, keep: float) -> None:
    with torch.no_grad():
        for a, b in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
            if a.is_floating_point():
                a.lerp_(b, 1 - keep)
            else:
                a.copy_(b)


def evaluate(network: LiteSegmenter, seeds: range, *, frames: int, cache: Path) -> Scores:
    """Scores over every pixel of the rooms at full image size."""
    confusion = Confusion(CLASSES)
    for seed in seeds:
        color, label = (np.load(cache / f"{kind}-{seed}-{frames}.npy") for kind in ("color", "label"))
        for image, truth in zip(color, label, strict=True):
            with torch.inference_mode():
                logits = network(torch.from_numpy(image.transpose(2, 0, 1).copy())[None].float())
                logits = F.interpolate(logits, truth.shape, mode="bilinear", align_corners=False)
            confusion.add(torch.from_numpy(truth).long().ravel(), logits[0].argmax(0).ravel())
    return confusion.scores()


def as_table(scores: Scores) -> str:
    rows = zip(scores.names, scores.iou, scores.accuracy, strict=True)
    lines = [f"{name:13s} IoU {iou:.3f}  accuracy {acc:.3f}" for name, iou, acc in rows if iou is not None]
    return "\n".join([*lines, f"mIoU {scores.miou:.4f}  mAcc {scores.macc:.4f}"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=Path, required=True, help="folder for rendered rooms, about 3 GB")
    parser.add_argument("--rooms", type=int, default=900)
    parser.add_argument("--frames", type=int, default=10, help="of each room")
    parser.add_argument("--images", type=int, default=38_000, help="augmented crops seen in training")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--card", type=Path, default=CARD)
    args = parser.parse_args()

    start = time.time()
    rooms = range(TRAINING_SEEDS.start, TRAINING_SEEDS.start + args.rooms)
    render(UNSEEN, frames=UNSEEN_FRAMES, cache=args.cache, processes=args.processes)
    render(rooms, frames=args.frames, cache=args.cache, processes=args.processes)
    rendered = time.time()
    config = LiteConfig(classes=len(CLASSES))
    data = Crops(rooms, frames=args.frames, cache=args.cache, images=args.images, seed=args.seed)
    network = train(data, config, batch=args.batch, rate=args.rate, seed=args.seed)
    trained = time.time()

    args.weights.parent.mkdir(parents=True, exist_ok=True)
    state = {
        k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in network.state_dict().items()
    }
    save_file(state, args.weights)
    card: dict[str, object] = {
        "names": list(CLASSES),
        "config": asdict(config),
        "parameters": sum(p.numel() for p in network.parameters()),
        "training": {
            "data": "purify3d.rooms",
            "rooms": [rooms.start, rooms.stop - 1],
            "frames_per_room": args.frames,
            "images": args.images,
            "batch": args.batch,
            "rate": args.rate,
            "seed": args.seed,
        },
    }
    _write(args.card, card)
    # What is measured is what was written: sixteen-bit weights, read back.
    shipped, _ = load_lite(args.weights, args.card)
    found = evaluate(shipped, UNSEEN, frames=UNSEEN_FRAMES, cache=args.cache)
    print(as_table(found))
    card["evaluation"] = {
        "rooms": [UNSEEN.start, UNSEEN.stop - 1],
        "frames_per_room": UNSEEN_FRAMES,
        "mIoU": found.miou,
        "mAcc": found.macc,
        "IoU": dict(zip(found.names, found.iou, strict=True)),
    }
    _write(args.card, card)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"rendering {rendered - start:.0f} s, training {trained - rendered:.0f} s, "
        f"evaluation {time.time() - trained:.0f} s; CPU time {time.process_time():.0f} s here and "
        f"{children.ru_utime + children.ru_stime:.0f} s in rendering and loading processes"
    )


def _write(path: Path, card: dict[str, object]) -> None:
    path.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Thin the recorded values of the official implementations to what the repository carries (tests/data).

Weights and inputs stay as they are, bit for bit. Of a recorded output that is larger than a few thousand
numbers only every n-th is kept, n prime, so that every layer stays covered; `tests/recorded.py` reads them.
Two tables of token embeddings are most of the recordings' size and are noise of a known generator: rows that
the recordings read are stored, the others are drawn again.

    python tools/thin_golden.py FOLDER_OF_RECORDINGS FOLDER_OF_MANIFESTS
"""

import json
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch

DATA = Path(__file__).resolve().parents[1] / "tests" / "data"
FEW = 1024  # numbers kept of an intermediate value, about
MANY = 4096  # numbers kept of a result, about
FINAL = ("final", "evaluate", "openscene/features", "multieval/scores", "fused_features", "refined_point")


def always(key: str) -> bool:
    return True


def cases_of_lseg(key: str) -> bool:
    last = key.rsplit("/", 1)[-1]
    return key.startswith(("w/", "text/")) or last in {"image", "image0", "ids", "meta_json"}


def cases_of_xdecoder(key: str) -> bool:
    return key.startswith(("w/", "text/")) or "/image" in key or key == "meta_json"


#: Recording -> which of its arrays are weights or inputs, and stay whole.
KEPT: dict[str, Callable[[str], bool]] = {
    "projection": always,
    "student": always,
    "distillation": always,
    "lift_fusion": lambda key: key != "fused_features",
    "pooling": lambda key: key != "refined_point_features",
    "lseg_tiny": cases_of_lseg,
    "xdecoder_tiny": cases_of_xdecoder,
    "sonata_tiny": lambda key: "/out/" not in key,
}

#: Recording -> its token table, the arrays of token numbers that were looked up in it, and how it was drawn:
#: seed, uniform numbers drawn before it, factor.
TABLES: dict[str, tuple[str, tuple[str, ...], tuple[int, int, float]]] = {
    "lseg_tiny": (
        "w/clip_pretrained.token_embedding.weight",
        ("case_a/text/ids", "case_b/text/ids", "text/ade20k_ids"),
        (3, 18912, 0.7),
    ),
    "xdecoder_tiny": (
        "w/sem_seg_head.predictor.lang_encoder.lang_encoder.token_embedding.weight",
        ("text/prompt_ids", "text/label_template_ids"),
        (1, 46937 * 16 + 9, 0.7),
    ),
}


def thinned(key: str, value: np.ndarray) -> dict[str, np.ndarray]:
    """Every n-th number of an array, flattened, and (n, *shape); the array itself where it is small."""
    wanted = MANY if any(part in key for part in FINAL) else FEW
    # Whole numbers are what orders and neighbours are made of: they are small once compressed.
    if value.dtype.kind != "f" or value.size <= 2 * wanted:
        return {key: value}
    step = next(n for n in count(value.size // wanted) if all(n % d for d in range(2, int(n**0.5) + 1)))
    return {key: value.ravel()[::step], f"{key}@thin": np.array([step, *value.shape])}


def redrawn(name: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A table of random numbers: the rows that were looked up, and how `tests/recorded.py` draws the rest."""
    key, lookups, (seed, skipped, factor) = TABLES[name]
    table = arrays[key]
    generator = torch.Generator().manual_seed(seed)
    torch.rand(skipped, generator=generator)
    drawn = torch.randn(table.shape, generator=generator).numpy() * np.float32(factor)
    if not np.array_equal(drawn, table):
        sys.exit(f"{name}: {key} is not what the generator draws here")
    rows = np.unique(np.concatenate([arrays[lookup].ravel() for lookup in lookups]))
    recipe = np.array([seed, skipped, factor, *table.shape], dtype=np.float64)
    return {f"{key}@rows": rows, f"{key}@values": table[rows], f"{key}@drawn": recipe}


#: Model -> what the tests read of the list of keys of its full size; True: all of it.
MANIFESTS: dict[str, dict[str, Any]] = {
    "lseg": {"keys": {"*": {"shape": True, "used_in_inference": True}}},
    "sonata": {"tensors": True, "num_parameters": True, "optional_keys": True, "config": True},
    "xdecoder": {"keys": {"*": {"shape": True}}, "meta": {"num_parameters_used_in_seg_path": True}},
}


def reduced(content: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Only the entries of nested mappings that are wanted; `*` stands for any key."""
    result = {}
    for key, value in content.items():
        below = wanted.get(key, wanted.get("*"))
        if below is not None:
            result[key] = value if below is True else reduced(value, below)
    return result


def main() -> None:
    recordings, manifests = map(Path, sys.argv[1:])
    DATA.mkdir(exist_ok=True)
    for name, kept in KEPT.items():
        arrays = dict(np.load(recordings / f"{name}.npz"))
        result: dict[str, np.ndarray] = {}
        for key, value in arrays.items():
            if name in TABLES and key == TABLES[name][0]:
                result |= redrawn(name, arrays)
            else:
                result |= {key: value} if kept(key) else thinned(key, value)
        np.savez_compressed(DATA / f"{name}.npz", **result)  # type: ignore[arg-type]
        size = (DATA / f"{name}.npz").stat().st_size
        print(f"{name:15} {(recordings / f'{name}.npz').stat().st_size / 1e6:6.2f} -> {size / 1e6:5.2f} MB")
    for model, wanted in MANIFESTS.items():
        content = json.loads((manifests / f"{model}_full_manifest.json").read_text())
        text = json.dumps(reduced(content, wanted), separators=(",", ":")) + "\n"
        (DATA / f"{model}_full.json").write_text(text)
        print(f"{model}_full: {len(text) / 1e3:.0f} kB")


if __name__ == "__main__":
    main()

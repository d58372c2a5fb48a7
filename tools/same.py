"""Do the same commands still write the same numbers? Digests of what fixed runs write, of two versions.

    python tools/same.py before.json --captures CAPTURES       # of the code as it is
    python tools/same.py after.json --captures CAPTURES --against before.json

CAPTURES has the folders kitchen and house; without it the procedural runs alone are made. Points, labels
and scores count bit for bit, JSON by its keys and by the values that are no seconds, versions or paths.
Everything goes through the command line, so that the script outlives changes of the Python interface.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TEN = "floor, wall, door, window, table, chair, sofa, plant, cabinet, poster"
HOUSE = (
    "air conditioner, bed, chair, chandelier, coffee table, curtain, desk, dining table, door, "
    "fitness equipment, floor, folding door, kitchen cabinet, nightstand, picture, range hood, refrigerator, "
    "rug, shoe rack, sofa, television, tv cabinet, wall, wardrobe, window"
)
ROOM, LABELS = "synthetic:3?frames=6", "chair, table, sofa|couch, floor, wall, shelf, lamp"
#: Small runs that go through each part of the method: name -> flags of `segment`.
VARIANTS: dict[str, list[str]] = {
    "default": [],
    "paper": ["--affinity", "geometric", "--fusion", "consensus", "--fill", "inf", "--confidence", "0"],
    "uniform": ["--affinity", "uniform", "--rounds", "3", "--threshold", "0.3"],
    "raw": ["--rounds", "0"],
    "scores": ["--no-query"],
    "tiles": ["--memory", "0.01", "--affinity", "geometric"],
    "coarse": ["--voxel", "0.05", "--affinity", "geometric", "--limit", "4"],
}
_VARYING = {"stages", "versions", "command", "capture", "backbone", "device", "threads", "path"}
_JSON = ("config.json", "metrics.json", "labels.json", "scene.json", "objects.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--captures", type=Path, help="Folder with kitchen and house.")
    parser.add_argument("--weights", type=Path, help="TFLite model of the kitchen.")
    parser.add_argument("--against", type=Path, help="Digests to compare with; exit 1 where they differ.")
    parser.add_argument("--quick", action="store_true", help="Only the small rooms.")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = digests(Path(folder), args.captures, args.weights, args.quick)
    args.output.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    if args.against is not None and (differences := compared(json.loads(args.against.read_text()), found)):
        print("\n".join(differences))
        sys.exit(1)
    print(f"{len(found)} digests" + (", all as before" if args.against else ""))


def digests(folder: Path, captures: Path | None, weights: Path | None, quick: bool) -> dict[str, Any]:
    """File or fact of each run -> digest, or JSON without what differs from run to run."""
    found: dict[str, Any] = {}
    for name, flags in VARIANTS.items():
        run = folder / name
        purify3d("segment", ROOM, "--labels", LABELS, "-o", run, *flags)
        if name in ("default", "raw", "tiles"):
            purify3d("query", run, "somewhere to sit")
            purify3d("objects", run)
        found |= of_folder(name, run)
    if quick:
        return found
    purify3d("demo", "-o", folder / "demo")
    demo = folder / "demo" / "run"
    purify3d("query", demo, "somewhere to sit")
    purify3d("query", demo, "helicopter")
    purify3d("objects", demo)
    for form in ("npz", "glb", "ply"):
        purify3d("export", demo, "--to", form, "-o", demo / f"export.{form}")
    found |= of_folder("demo", demo)
    if captures is not None:
        model = weights or captures.parent / "weights" / "mosaic_ade31.tflite"
        run = folder / "kitchen"
        purify3d(
            "segment", captures / "kitchen", "--backbone", f"segmenter:{model}", "--labels", TEN, "-o", run
        )
        purify3d("query", run, "somewhere to sit")
        purify3d("objects", run)
        found |= of_folder("kitchen", run)
        run = folder / "house"
        purify3d("segment", captures / "house", "--labels", HOUSE, "-o", run)
        found |= of_folder("house", run)
    return found


def purify3d(*words: object) -> None:
    """One command of the program, in this interpreter's environment."""
    command = [sys.executable, "-m", "purify3d.cli", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")


def of_folder(name: str, run: Path) -> dict[str, Any]:
    """Digests of a run folder, its files by name."""
    found: dict[str, Any] = {}
    for file in sorted(run.iterdir()):
        key = f"{name}/{file.name}"
        if file.name in _JSON:
            found[key] = _steady(json.loads(file.read_text()))
        elif file.suffix in (".ply", ".csv", ".npz", ".glb", ".safetensors"):
            found[key] = hashlib.sha256(file.read_bytes()).hexdigest()
    shutil.rmtree(run)
    return found


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: "..." if key in _VARYING else _steady(inner) for key, inner in value.items()}
    return [_steady(inner) for inner in value] if isinstance(value, list) else value


def compared(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What differs, a line each, of the runs that were made now."""
    lines, made = [], {key.partition("/")[0] for key in after}
    for key in sorted(before.keys() | after.keys()):
        if key.partition("/")[0] not in made:
            continue
        old, new = before.get(key, "absent"), after.get(key, "absent")
        if old != new:
            lines.append(f"{key}: {_short(old)} -> {_short(new)}")
    return lines


def _short(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= 200 else f"{text[:120]}... ({hashlib.sha256(text.encode()).hexdigest()[:12]})"


if __name__ == "__main__":
    main()

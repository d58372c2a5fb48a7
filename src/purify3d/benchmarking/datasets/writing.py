"""One scene of a benchmark into the folder that `captures/prepared.py` reads."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from purify3d.base.errors import CaptureError, PurifyWarning
from purify3d.base.files import write_folder
from purify3d.base.workers import Task
from purify3d.captures.formats import prepared
from purify3d.captures.formats.exchange import frame_entry, write_transforms
from purify3d.clouds.ply import write_ply
from purify3d.pictures.encoding import encoded
from purify3d.types import Frame, Scene


@dataclass(frozen=True)
class PrepareTask(Task):
    """A scene to prepare.

    Attributes:
        module: of the benchmark.
        path: of the scene, as the module's `scenes` gives it.
        target: the folder to make.
        made_with: settings, kept in the folder.
    """

    module: str
    path: Path
    target: Path
    made_with: dict[str, Any]


def facts_of(folder: Path) -> dict[str, Any] | None:
    """What a prepared scene says of itself; None: the folder holds no such scene."""
    try:
        found = json.loads((folder / prepared.MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("made_with"), dict) else None


def make(task: PrepareTask) -> dict[str, Any]:
    """Prepare a scene: it is built beside its place and renamed, so that it is whole or absent.

    Returns:
        Facts as they are in its folder.

    Raises:
        CaptureError: the scene cannot be used.
        OSError: the folder cannot be written.
    """
    facts: dict[str, Any] = {"made_with": task.made_with}

    def write(building: Path) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", PurifyWarning)
            facts.update(_write(task, building))
        facts["warnings"] = [str(w.message) for w in caught if issubclass(w.category, PurifyWarning)]
        (building / prepared.MARK).write_text(json.dumps(facts, indent=1), encoding="utf-8")

    write_folder(task.target, write)
    return facts


def _write(task: PrepareTask, folder: Path) -> dict[str, Any]:
    module = import_module(task.module)
    scene, color_file = module.open_scene(task.path, task.made_with["labels"])
    chosen = module.pick(scene.frames, task.made_with["every"])
    for name in ("images", "depth"):
        (folder / name).mkdir()
    entries, left_out = [], {}
    for frame in chosen:
        try:
            # Decoded to see that they are whole, which copying would not show.
            image, depth = frame.color(), frame.depth()
            stored = color_file(frame)
        except CaptureError as error:
            left_out[frame.name] = str(error)
            continue
        except OSError as error:
            left_out[frame.name] = f"{task.path}: cannot be read ({error})"
            continue
        entries.append(_frame(folder, frame, image, depth, stored))
    if len(left_out) > len(entries) or not entries:
        why = next(iter(left_out.values()), "no frame has a pose; expected at least one")
        raise CaptureError(f"{task.path}: {len(left_out)} of {len(chosen)} frames cannot be used: {why}")
    points = scene.cloud()
    truth = dict(sorted(scene.truth.items()))
    write_transforms(folder, scene.up, entries, truth, depth_unit_scale_factor=chosen[0].depth_unit)
    write_ply(folder / prepared.CLOUD, points)
    _check(folder, scene, [entry["file_path"] for entry in entries])
    labelled = points.label >= 0
    return {
        "frames": len(entries),
        "lost_poses": scene.skipped,
        "left_out": left_out,
        "points": len(points),
        "labelled": int(labelled.sum()),
        "objects": len(points.instance[points.instance >= 0].unique()),
    }


def _frame(
    folder: Path, frame: Frame, image: np.ndarray, depth: np.ndarray, stored: tuple[bytes, str] | None
) -> dict[str, Any]:
    """Both images, and the frame's entry of transforms.json."""
    data, suffix = (encoded(Image.fromarray(image), "PNG"), ".png") if stored is None else stored
    color, metres = f"images/{frame.name}{suffix}", f"depth/{frame.name}.png"
    (folder / color).write_bytes(data)
    units = np.rint(depth.astype(np.float64) / (frame.depth_unit or 1.0))
    Image.fromarray(units.clip(0, 65535).astype(np.uint16)).save(folder / metres)
    return frame_entry(frame, color, metres)


def _check(folder: Path, scene: Scene, written: list[str]) -> None:
    """Refuse what does not read back as it was.

    Raises:
        CaptureError: it does not.
    """
    again = prepared.read(folder)
    if len(again.frames) != len(written) or len(again.cloud()) != len(scene.cloud()):
        raise CaptureError(
            f"{folder}: found {len(again.frames)} frames and {len(again.cloud())} points when it was read "
            f"again; expected {len(written)} and {len(scene.cloud())}. Check the disk"
        )

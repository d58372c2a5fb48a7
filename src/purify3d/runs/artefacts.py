"""What lies in a run folder: one writer and one reader for each file."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from purify3d.base.errors import CaptureError, RunError
from purify3d.captures.reading.opening import opened_image
from purify3d.clouds.las import write_las
from purify3d.clouds.ply import WrittenCloud, read_written, write_ply
from purify3d.features.codec import EncodedFeatures, decode, encode
from purify3d.labels.segmentation import Segmentation
from purify3d.pictures.palettes import label_colors
from purify3d.runs.folder import Folder, StageWriter
from purify3d.types import FeatureSpace, PointCloud, PointFeatures, Scene, Vocabulary

POINTS, SCENE = "points.ply", "scene.json"
FEATURES, PURIFIED = "features.safetensors", "purified.safetensors"
LABELS, LEGEND = "labels.ply", "labels.json"
METRICS, PICTURE = "metrics.json", "picture.png"
_FARTHEST = 1e5  # metres from the origin of a run, where float32 is exact to 8 mm


def write_points(stage: StageWriter, scene: Scene) -> None:
    """The cloud that is labelled, with photo colours and truth ids; what else is known of the capture."""
    stage.write(POINTS, lambda path: write_ply(path, scene.cloud(), origin=scene.origin))
    truth = {str(number): name for number, name in scene.truth.items()}
    facts = {"name": scene.name, "up": scene.up.tolist(), "truth": truth, "origin": scene.origin.tolist()}
    stage.write_json(SCENE, facts)


def read_scene(folder: Folder) -> Scene:
    """What is known of a run's capture without opening it: name, up, origin, truth names and the points.

    Raises:
        RunError: it is missing or not what `write_points` writes.
    """
    facts = folder.read_json(SCENE)
    try:
        truth = {int(number): str(name) for number, name in facts["truth"].items()}
        up, origin = (np.array(facts[name], dtype=np.float64) for name in ("up", "origin"))
        return Scene(
            str(facts["name"]), (), up, _written(folder, POINTS, origin).points, truth, origin=origin
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise RunError(
            f"{folder.path / SCENE} cannot be used ({error!r}); repeat the run with --overwrite"
        ) from error


def write_labels(
    stage: StageWriter, scene: Scene, result: Segmentation, views: torch.Tensor, onto: str | None = None
) -> None:
    """labels.ply (label, score, views and label colour of each point) and labels.json, their legend.

    Args:
        onto: the file that the points are from; of a LAS or LAZ file a copy with labels is written beside.
    """
    points, origin = scene.cloud(), scene.origin
    stage.write(LABELS, lambda path: result.save(path, points, views=views.numpy(), origin=origin))
    suffix = Path(onto or "").suffix.lower()
    if onto is not None and suffix in (".las", ".laz"):
        label, score = points.file_rows(result.numpy(), -1), points.file_rows(result.score.cpu().numpy(), 0)
        stage.write(f"labels{suffix}", lambda path: write_las(path, Path(onto), label, score))
    stage.write_json(LEGEND, legend(result, rows_without_point=len(points.missing)))


def read_labels(folder: Folder, scene: Scene, vocabulary: Vocabulary) -> tuple[Segmentation, torch.Tensor]:
    """What a run said of each of the N points of its scene, and (N,) int32 how many frames saw each.

    Raises:
        RunError: it has said nothing, or of other points.
    """
    _need_labels(folder)
    written = _written(folder, LABELS, scene.origin)
    label, score, views = written.points.label, written.score, written.views
    fits = len(label) == len(scene.cloud()) and not bool((label >= len(vocabulary)).any())
    if score is None or views is None or not fits:
        raise RunError(
            f"found {len(label)} points in {folder.path / LABELS} and {len(scene.cloud())} in {POINTS}; "
            "expected a score, views and a label of the list for as many. Repeat the run with --overwrite"
        )
    if bool((label < -1).any()) or not bool(score.isfinite().all()) or bool((views < 0).any()):
        raise RunError(
            f"{folder.path / LABELS}: found a label below -1, a score that is no number, or views below 0; "
            "it is damaged. Repeat the run with --overwrite"
        )
    return Segmentation(label, score, vocabulary), views


def legend(result: Segmentation, *, rows_without_point: int = 0) -> list[dict[str, Any]]:
    """Per label index, name, synonyms, colour and how many points have it; the last row is "(none)".

    Args:
        rows_without_point: rows of the cloud's file that are not finite; they count as "(none)".
    """
    count = torch.bincount(result.label.long() + 1, minlength=len(result.names) + 1).tolist()
    count[0] += rows_without_point
    colors = label_colors(result.names).tolist()
    rows: list[dict[str, Any]] = [
        {"index": i, "name": words[0], "synonyms": list(words[1:]), "color": color, "points": points}
        for i, (words, color, points) in enumerate(
            zip(result.vocabulary.synonyms, colors, count[1:], strict=True)
        )
    ]
    return [*rows, {"index": -1, "name": "(none)", "synonyms": [], "color": None, "points": count[0]}]


def read_legend(folder: Folder) -> list[dict[str, Any]]:
    """labels.json of a labelled run, see `legend`.

    Raises:
        RunError: it is missing or not what `legend` gives.
    """
    rows = folder.read_json(LEGEND)
    try:
        for row in rows:
            color = row["color"] or (0, 0, 0)
            whole = [row["points"], *color]
            if not isinstance(row["name"], str) or len(color) != 3 or not all(type(n) is int for n in whole):
                raise ValueError(f"found {row!r:.200}")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RunError(
            f"{folder.path / LEGEND} cannot be used ({error!r}); repeat the run with --overwrite"
        ) from error
    return list(rows)


def read_metrics(folder: Folder) -> dict[str, Any]:
    """metrics.json of a labelled run.

    Raises:
        RunError: it is missing or not what `segment` writes.
    """
    _need_labels(folder)
    metrics = folder.read_json(METRICS)
    if not isinstance(metrics, dict):
        raise RunError(f"{folder.path / METRICS} is no object; repeat the run with --overwrite")
    return metrics


def read_picture(folder: Folder) -> Image.Image:
    """picture.png of a labelled run.

    Raises:
        RunError: it is missing or damaged.
    """
    file = folder.file(PICTURE)
    try:
        with opened_image(file) as image:
            return image.convert("RGB")
    except CaptureError as error:
        raise RunError(f"cannot read {error}; repeat the run with --overwrite") from error


def write_features(stage: StageWriter, name: str, features: PointFeatures) -> EncodedFeatures:
    """Features in at most 64 bytes a point (see `encode`); the space goes into the metadata.

    Returns:
        What was written: whoever goes on with its features gives what a resumed run gives.
    """
    kept = encode(features)
    metadata = {"space": json.dumps(asdict(features.space))}
    stage.write(name, lambda path: save_file(kept.tensors(), path, metadata=metadata))
    stage.notes["lost"] = kept.lost
    return kept


def read_features(folder: Folder, name: str, points: PointCloud) -> PointFeatures:
    """Features of these very points.

    Raises:
        RunError: missing, not what `write_features` writes, or of another number of points.
    """
    path = folder.file(name)
    try:
        tensors = load_file(path)
        with safe_open(path, framework="pt") as file:
            space = FeatureSpace(**json.loads((file.metadata() or {})["space"]))
        features = decode(tensors, space)
    except KeyError as error:
        raise RunError(
            f"found no {error} in {path}, which this version of purify3d keeps there: another version wrote "
            "it, or it is damaged. Repeat the run with --overwrite"
        ) from error
    except (OSError, SafetensorError, ValueError, TypeError, OverflowError) as error:
        raise RunError(f"cannot read {path} ({error!r}); repeat the run with --overwrite") from error
    if len(features) != len(points):
        raise RunError(
            f"found {len(features)} features in {path} and {len(points)} points in {POINTS}; expected as "
            "many. Repeat the run with --overwrite"
        )
    return features


def _need_labels(folder: Folder) -> None:
    if not folder.whole("label"):
        raise RunError(
            f"the run in {folder.path} has no whole labels: it was stopped before they were written, or a "
            "file is missing or cut off; repeat its 'segment' command"
        )


def name_with_words(kind: str, text: str) -> str:
    """`KIND-WORDS`; with a few digits of a hash where other texts could have the same words in a name."""
    words = "-".join(re.findall(r"\w+", text.lower()))[:40]
    if words.isascii() and words.replace("-", " ") == text:
        return f"{kind}-{words}"
    return f"{kind}-{words}-{hashlib.sha256(text.encode()).hexdigest()[:8]}".replace("--", "-")


def _written(folder: Folder, name: str, origin: np.ndarray) -> WrittenCloud:
    try:
        written = read_written(folder.file(name), origin=origin)
        xyz, normal = written.points.xyz, written.points.normal
        if not bool((xyz.abs() < _FARTHEST).all()) or not bool((normal.abs() < 1.01).all()):
            raise ValueError(
                f"{folder.path / name}: found points more than {_FARTHEST:.0e} m away or normals longer than "
                "1; it is damaged"
            )
        return written
    except (CaptureError, OSError, ValueError) as error:
        raise RunError(f"{error}; or repeat the run with --overwrite") from error

"""The single objects of a finished run, as boxes that other programs read."""

from __future__ import annotations

import csv
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from purify3d.base.errors import PurifyError, PurifyWarning, RunError
from purify3d.features.frustum import FrustumIndex
from purify3d.features.lifting import measured_points
from purify3d.labels.objects import Found, Object, find_objects
from purify3d.labels.questions import Answer
from purify3d.pictures.palettes import label_colors
from purify3d.runs.artefacts import name_with_words
from purify3d.runs.folder import StageWriter, fingerprint
from purify3d.types import Scene

if TYPE_CHECKING:
    from purify3d.runs.run import Run

_TOLERANCE = 0.05  # a point is in a photo within this share of the depth measured there
_PHOTOS = 3  # named for each object, at most
_HALF = 0.5  # of what the best photo shows of an object, the others show at least
_FIT = 0.5  # mean heat from which an object is what was asked for
_SIDES = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])


def find(run: Run) -> list[Found]:
    """The objects of a run, in the user's coordinates.

    Raises:
        RunError: no point of it has a label, or a file is missing.

    Warns:
        PurifyWarning: the capture or some of its frames cannot be read, so that photos are not named.
    """
    if not bool((run.labels.label >= 0).any()):
        raise RunError(
            f"no point of the run in {run.folder} has a label, so it has no objects; expected labelled "
            "points. Repeat 'segment' with other --labels, or with a lower --threshold"
        )
    scene = run.scene
    things = find_objects(scene.cloud(), run.labels, up=scene.up, config=run.object_config)
    moved = (replace(thing, center=thing.center + scene.origin) for thing in things)
    photos = _photos(run, scene, things)
    return _numbered([Found("", thing, names) for thing, names in zip(moved, photos, strict=True)])


def fitting(found: Sequence[Found], answer: Answer) -> list[Found]:
    """The objects that are hot, those that fit best first; none where nothing like this is here."""
    score, heat = answer.score.numpy(), answer.heat.numpy()
    hot = [
        replace(one, thing=replace(one.thing, score=float(score[one.thing.members].mean())))
        for one in found
        if answer.found and heat[one.thing.members].mean() >= _FIT
    ]
    return _numbered(sorted(hot, key=lambda one: -one.thing.score))


def write(making: StageWriter, run: Run, found: Sequence[Found], name: str = "objects") -> list[Path]:
    """NAME.json, .csv and .ply.

    Raises:
        RunError: one cannot be written.
    """
    return [
        making.write_json(f"{name}.json", as_json(found, run.scene.name)),
        making.write(f"{name}.csv", lambda path: write_csv(path, found)),
        making.write(f"{name}.ply", lambda path: write_boxes(path, found, run.labels.names)),
    ]


def write_found(
    run: Run, found: Sequence[Found], text: str | None = None, *, output: Path | None = None
) -> list[Path]:
    """What `run.objects(text)` gave, as files with the words in their names.

    Args:
        output: a folder; None: the run's, where those of no text are already.

    Raises:
        RunError: the run lives in memory, or the folder cannot be written.
    """
    if text is None and output is None:
        return [run.files.path / name for name in run.files.stages["objects"]["files"]]
    name = "objects" if text is None else name_with_words("objects", text)
    before = ("objects",) if text is None else ("objects", "purify")
    digest = fingerprint(*map(run.fingerprint, before), text)
    return run.keep(name, digest, before, lambda making: write(making, run, found, name), output=output)


def _numbered(found: Sequence[Found]) -> list[Found]:
    """With a number behind each label, from 1 on in this order."""
    number: Counter[str] = Counter()
    named = []
    for one in found:
        number[one.thing.label] += 1
        named.append(replace(one, id=f"{one.thing.label}-{number[one.thing.label]}"))
    return named


def as_json(found: Sequence[Found], frame: str) -> dict[str, Any]:
    """A Detection3DArray of ROS vision_msgs as plain values, and `details`, which is ours.

    Fields of a detection are those of vision_msgs/Detection3D: the box is in the frame `header.frame_id`, the
    world of the capture; its z axis is up and its x axis the longer side, metres. `details` has, by id, the
    points, the yaw in degrees and the best photos of each.
    """
    header = {"stamp": {"sec": 0, "nanosec": 0}, "frame_id": frame}
    detections = []
    for one in found:
        thing = one.thing
        detections.append(
            {
                "header": header,
                "results": [{"hypothesis": {"class_id": thing.label, "score": round(thing.score, 6)}}],
                "bbox": {
                    "center": {
                        "position": _named("xyz", thing.center, 4),
                        "orientation": _named("xyzw", thing.orientation, 9),
                    },
                    "size": _named("xyz", thing.size, 4),
                },
                "id": one.id,
            }
        )
    details = {
        one.id: {
            "points": one.thing.points,
            "yaw_degrees": round(float(np.degrees(one.thing.yaw)), 3),
            "photos": list(one.photos),
        }
        for one in found
    }
    return {"header": header, "detections": detections, "details": details}


def _named(names: str, values: np.ndarray, digits: int) -> dict[str, float]:
    return dict(zip(names, np.asarray(values, dtype=np.float64).round(digits).tolist(), strict=True))


def write_csv(path: Path, found: Sequence[Found]) -> None:
    """One line an object: position and size in metres, yaw in degrees, photos with `;` between them."""
    head = ["id", "label", "score", "points", "x", "y", "z", "size_x", "size_y", "size_z", "yaw_degrees"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*head, "qx", "qy", "qz", "qw", "photos"])
        for one in found:
            thing = one.thing
            place = [f"{value:.4f}" for value in (*thing.center, *thing.size)]
            turn = [f"{np.degrees(thing.yaw):.3f}", *(f"{value:.9f}" for value in thing.orientation)]
            facts = [one.id, thing.label, f"{thing.score:.6f}", str(thing.points)]
            writer.writerow([*facts, *place, *turn, ";".join(one.photos)])


def write_boxes(path: Path, found: Sequence[Found], names: Sequence[str]) -> None:
    """Boxes as a mesh: 8 corners and 12 triangles each, in the colour of the label; binary PLY.

    Raises:
        OSError: not everything could be written.
    """
    color = dict(zip(names, label_colors(names), strict=True))
    vertex = np.zeros(8 * len(found), dtype=[("xyz", "<f8", 3), ("rgb", "u1", 3)])
    face = np.zeros(12 * len(found), dtype=[("count", "u1"), ("corner", "<i4", 3)])
    face["count"] = 3
    triangles = _SIDES[:, [[0, 1, 2], [0, 2, 3]]].reshape(12, 3)
    for i, one in enumerate(found):
        vertex["xyz"][8 * i : 8 * i + 8] = one.thing.corners()
        vertex["rgb"][8 * i : 8 * i + 8] = color[one.thing.label]
        face["corner"][12 * i : 12 * i + 12] = triangles + 8 * i
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertex)}"]
    header += [f"property double {axis}" for axis in "xyz"]
    header += [f"property uchar {channel}" for channel in ("red", "green", "blue")]
    header += [f"element face {len(face)}", "property list uchar int vertex_indices", "end_header", ""]
    with path.open("wb") as file:
        file.write("\n".join(header).encode())
        file.write(vertex.tobytes())
        file.write(face.tobytes())


def _photos(run: Run, scene: Scene, things: Sequence[Object]) -> list[tuple[str, ...]]:
    """Names of the frames that show most of each object; none where the capture is not to be had."""
    try:
        frames = run.capture.frames
    except PurifyError as error:
        warnings.warn(f"no photos are named, as the capture cannot be opened: {error}", PurifyWarning, 3)
        frames = ()
    owner = np.full(len(scene.cloud()), len(things))
    for i, thing in enumerate(things):
        owner[thing.members] = i
    shown = np.zeros((len(frames), len(things)), dtype=np.int64)
    unread, blocks = [], FrustumIndex.of(scene.cloud().xyz)
    for i, frame in enumerate(run.progress(frames, name="photos", total=len(frames))):
        try:
            point, _ = measured_points(blocks, frame, _TOLERANCE, 0)
        except (PurifyError, OSError):
            unread.append(frame.name)
            continue
        shown[i] = np.bincount(owner[point.numpy()], minlength=len(things) + 1)[:-1]
    if unread:
        warnings.warn(f"{len(unread)} frames cannot be read: {', '.join(unread[:5])}", PurifyWarning, 3)
    photos = []
    for i in range(len(things)):
        best = np.argsort(-shown[:, i], kind="stable")[:_PHOTOS]
        enough = max(1.0, _HALF * shown[:, i].max(initial=0))
        photos.append(tuple(frames[f].name for f in best if shown[f, i] >= enough))
    return photos

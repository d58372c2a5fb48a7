"""The single objects of a finished run, as boxes that other programs read."""

from __future__ import annotations

import csv
import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from purify3d.affinities.building import affinity
from purify3d.affinities.embeddings import load_embedding
from purify3d.backbones import Backbone
from purify3d.base.errors import PurifyError, PurifyWarning, RunError
from purify3d.base.progress import Progress, silent
from purify3d.features.frustum import Blocks
from purify3d.features.lifting import measured_points
from purify3d.labels.objects import Object, ObjectConfig, find_objects
from purify3d.labels.questions import Answer
from purify3d.labels.segmentation import Segmentation
from purify3d.pictures.palettes import label_colors
from purify3d.runs import artefacts
from purify3d.runs.ask import ask, file_name
from purify3d.runs.folder import Run, fingerprint
from purify3d.types import Affinity, Scene

_PATIENCE = 30.0  # seconds to wait for another process that writes
_TOLERANCE = 0.05  # a point is in a photo within this share of the depth measured there
_NEIGHBORS = 26  # voxels that each is held against
_PHOTOS = 3  # named for each object, at most
_HALF = 0.5  # of what the best photo shows of an object, the others show at least
_FIT = 0.5  # mean heat from which an object is what was asked for
_SIDES = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])


@dataclass(frozen=True, eq=False)
class Found:
    """An object as it is written and printed: with a name, and where the user's coordinates are.

    Attributes:
        id: its label and a number that starts at 1 with each label.
        thing: its box, in the world of the capture (`Scene.origin` added).
        photos: names of the frames that show most of it, the best first.
    """

    id: str
    thing: Object
    photos: tuple[str, ...]


def objects_of(
    run: Run,
    *,
    text: str | None = None,
    backbone: Backbone | None = None,
    config: ObjectConfig | None = None,
    progress: Progress = silent,
) -> tuple[list[Found], list[Path]]:
    """The objects of a finished run, and the files they are in.

    Args:
        text: only the objects that fit these words, the best first, with their mean cosine to them as score;
            needs `backbone`, the run's 2D model.

    Returns:
        The objects, by label and then the best score first (with `text`: the best first); objects.json, .csv
        and .ply, with the words in their names where there are any.

    Raises:
        RunError: the run has no labels, no point of it has one, or a file is missing or cannot be written.
        LabelError, SpaceMismatchError: see `ask`.
    """
    config = config or ObjectConfig()
    scene = artefacts.read_scene(run)
    result = _labels(run, scene)
    things = _things(run, scene, result, backbone, config, progress)
    if text is not None:
        if backbone is None:
            raise ValueError("found words and no backbone; expected the run's own")
        things = _fitting(things, ask(run, text, backbone, progress=progress)[0])
    found = _named_things(things, _photos(run, scene, things, progress), scene.origin)
    name = "objects" if text is None else file_name(text).replace("query-", "objects-", 1)
    with run.writing(patience=_PATIENCE):
        print_ = fingerprint(run.print_of("label"), run.print_of("purify"), asdict(config), text)
        with run.making(name, print_) as stage:
            files = [
                stage.write_json(f"{name}.json", as_json(found, scene.name)),
                stage.write(f"{name}.csv", lambda path: write_csv(path, found)),
                stage.write(f"{name}.ply", lambda path: write_boxes(path, found, result.names)),
            ]
    return found, files


def _named_things(
    things: Sequence[Object], photos: Sequence[tuple[str, ...]], origin: np.ndarray
) -> list[Found]:
    """Objects with names, in the user's coordinates."""
    number: dict[str, int] = {}
    found = []
    for thing, names in zip(things, photos, strict=True):
        number[thing.label] = number.get(thing.label, 0) + 1
        moved = replace(thing, center=thing.center + origin)
        found.append(Found(f"{thing.label}-{number[thing.label]}", moved, names))
    return found


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


def _labels(run: Run, scene: Scene) -> Segmentation:
    """What the run said of each point.

    Raises:
        RunError: it has said nothing.
    """
    result, _ = artefacts.read_labels(run, scene)
    if not bool((result.label >= 0).any()):
        raise RunError(
            f"no point of the run in {run.folder} has a label, so it has no objects; expected labelled "
            "points. Repeat 'segment' with other --labels, or with a lower --threshold"
        )
    return result


def _things(
    run: Run,
    scene: Scene,
    result: Segmentation,
    backbone: Backbone | None,
    config: ObjectConfig,
    progress: Progress,
) -> list[Object]:
    """Objects by the affinity that the run was purified with; by geometry where that has no neighbours."""
    points, method = scene.cloud(), run.job.method.purify
    features = artefacts.read_features(run, artefacts.FEATURES, points).within(method.fill)
    method = replace(method, neighbors=_NEIGHBORS, confidence=0.0, rounds=1, memory=math.inf)
    embedding = load_embedding(method.affinity, backbone)
    voxels, heard = affinity(points, features, method, embedding=embedding, progress=progress)
    if not isinstance(heard, Affinity):
        raise TypeError(f"found {heard}; expected neighbours in memory")
    return find_objects(points, result, voxels, heard, up=scene.up, config=config)


def _fitting(things: Sequence[Object], answer: Answer) -> list[Object]:
    """The objects that are hot, those that fit best first; none where nothing like this is here."""
    score, heat = answer.score.numpy(), answer.heat.numpy()
    hot = [
        replace(thing, score=float(score[thing.members].mean()))
        for thing in things
        if answer.found and heat[thing.members].mean() >= _FIT
    ]
    return sorted(hot, key=lambda thing: -thing.score)


def _photos(run: Run, scene: Scene, things: Sequence[Object], progress: Progress) -> list[tuple[str, ...]]:
    """Names of the frames that show most of each object; none where the capture is not to be had."""
    try:
        frames = run.job.capture.open().frames
    except PurifyError as error:
        warnings.warn(f"no photos are named, as the capture cannot be opened: {error}", PurifyWarning, 3)
        frames = ()
    owner = np.full(len(scene.cloud()), len(things))
    for i, thing in enumerate(things):
        owner[thing.members] = i
    shown = np.zeros((len(frames), len(things)), dtype=np.int64)
    unread, blocks = [], Blocks.of(scene.cloud().xyz)
    for i, frame in enumerate(progress(frames, name="photos", total=len(frames))):
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

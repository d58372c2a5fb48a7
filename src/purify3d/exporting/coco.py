"""COCO panoptic: photos with a label and an object at each pixel, for training 2D models on what 3D knows.

Format: Kirillov et al., "Panoptic Segmentation", CVPR 2019; cocodataset.org, "Data format", 4. Panoptic
Segmentation: the id of a pixel's segment is R + 256 G + 65536 B, 0 = void.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import find_objects

from purify3d.base.errors import PurifyError, RunError
from purify3d.exporting.content import Content
from purify3d.exporting.file_stems import file_stems
from purify3d.exporting.pixels import PointLookup, on_color, points_of_pixels
from purify3d.labels.metrics import BACKGROUND

_QUALITY = 95  # of the photos


def write(path: Path, content: Content) -> None:
    """A folder of images of the colour camera's size.

    `images/NAME.jpg`, `labels/NAME.png` (position of the label in the list + 1, 0 = none),
    `panoptic/NAME.png` and `panoptic.json`. A pixel with depth has the label of the nearest labelled point
    within one voxel of the run. Walls, floors and ceilings are stuff: one segment each. The others are
    things: the objects of `purify3d objects`, with the same segment id in all frames; pixels of things that
    are too small to be an object are void.

    Raises:
        RunError: no point has a label.
        CaptureError: the capture cannot be opened, or none of its frames can be read.
    """
    result, frames = content.run.labels, content.capture.frames
    label = result.numpy()
    labelled = np.flatnonzero(label >= 0)
    if not len(labelled):
        raise RunError(f"no point of the run in {content.run.folder} has a label; expected labelled points")
    categories = categories_of(content)
    segment, category = segments_of(content, categories)
    lookup = PointLookup(content.run.points.xyz.numpy()[labelled], content.run.job.method.purify.voxel)
    label, segment = np.append(label[labelled] + 1, 0), np.append(segment[labelled], 0)
    for folder in ("images", "labels", "panoptic"):
        (path / folder).mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    unread = []
    names = file_stems(frame.name for frame in frames)
    kind = np.uint8 if len(result.names) < 256 else np.uint16
    for number, frame in enumerate(content.run.progress(frames, name="labels of frames", total=len(frames))):
        name, camera = names[number], frame.camera
        try:
            photo = Image.fromarray(frame.color())
            point = on_color(points_of_pixels(frame, lookup), frame.depth_camera, camera)
        except (PurifyError, OSError):
            unread.append(frame.name)
            continue
        photo.save(path / "images" / f"{name}.jpg", quality=_QUALITY)
        Image.fromarray(label[point].astype(kind)).save(path / "labels" / f"{name}.png")
        ids = segment[point]
        Image.fromarray(rgb_of_ids(ids)).save(path / "panoptic" / f"{name}.png")
        size = {"width": camera.width, "height": camera.height}
        images.append({"id": number, "file_name": f"{name}.jpg", **size})
        infos = segments_info(ids, category)
        annotations.append({"image_id": number, "file_name": f"{name}.png", "segments_info": infos})
    content.tell_unread(unread)
    tree = {
        "info": {"description": f"{content.run.scene.name}, labelled by purify3d"},
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }
    (path / "panoptic.json").write_text(json.dumps(tree, ensure_ascii=False), encoding="utf-8")


def categories_of(content: Content) -> list[dict[str, Any]]:
    """The labels as COCO has them: ids from 1 on; `isthing` is 0 for walls, floors and ceilings."""
    names, colors = content.run.labels.names, content.label_colors.tolist()
    return [
        {
            "id": i + 1,
            "name": name,
            "supercategory": "stuff" if name.lower() in BACKGROUND else "thing",
            "isthing": int(name.lower() not in BACKGROUND),
            "color": color,
        }
        for i, (name, color) in enumerate(zip(names, colors, strict=True))
    ]


def segments_of(content: Content, categories: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """(N,) int32 segment of each point, 0 = none, and (S + 1,) int32 category of each segment."""
    label, names = content.run.labels.numpy(), list(content.run.labels.names)
    stuff = np.array([not entry["isthing"] for entry in categories])
    # Stuff takes the ids of its categories, things go on behind them.
    segment = np.where((label >= 0) & stuff[label], label + 1, 0).astype(np.int32)
    category = [*range(len(names) + 1)]
    for one in content.run.objects():
        index = names.index(one.thing.label)
        if not stuff[index]:
            segment[one.thing.members] = len(category)
            category.append(index + 1)
    return segment, np.array(category, dtype=np.int32)


def segments_info(ids: np.ndarray, category: np.ndarray) -> list[dict[str, Any]]:
    """What COCO says of each segment of (H, W) ids: area, and box x, y, width, height in pixels."""
    area = np.bincount(ids.ravel())
    return [
        {
            "id": i,
            "category_id": int(category[i]),
            "area": int(area[i]),
            "bbox": [column.start, row.start, column.stop - column.start, row.stop - row.start],
            "iscrowd": 0,
        }
        for i, place in enumerate(find_objects(ids), start=1)
        if place is not None
        for row, column in [place]
    ]


def rgb_of_ids(ids: np.ndarray) -> np.ndarray:
    """(H, W) ids below 2^24 -> (H, W, 3) uint8."""
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16 & 255], axis=-1).astype(np.uint8)

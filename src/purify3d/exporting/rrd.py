"""RRD: a recording for the viewer of rerun.io: points with labels, and the frames one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from purify3d.base.axes import describe_axis
from purify3d.base.errors import PurifyError, require
from purify3d.exporting.content import Content
from purify3d.pictures.encoding import encoded

_QUALITY = 85  # of the photos
_MILLIMETRES = 1000.0
_DEEPEST = 65.0  # metres that 16 bits of millimetres hold


def write(path: Path, content: Content) -> None:
    """The root has the labels as annotation context, `world/points` the points with class ids.

    On the timeline `frame`: `world/camera` (pose), `world/camera/image` (pinhole and photo) and
    `world/camera/depth` (pinhole and depth in millimetres). Class id 0 is no label, label i has i + 1.
    The viewer computes with 32 bits: positions are relative to the run's origin, which `world/origin` tells.

    Raises:
        CaptureError: the capture cannot be opened, or none of its frames can be read.
        MissingPackageError: rerun is not installed.
    """
    rr: Any = require("rerun", "rerun")
    frames = content.capture.frames
    result, scene = content.run.labels, content.run.scene
    record = rr.RecordingStream("purify3d", recording_id=f"purify3d-{content.name}")
    record.save(path)
    classes = [(0, "(none)", (70, 70, 70))]
    classes += [
        (i + 1, name, tuple(color))
        for i, (name, color) in enumerate(zip(result.names, content.label_colors.tolist(), strict=True))
    ]
    record.log("/", rr.AnnotationContext(classes), static=True)
    if len(axis := describe_axis(scene.up)) == 2:
        name = f"RIGHT_HAND_{axis[1].upper()}_{'UP' if axis[0] == '+' else 'DOWN'}"
        record.log("world", getattr(rr.ViewCoordinates, name), static=True)
    record.log("world/origin", rr.AnyValues(origin=scene.origin, up=scene.up), static=True)
    colors = {} if content.wishes.colors == "label" else {"colors": content.rgb}
    ids = (result.numpy() + 1).astype(np.uint16)
    record.log(
        "world/points",
        rr.Points3D(content.run.points.xyz.numpy(), class_ids=ids, **colors),
        rr.AnyValues(score=result.score.numpy(), views=content.run.views.numpy()),
        static=True,
    )
    unread = []
    for number, frame in enumerate(content.run.progress(frames, name="frames", total=len(frames))):
        try:
            color, depth = frame.color(), frame.depth()
        except (PurifyError, OSError):
            unread.append(frame.name)
            continue
        record.set_time("frame", sequence=number)
        pose = frame.world_from_camera
        record.log("world/camera", rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]))
        record.log("world/camera", rr.AnyValues(name=frame.name))
        photo = encoded(Image.fromarray(color), "JPEG", quality=_QUALITY)
        record.log("world/camera/image", _pinhole(rr, frame.camera))
        record.log("world/camera/image", rr.EncodedImage(contents=photo, media_type="image/jpeg"))
        near = np.where(depth < _DEEPEST, depth, 0)
        stored = (near * _MILLIMETRES).round().astype(np.uint16)
        record.log("world/camera/depth", _pinhole(rr, frame.depth_camera))
        record.log("world/camera/depth", rr.DepthImage(stored, meter=_MILLIMETRES))
    record.flush()
    record.disconnect()
    content.tell_unread(unread)


def _pinhole(rr: Any, camera: Any) -> Any:
    return rr.Pinhole(
        focal_length=[camera.fx, camera.fy],
        principal_point=[camera.cx + 0.5, camera.cy + 0.5],  # rerun counts from the image's corner
        resolution=[camera.width, camera.height],
        camera_xyz=rr.ViewCoordinates.RDF,
    )

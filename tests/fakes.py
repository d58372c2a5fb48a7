"""What stands in for the real thing where a test looks at something else: 2D models, clouds, frames."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from purify3d.types import Scene

#: Labels of the finished run that tests share, and their names.
LABELS = "wall, floor, chair|stool, table, sofa, cabinet, bed|mattress"
NAMES = ["wall", "floor", "chair", "table", "sofa", "cabinet", "bed"]


def write_scannet(scene: Scene, folder: Path) -> Path:
    """A scene with truth in the layout of ScanNet; ids of truth are counted from 1."""
    for name in ("color", "depth", "label", "pose", "intrinsic"):
        (folder / name).mkdir(parents=True)
    camera = scene.frames[0].camera
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    for kind in ("color", "depth"):
        np.savetxt(folder / "intrinsic" / f"intrinsic_{kind}.txt", matrix)
    for i, frame in enumerate(scene.frames):
        assert frame.label is not None
        Image.fromarray(frame.color()).save(folder / "color" / f"{i}.jpg", quality=95)
        Image.fromarray((frame.depth() * 1000).round().astype(np.uint16)).save(folder / "depth" / f"{i}.png")
        Image.fromarray((frame.label() + 1).astype(np.uint16)).save(folder / "label" / f"{i}.png")
        np.savetxt(folder / "pose" / f"{i}.txt", frame.world_from_camera)
    names = {"0": "unlabeled"} | {str(i + 1): name for i, name in scene.truth.items()}
    (folder / "labels.json").write_text(json.dumps(names))
    return folder

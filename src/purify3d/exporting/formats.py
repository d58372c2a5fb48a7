"""What a run can be exported to, and what may be chosen of it. Imports nothing heavy, for help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

Colors = Literal["label", "photo", "heat", "pca"]
COLORS: tuple[Colors, ...] = get_args(Colors)


class Format(NamedTuple):
    """
    Attributes:
        module: of this package, whose `write(path, content)` fills the path with a run.
        suffix: of the file; "" where a folder is written.
    """

    module: str
    suffix: str


FORMATS = {
    "ply": Format("ply", ".ply"),
    "las": Format("las", ".las"),
    "laz": Format("las", ".laz"),
    "glb": Format("glb", ".glb"),
    "rrd": Format("rrd", ".rrd"),
    "npz": Format("npz", ".npz"),
    "scannet": Format("scannet", ""),
    "coco": Format("coco", ""),
}


@dataclass(frozen=True)
class Wishes:
    """What may be chosen of an export.

    Attributes:
        colors: of points and vertices: of their label, of the photos, heat of `text`, or the three main
            directions of the purified features.
        text: words whose heat is exported too.
        mesh: of GLB, make a mesh of the frames where the run has none.
        features: of NPZ, the purified features too.
        limit: frames at most, evenly spaced, of formats that hold frames; None: all.
    """

    colors: Colors = "label"
    text: str | None = None
    mesh: bool = False
    features: bool = False
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.colors not in COLORS:
            raise ValueError(f"found colors = {self.colors!r}; expected one of {', '.join(COLORS)}")
        if self.colors == "heat" and self.text is None:
            raise ValueError("found colors = 'heat' and no text; expected the words whose heat is shown")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"found limit = {self.limit}; expected at least one frame")

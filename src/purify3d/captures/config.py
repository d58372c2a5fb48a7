"""Settings of a capture: how it is read, and what of it is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from purify3d.base.settings import Group, check, setting

if TYPE_CHECKING:
    from purify3d.captures.conventions import Stored
    from purify3d.types import Scene

Convention = Literal["opencv", "opengl"]
Direction = Literal["camera-to-world", "world-to-camera"]
Along = Literal["axis", "ray"]

#: Metres. Depth cameras of phones, headsets and desks end before; what 16 bits hold at most is 65 m.
MAX_DEPTH = 20.0


@dataclass(frozen=True)
class CaptureConfig:
    """What is labelled.

    Attributes:
        path: a folder or file in a known format, or synthetic:SEED (synthetic:SEED?frames=24).
        reader: format of the capture, such as scannet, nerfstudio or tum; none: found from the path.
        up: direction against gravity in the capture: +z, -y, or three numbers; none: the format's, or a guess
            from the cameras.
        intrinsics: fx,fy,cx,cy of the colour images in pixels (integer pixel centres, no distortion), in
            place of the capture's own.
        every: use every n-th frame; none: all of them, or in a capture of more than 300 frames those that
            moved more than 0.10 m or turned more than 10 degrees since the last one kept.
        limit: use at most so many frames, evenly spaced.
        leave_out: names of frames that are not used, such as 00012,00040..00052 (from one to another), as
            check gives them for wrong poses.
        onto: cloud or mesh to label (PLY, OBJ, LAS) in place of the fused frames.
        depth_unit: metres per unit of the stored depth: 0.001 for millimetres; none: the format's.
        depth_along: what depth is measured along: the axis that the camera looks along (z), or the ray of
            each pixel (distance to the camera, as simulators write it).
        max_depth: metres; what is measured farther away counts as not measured.
        pose_convention: camera axes of the stored poses, opencv (x right, y down, z forward) or opengl
            (x right, y up, z back); none: the format's.
        pose_direction: what stored poses map, camera-to-world or world-to-camera; none: the format's.
        scale: metres per unit of the stored poses, and of the capture's own cloud.
        interpolate: give an image between two poses, if they follow within 0.1 s, a pose in between; for
            formats whose images and poses have times of their own (tum).
    """

    GROUP: ClassVar[Group] = "Input"

    path: str = setting(stage="points")
    reader: str | None = setting(None, stage="points")
    up: str | tuple[float, ...] | None = setting(None, stage="points", common=True)
    intrinsics: tuple[float, ...] | None = setting(None, stage="points")
    every: int | None = setting(None, stage="points", low=1, high=10**6, common=True)
    limit: int | None = setting(None, stage="points", low=1, high=10**6, common=True)
    leave_out: str | tuple[str, ...] | None = setting(None, stage="points")
    onto: str | None = setting(None, stage="points", common=True)
    depth_unit: float | None = setting(None, stage="points", above=0, high=1e3, common=True)
    depth_along: Along = setting("axis", stage="points")
    max_depth: float = setting(MAX_DEPTH, stage="points", above=0, high=1e6)
    pose_convention: Convention | None = setting(None, stage="points")
    pose_direction: Direction | None = setting(None, stage="points")
    scale: float = setting(1.0, stage="points", above=0, high=1e6)
    interpolate: bool = setting(False, stage="points")

    def __post_init__(self) -> None:
        check(self)
        for name in ("path", "onto"):  # an empty path would be the working directory
            if (path := getattr(self, name)) is not None and not path.strip():
                raise ValueError(f"found an empty {name}; expected the path of a file or folder")
        if self.intrinsics is not None and len(self.intrinsics) != 4:
            raise ValueError(f"found intrinsics = {self.intrinsics}; expected four numbers fx,fy,cx,cy")

    def open(self) -> Scene:
        """The capture as it is used; see `opening.opened`."""
        from purify3d.captures.opening import opened  # late, as below: help of flags is shown without numpy

        return opened(self)

    def whole(self) -> tuple[Scene, Stored]:
        """All frames of the capture as they are stored; see `opening.whole`."""
        from purify3d.captures.opening import whole

        return whole(self)

"""Facts about a capture, and one sentence on what to change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from purify3d.base.axes import describe_axis
from purify3d.captures.config import MAX_DEPTH
from purify3d.captures.conventions import Stored
from purify3d.checking import sizes
from purify3d.checking.agreement import Agreement, Views, agreement, look
from purify3d.checking.fixes import left_out, resized
from purify3d.checking.outliers import JUDGED, Wrong, misplaced, named, stuck
from purify3d.checking.search import GOOD, WRONG, Found, along, search
from purify3d.types import Frame, Scene

#: What is known: nothing is wrong, something is, or it could not be told.
Status = Literal["right", "wrong", "undecided"]

_FAR_SHARE = 0.002  # of the measured pixels beyond the range, from which it is worth a word
_MOSTLY = 0.5


@dataclass(frozen=True, eq=False)
class Findings:
    """What is known of the frames of a capture.

    Attributes:
        facts: name -> text, for people.
        views: the frames that were looked at.
        agreement: of these frames.
        found: the mistake that explains why they do not agree, or what unit they seem to be in, if one does.
        wrong: frames whose pose is wrong where the others' are right.
        status: right only where agreement was measured, and the sizes of depth, room and path are those of a
            scan.
        verdict: one sentence: what to change, or that nothing needs to be.
        remarks: sentences on what is unusual and no proof of a mistake.
        far: a sentence on depth beyond the range that is used, if there is any.
    """

    facts: dict[str, Any]
    views: Views
    agreement: Agreement
    found: Found | None
    wrong: tuple[Wrong, ...]
    status: Status
    verdict: str
    remarks: list[str]
    far: str | None

    @property
    def good(self) -> bool:
        """Whether the frames were seen to be right."""
        return self.status == "right"

    @property
    def hopeless(self) -> bool:
        """Whether nothing that is made of these frames can be right: most pixels contradict each other, or
        depth or poses hold nothing."""
        return self.status == "wrong" and not self.wrong and not self.agreement.share >= WRONG


def examine(
    scene: Scene, stored: Stored | None = None, *, max_depth: float = MAX_DEPTH, count: int = 24
) -> Findings:
    """Look at some frames of a capture, and whether they agree with each other.

    Args:
        scene: all its frames, not turned upright, with all depth there is (`CaptureConfig.whole`).
        stored: how its poses and depth were taken to be stored.
        max_depth: metres; farther pixels are not looked at, unless most are farther.
        count: frames to look at for mistakes that all have. Up to 300 are judged one by one.

    Raises:
        CaptureError: an image cannot be read.
    """
    frames = scene.frames
    views = look(frames, count=count)
    poses = np.stack([frame.world_from_camera for frame in frames])
    measured = views.measured
    beyond = float((measured > max_depth).mean()) if len(measured) else 0.0
    near = views if beyond > _MOSTLY else views.within(max_depth)
    agreed = agreement(near)
    unit = frames[0].depth_unit
    told = _judge(frames, near, agreed, measured, stored or Stored(), max_depth)
    facts = {
        "capture": scene.name,
        "frames": f"{len(frames)}"
        + (f", {scene.skipped} left out (pose not finite)" if scene.skipped else "")
        + (f"; {JUDGED} of them judged one by one" if len(frames) > JUDGED else ""),
        **_cameras(frames),
        "poses": _poses(poses),
        "up": _up(scene, poses),
        **_depth(measured, views.missing, unit),
        "extent": _extent(near, scene.origin),
        "agreement": "cannot be told"
        if math.isnan(agreed.share)
        else f"{agreed.share:.1%} of the pixels looked up",
    }
    far = None
    if beyond > _FAR_SHARE:
        far = (
            f"{beyond:.1%} of the measured pixels are beyond {max_depth:g} m (up to {measured.max():.4g} m), "
            'left out: a sentinel for "no depth", or another unit? --max-depth changes the range'
        )
    return Findings(facts, views, agreed, **told, far=far)


def _judge(
    frames: Sequence[Frame],
    views: Views,
    agreed: Agreement,
    measured: np.ndarray,
    stored: Stored,
    max_depth: float,
) -> dict[str, Any]:
    """`found`, `wrong`, `status`, `verdict` and `remarks` of `Findings`."""

    remarks = _remarks(np.stack([frame.world_from_camera for frame in frames]))

    def told(status: Status, verdict: str, found: Found | None = None, wrong: tuple[Wrong, ...] = ()) -> Any:
        return {"status": status, "verdict": verdict, "found": found, "wrong": wrong, "remarks": remarks}

    if not len(measured):
        return told("wrong", "no frame holds any depth, so there is nothing to fuse; check the depth images")
    if (coarse := sizes.rounded(measured)) is not None:
        return told("wrong", coarse)
    so = f"the frames agree in {agreed.share:.0%} of the pixels that should (right captures: {GOOD:.0%})"
    if math.isnan(agreed.share):
        so = "hardly any frame looks at what another one sees"
    if stuck(frames):
        return told("wrong", f"{so}; {_STUCK}")
    poses = np.stack([frame.world_from_camera for frame in frames])
    unit = frames[0].depth_unit
    wrong, rest, unknown = misplaced(frames, _all_of(frames, views, max_depth))
    if unknown and not math.isnan(agreed.share):
        remarks.append(
            f"{len(unknown)} of {len(frames)} frames see nothing that others see, so their poses cannot be "
            f"judged: {named(unknown)}"
        )
    if wrong and rest >= GOOD and 2 * len(wrong) <= len(frames):
        fix = left_out(frames, wrong)
        return told(
            "wrong",
            f"{fix.wrong}; the others agree ({rest:.1%}). To mend it, {fix.advice}",
            Found(fix, rest, 0),
            wrong,
        )
    if agreed.share >= GOOD:
        found = along(views, poses, stored)
        if found is not None:
            return told("wrong", _explained(so, found), found)
        return told(*_by_size(views, poses, measured, unit, f"the frames agree ({agreed.share:.1%})"))
    found = search(views, poses, unit, stored)
    if found is not None:
        return told("wrong", _explained(so, found), found)
    if math.isnan(agreed.share):
        few = "too few frames look at the same places to tell whether poses, units and intrinsics are right"
        _, verdict, found = _by_size(views, poses, measured, unit, few)
        return told("undecided", verdict, found)
    return told(
        "wrong",
        f"{so}; none of the usual mistakes explains it: look for poses that drift, a scene that moved, or a "
        "lens that is not undistorted",
    )


def _explained(so: str, found: Found) -> str:
    return f"{so}; probably {found.fix.wrong}: then it is {found.share:.0%}. To mend it, {found.fix.advice}"


_STUCK = (
    "hardly any frame has a pose of its own, and their photos differ: the poses do not follow the camera. "
    "Look for another topic or file of poses, or for the frame of the camera that moves"
)


def _all_of(frames: Sequence[Frame], views: Views, max_depth: float) -> Views:
    """The frames that are judged one by one, in the range of depth that `views` has."""
    if len(views) == len(frames):
        return views
    many = look(frames, count=JUDGED, even=True)
    beyond = len(many.measured) and float((many.measured > max_depth).mean()) > _MOSTLY
    return many if beyond else many.within(max_depth)


def _by_size(
    views: Views, poses: np.ndarray, measured: np.ndarray, unit: float | None, so: str
) -> tuple[Status, str, Found | None]:
    """What sizes say of frames that nothing else is known against."""
    seen = np.concatenate([np.zeros((0, 3)), *(views.points(i) for i in range(len(views)))])
    size = sizes.sizes(seen, poses[:, :3, 3], measured)
    if math.isnan(size.room + size.depth):
        return "undecided", f"{so}, and too little is seen to tell whether the unit is right", None
    unlike = size.unlike()
    if not unlike:
        return "right", f"{so}: poses, units and intrinsics fit each other", None
    likely = sizes.likely_units(size.depth)
    why = f"{so}, but {' and '.join(unlike)}, as in no scan: the unit cannot be told"
    if not likely:
        return "undecided", f"{why}, and no usual one fits. Give --scale and --depth-unit", None
    (factor, name), *others = likely
    fix = resized(factor, unit, name)
    also = "".join(f"; if in {name}, {resized(factor, unit, name).advice}" for factor, name in others[:1])
    return "undecided", f"{why}. Probably {fix.wrong}: {fix.advice}{also}", Found(fix, math.nan, 0)


def _cameras(frames: Sequence[Frame]) -> dict[str, str]:
    first = frames[0]
    kinds = {(f.camera, f.depth_camera) for f in frames}

    def described(camera: Any) -> str:
        return (
            f"{camera.width}x{camera.height}, fx {camera.fx:.1f}, fy {camera.fy:.1f}, cx {camera.cx:.1f}, "
            f"cy {camera.cy:.1f} px"
        )

    more = "" if len(kinds) == 1 else f"; {len(kinds)} different cameras"
    return {"colour": described(first.camera) + more, "depth image": described(first.depth_camera)}


def _up(scene: Scene, poses: np.ndarray) -> str:
    share = np.linalg.norm(poses[:, :3, 1].mean(axis=0))
    return f"{describe_axis(scene.up)}; the cameras agree on one to {share:.0%}"


def _poses(poses: np.ndarray) -> str:
    steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    if not len(steps):
        return "one"
    size = np.ptp(poses[:, :3, 3], axis=0)
    return (
        f"cameras within {' x '.join(f'{side:.2f}' for side in size)} m, steps of {np.median(steps):.3g} m "
        f"(largest {steps.max():.3g})"
    )


def _depth(measured: np.ndarray, missing: float, unit: float | None) -> dict[str, str]:
    if not len(measured):
        return {"depth": "none"}
    low, middle, high = np.percentile(measured, [1, 50, 99])
    stored = "stored in metres" if unit is None else f"{unit:.6g} m a unit"
    spread = f"{low:.2f} to {high:.2f} m, half below {middle:.2f}"
    return {"depth": f"{spread}; {missing:.0%} of the pixels without; {stored}"}


def _extent(views: Views, origin: np.ndarray) -> str:
    if not len(views):
        return "nothing measured"
    seen = np.concatenate([views.points(i) for i in range(len(views))]) + origin
    low, high = np.percentile(seen, [1, 99], axis=0)
    sides = " x ".join(f"{side:.2f}" for side in high - low)
    return (
        f"{sides} m, from ({', '.join(f'{v:.2f}' for v in low)}) to ({', '.join(f'{v:.2f}' for v in high)})"
    )


def _remarks(poses: np.ndarray) -> list[str]:
    steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    if len(poses) <= 3 or steps.max() <= max(1.0, 20 * float(np.median(steps))):
        return []
    at = int(steps.argmax())
    return [f"the camera jumps {steps[at]:.2f} m between the frames {at} and {at + 1} (from 0)"]

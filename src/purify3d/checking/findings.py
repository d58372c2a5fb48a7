"""Facts about a capture, and one sentence on what to change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from purify3d.base.axes import describe_axis
from purify3d.captures.config import MAX_DEPTH
from purify3d.captures.conventions import Stored
from purify3d.checking.agreement import Agreement, Views, agreement, look
from purify3d.checking.search import GOOD, Found, search
from purify3d.types import Frame, Scene

_FAR_SHARE = 0.002  # of the measured pixels beyond the range, from which it is worth a word
_MOSTLY = 0.5
_HUGE, _TINY = 200.0, 0.05  # metres of a scene's depth that no hand-held scan has


@dataclass(frozen=True, eq=False)
class Findings:
    """What is known of the frames of a capture.

    Attributes:
        facts: name -> text, for people.
        views: the frames that were looked at.
        agreement: of these frames.
        found: the mistake that explains why they do not agree, if one does.
        remarks: sentences on what is unusual and no proof of a mistake.
        verdict: one sentence: what to change, or that nothing needs to be.
        far: a sentence on depth beyond the range that is used, if there is any.
    """

    facts: dict[str, Any]
    views: Views
    agreement: Agreement
    found: Found | None
    verdict: str
    remarks: list[str]
    far: str | None

    @property
    def good(self) -> bool:
        """Whether the frames agree."""
        return self.agreement.share >= GOOD


def examine(
    scene: Scene, stored: Stored | None = None, *, max_depth: float = MAX_DEPTH, count: int = 24
) -> Findings:
    """Look at some frames of a capture, and whether they agree with each other.

    Args:
        scene: all its frames, not turned upright, with all depth there is (`CaptureConfig.whole`).
        stored: how its poses were taken to be stored.
        max_depth: metres; farther pixels are not looked at, unless most are farther.
        count: frames to look at.

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
    found = None
    if agreed.share < GOOD:
        found = search(near, poses, unit, stored or Stored())
    facts = {
        "capture": scene.name,
        "frames": f"{len(frames)}"
        + (f", {scene.skipped} left out (pose not finite)" if scene.skipped else ""),
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
    return Findings(facts, views, agreed, found, verdict(agreed, found, measured), _remarks(poses), far)


def verdict(agreed: Agreement, found: Found | None, measured: np.ndarray) -> str:
    """One sentence.

    Args:
        measured: (M,) depths, metres.
    """
    middle = float(np.median(measured)) if len(measured) else 0.0
    if not len(measured):
        return "no frame holds any depth, so there is nothing to fuse; check the depth images"
    if math.isnan(agreed.share) or agreed.share >= GOOD:
        if middle > _HUGE or middle < _TINY:
            by = 10.0 ** -round(math.log10(middle / 2))
            return (
                f"half of the depth is beyond {middle:.4g} m: poses and depth probably have another unit; "
                f"give --scale {by:g} and --depth-unit {by:g} times the present one"
            )
        if math.isnan(agreed.share):
            return (
                "too few frames look at the same places to tell whether poses, units and intrinsics are right"
            )
        return f"the frames agree ({agreed.share:.1%}): poses, units and intrinsics fit each other"
    so = f"the frames agree in {agreed.share:.0%} of the pixels that should (right captures: {GOOD:.0%})"
    if math.isnan(agreed.share):
        so = "hardly any frame looks at what another one sees"
    if found is None:
        return (
            f"{so}; none of the usual mistakes explains it: look for poses that drift, a scene that moved, "
            "or a lens that is not undistorted"
        )
    return f"{so}; probably {found.fix.wrong}: then it is {found.share:.0%}. To mend it, {found.fix.advice}"


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
    remarks = []
    count = len(poses)
    steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    same = int((np.abs(np.diff(poses, axis=0)).max(axis=(1, 2)) < 1e-9).sum()) if count > 1 else 0
    if same:
        remarks.append(f"{same} frames have the very pose of the one before")
    still = int((np.abs(poses - np.eye(4)).max(axis=(1, 2)) < 1e-9).sum())
    if 1 < still < count:
        remarks.append(f"{still} frames have the identity as pose, where others moved: lost tracking?")
    if count > 3 and steps.max() > max(1.0, 20 * float(np.median(steps))):
        at = int(steps.argmax())
        remarks.append(f"the camera jumps {steps[at]:.2f} m between the frames {at} and {at + 1} (from 0)")
    return remarks

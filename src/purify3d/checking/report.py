"""A capture from its path to a verdict: its frames, the cloud that is to be labelled, and the way out."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from purify3d.base.errors import CaptureError
from purify3d.captures import CaptureConfig, capture_config
from purify3d.captures.formats.exchange import write_nerfstudio
from purify3d.captures.reading.images import guess_up
from purify3d.checking.clouds import CloudFit, cloud_fit
from purify3d.checking.findings import Findings, examine
from purify3d.checking.overlay import overlay
from purify3d.clouds import read_cloud
from purify3d.types import Frame


@dataclass(frozen=True, kw_only=True, eq=False)
class Report(Findings):
    """What is found in a capture, and in the cloud that is to be labelled in it.

    Attributes:
        remarks: those of the frames, warnings of the reader, and `far`.
        status: "wrong" also where the cloud does not lie where the frames see it.
        verdict: one sentence on the frames, and one on the cloud where there is one.
        fit: how the cloud of `onto` lies among what the frames measure; None: no cloud was named.
        capture: the settings it was opened with.
        frames: those that were chosen from, T of the capture.
    """

    fit: CloudFit | None
    capture: CaptureConfig
    frames: tuple[Frame, ...]

    def picture(self) -> Image.Image:
        """Views laid over each other, see `overlay`.

        Raises:
            CaptureError: an image cannot be read.
        """
        return overlay(self.frames, self.views)

    def write_fixed(self, folder: str | Path) -> Path:
        """Write all frames of the capture without the mistake that was found, as `write_nerfstudio` does.

        Returns:
            The folder.

        Raises:
            CaptureError: no mistake was found, the folder holds something, or an image cannot be read.
        """
        if self.found is None:
            raise CaptureError(
                f"{self.capture.path}: found no mistake that can be mended; nothing is written. "
                f"{self.verdict}"
            )
        whole, _ = self.capture.whole()
        mended = self.found.fix.of_scene(whole)
        if self.capture.up is None:
            mended = replace(mended, up=guess_up(mended.frames))
        return write_nerfstudio(mended, folder)


def check(path: str | Path, **settings: Any) -> Report:
    """Look at a capture before an hour is lost: frames, units, axes, and whether the frames agree.

        report = purify3d.check("my_scan", onto="scan.ply")
        report.good, report.verdict

    Args:
        path: see `open_capture`.
        settings: the attributes of `CaptureConfig` by name. Of `every` n-th frames the first `limit` are
            looked at; depth beyond `max_depth` is reported; `onto` is looked up in the frames.

    Raises:
        CaptureError: a capture or cloud that cannot be used, see `open_capture` and `read_cloud`.
        ValueError: no setting of that name, or a value it cannot have.
    """
    capture = capture_config(path, settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scene, stored = capture.whole()
    frames = scene.frames[:: capture.every or 1][: capture.limit]
    findings = examine(replace(scene, frames=frames), stored, max_depth=capture.max_depth)
    remarks = [str(warning.message) for warning in caught] + findings.remarks
    remarks += [] if findings.far is None else [findings.far]
    fit, verdict, status = None, findings.verdict, findings.status
    if capture.onto is not None:
        xyz = read_cloud(capture.onto, origin=scene.origin).xyz.numpy()
        fit = cloud_fit(xyz, findings.views.within(capture.max_depth))
        verdict = f"{verdict}. {capture.onto}: {fit.sentence()}"
        status = status if fit.good else "wrong"
    changed = {
        "remarks": remarks,
        "status": status,
        "verdict": verdict,
        "fit": fit,
        "capture": capture,
        "frames": frames,
    }
    return Report(**vars(findings) | changed)

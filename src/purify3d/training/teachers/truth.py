"""Truth as a teacher: which object each point belongs to. The upper bound of what can be learned, and for
captures that were made with it, such as procedural rooms."""

from __future__ import annotations

import numpy as np

from purify3d.base.errors import CaptureError
from purify3d.training.teachers.targets import Targets
from purify3d.types import PointCloud


class Truth:
    """Objects of `PointCloud.instance` as groups of one scale."""

    name = "truth"
    fingerprint = "truth-1"
    licence = "that of the capture"

    def teach(self, points: PointCloud, *, up: np.ndarray) -> Targets:
        """Groups are the ids of objects; nothing is known of points without one.

        Raises:
            CaptureError: no point has an object.
        """
        if not (points.instance >= 0).any():
            raise CaptureError(
                f"found no truth object on any of {len(points)} points (`PointCloud.instance` is -1 "
                "everywhere), and the teacher truth knows nothing else; expected a capture with instance "
                "images (synthetic:SEED, instance/ in a ScanNet-style folder, or instance_file_path in "
                "transforms.json), whose ids `truth.fuse_instances` puts on points. Or take the teacher "
                "geometric"
            )
        return Targets(points.instance.long().clamp_min(-1)[:, None])

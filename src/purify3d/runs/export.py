"""Results in the formats of others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from purify3d.runs import read_labels_of
from purify3d.runs.folder import Run


def write_benchmark_ids(run: Run, dataset_ids: Sequence[int]) -> Path:
    """labels.txt: the data set's id of each point's label, one a line in the order of the points; 0 = none.

    The submission format of the ScanNet benchmark (one id a vertex of the scene's mesh).
    """
    ids = np.array([*dataset_ids, 0])[read_labels_of(run)]
    return run.write("labels.txt", lambda path: np.savetxt(path, ids, fmt="%d"))

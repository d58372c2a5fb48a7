"""What a finished run says of itself."""

from __future__ import annotations

from typing import Any

from purify3d.base.errors import RunError
from purify3d.runs import artefacts
from purify3d.runs.folder import Run


def metrics_of(run: Run) -> dict[str, Any]:
    """metrics.json of a labelled run.

    Raises:
        RunError: not labelled yet, or a file is missing or cut off.
    """
    if not run.whole("label"):
        raise RunError(
            f"the run in {run.folder} has no whole labels: it was stopped before they were written, or a "
            "file is missing or cut off; repeat its 'segment' command"
        )
    metrics = run.read_json(artefacts.METRICS)
    if not isinstance(metrics, dict):
        raise RunError(f"{run.folder / artefacts.METRICS} is no object; repeat the run with --overwrite")
    return metrics


def scores_of(run: Run) -> dict[str, Any]:
    """metrics.json of a run whose capture has truth.

    Raises:
        RunError: not labelled yet, or the capture has no truth.
    """
    metrics = metrics_of(run)
    if "purified" not in metrics:
        raise RunError(
            f"the capture of the run in {run.folder} has no truth to compare with; expected label images "
            "beside its frames"
        )
    return metrics

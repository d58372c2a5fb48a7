"""Runs: a job, and what it made, in a folder."""

from purify3d.runs.ask import ask
from purify3d.runs.folder import Run, check_writable
from purify3d.runs.notebook import open_run
from purify3d.runs.report import metrics_of, scores_of
from purify3d.runs.segment import Prints, segment_into

__all__ = ["Prints", "Run", "ask", "check_writable", "metrics_of", "open_run", "scores_of", "segment_into"]

"""Runs: a job and what it makes, in memory or in a folder."""

from purify3d.runs.folder import check_writable
from purify3d.runs.run import Run, open_run, query

__all__ = ["Run", "check_writable", "open_run", "query"]

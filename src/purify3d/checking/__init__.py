"""Is a capture what it is taken for? Found in seconds, before an hour is lost."""

from purify3d.checking.agreement import agreement, look
from purify3d.checking.clouds import cloud_fit
from purify3d.checking.findings import examine
from purify3d.checking.report import Report, check
from purify3d.checking.search import GOOD, WRONG

__all__ = ["GOOD", "WRONG", "Report", "agreement", "check", "cloud_fit", "examine", "look"]

"""Is a capture what it is taken for? Found in seconds, before an hour is lost."""

from purify3d.checking.agreement import Agreement, Views, agreement, look
from purify3d.checking.clouds import CloudFit, cloud_fit
from purify3d.checking.findings import Findings, examine
from purify3d.checking.fixes import Fix
from purify3d.checking.report import Report, check
from purify3d.checking.search import GOOD, WRONG, Found, search

__all__ = [
    "GOOD",
    "WRONG",
    "Agreement",
    "CloudFit",
    "Findings",
    "Fix",
    "Found",
    "Report",
    "Views",
    "agreement",
    "check",
    "cloud_fit",
    "examine",
    "look",
    "search",
]

"""A run in a notebook."""

from __future__ import annotations

import base64
import html
from typing import TYPE_CHECKING

from purify3d.pictures.encoding import encoded
from purify3d.runs import artefacts

if TYPE_CHECKING:
    from purify3d.runs.run import Run

_WIDTH = 900  # pixels of the picture
_DARK = (90, 90, 90)  # of points without a label


def of_run(run: Run) -> str:
    """Capture, 2D model, how many points have each label, and the picture; in memory only what it is.

    Raises:
        RunError: a file is missing or damaged.
    """
    if run.folder is None:
        return html.escape(repr(run))
    rows = "".join(
        f"<tr><td style='text-align:left'><span style='background:rgb{tuple(entry['color'] or _DARK)};"
        f"padding:0 .6em;margin-right:.5em'></span>{html.escape(entry['name'])}</td>"
        f"<td>{entry['points']:,}</td></tr>"
        for entry in artefacts.read_legend(run.files)
    )
    image = run.show()
    image.thumbnail((_WIDTH, _WIDTH))
    data = base64.b64encode(encoded(image, "JPEG", quality=85)).decode()
    return (
        f"<b>{html.escape(str(run.folder))}</b>: {html.escape(run.job.capture.path)}, "
        f"{html.escape(run.job.backbone)}<br><img src='data:image/jpeg;base64,{data}'>"
        f"<details><summary>labels</summary><table>{rows}</table></details>"
    )

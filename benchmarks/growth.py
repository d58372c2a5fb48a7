"""Seconds and memory against the number of voxels, drawn.

    python benchmarks/growth.py runs/bench/scaling.json docs/images/growth.png

The JSON file is that of `purify_vs_released.py --scaling`. Both axes are logarithmic: what grows as the
number of voxels lies along the dashed line, which leads through the largest size.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from purify3d.base.errors import require

# name of the axis, key of the rows
_DRAWN = (("seconds", "total"), ("memory less imports, GB", "peak_gb_less_imports"))


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw rows of `--scaling` (`voxels`, `total`, `peak_gb_less_imports`) into a PNG or SVG file.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    figures: Any = require("matplotlib.figure", "train")
    rows = sorted(rows, key=lambda row: row["voxels"])
    voxels = [row["voxels"] for row in rows]
    figure = figures.Figure(figsize=(8, 3.6), layout="constrained")
    for axes, (name, key) in zip(figure.subplots(1, 2), _DRAWN, strict=True):
        values = [row[key] for row in rows]
        linear = [values[-1] * each / voxels[-1] for each in voxels]
        axes.loglog(voxels, linear, "--", color="0.6", linewidth=1, label="in proportion")
        axes.loglog(voxels, values, marker="o", label="measured")
        for at, value in zip(voxels, values, strict=True):
            axes.annotate(f"{value:.3g}", (at, value), xytext=(-4, 7), textcoords="offset points", ha="right")
        axes.set(xlabel="voxels", ylabel=name)
        axes.margins(0.2, 0.12)
        axes.grid(which="major", color="0.9")
        axes.legend(loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    found = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if not found.get("scaling"):
        sys.exit(f"{sys.argv[1]} holds no sizes; expected what `purify_vs_released.py --scaling` wrote")
    plot(found["scaling"], Path(sys.argv[2]))


if __name__ == "__main__":
    main()

"""How well labels of images that come from labelled points agree with the true ones.

    python benchmarks/labels2d.py RUN [--reach METRES ...]

RUN is a finished run of a capture with label images whose labels are those of its truth, such as
`purify3d demo` makes. Beside the labels of the run, the fused true ones are painted: what is lost then is
lost on the way from points to pixels. A pixel without a label counts as wrong.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from purify3d.exporting import Content
from purify3d.exporting.pixels import PointLookup, points_of_pixels
from purify3d.runs import Run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--reach", type=float, nargs="*", help="metres [default: the run's voxel]")
    args = parser.parse_args()
    content = Content(Run.finished(args.run))
    names = [name.lower() for name in content.names]
    index = {i: names.index(n.lower()) for i, n in content.scene.truth.items() if n.lower() in names}
    table = np.full(max(content.scene.truth) + 2, -1)
    table[list(index)] = list(index.values())
    labels = {"the run": content.result.numpy(), "the truth": table[content.points.label.numpy()]}
    for reach in args.reach or [content.run.job.method.purify.voxel]:
        for title, label in labels.items():
            miou, given = measured(content, label, table, reach)
            print(f"{title:10s} reach {reach:g} m: mIoU {100 * miou:.1f}, {given:.1%} of pixels labelled")


def measured(content: Content, label: np.ndarray, table: np.ndarray, reach: float) -> tuple[float, float]:
    """mIoU over the labels that images have; of the pixels with depth and truth, the share with a label."""
    classes = len(content.names)
    labelled = np.flatnonzero(label >= 0)
    lookup = PointLookup(content.points.xyz.numpy()[labelled], reach)
    said = np.append(label[labelled], classes)  # the last one: none
    count = np.zeros((classes, classes + 1), dtype=np.int64)
    for frame in content.capture.frames:
        if frame.label is None:
            raise SystemExit(f"frame {frame.name} has no label image; expected a capture with truth")
        truth = table[frame.label()]
        counted = (truth >= 0) & (frame.depth() > 0)
        pairs = truth[counted] * (classes + 1) + said[points_of_pixels(frame, lookup)[counted]]
        count += np.bincount(pairs, minlength=count.size).reshape(count.shape)
    hit, there = np.diag(count), count.sum(axis=1)
    union = there + count.sum(axis=0)[:classes] - hit
    return float((hit / np.maximum(union, 1))[there > 0].mean()), float(1 - count[:, -1].sum() / there.sum())


if __name__ == "__main__":
    main()

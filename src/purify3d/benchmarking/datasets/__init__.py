"""Benchmarks: from what their owners let one download to a folder of captures.

A benchmark is one module with `LABELS` (whose truth can be asked for; the first is the default), `SPLITS`
(lists of scenes that ship), `EVERY` (which frames are kept by default), `scenes(root)`, `pick(frames, every)`
and `open_scene(path, labels)`.
"""

from purify3d.benchmarking.datasets.prepare import KINDS, REPORT, Prepared, prepare, split_names

__all__ = ["KINDS", "REPORT", "Prepared", "prepare", "split_names"]

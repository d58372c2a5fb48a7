"""Open-vocabulary 3D segmentation of posed RGB-D scans.

`import purify3d` is light: what needs torch is imported when it is first touched.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from purify3d.affinities import PurifyConfig, affinity
    from purify3d.asking import classify, query, scores
    from purify3d.backbones import embed_vocabulary, load_backbone
    from purify3d.captures import open_capture
    from purify3d.checking import examine
    from purify3d.clouds import read_cloud
    from purify3d.lifting import LiftConfig, lift
    from purify3d.metrics import Confusion, evaluate
    from purify3d.objects import find_objects
    from purify3d.pipeline import SegmentConfig, label_points, segment
    from purify3d.progress import progress_bars
    from purify3d.purifying import purify
    from purify3d.regions import find_regions
    from purify3d.runs import Run, open_run
    from purify3d.segmentation import Segmentation
    from purify3d.surface import with_points
    from purify3d.truth import fuse_labels
    from purify3d.types import PointCloud, PointFeatures, Scene, Vocabulary

_HOMES = {
    "affinities": (
        "PurifyConfig",
        "affinity",
    ),
    "asking": (
        "classify",
        "query",
        "scores",
    ),
    "backbones": (
        "embed_vocabulary",
        "load_backbone",
    ),
    "captures": ("open_capture",),
    "checking": ("examine",),
    "clouds": ("read_cloud",),
    "lifting": (
        "LiftConfig",
        "lift",
    ),
    "metrics": (
        "Confusion",
        "evaluate",
    ),
    "objects": ("find_objects",),
    "pipeline": (
        "SegmentConfig",
        "label_points",
        "segment",
    ),
    "progress": ("progress_bars",),
    "purifying": ("purify",),
    "regions": ("find_regions",),
    "runs": (
        "Run",
        "open_run",
    ),
    "segmentation": ("Segmentation",),
    "surface": ("with_points",),
    "truth": ("fuse_labels",),
    "types": (
        "PointCloud",
        "PointFeatures",
        "Scene",
        "Vocabulary",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Confusion",
    "LiftConfig",
    "PointCloud",
    "PointFeatures",
    "PurifyConfig",
    "Run",
    "Scene",
    "SegmentConfig",
    "Segmentation",
    "Vocabulary",
    "affinity",
    "classify",
    "embed_vocabulary",
    "evaluate",
    "examine",
    "find_objects",
    "find_regions",
    "fuse_labels",
    "label_points",
    "lift",
    "load_backbone",
    "open_capture",
    "open_run",
    "progress_bars",
    "purify",
    "query",
    "read_cloud",
    "scores",
    "segment",
    "with_points",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'purify3d' has no attribute {name!r}")
    return getattr(import_module(f"purify3d.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

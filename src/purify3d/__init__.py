"""Open-vocabulary 3D segmentation of posed RGB-D scans.

`import purify3d` is light: what needs torch is imported when it is first touched.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from purify3d.backbones import embed_vocabulary, load_backbone
    from purify3d.captures import open_capture
    from purify3d.lift import LiftConfig
    from purify3d.metrics import Confusion
    from purify3d.pipeline import SegmentConfig, connect, load_embedding, segment
    from purify3d.purify import PurifyConfig
    from purify3d.query import classify, scores
    from purify3d.regions import find_regions
    from purify3d.surface import with_points
    from purify3d.types import PointCloud, PointFeatures, Scene, Segmentation, Vocabulary

_HOMES = {
    "backbones": ("embed_vocabulary", "load_backbone"),
    "captures": ("open_capture",),
    "lift": ("LiftConfig",),
    "metrics": ("Confusion",),
    "pipeline": ("SegmentConfig", "connect", "load_embedding", "segment"),
    "purify": ("PurifyConfig",),
    "query": ("classify", "scores"),
    "regions": ("find_regions",),
    "surface": ("with_points",),
    "types": ("PointCloud", "PointFeatures", "Scene", "Segmentation", "Vocabulary"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Confusion",
    "LiftConfig",
    "PointCloud",
    "PointFeatures",
    "PurifyConfig",
    "Scene",
    "SegmentConfig",
    "Segmentation",
    "Vocabulary",
    "classify",
    "connect",
    "embed_vocabulary",
    "find_regions",
    "load_backbone",
    "load_embedding",
    "open_capture",
    "scores",
    "segment",
    "with_points",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'purify3d' has no attribute {name!r}")
    return getattr(import_module(f"purify3d.{_HOME_OF[name]}"), name)

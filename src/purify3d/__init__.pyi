# The public names: type checkers read this file, and so does `__init__.py` when it runs.

from .affinities.building import affinity as affinity
from .affinities.config import AffinityConfig as AffinityConfig
from .affinities.config import PurifyConfig as PurifyConfig
from .affinities.purifying import purify as purify
from .backbones import embed_vocabulary as embed_vocabulary
from .backbones import load_backbone as load_backbone
from .base.progress import progress_bars as progress_bars
from .captures import open_capture as open_capture
from .checking import check as check
from .clouds import read_cloud as read_cloud
from .features.config import LiftConfig as LiftConfig
from .features.labels_from_frames import fuse_labels as fuse_labels
from .features.lifting import lift as lift
from .features.surface import with_points as with_points
from .labels.config import SegmentConfig as SegmentConfig
from .labels.labelling import label_points as label_points
from .labels.metrics import Confusion as Confusion
from .labels.metrics import evaluate as evaluate
from .labels.objects import find_objects as find_objects
from .labels.questions import answer as answer
from .labels.questions import classify as classify
from .labels.questions import scores as scores
from .labels.regions import find_regions as find_regions
from .labels.segmentation import Segmentation as Segmentation
from .pipeline import segment as segment
from .runs import Run as Run
from .runs import open_run as open_run
from .runs import query as query
from .runs.job import PAPER as PAPER
from .types import PointCloud as PointCloud
from .types import PointFeatures as PointFeatures
from .types import Scene as Scene
from .types import Vocabulary as Vocabulary

__version__: str
__all__: list[str]

"""Every noun of the package: frozen, validated when made, with shapes and units in the docstring.

numpy on the disk side (Camera, Frame), torch from PointCloud on. Those that hold tensors compare by identity.
Letters used everywhere: N points, V voxels, K neighbours, D feature channels, R stored channels, C labels.
"""

from purify3d.types.features import Affinity as Affinity
from purify3d.types.features import DenseFeatures as DenseFeatures
from purify3d.types.features import FeatureSpace as FeatureSpace
from purify3d.types.features import MaskFeatures as MaskFeatures
from purify3d.types.features import PointFeatures as PointFeatures
from purify3d.types.features import Voxels as Voxels
from purify3d.types.features import factored_norm as factored_norm
from purify3d.types.scenes import NO_LABEL as NO_LABEL
from purify3d.types.scenes import Camera as Camera
from purify3d.types.scenes import Frame as Frame
from purify3d.types.scenes import PointCloud as PointCloud
from purify3d.types.scenes import Scene as Scene
from purify3d.types.words import Labels as Labels
from purify3d.types.words import TextEmbeddings as TextEmbeddings
from purify3d.types.words import Vocabulary as Vocabulary

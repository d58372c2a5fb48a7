"""Every noun of the package: frozen, validated when made, with shapes and units in the docstring.

numpy on the disk side (Camera, Frame), torch from PointCloud on. Those that hold tensors compare by identity.
Letters used everywhere: N points, V voxels, K neighbours, D feature channels, R stored channels, C labels.
"""

from purify3d.types.features import (
    Affinity,
    DenseFeatures,
    FeatureSpace,
    MaskFeatures,
    PointFeatures,
    Voxels,
    factored_norm,
)
from purify3d.types.scenes import NO_LABEL, Camera, Frame, PointCloud, Scene
from purify3d.types.words import Labels, TextEmbeddings, Vocabulary

__all__ = [
    "NO_LABEL",
    "Affinity",
    "Camera",
    "DenseFeatures",
    "FeatureSpace",
    "Frame",
    "Labels",
    "MaskFeatures",
    "PointCloud",
    "PointFeatures",
    "Scene",
    "TextEmbeddings",
    "Vocabulary",
    "Voxels",
    "factored_norm",
]

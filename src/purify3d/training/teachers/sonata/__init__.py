"""Sonata as a teacher: a self-supervised point transformer of 108 M parameters.

Wu et al., "Sonata: Self-Supervised Learning of Reliable Point Representations" (CVPR 2025). Its published
weights are for non-commercial use only (CC-BY-NC 4.0).
"""

from __future__ import annotations

import hashlib
import warnings
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from purify3d.base.axes import z_up_from_world
from purify3d.base.errors import PurifyWarning
from purify3d.grid.voxels import first_points, voxelize
from purify3d.training.teachers.sonata.network import SonataNetwork, upcast
from purify3d.training.teachers.sonata.weights import find, read_network
from purify3d.training.teachers.targets import Targets
from purify3d.types import PointCloud, Voxels

#: Edge of the voxels that Sonata was trained on, metres.
VOXEL = 0.02


class Sonata:
    """Sonata's features as GeoPurify uses them, up-cast to 8 cm cells."""

    name = "sonata"
    licence = "CC-BY-NC-4.0"

    def __init__(self, network: SonataNetwork, *, device: str = "cpu") -> None:
        self._device = torch.device(device)
        self._network = network.to(self._device)

    @cached_property
    def fingerprint(self) -> str:
        """12 hex digits of the weights themselves, whatever file they came in, and of how they are used."""
        digest = hashlib.sha256(f"{self._network.config} {VOXEL}".encode())
        for key, value in sorted(self._network.state_dict().items()):
            digest.update(f"{key} {tuple(value.shape)} {value.dtype}".encode())
            digest.update(value.cpu().contiguous().numpy())
        return digest.hexdigest()[:12]

    @torch.no_grad()
    def teach(self, points: PointCloud, *, up: np.ndarray) -> Targets:
        """Features whose cosine says how alike two points are; the same on every call.

        Args:
            points: N points of one scene, at best as dense as the 2 cm voxels that Sonata sees.
            up: (3,) unit vector in the world, against gravity.

        Returns:
            One feature of 1088 channels, not normalised, for each 8 cm cell, which the points in it share.

        Raises:
            ValueError: see `sonata_input`.
        """
        features, voxels = sonata_input(points, up=up)
        stages = self._network(features.to(self._device), voxels.index.to(self._device))
        values, row = upcast(stages)
        return Targets(voxels.to_points(row.cpu())[:, None], values.float().cpu())


def sonata_input(points: PointCloud, *, up: np.ndarray) -> tuple[Tensor, Voxels]:
    """What Sonata sees: one point per voxel, in a frame with z up and the floor's middle as origin.

    Sonata's own transform keeps a random point of each voxel; here it is the first.

    Args:
        points: N points with normals.
        up: (3,) unit vector in the world, against gravity.

    Returns:
        (V, 9) float32: position in metres, red, green, blue in 0..1, normal; and the voxels.

    Raises:
        ValueError: no points, or points without any normal.
    """
    if not points.normal.any():
        raise ValueError(
            f"found no normal on any of {len(points)} points, and Sonata reads them; `surface.with_points` "
            "estimates them"
        )
    rotation = torch.from_numpy(z_up_from_world(up)).float()
    xyz = points.xyz @ rotation.T
    low, high = xyz.amin(0), xyz.amax(0)
    origin = (low + high) / 2
    origin[2] = low[2]
    xyz = xyz - origin
    voxels = voxelize(xyz, VOXEL)
    first = first_points(voxels.of_point, len(voxels))
    color = points.rgb[first].float() / 255
    return torch.cat([xyz[first], color, points.normal[first] @ rotation.T], dim=1), voxels


def load(argument: str, *, device: str = "cpu") -> Sonata:
    """Sonata with its official weights; warns once that these are for non-commercial use.

    Args:
        argument: `sonata.pth` (or the same weights as .safetensors), a folder that has it, or the id of a
            repository on the Hugging Face hub, which `@REVISION` may follow.

    Raises:
        CheckpointError: no such weights, or they are not exactly those of the network.
        MissingPackageError: a hub id was given and huggingface_hub is not installed.
    """
    network = read_network(find(argument))
    warnings.warn(
        "Sonata's published weights are licensed CC-BY-NC 4.0: non-commercial use only. Mind this for what "
        "you train with them",
        PurifyWarning,
        stacklevel=2,
    )
    return Sonata(network, device=device)

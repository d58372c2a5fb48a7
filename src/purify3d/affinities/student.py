"""The student: a small sparse network whose embeddings say which voxels belong together.

The student affinity network of GeoPurify (arXiv 2510.02186): one 3x3x3 convolution into `width` channels,
residual blocks of two 3x3x3 convolutions, a linear map to the embedding; one resolution, no biases beside
those of batch norm. Parameters carry the names of the released checkpoints, so that these load strictly.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from purify3d.affinities.config import COMPACT, GEOMETRY_CHANNELS, SURENESS_CHANNELS, StudentConfig
from purify3d.base.checkpoints import download, is_hub_id, load_strictly, read_checkpoint, split_revision
from purify3d.base.devices import multiplies_bfloat16
from purify3d.base.errors import CaptureError, CheckpointError
from purify3d.base.files import read_text, write_text, write_whole
from purify3d.base.settings import from_plain
from purify3d.grid.convolution import OFFSETS, KernelMap, submanifold_conv
from purify3d.types import PointCloud, PointFeatures, TextEmbeddings, Voxels

_WEIGHTS, _CONFIG = "model.safetensors", "config.json"
#: The student that comes with the package.
SHIPPED = Path(__file__).resolve().parents[1] / "data" / "student"


def student_input(
    cloud: PointCloud,
    voxels: Voxels,
    features: PointFeatures | None = None,
    *,
    config: StudentConfig,
    text_embeddings: TextEmbeddings | None = None,
) -> Tensor:
    """What the student sees, the same in training and inference: per voxel the mean of its points' channels.

    Args:
        cloud: N points; voxels: of these points, at the size the student was trained for.
        features: lifted features of these points; not read by a geometry-only student.
        text_embeddings: of `config.words`, by the features' model; None: zeros in place of their evidence.

    Returns:
        (V, C) float32: D lifted features as they are or the evidence for each word (see `word_evidence`),
        rgb in 0..1, the mean of the unit normals (shorter than 1 where a voxel holds an edge).

    Raises:
        CheckpointError: the features or the voxel size are not those the student was trained for.
    """
    if abs(voxels.size / config.voxel_size - 1) > 1e-6:
        raise CheckpointError(
            f"found voxels of {voxels.size} m, but the student was trained on {config.voxel_size} m: "
            "voxelise at that size or train a student on this one"
        )
    if config.feature_dim and (features is None or features.space.dim != config.feature_dim):
        found = "none" if features is None else f"{features.space.dim} channels of {features.space.id}"
        raise CheckpointError(
            f"the student reads lifted features of {config.feature_dim} channels, found {found}: lift with "
            "the 2D model it was trained for, or use a geometry-only student"
        )

    def channels(point: Tensor) -> Tensor:
        columns = [cloud.rgb[point].to(torch.float32) / 255, cloud.normal[point]]
        if config.words and features is not None and text_embeddings is not None:
            columns.insert(0, word_evidence(features.at(point), text_embeddings))
        elif config.words:
            columns.insert(0, columns[0].new_zeros(len(point), len(config.words) + SURENESS_CHANNELS))
        if config.feature_dim and features is not None:
            columns.insert(0, features.at(point).dense())
        return torch.cat(columns, dim=1)

    return voxels.mean_of(channels, config.in_channels)


def word_evidence(features: PointFeatures, text_embeddings: TextEmbeddings) -> Tensor:
    """What a 2D model saw at each point, in words: (N, W + 2) float32, the same meaning for every model.

    The first W are the softmax over the words at the model's own scale, times the length of the feature where
    that means confidence; then that length (1 where it means nothing), and log2(1 + views) / 4. Points of
    which nothing is known are 0.

    Raises:
        SpaceMismatchError: features and words come from different models.
    """
    text_embeddings.check_space(features.space)
    text_embeddings = text_embeddings.to(features.values.device)
    length = features.norm()
    cosine = features.dot(text_embeddings.embedding) / length.clamp_min(1e-12)[:, None]
    share = (text_embeddings.space.logit_scale * cosine).softmax(1)
    sure = length if features.space.length_is_confidence else torch.ones_like(length)
    views = torch.log2(1 + features.views.float()) / 4
    evidence = torch.cat([share * sure[:, None], sure[:, None], views[:, None]], dim=1)
    return torch.where((features.known & (length > 0))[:, None], evidence, 0)


class _Kernel(nn.Module):
    """Weights of a 3x3x3 convolution, (27, Cin, Cout), or of the last, linear layer, (Cin, Cout)."""

    def __init__(self, *shape: int, std: float) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.empty(shape))
        if not self.kernel.is_meta:  # there they are to be filled in, and PyTorch would import 800 modules
            nn.init.normal_(self.kernel, std=std)


def _conv(in_channels: int, out_channels: int) -> _Kernel:
    return _Kernel(len(OFFSETS), in_channels, out_channels, std=(2 / (len(OFFSETS) * in_channels)) ** 0.5)


class _Norm(nn.Module):
    """Batch norm over voxels, one level down as in the released checkpoints."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(channels)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv(width, width), _Norm(width)
        self.conv2, self.norm2 = _conv(width, width), _Norm(width)

    def forward(self, x: Tensor, kernel_map: KernelMap) -> Tensor:
        inner = _conv_norm(x, self.conv1, self.norm1, kernel_map).relu_()
        return _conv_norm(inner, self.conv2, self.norm2, kernel_map).add_(x).relu_()


def _conv_norm(x: Tensor, conv: _Kernel, norm: _Norm, kernel_map: KernelMap) -> Tensor:
    bn = norm.bn
    if bn.training:
        return cast(Tensor, bn(submanifold_conv(x, conv.kernel.to(x.dtype), kernel_map)))
    # Frozen statistics make batch norm a scale and a shift; the scale is cheaper on the weights.
    assert bn.running_mean is not None
    assert bn.running_var is not None
    scale = bn.weight * (bn.running_var + bn.eps).rsqrt()
    shift = bn.bias - bn.running_mean * scale
    return submanifold_conv(x, (conv.kernel * scale).to(x.dtype), kernel_map).add_(shift.to(x.dtype))


class Student(nn.Module):
    """Embeds voxels so that those of one surface or object get similar directions."""

    def __init__(self, config: StudentConfig = COMPACT) -> None:
        super().__init__()
        self.config = config
        self.input_layer = nn.ModuleList([_conv(config.in_channels, config.width), _Norm(config.width)])
        self.res_blocks = nn.ModuleList([_Block(config.width) for _ in range(config.blocks)])
        self.output_layer = _Kernel(config.width, config.out_channels, std=config.width**-0.5)

    def forward(self, inputs: Tensor, kernel_map: KernelMap) -> Tensor:
        """(V, D + 6) from `student_input` -> (V, E) embeddings, not normalised, in the dtype of the inputs.

        In eval mode batch norm is folded into the convolutions.
        """
        conv, norm = self.input_layer
        x = _conv_norm(inputs, cast(_Kernel, conv), cast(_Norm, norm), kernel_map).relu_()
        for block in self.res_blocks:
            x = block(x, kernel_map)
        return x @ self.output_layer.kernel.to(x.dtype)

    @torch.no_grad()
    def embed(
        self,
        cloud: PointCloud,
        voxels: Voxels,
        features: PointFeatures | None = None,
        *,
        text_embeddings: TextEmbeddings | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Unit embeddings of a scene's voxels, with the statistics learned in training.

        Args:
            cloud, voxels, features, text_embeddings: see `student_input`.
            dtype: to compute in; None: bfloat16 where the device multiplies it natively, which takes half the
                time and changes one label in 10,000, else float32.

        Returns:
            (V, E) float32, rows of length 1, on the student's device.

        Raises:
            CheckpointError: see `student_input`.
        """
        device = self.output_layer.kernel.device
        if dtype is None:
            dtype = torch.bfloat16 if multiplies_bfloat16(device) else torch.float32
        inputs = student_input(cloud, voxels, features, config=self.config, text_embeddings=text_embeddings)
        inputs = inputs.to(device, dtype)
        kernel_map = KernelMap.of(voxels.index).to(device)
        was_training = self.training
        self.eval()
        try:
            embedding = self(inputs, kernel_map)
        finally:
            self.train(was_training)
        return nn.functional.normalize(embedding.to(torch.float32), dim=1)

    def digest(self) -> str:
        """12 hex digits that tell its weights and configuration from those of others."""
        digest = hashlib.sha256(repr(self.config).encode())
        for name, value in sorted(self.state_dict().items()):
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]

    def save_pretrained(self, folder: str | Path) -> None:
        """Write model.safetensors and config.json; neither is ever half-written."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        write_text(folder / _CONFIG, json.dumps(asdict(self.config), indent=2) + "\n")
        write_whole(folder / _WEIGHTS, lambda path: save_file(weights, path))

    @classmethod
    def from_pretrained(cls, source: str | Path) -> Student:
        """Load what `save_pretrained` wrote, in eval mode on the CPU.

        Args:
            source: a folder, or the id `owner/name` of a repository on the Hugging Face hub, which
                `@REVISION` may follow.

        Raises:
            CheckpointError: nothing there, unreadable, or weights that are not exactly those of the config.
            MissingPackageError: a hub id was given and huggingface_hub is not installed.
        """
        folder = Path(source)
        if not folder.is_dir():
            if not is_hub_id(split_revision(str(source))[0]):
                raise CheckpointError(
                    f"found no folder {source}; expected one with {_WEIGHTS} and {_CONFIG}, or a hub id "
                    "`owner/name`, which `@REVISION` may follow"
                )
            folder = download(str(source), [_WEIGHTS, _CONFIG])
        try:
            config = from_plain(StudentConfig, json.loads(read_text(folder / _CONFIG)))
        except (CaptureError, ValueError, RecursionError) as error:
            raise CheckpointError(
                f"{folder / _CONFIG} does not describe a student ({error}); expected a folder written by "
                "`purify3d train` with model.safetensors and config.json"
            ) from error
        weights = folder / _WEIGHTS
        return _filled(config, read_checkpoint(weights, advice="Train or download it again"), weights)


def load_released(file: str | Path) -> Student:
    """A checkpoint of the paper's authors (`geopurify.pth`), in eval mode on the CPU.

    The state dict may lie inside a training checkpoint and its keys may share a prefix such as `module.`;
    the shapes of the weights say which configuration it is. Only tensors are unpickled, never code.

    Raises:
        CheckpointError: the file cannot be read or does not hold exactly the weights of a student.
    """
    if not os.path.isfile(file):
        raise CheckpointError(f"found no file {file}; expected a released geopurify.pth")
    content = read_checkpoint(Path(file), advice="Download the released geopurify.pth again")
    state = _student_state(content)
    output = None if state is None else state.get("output_layer.kernel")
    if state is None or output is None:
        raise CheckpointError(
            f"{file} holds no student: expected weights named input_layer.0.kernel ... output_layer.kernel; "
            "is this another model's checkpoint?"
        )
    in_channels, width = state["input_layer.0.kernel"].shape[-2:]
    try:
        config = StudentConfig(
            feature_dim=in_channels - GEOMETRY_CHANNELS,
            width=width,
            blocks=len({key.split(".")[1] for key in state if key.startswith("res_blocks.")}),
            out_channels=output.shape[-1],
        )
    except ValueError as error:
        raise CheckpointError(
            f"{file} reads {in_channels} channels; a student reads at least {GEOMETRY_CHANNELS} and has at "
            f"least one block ({error})"
        ) from error
    return _filled(config, state, file)


def _student_state(content: Any) -> dict[str, Tensor] | None:
    """The first state dict of a student at any depth of a checkpoint, its common key prefix removed."""
    if not isinstance(content, Mapping):
        return None
    for key, value in content.items():
        if isinstance(key, str) and key.endswith("input_layer.0.kernel") and isinstance(value, Tensor):
            prefix = key.removesuffix("input_layer.0.kernel")
            return {str(name).removeprefix(prefix): tensor for name, tensor in content.items()}
    return next((s for s in map(_student_state, content.values()) if s is not None), None)


def _filled(config: StudentConfig, state: Mapping[str, Tensor], source: str | Path) -> Student:
    """A student with these weights, or an error that lists what does not fit."""
    advice, build = "Use a checkpoint and config that belong together", partial(Student, config)
    return load_strictly(build, state, source, model=f"a student of {config}", advice=advice).requires_grad_()

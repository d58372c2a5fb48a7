"""The official checkpoint: found, and loaded strictly."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from purify3d.base.checkpoints import (
    download,
    is_hub_id,
    load_strictly,
    read_checkpoint,
    split_revision,
    state_dict_in,
)
from purify3d.base.errors import CheckpointError
from purify3d.training.teachers.sonata.curves import CURVES
from purify3d.training.teachers.sonata.network import IN_CHANNELS, SonataConfig, SonataNetwork

#: The one key that is not read: only pre-training needs it. Every key of the network must be there, and no
#: further one may be.
OPTIONAL = "embedding.mask_token"

#: What a folder may call the weights; on the hub they have the first name.
FILES = ("sonata.pth", "model.safetensors")

#: Settings of a checkpoint's own config that change the network and have one value here.
_FIXED: dict[str, Any] = {
    "in_channels": IN_CHANNELS,
    "order": CURVES,
    "stride": (2, 2, 2, 2),
    "qkv_bias": True,
    "qk_scale": None,
    "layer_scale": None,
    "pre_norm": True,
    "enable_rpe": False,  # no bias by the offset between voxels
}

_ADVICE = "Use sonata.pth as published, not a training run's or one with a decoder"


def find(argument: str) -> Path:
    """The file of weights: a file, a folder that has one, or the id `owner/name` of a hub repository, which
    `@REVISION` may follow.

    Raises:
        CheckpointError: nothing of that name here or on the hub.
        MissingPackageError: a hub id was given and huggingface_hub is not installed.
    """
    path = Path(argument).expanduser()
    if path.is_dir():
        path = next((path / name for name in FILES if (path / name).is_file()), path / FILES[0])
    if path.is_file():
        return path
    if not is_hub_id(split_revision(argument)[0]):
        raise CheckpointError(
            f"found no file {path}; expected the path of {' or '.join(FILES)}, a folder with one of them, or "
            "a hub id such as facebook/sonata or facebook/sonata@REVISION"
        )
    return download(argument, FILES[:1]) / FILES[0]


def read_network(path: Path) -> SonataNetwork:
    """The network with the weights of a checkpoint, on the CPU, float32, frozen.

    Its sizes are those of the config beside the weights, or of the published model where there is none.

    Raises:
        CheckpointError: the file cannot be read safely, its config is not one of this network, or its keys or
            shapes are not the network's.
    """
    content = read_checkpoint(path, advice=_ADVICE)
    given = state_dict_in(content, path, expected="names and tensors, as in the official sonata.pth")
    config = _config(path, content["config"]) if "config" in content else SonataConfig()
    build = partial(SonataNetwork, config)
    return load_strictly(build, given, path, model="Sonata's encoder", advice=_ADVICE, unused=(OPTIONAL,))


def _config(path: Path, official: Any) -> SonataConfig:
    """Sizes from a checkpoint's own config; settings that have no influence on inference are not read."""
    try:
        for name, wanted in _FIXED.items():
            value = official.get(name, wanted)
            if (tuple(value) if isinstance(value, list) else value) != wanted:
                raise ValueError(f"{name} is {value}, expected {wanted}")
        if len(set(official["enc_patch_size"])) != 1:
            raise ValueError(
                f"enc_patch_size is {official['enc_patch_size']}, expected one size for all stages"
            )
        return SonataConfig(
            depths=tuple(official["enc_depths"]),
            widths=tuple(official["enc_channels"]),
            heads=tuple(official["enc_num_head"]),
            patch=official["enc_patch_size"][0],
            mlp_ratio=official.get("mlp_ratio", SonataConfig.mlp_ratio),
        )
    except (AttributeError, TypeError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"the config inside {path} describes no Sonata encoder ({type(error).__name__}: {error}); use "
            "sonata.pth as published"
        ) from error

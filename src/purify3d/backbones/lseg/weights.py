"""The official LSeg checkpoint, a PyTorch Lightning file."""

from __future__ import annotations

from argparse import Namespace
from functools import partial
from pathlib import Path

from purify3d.backbones.lseg.network import LSegConfig, LSegNetwork
from purify3d.base.checkpoints import load_strictly, read_checkpoint, stand_in, state_dict_in

#: Keys and beginnings of official keys that inference does not use: CLIP's image tower and logit scale (LSeg
#: has a constant instead), the image transformer's final norm and classifier, and the unit that would add a
#: coarser path to the coarsest map. Every other key must be there, and no further one may be.
UNUSED = (
    "clip_pretrained.visual.",
    "clip_pretrained.logit_scale",
    "pretrained.model.norm.",
    "pretrained.model.head.",
    "scratch.refinenet4.resConfUnit1.",
)

#: Classes that Lightning stores beside the weights; neither it nor any of its code is needed to read them.
_LIGHTNING = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.utilities.parsing.AttributeDict",
)

_ADVICE = (
    "Use the demo model of the official repository (option clip_vitl16_384). If you trust another file of "
    "that model, write its weights to a new one and load that: "
    'torch.save({"state_dict": torch.load(OLD, weights_only=False)["state_dict"]}, NEW)'
)


def load_network(path: Path, config: LSegConfig) -> LSegNetwork:
    """The network with the weights of an official checkpoint, float32 on the CPU.

    Raises:
        CheckpointError: the file cannot be read safely, or its keys or shapes are not the network's.
    """
    content = read_checkpoint(path, advice=_ADVICE, allowed=[Namespace, *map(stand_in, _LIGHTNING)])
    expected = "a 'state_dict' of names and tensors, as in LSeg's Lightning checkpoint (demo_e200.ckpt)"
    state = state_dict_in(content, path, expected=expected)
    given = {key.removeprefix("net."): value for key, value in state.items()}
    build = partial(LSegNetwork, config)
    return load_strictly(build, given, path, model="LSeg with ViT-L/16", advice=_ADVICE, unused=UNUSED)

"""The official checkpoint, loaded strictly: a weight that is missing is never left to chance."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from purify3d.backbones.xdecoder.config import XDecoderConfig
from purify3d.backbones.xdecoder.network import XDecoder
from purify3d.base.checkpoints import load_strictly, read_checkpoint, state_dict_in
from purify3d.base.errors import BackboneError

#: Keys of the official file that serve training, retrieval or captioning, and are not read here.
UNUSED = {
    "backbone_proj",
    "sem_seg_head.predictor.caping_embed",
    "sem_seg_head.predictor.pos_embed_caping.weight",
    "criterion.empty_weight",
}
_WANTED = "xdecoder_focall_last.pt"
_DECODERS = ("sem_seg_head.pixel_decoder.", "sem_seg_head.predictor.transformer_")


def read_network(path: Path, config: XDecoderConfig) -> XDecoder:
    """The network with the weights of a checkpoint, on the CPU, float32, frozen.

    Raises:
        BackboneError: there is no such file.
        CheckpointError: it cannot be read safely, or its keys or shapes are not those of the network.
    """
    if not path.is_file():
        raise BackboneError(
            f"found no file {path}; expected the path of {_WANTED} as published by X-Decoder's authors"
        )
    advice = f"Use {_WANTED} as published"
    content = read_checkpoint(path, advice=advice)
    state = state_dict_in(content, path, expected=f"a plain mapping of names to tensors, as in {_WANTED}")
    if not any(key.startswith(_DECODERS) for key in state):
        advice = (
            "It has neither pixel decoder nor transformer decoder: it is probably only the pre-training "
            f"initialisation (focall_vision_focalb_lang_unicl.pt), and {_WANTED} is needed"
        )
    build = partial(XDecoder, config)
    return load_strictly(build, state, path, model="X-Decoder Focal-L", advice=advice, unused=UNUSED)

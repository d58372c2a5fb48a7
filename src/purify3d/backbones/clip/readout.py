"""From a model of whole images to a feature for each patch, with its own weights only.

CLIP's image vector is what the class token takes from the patches in the last attention layer. What a patch
has to give there is dense and aligned with text. MaskCLIP (Zhou et al., "Extract Free Dense Labels from
CLIP", ECCV 2022) reads the value path of each patch by itself, without residual and feed-forward network.
ClearCLIP (Lan et al., ECCV 2024, arXiv 2407.12442) shows that the residual is what makes dense maps noisy,
leaves out the same two, and mixes the values of patches whose *queries* agree, so that patches of one thing
support each other. It is the default here: no constant to choose, and three lines more than MaskCLIP.
Weighed and left:
* SCLIP (Wang et al., ECCV 2024): query-query plus key-key attention, but keeps residual and feed-forward
  network; below ClearCLIP in the latter's comparison.
* NACLIP (Hajimiri et al., WACV 2025): key-key attention plus a Gaussian about each patch, with a width to
  choose. It prefers what is near in the image; pooling in 3D will prefer what is near on the surface.
* ProxyCLIP and others that borrow the attention of a second model: better, but a second model.

SigLIP's image vector is made after the last layer by an attention pooling head: one learned probe attends to
all patches, then a feed-forward network with residual. The dense counterpart of MaskCLIP is that head with
the probe looking at one patch only: softmax over one patch is 1, so it is the value path, then the network.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor
from torch.nn.functional import linear, scaled_dot_product_attention

#: Last attention of CLIP: patches whose queries agree (ClearCLIP), or each patch by itself (MaskCLIP).
Attention = Literal["query", "self"]


def clip_patches(model: Any, pixels: Tensor, attention: Attention) -> Tensor:
    """`CLIPModel` and (B, 3, S, S) normalised pixels -> (B, P, D) features, not unit length."""
    vision = model.vision_model
    last = vision.encoder.layers[-1]
    seen: list[Tensor] = []
    # What the last attention sees is its norm's output. Read there, it does not depend on how a release of
    # transformers passes states from layer to layer, and the other layers' states are not kept.
    hook = last.layer_norm1.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    try:
        vision(pixel_values=pixels)
    finally:
        hook.remove()
    layer, tokens = last.self_attn, seen[0]
    mixed = layer.v_proj(tokens)
    if attention == "query":
        query, value = (
            x.unflatten(2, (layer.num_heads, -1)).transpose(1, 2) for x in (layer.q_proj(tokens), mixed)
        )
        mixed = scaled_dot_product_attention(query, query, value).transpose(1, 2).flatten(2)
    patches = layer.out_proj(mixed)[:, 1:]  # without the class token
    return model.visual_projection(vision.post_layernorm(patches))


def siglip_patches(model: Any, pixels: Tensor) -> Tensor:
    """`SiglipModel` and (B, 3, S, S) normalised pixels -> (B, P, D) features, not unit length."""
    head = model.vision_model.head
    tokens = model.vision_model(pixel_values=pixels).last_hidden_state
    pooling = head.attention
    # The packed projection holds query, key and value; only the value's third is needed.
    value = linear(tokens, pooling.in_proj_weight.chunk(3)[2], pooling.in_proj_bias.chunk(3)[2])
    pooled = pooling.out_proj(value)
    return pooled + head.mlp(head.layernorm(pooled))

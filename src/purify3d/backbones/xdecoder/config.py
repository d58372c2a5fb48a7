"""Sizes of the X-Decoder network."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class XDecoderConfig:
    """The defaults are those of `xdecoder_focall_last.pt` (Focal-L, 201 queries).

    Attributes:
        stem_dim: channels of the first image stage; every later stage doubles them.
        depths: blocks of the four image stages (strides 4, 8, 16, 32).
        conv_dim: channels of the pixel decoder and of the queries; a multiple of 32.
        mask_dim: channels of the stride-4 map that masks are read from.
        heads, feedforward: of all attention layers but the text encoder's.
        encoder_layers, decoder_layers: of the pixel decoder and of the query decoder.
        queries: object queries and, last, one class token.
        embedding_dim: of the space that masks and words share (D).
        text_width, text_heads, text_layers: of the text encoder.
        vocabulary, context: number of token ids, tokens per text.
    """

    stem_dim: int = 192
    depths: tuple[int, int, int, int] = (2, 2, 18, 2)
    conv_dim: int = 512
    mask_dim: int = 512
    heads: int = 8
    feedforward: int = 2048
    encoder_layers: int = 6
    decoder_layers: int = 9
    queries: int = 201
    embedding_dim: int = 512
    text_width: int = 512
    text_heads: int = 8
    text_layers: int = 12
    vocabulary: int = 49408
    context: int = 77

    @property
    def stage_dims(self) -> tuple[int, ...]:
        """Channels of the four image stages."""
        return tuple(self.stem_dim << stage for stage in range(len(self.depths)))

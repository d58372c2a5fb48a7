"""A view as a picture, without a browser."""

from __future__ import annotations

import numpy as np
from PIL import Image

from purify3d.backbones import embed_vocabulary
from purify3d.labels.regions import heat_range
from purify3d.pictures.panels import picture
from purify3d.viewing import state
from purify3d.viewing.scene import ViewedScene
from purify3d.viewing.state import Look
from purify3d.viewing.words import Words


def screenshot(viewed: ViewedScene, words: Words, text: str = "") -> Image.Image:
    """Photo and labels of a viewed side by side, and the heat of a question where one is asked.

    Raises:
        LabelError, BackboneError: words that the model does not know.
    """
    everything = np.arange(len(viewed))
    panels = [(kind, state.colors(viewed, Look(kind), everything)) for kind in ("photo", "label")]
    scale = None
    if text.strip():
        question = embed_vocabulary(words, [text])
        look = Look("heat", question=question)
        panels.append((text, state.colors(viewed, look, everything)))
        scale = (*heat_range(viewed.warmth(question, True)[0]), state.verdict(viewed, look, words))
    return picture(viewed.scene, panels, viewed.vocabulary.names, scale=scale)

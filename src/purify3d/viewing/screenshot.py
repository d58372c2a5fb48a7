"""A view as a picture, without a browser."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

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
    look = Look()
    panels = [
        (kind, state.colors(viewed, replace(look, coloring=kind), everything)) for kind in ("photo", "label")
    ]
    scale = None
    if text.strip():
        look = replace(look, coloring="heat", question=words.embed(text))
        panels.append((text, state.colors(viewed, look, everything)))
        if look.question is not None:
            low, high = heat_range(viewed.warmth(look.question, True)[0])
            scale = (low, high, state.verdict(viewed, look, words))
    return picture(viewed.scene, panels, viewed.vocabulary.names, scale=scale)

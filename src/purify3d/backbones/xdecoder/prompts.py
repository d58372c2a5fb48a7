"""The sentences a label is put into before it is embedded.

The templates are those that CLIP (Radford et al., 2021) uses for ImageNet, after a bare one, each closed by a
full stop, in X-Decoder's order.
"""

from __future__ import annotations

from importlib.resources import files

TEMPLATES = tuple((files("purify3d.data") / "xdecoder_templates.txt").read_text().splitlines())

#: The class that stands for "none of the labels"; X-Decoder knows it by this word.
BACKGROUND = "background"

_STUFF = ("-other", "-merged", "-stuff")  # endings of COCO's class names that mean nothing to a reader


def class_text(label: str) -> str:
    """What GeoPurify makes of a label before X-Decoder sees it."""
    return f"a {label} in a scene"


def sentences(text: str) -> list[str]:
    """All templates filled with a class text."""
    for ending in _STUFF:
        text = text.replace(ending, "")
    return [template.format(text) for template in TEMPLATES]

"""What the rooms are labelled with."""

from __future__ import annotations

#: Label id = position. Every surface of a room has one of these.
CLASSES = (
    "wall",
    "floor",
    "ceiling",
    "door",
    "window",
    "curtain",
    "picture",
    "rug",
    "table",
    "desk",
    "chair",
    "sofa",
    "bed",
    "pillow",
    "cabinet",
    "bookshelf",
    "book",
    "lamp",
    "plant",
    "television",
    "monitor",
    "refrigerator",
    "counter",
    "sink",
    "nightstand",
    "trash can",
    "box",
    "cup",
)

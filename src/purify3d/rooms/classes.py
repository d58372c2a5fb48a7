"""What the rooms are labelled with."""

from __future__ import annotations

_NAMES = (
    "wall, floor, ceiling, door, window, curtain, picture, rug, table, desk, chair, sofa, bed, pillow, "
    "cabinet, bookshelf, book, lamp, plant, television, monitor, refrigerator, counter, sink, "
    "nightstand, trash can, box, cup"
)

#: Label id = position. Every surface of a room has one of these.
CLASSES = tuple(_NAMES.split(", "))

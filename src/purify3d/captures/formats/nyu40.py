"""The 40 classes of NYU Depth v2 by id, which ScanNet and Matterport3D share.

Names are those of the benchmarks' label sets where these have the class (refrigerator, bathtub, sofa).
"""

from __future__ import annotations

_NAMES = (
    "wall, floor, cabinet, bed, chair, sofa, table, door, window, bookshelf, picture, counter, blinds, desk, "
    "shelves, curtain, dresser, pillow, mirror, floor mat, clothes, ceiling, books, refrigerator, "
    "television, paper, towel, shower curtain, box, whiteboard, person, night stand, toilet, sink, lamp, "
    "bathtub, bag, otherstructure, otherfurniture, otherprop"
)

#: Names of ids 1 to 40; 0 is none.
NYU40 = dict(enumerate(_NAMES.split(", "), start=1))

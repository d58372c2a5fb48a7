"""What a 2D model says of itself, for `purify3d info`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["dense", "mask-type", "points"]


@dataclass(frozen=True)
class Facts:
    """A model in a few facts for people.

    Attributes:
        kind: `dense`, a feature per pixel; `mask-type`, a feature per mask, which also depends on the words
            asked for; `points`, features of points made elsewhere.
        licence: of the weights, as their publisher states it.
        disk_bytes: size of its files.
        input_size: what size it sees images at.
        source: where it was loaded from.
        channels: that its features of an image vary in, such as the classes of a segmenter; None: as many as
            its space has.
    """

    kind: Kind
    licence: str
    disk_bytes: int
    input_size: str
    source: str
    channels: int | None = None

    @classmethod
    def of_files(cls, kind: Kind, licence: str, input_size: str, *files: Path) -> Facts:
        """Facts about a model of these files, loaded from the first."""
        return cls(kind, licence, disk_size(*files), input_size, str(files[0]))


def disk_size(*files: Path) -> int:
    """Bytes of the files among these paths; those of folders are not counted."""
    return sum(path.stat().st_size for path in files if path.is_file())

"""Text formats line by line, so that a file of one endless line is refused and not read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

#: What C libraries of Windows write for what is no number.
_NAN = re.compile(rb"[+-]?(nan\(\w*\)|1\.#\w+)", re.IGNORECASE)
_LONGEST = 1 << 20  # bytes; a polygon of 100,000 corners


class Lines:
    """The lines of a file without their ends.

    Attributes:
        number: of the line that was read last, counted from 1.
    """

    def __init__(self, path: Path, *, joined: bytes = b"") -> None:
        """
        Args:
            joined: a line that ends with it goes on in the next.
        """
        self.number = 0
        self._path, self._joined = path, joined

    def __iter__(self) -> Iterator[bytes]:
        """
        Raises:
            ValueError: a line of more than a megabyte.
        """
        parts: list[bytes] = []
        length = 0
        with self._path.open("rb") as file:
            while raw := file.readline(_LONGEST):
                self.number += 1
                length += len(raw)
                if length >= _LONGEST:
                    raise ValueError("found a line of more than 1 MB")
                bare = raw.rstrip(b"\r\n")
                if self._joined and bare.endswith(self._joined):
                    parts.append(bare[: -len(self._joined)])
                    continue
                yield b" ".join([*parts, bare])
                parts, length = [], 0
        if parts:
            yield b" ".join(parts)


def numbers(words: list[bytes], count: int) -> list[float]:
    """The first `count` words as numbers.

    Raises:
        ValueError: a word is no number, or there are too few.
    """
    if len(words) < count:
        raise ValueError(f"found {len(words)} of {count} numbers")
    words = words[:count]
    try:
        return [float(word) for word in words]
    except ValueError:
        return [float("nan") if _NAN.fullmatch(word) else float(word) for word in words]

"""Names of scenes and frames as names of files."""

from __future__ import annotations

from collections.abc import Iterable

_LONGEST = 100  # bytes


def file_stem(name: str) -> str:
    """A name with letters, digits, `-`, `_` and `.` alone, none of which hides the file."""
    plain = "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip(".")
    # File systems count bytes.
    return plain.encode("utf-8", "replace")[:_LONGEST].decode("utf-8", "ignore") or "scene"


def file_stems(names: Iterable[str]) -> list[str]:
    """`file_stem` of each, all different: where two would be the same, a number follows."""
    taken: set[str] = set()
    result = []
    for name in names:
        plain = given = file_stem(name)
        number = 1
        while plain.casefold() in taken:
            number += 1
            plain = f"{given}-{number}"
        taken.add(plain.casefold())
        result.append(plain)
    return result

"""Names of scenes and frames as names of files."""

from __future__ import annotations

from collections.abc import Iterable


def plain_name(name: str) -> str:
    """A name with letters, digits, `-`, `_` and `.` alone, none of which hides the file."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip(".")[:100] or "scene"


def plain_names(names: Iterable[str]) -> list[str]:
    """`plain_name` of each, all different: where two would be the same, a number follows."""
    taken: set[str] = set()
    result = []
    for name in names:
        plain = given = plain_name(name)
        number = 1
        while plain.casefold() in taken:
            number += 1
            plain = f"{given}-{number}"
        taken.add(plain.casefold())
        result.append(plain)
    return result

"""Lines of code of the package: without docstrings, comments and blank lines, by room.

python tools/count_lines.py [FOLDER]
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src" / "purify3d"
_SILENT = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
)


def code_lines(text: str) -> int:
    """Lines that hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _SILENT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            words = node.body[0]
            lines.difference_update(range(words.lineno, (words.end_lineno or words.lineno) + 1))
    return len(lines)


def main() -> None:
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE
    rooms: Counter[str] = Counter()
    for file in source.rglob("*.py"):
        room = file.relative_to(source).parts[0]
        rooms[room] += code_lines(file.read_text(encoding="utf-8"))
    for room, lines in rooms.most_common():
        print(f"{lines:6,}  {room}")
    print(f"{sum(rooms.values()):6,}  in all")


if __name__ == "__main__":
    main()

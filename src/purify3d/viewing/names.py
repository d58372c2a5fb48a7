"""Names from captures, made harmless for a page."""

from __future__ import annotations

import unicodedata


def harmless(text: str, *, longest: int = 200) -> str:
    """Any text as HTML and Markdown that shows just this text, on one line.

    Signs with a meaning in either become numeric character references, control characters blanks.

    Args:
        longest: characters; what is longer is cut.
    """
    line = " ".join("".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text).split())
    line = line if len(line) <= longest else line[:longest] + "…"
    return "".join(c if c.isalnum() or c == " " or not c.isascii() else f"&#{ord(c)};" for c in line)

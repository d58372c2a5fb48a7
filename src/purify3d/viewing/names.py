"""Names from captures, made harmless for a page."""

from __future__ import annotations

from purify3d.pictures.fonts import one_line


def harmless(text: str, *, longest: int = 200) -> str:
    """Any text as HTML and Markdown that shows just this text, on one line.

    Signs with a meaning in either become numeric character references, control characters blanks.

    Args:
        longest: characters; what is longer is cut.
    """
    line = one_line(text)
    line = line if len(line) <= longest else line[:longest] + "…"
    return "".join(c if c.isalnum() or c == " " or not c.isascii() else f"&#{ord(c)};" for c in line)

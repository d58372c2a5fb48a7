"""Text in pictures: readable in any script, never wider than its place."""

from __future__ import annotations

import shutil
import subprocess
import sys
import unicodedata
from bisect import bisect_right
from functools import cache
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Where fonts of many scripts usually are; what is not there is passed over.
_PLACES = (
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc",
    "/System/Library/Fonts/Supplemental/Arial Unicode.ttf",
    "/System/Library/Fonts/PingFang.ttc",
    "C:/Windows/Fonts/segoeui.ttf",
    "C:/Windows/Fonts/msyh.ttc",
    "C:/Windows/Fonts/Nirmala.ttf",
)
_SECONDS = 5  # for the system's list of fonts
_NO_CHARACTER = "\uffff"  # is none in Unicode, so every font shows its sign for what it lacks


def one_line(text: str) -> str:
    """The text with each run of blanks, line ends and control characters as one blank."""
    return " ".join("".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text).split())


def lettering(text: str, size: int, *, otherwise: str = "") -> tuple[str, Font]:
    """What to draw for a text, and the font to draw it with.

    Args:
        size: of the font in pixels.
        otherwise: stands in front of what replaces a text that no font has, such as the number of a label.

    Returns:
        The text itself where a font has all its characters; else accents are dropped and characters named by
        their code points.
    """
    shown = one_line(text)
    characters = frozenset(shown) - {" "}
    for place in ("", *_PLACES):
        if _covers(place, size, characters):
            return shown, _font(place, size)
    place = _system_font(characters)
    if place and _covers(place, size, characters):
        return shown, _font(place, size)
    plain = "".join(c for c in unicodedata.normalize("NFKD", shown) if not unicodedata.combining(c))
    spelt = "".join(c if c.isascii() else f" U+{ord(c):04X} " for c in plain)
    ascii_only = " ".join(spelt.split())
    return f"{otherwise} {ascii_only}".strip(), _font("", size)


def fitted(text: str, font: Font, width: float) -> str:
    """The text, cut with an ellipsis where it is wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text

    def cut(length: int) -> str:
        return text[:length].rstrip() + "..."

    lengths = range(len(text) + 1)
    return cut(bisect_right(lengths, width, lo=1, key=lambda length: font.getlength(cut(length))) - 1)


@cache
def _font(place: str, size: int) -> Font:
    return ImageFont.truetype(place, size) if place else ImageFont.load_default(size)


@cache
def _covers(place: str, size: int, characters: frozenset[str]) -> bool:
    """Does a font draw each of these as something else than its sign for what it lacks?"""
    if place and not Path(place).is_file():
        return False
    try:
        font = _font(place, size)
        lacking = bytes(font.getmask(_NO_CHARACTER))
        return all(bytes(font.getmask(c)) != lacking for c in characters)
    except (OSError, UnicodeError, ValueError):  # no font at all, or one of Latin only
        return False


@cache
def _system_font(characters: frozenset[str]) -> str:
    """A font file that the system lists for these characters, where it has such a list; else ''."""
    program = shutil.which("fc-list")
    if program is None or not characters or sys.platform == "win32":
        return ""
    charset = " ".join(f"{ord(c):x}" for c in sorted(characters))
    try:
        found = subprocess.run(
            [program, f":charset={charset}", "file"], capture_output=True, timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    files = sorted(line.strip().rstrip(":") for line in found.stdout.decode("utf-8", "replace").splitlines())
    return next((file for file in files if Path(file).suffix.lower() in (".ttf", ".otf", ".ttc")), "")

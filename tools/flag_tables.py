"""Tables of flags in the documentation, from the declarations of the flags.

python tools/flag_tables.py           # writes them between their markers
python tools/flag_tables.py --check   # exit code 1 if one is stale
"""

from __future__ import annotations

import re
import sys
from itertools import groupby
from pathlib import Path

import click

from purify3d.cli import flags, program

DOCS = Path(__file__).resolve().parents[1] / "docs"
#: Page -> command, and the groups of its flags that the page lists; none: all.
TABLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "conventions.md": ("segment", ()),
    "benchmarks.md": ("benchmark", (flags.OWN,)),
}


def table(command: str, groups: tuple[str, ...] = ()) -> str:
    """Markdown: for each group of flags its name, where there are several, and a table."""
    options = [param for param in program.commands[command].params if isinstance(param, click.Option)]
    parts = []
    for group, members in groupby(options, key=flags.group_of):
        if not groups or group in groups:
            rows = "\n".join(_row(option) for option in members)
            heading = "" if len(groups) == 1 else f"**{group}**\n\n"
            parts.append(f"{heading}| flag | default | meaning |\n|---|---|---|\n{rows}\n")
    return "\n".join(parts)


def _row(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    words, _, default = (option.help or "").rstrip(".").partition(" [default: ")
    default = default.rstrip("]") or (str(option.default) if option.show_default else "")
    return f"| {names} | {_plain(default)} | {_plain(words.rstrip('.'))} |"


def _plain(text: str) -> str:
    return text.replace("|", "\\|")


def fresh(page: str) -> str:
    """The text of a page with its table as it should be.

    Raises:
        ValueError: the page has no such markers.
    """
    command, groups = TABLES[page]
    begin, end = f"<!-- flags of {command}, by tools/flag_tables.py -->\n", "<!-- end of flags -->"
    text = (DOCS / page).read_text(encoding="utf-8")
    made, count = re.subn(
        f"(?s){re.escape(begin)}.*?{end}", lambda _: f"{begin}{table(command, groups)}{end}", text
    )
    if count != 1:
        raise ValueError(f"{page}: found {count} pairs of markers; expected one, {begin.strip()} and {end}")
    return made


def main() -> None:
    stale = [page for page in TABLES if fresh(page) != (DOCS / page).read_text(encoding="utf-8")]
    if "--check" in sys.argv[1:] and stale:
        sys.exit(f"stale: {', '.join(stale)}. Run python tools/flag_tables.py")
    for page in stale:
        (DOCS / page).write_text(fresh(page), encoding="utf-8")
        print(f"wrote docs/{page}")


if __name__ == "__main__":
    main()

"""Frame names: unique and short, in the order of their numbers, matched between folders."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import takewhile
from pathlib import Path, PurePosixPath


def unique_frame_names(paths: Sequence[str]) -> list[str]:
    """Frame names from paths, without the folders that all share and without suffix: stems, in one folder.

    Suffixes stay where names would be the same without; a file that is listed twice gets a number.

    Args:
        paths: of images, with `/` between folders.
    """
    parts = [PurePosixPath(path).parts for path in paths]
    folders = zip(*(part[:-1] for part in parts), strict=False)
    shared = sum(1 for _ in takewhile(lambda same: len(set(same)) == 1, folders))
    whole = ["/".join(part[shared:]) for part in parts]
    short = [name[: len(name) - len(PurePosixPath(name).suffix)] for name in whole]
    names, repeats, taken = short if len(set(short)) == len(set(whole)) else whole, Counter[str](), set()
    unique = []
    for name in names:
        candidate = name
        while candidate in taken:
            repeats[name] += 1
            candidate = f"{name}-{repeats[name] + 1}"
        taken.add(candidate)
        unique.append(candidate)
    return unique


def list_files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Ordinary files of a folder with one of these suffixes, in small letters, by name; none without it.

    Names that begin with a dot are notes of file managers, such as ._0.png of macOS.
    """
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file()]
    return [folder / name for name in sorted(names) if PurePosixPath(name).suffix.lower() in suffixes]


def any_case(file: Path) -> Path:
    """The file, or the one whose name differs from it only in capitals: IMG.JPG of a list that has IMG.jpg.

    Windows and macOS hold them for the same. Where there is neither, the path as it is.
    """
    if os.path.isfile(file):
        return file
    try:
        return file.with_name(
            _by_small_letters(file.parent, file.parent.stat().st_mtime_ns)[file.name.lower()]
        )
    except (OSError, KeyError, ValueError):
        return file


@lru_cache(maxsize=8)
def _by_small_letters(folder: Path, changed: int) -> dict[str, str]:
    with os.scandir(folder) as entries:
        return {entry.name.lower(): entry.name for entry in entries if entry.is_file()}


def natural_sort_key(stem: str) -> list[tuple[int, str]]:
    """Sort key of frame names by which 9 comes before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.findall(r"\d+|\D+", stem)]


def match_frame_names(folders: Mapping[str, Mapping[str, Path]]) -> dict[str, dict[str, Path]]:
    """Files of several folders under frame names that match: equal stems, else but for zeros, else numbers.

    Args:
        folders: of each folder its files by stem.

    Returns:
        The same by frame name, equal for files that belong together. Where two files of a folder would get
        the same name, stems are compared as they are.
    """
    best: dict[str, dict[str, Path]] = {name: dict(files) for name, files in folders.items()}
    for key in (_without_zeros, _number):
        common = set.intersection(*(set(files) for files in best.values())) if best else set()
        tried = {name: {key(s): file for s, file in files.items()} for name, files in folders.items()}
        if any(len(tried[name]) != len(files) for name, files in folders.items()):
            continue
        if len(set.intersection(*(set(files) for files in tried.values()))) > len(common) and (
            key is not _number or not common
        ):
            best = tried
    return best


def _without_zeros(stem: str) -> str:
    return re.sub(r"0*(\d+)", r"\1", stem)


def _number(stem: str) -> str:
    numbers = re.findall(r"\d+", stem)
    return str(int(numbers[-1])) if numbers and len(numbers[-1]) < 32 else stem

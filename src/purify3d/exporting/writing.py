"""A run into a file or a folder of one format, whole or not at all."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from purify3d.base.errors import RunError
from purify3d.base.files import write_folder, write_whole
from purify3d.exporting.content import Content
from purify3d.exporting.formats import FORMATS

#: Says that a folder is an export, which may be replaced.
MARK = ".purify3d-export"


def export(content: Content, to: str, path: Path, *, overwrite: bool = False) -> Path:
    """Write a finished run in a format, whole or not at all.

    Args:
        to: a name of `FORMATS`.
        path: the file, or for `scannet` and `coco` the folder.
        overwrite: replace what an earlier export left there; a folder of anything else is never replaced.

    Raises:
        RunError: an unknown format, something is there already, the run lacks what the format needs, or it
            cannot be written.
        CaptureError: the format needs the capture, which cannot be opened.
        MissingPackageError: the format needs an extra.
    """
    if to not in FORMATS:
        raise RunError(f"found format {to!r}; expected one of {', '.join(FORMATS)}")
    module, suffix = FORMATS[to]
    if suffix and path.suffix.lower() != suffix:
        raise RunError(f"found the name {path.name!r} for {to}; expected one that ends in {suffix}")
    if suffix and path.is_dir():
        raise RunError(f"{path} is a folder; expected the name of a file. Name another --output")
    if path.exists() and not overwrite:
        raise RunError(f"{path} exists already; name another --output, or give --overwrite to replace it")
    write = import_module(f"purify3d.exporting.{module}").write
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if suffix:
            return write_whole(path, lambda place: write(place, content))
        taken = path.exists() and not (path.is_dir() and not any(path.iterdir()))
        if taken and not (path / MARK).is_file():
            raise RunError(
                f"{path} holds files that no export wrote; nothing was changed. Name another --output"
            )

        def fill(place: Path) -> None:
            (place / MARK).touch()
            write(place, content)

        return write_folder(path, fill)
    except OSError as error:
        raise RunError(
            f"cannot write {path} ({error}); nothing of it was kept. Free some space or name another --output"
        ) from error

"""Finished runs as files of other programs: one file a format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from purify3d.base.errors import RunError
from purify3d.base.files import write_whole
from purify3d.exporting import coco, glb, las, npz, ply, rrd, scannet
from purify3d.exporting.content import Content, Wishes
from purify3d.exporting.places import write_folder

__all__ = ["FORMATS", "Content", "Format", "Wishes", "export"]


@dataclass(frozen=True)
class Format:
    """
    Attributes:
        write: fills the path with a run.
        suffix: of the file; "" where a folder is written.
    """

    write: Callable[[Path, Content], None]
    suffix: str


#: What a run can be exported to.
FORMATS = {
    "ply": Format(ply.write, ".ply"),
    "las": Format(las.write, ".las"),
    "laz": Format(las.write, ".laz"),
    "glb": Format(glb.write, ".glb"),
    "rrd": Format(rrd.write, ".rrd"),
    "npz": Format(npz.write, ".npz"),
    "scannet": Format(scannet.write, ""),
    "coco": Format(coco.write, ""),
}


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
    form = FORMATS[to]
    if form.suffix and path.suffix.lower() != form.suffix:
        raise RunError(f"found the name {path.name!r} for {to}; expected one that ends in {form.suffix}")
    if form.suffix and path.is_dir():
        raise RunError(f"{path} is a folder; expected the name of a file. Name another --output")
    if path.exists() and not overwrite:
        raise RunError(f"{path} exists already; name another --output, or give --overwrite to replace it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if form.suffix:
            return write_whole(path, lambda place: form.write(place, content))
        return write_folder(path, lambda place: form.write(place, content))
    except OSError as error:
        raise RunError(
            f"cannot write {path} ({error}); nothing of it was kept. Free some space or name another --output"
        ) from error

"""Teachers: frozen models of geometry that a student is distilled from. Each says a `Targets` of a scene."""

from __future__ import annotations

from purify3d.base.errors import CheckpointError
from purify3d.training.teachers.targets import Targets, Teacher

__all__ = ["Targets", "Teacher", "load_teacher"]

_PUBLISHED = "facebook/sonata"


def load_teacher(name: str, *, device: str = "cpu") -> Teacher:
    """A teacher by name, ready to teach.

    Args:
        name: `geometric` (no weights), `truth` (objects of a capture that has them), or `sonata`, which
            `:WEIGHTS` may follow: a file, a folder, a hub id or `hub id@revision`.
        device: where a network computes; targets are on the CPU.

    Raises:
        CheckpointError: no teacher of this name, or no such weights.
        MissingPackageError: weights come from the hub and huggingface_hub is not installed.

    Warns:
        PurifyWarning: the weights are for non-commercial use only.
    """
    # Networks are imported when asked for: whoever wants geometry alone need not wait for them.
    kind, colon, argument = name.partition(":")
    if kind == "sonata" and bool(argument) == bool(colon):
        from purify3d.training.teachers import sonata

        return sonata.load(argument or _PUBLISHED, device=device)
    if name == "geometric":
        from purify3d.training.teachers.geometric import GeometricTeacher

        return GeometricTeacher()
    if name == "truth":
        from purify3d.training.teachers.truth import Truth

        return Truth()
    raise CheckpointError(
        f"found teacher {name!r}; expected geometric, truth, sonata, or sonata:WEIGHTS with a file, a folder "
        "or a hub id such as facebook/sonata@REVISION"
    )

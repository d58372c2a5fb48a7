"""What can go wrong, in one tree. Every message says what was found, what was expected and what to do."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


class PurifyError(Exception):
    """Base of every error this package raises on purpose. The command line turns it into exit code 1."""


class CaptureError(PurifyError):
    """A capture cannot be read, or what it holds does not fit together."""


class LabelError(PurifyError, ValueError):
    """A list of labels cannot be used."""


class BackboneError(PurifyError):
    """A 2D model or a text encoder cannot be found or loaded."""


class CheckpointError(PurifyError):
    """Weights do not fit the network they are loaded into."""


class SpaceMismatchError(PurifyError, ValueError):
    """Features and text embeddings come from different models and cannot be compared."""


class RunError(PurifyError):
    """A run folder is missing, unfinished, or belongs to something else."""


class MissingPackageError(PurifyError, ImportError):
    """An optional package is not installed."""


class PurifyWarning(UserWarning):
    """Something was left out or assumed; the result stands."""


class UpWarning(PurifyWarning):
    """Which way is up was guessed from cameras that hardly agree."""


def require(package: str, extra: str) -> ModuleType:
    """Import an optional package, or say which pip line installs it.

    Raises:
        MissingPackageError: the package cannot be imported.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise MissingPackageError(
            f"this needs the package '{package}', which cannot be imported ({error}). "
            f"Install it with: pip install 'purify3d[{extra}]'"
        ) from error

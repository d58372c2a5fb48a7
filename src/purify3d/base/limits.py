"""Limits of the process that are known before anything heavy is imported."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from purify3d.base.errors import PurifyError

#: Bytes of addresses that PyTorch and a small scan take; with less, libraries end in the middle of loading.
_LEAST = 1.5e9


def address_space() -> float | None:
    """Bytes that `ulimit -v` allows; None: any number, or a system without such limits."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else float(soft)


def address_space_left() -> float | None:
    """Bytes of it that are not taken yet."""
    most = address_space()
    if most is None:
        return None
    with suppress(OSError, ValueError, IndexError):  # Linux alone says how much is taken
        most -= 4096 * int(Path("/proc/self/statm").read_text().split()[0])
    return max(0.0, most)


def check_address_space() -> None:
    """
    Raises:
        PurifyError: it is so small that libraries would crash or hang while they are loaded.
    """
    most = address_space()
    if most is not None and most < _LEAST:
        raise PurifyError(
            f"found a limit of {most / 1e9:.1f} GB of address space (ulimit -v); expected at least "
            f"{_LEAST / 1e9:.1f} GB, which PyTorch and a small scan take. Raise it: ulimit -v unlimited"
        )

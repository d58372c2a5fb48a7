"""LZFSE, which Record3D packs depth in: unpacked once its own headers say that memory can hold it.

Format: blocks, each with a magic of four bytes and its size once unpacked; Apple, "lzfse", lzfse_internal.h,
2016. The library unpacks whatever comes, and a few kB can become gigabytes.
"""

from __future__ import annotations

import struct
from typing import Any

from purify3d.base.errors import CaptureError, require
from purify3d.base.files import check_unpacked

_END = b"bvx$"
_PLAIN_HEADER, _LZVN_HEADER, _FIRST_HEADER, _SECOND_HEADER = 8, 12, 772, 32


def unpack(data: bytes, called: str, most: float) -> bytes:
    """What was packed.

    Args:
        called: what messages call it.
        most: bytes that it can have.

    Raises:
        CaptureError: it is damaged, or would take more.
        MissingPackageError: the library is not installed.
    """
    library: Any = require("lzfse", "record3d")
    try:
        size = _unpacked_size(data)
        check_unpacked(called, size)
        if size > most:
            raise ValueError(f"found {size} bytes of pixels; expected at most {most:.0f}")
        return bytes(library.decompress(data))
    except (library.error, MemoryError, ValueError, struct.error) as error:
        raise CaptureError(
            f"{called}: is no whole LZFSE data ({error!r}); copy or export the capture again"
        ) from error


def _unpacked_size(data: bytes) -> int:
    """Bytes that all blocks have once unpacked, by their headers."""
    at = total = 0
    while (magic := data[at : at + 4]) != _END:
        (raw,) = struct.unpack_from("<I", data, at + 4)
        pieces = 0  # each gives one byte or more, so that there are never more of them
        if magic == b"bvx-":
            at += _PLAIN_HEADER + raw
        elif magic == b"bvxn":
            (payload,) = struct.unpack_from("<I", data, at + 8)
            at += _LZVN_HEADER + payload
        elif magic == b"bvx1":
            pieces, matches, literal, rest = struct.unpack_from("<4I", data, at + 12)
            pieces, at = max(pieces, matches), at + _FIRST_HEADER + literal + rest
        elif magic == b"bvx2":
            first, second, third = struct.unpack_from("<3Q", data, at + 8)
            pieces = max(first & 0xFFFFF, first >> 40 & 0xFFFFF)
            at += max(third & 0xFFFFFFFF, _SECOND_HEADER) + (first >> 20 & 0xFFFFF) + (second >> 40 & 0xFFFFF)
        else:
            raise ValueError(f"found {magic!r} at byte {at}; expected a block")
        if pieces > raw + 3:  # literals come in fours
            raise ValueError(f"found a block of {pieces} pieces in {raw} bytes")
        total += raw
    return total

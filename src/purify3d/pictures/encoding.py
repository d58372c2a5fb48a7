"""Pictures as the bytes of a file."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The picture as a file of this kind.

    Args:
        kind: PNG or JPEG.
        options: of PIL's writer, such as `quality`.
    """
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()

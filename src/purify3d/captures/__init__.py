"""Captures: posed RGB-D frames from disk. The only package that knows file formats of captures.

`open_capture` finds the format and hands back a `Scene`; a format is one module with `EXPECTS` (what the path
must hold, for people), `POSES` (how it stores them, see `conventions.Stored`), `recognises(path)` and
`read(path, intrinsics=...)`. What needs numpy is imported when it is first touched, see `__init__.pyi`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

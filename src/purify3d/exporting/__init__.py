"""Finished runs as files of other programs: one file a format.

What needs numpy is imported when it is first touched, see `__init__.pyi`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

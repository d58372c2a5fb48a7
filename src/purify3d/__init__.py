"""Open-vocabulary 3D segmentation of posed RGB-D scans.

`import purify3d` is light: what needs torch is imported when it is first touched. The public names, and where
each of them lives, stand in `__init__.pyi` and nowhere else.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

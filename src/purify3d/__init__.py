"""Open-vocabulary 3D segmentation of posed RGB-D scans.

`import purify3d` is light: what needs torch is imported when it is first touched.
"""

__version__ = "0.1.0"

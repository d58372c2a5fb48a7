"""Many scenes with truth, several methods, the field's numbers.

`benchmark` does it; `scene.py` is one scene, `table.py` the numbers, `report.py` how they look, `compare.py`
what differs between two results.
"""

from purify3d.benchmarking.measure import PAGE, RESULTS, benchmark, read_results
from purify3d.benchmarking.scene import RAW, SceneTask, run_scene
from purify3d.benchmarking.votes import VOTE

__all__ = ["PAGE", "RAW", "RESULTS", "VOTE", "SceneTask", "benchmark", "read_results", "run_scene"]

"""Many scenes with truth, several methods, the field's numbers.

`benchmark` does it; `scene.py` is one scene, `spread.py` who does the scenes, `table.py` the numbers,
`report.py` how they look, `compare.py` what differs between two results.
"""

from purify3d.benchmarking.measure import PAGE, RESULTS, benchmark, read_results
from purify3d.benchmarking.scene import RAW, Outcome, Task, run_scene
from purify3d.benchmarking.votes import VOTE

__all__ = ["PAGE", "RAW", "RESULTS", "VOTE", "Outcome", "Task", "benchmark", "read_results", "run_scene"]

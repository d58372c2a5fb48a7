"""Your own scan: do its frames agree, what is in it, and a mesh of the result for Blender.

python examples/01_own_scan.py my_scan
"""

import sys

import purify3d

scan = sys.argv[1] if len(sys.argv) > 1 else "synthetic:7?frames=24"  # a room to begin with

report = purify3d.check(scan)
print(report.verdict)
if not report.good:
    sys.exit(1)  # `purify3d check` shows more; the settings below take what it names, as in scale=0.001

run = purify3d.segment(
    scan,
    "chair, table, sofa|couch, bed, cabinet, lamp, wall, floor, ceiling",
    output="runs/examples/own_scan",  # the same call again repeats nothing that is finished
    check=False,  # that has been done
    limit=100,  # frames, fairly chosen
    progress=purify3d.progress_bars,
)
for name in run.labels.names:
    mask = run.labels.mask(name)
    if mask.any():
        print(f"{name:<10}{int(mask.sum()):>9,} points, mean cosine {run.labels.score[mask].mean():.2f}")

print("wrote", run.export("glb", "runs/examples/own_scan.glb", overwrite=True))

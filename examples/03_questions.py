"""Free text, asked of a finished run: nothing is lifted again, and "nothing like this here" is an answer."""

import purify3d
from purify3d.runs.answers import write_answer

run = purify3d.segment(
    "synthetic:7?frames=24", "wall, floor, ceiling, chair, table", output="runs/examples/questions"
)

for text in ("somewhere to sit", "sofa|couch", "something to read", "washing machine"):
    answer = run.query(text, limit=2)
    print(f"\n{text}: {'found' if answer.found else 'nothing like this here'} (peak {answer.peak:.2f})")
    for region in answer.regions:
        (x, y, z), (length, width, height) = region.center, region.size
        print(f"  at ({x:.2f}, {y:.2f}, {z:.2f}) m, {length:.2f} x {width:.2f} x {height:.2f} m")

answer = run.query("somewhere to sit")
warm = run.points.xyz[answer.heat > 0.5]  # heat of each point, 0 to 1
print(f"\n{len(warm):,} of {len(run.points):,} points are warm")
for file in write_answer(run, answer.text, answer):  # the heat as a cloud and as a picture
    print("wrote", file)

again = purify3d.query("runs/examples/questions", "table")  # tomorrow, from the folder
print(again)

"""Single objects with upright boxes, and how far apart things are."""

import numpy as np

import purify3d

run = purify3d.segment(
    "synthetic:7?frames=24",
    "wall, floor, ceiling, chair, table, sofa, cabinet, picture",
    output="runs/examples/objects",
)

furniture = [found for found in run.objects() if found.thing.label not in ("wall", "floor", "ceiling")]
print(f"{'object':<12}{'points':>8}  {'centre, metres':<22}{'size, metres':<20}best photo")
for found in furniture:
    thing = found.thing
    centre, size = (" ".join(f"{value:.2f}" for value in each) for each in (thing.center, thing.size))
    print(f"{found.id:<12}{thing.points:>8,}  {centre:<22}{size:<20}{', '.join(found.photos[:1])}")

if len(furniture) > 1:
    first, second = furniture[:2]
    apart = np.linalg.norm(first.thing.center - second.thing.center)
    print(f"\n{first.id} and {second.id} are {apart:.2f} m apart, centre to centre")

for found in run.objects("somewhere to sit")[:3]:  # only what fits the words, the best first
    print(f"to sit: {found.id}, cosine {found.thing.score:.2f}")

print("as JSON, CSV and PLY beside", run.folder / "objects.json")

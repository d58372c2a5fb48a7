"""Frames and a cloud that lie in arrays, one stage after the other."""

from pathlib import Path

import numpy as np

import purify3d

# What your reader gives: here from a room that is rendered.
room = purify3d.open_capture("synthetic:3?frames=12")
colors = [frame.color() for frame in room.frames]  # (H, W, 3) uint8 RGB
depths = [frame.depth() for frame in room.frames]  # (H, W) metres, 0 = nothing measured
poses = np.stack([frame.world_from_camera for frame in room.frames])  # (F, 4, 4), OpenCV axes
camera = room.frames[0].camera
intrinsics = (camera.fx, camera.fy, camera.cx, camera.cy)  # pixels

scene = purify3d.Scene.from_arrays(colors, depths, poses, intrinsics, up="+z")
scene = purify3d.with_points(scene, voxel=0.02)  # fused; a cloud of your own: from_arrays(..., points=...)
points = scene.cloud()

backbone = purify3d.load_backbone("segmenter:lite")
features = purify3d.lift(scene, backbone)
features = features.within(0)  # metres to a point that a camera saw; what is farther keeps no copy
purified = purify3d.purify(points, features, purify3d.PurifyConfig(rounds=19), backbone=backbone)

text_embeddings = purify3d.embed_vocabulary(backbone, ["chair", "table", "cabinet", "wall", "floor"])
truth = purify3d.fuse_labels(room.frames, points)  # (N,) ids of the label images
for kind, each in (("raw", features), ("purified", purified)):
    result = purify3d.classify(purify3d.scores(each, text_embeddings), text_embeddings)
    print(f"{kind:<9} {result}, mIoU {purify3d.evaluate(result, truth, room.truth).miou:.1%}")

file = Path("runs/examples/arrays.ply")
file.parent.mkdir(parents=True, exist_ok=True)
result.save(file, points)  # opens in CloudCompare and MeshLab
print("chairs:", points.xyz[result.mask("chair")].shape, "in", file)

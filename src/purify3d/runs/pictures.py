"""Pictures of results."""

from __future__ import annotations

from PIL import Image

from purify3d.asking import Answer
from purify3d.regions import heat_range
from purify3d.segmentation import Segmentation
from purify3d.truth import in_vocabulary
from purify3d.types import Scene
from purify3d.view.palettes import colors_of_labels, heat_colors
from purify3d.view.pictures import picture


def labels_picture(scene: Scene, raw: Segmentation, purified: Segmentation) -> Image.Image:
    """Photo, raw and purified labels side by side, and the truth where there is one."""
    points = scene.cloud()
    panels = [("photo", points.rgb.numpy()), ("raw", raw.colors()), ("purified", purified.colors())]
    if scene.truth:
        truth = in_vocabulary(points.label, scene.truth, purified.vocabulary)
        panels.append(("truth", colors_of_labels(truth.numpy(), purified.names)))
    return picture(scene, panels, purified.names)


def heat_picture(scene: Scene, answer: Answer) -> Image.Image:
    """Photo and heat side by side, with a bar of cosines that says if nothing like this was found."""
    points = scene.cloud()
    panels = [("photo", points.rgb.numpy()), (answer.text, heat_colors(answer.heat.numpy()))]
    low, high = heat_range(answer.score)
    said = "" if answer.found else "nothing like this here: "
    return picture(
        scene, panels, scale=(low, high, f"{said}cosine, {answer.better:.0%} of common words fit better")
    )

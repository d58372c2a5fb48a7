"""Pictures of results."""

from __future__ import annotations

from PIL import Image

from purify3d.features.labels_from_frames import in_vocabulary
from purify3d.labels.questions import Answer
from purify3d.labels.regions import heat_range
from purify3d.labels.segmentation import Segmentation
from purify3d.pictures.palettes import colors_of_labels, error_colors, heat_colors
from purify3d.pictures.panels import picture
from purify3d.types import Scene


def labels_figure(scene: Scene, raw: Segmentation, purified: Segmentation) -> Image.Image:
    """Photo, raw and purified labels side by side; with truth also where they differ from it, and itself."""
    points = scene.cloud()
    panels = [("photo", points.rgb.numpy()), ("raw", raw.colors()), ("purified", purified.colors())]
    if scene.truth:
        truth = in_vocabulary(points.label, scene.truth, purified.vocabulary)
        panels.insert(3, ("errors", error_colors(purified.numpy(), truth.numpy())))
        panels.append(("truth", colors_of_labels(truth.numpy(), purified.names)))
    changed = (raw.label != purified.label).numpy()
    return picture(scene, panels, purified.names, changed=changed)


def heat_figure(scene: Scene, answer: Answer) -> Image.Image:
    """Photo and heat side by side, with a bar of cosines that says if nothing like this was found."""
    points = scene.cloud()
    panels = [("photo", points.rgb.numpy()), (answer.text, heat_colors(answer.heat.numpy()))]
    low, high = heat_range(answer.score)
    said = "" if answer.found else "nothing like this here: "
    return picture(
        scene, panels, scale=(low, high, f"{said}cosine, {answer.better:.0%} of common words fit better")
    )

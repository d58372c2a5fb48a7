"""Frames for tests that care about nothing but the image."""

import numpy as np

from purify3d.types import Camera, Frame


def frames_of(*images: np.ndarray) -> list[Frame]:
    """A frame for each (H, W, 3) uint8 image, at the origin and with empty depth."""
    frames = []
    for number, image in enumerate(images):
        height, width = image.shape[:2]
        camera = Camera(50.0, 50.0, width / 2, height / 2, width, height)
        frames.append(
            Frame(
                name=str(number),
                camera=camera,
                depth_camera=camera,
                world_from_camera=np.eye(4),
                color=lambda image=image: image,
                depth=lambda shape=(height, width): np.zeros(shape, np.float32),
            )
        )
    return frames

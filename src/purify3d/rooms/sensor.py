"""From what is there to what a hand-held colour and depth camera records."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, maximum_filter, minimum_filter

from purify3d.rooms.render import Cast

#: Metres beyond which the depth camera sees nothing.
MAX_RANGE = 6.0


@dataclass(frozen=True)
class Sensor:
    """Settings of one capture.

    Attributes:
        exposure: factor on linear light.
        balance: (3,) factors of the white balance.
        grain: deviation of colour noise in 8-bit steps at mid grey.
        blur: deviation of the lens blur in pixels.
        vignette: loss of light in the corners, 0..1.
    """

    exposure: float
    balance: np.ndarray
    grain: float
    blur: float
    vignette: float

    @classmethod
    def draw(cls, rng: np.random.Generator, radiance: np.ndarray) -> Sensor:
        """Settings for a scene, exposed for a sample of its light (n, 3)."""
        level = float(np.median(radiance.mean(axis=-1))) + 0.5 * float(radiance.mean())
        return cls(
            exposure=rng.uniform(0.28, 0.55) / max(level, 1e-4),
            balance=1 + rng.normal(0, 0.05, 3) + np.array([0.06, 0, -0.06]) * rng.normal(),
            grain=rng.uniform(1.0, 4.5),
            blur=rng.uniform(0.3, 0.75),
            vignette=rng.uniform(0.0, 0.25),
        )

    def clean(self, cast: Cast) -> np.ndarray:
        """(H, W, 3) uint8 without noise."""
        return np.round(255 * self._develop(cast.radiance)).astype(np.uint8)

    def color(self, cast: Cast, rng: np.random.Generator) -> np.ndarray:
        """(H, W, 3) uint8: blurred, darker in the corners, noisy."""
        height, width = cast.depth.shape
        y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
        fade = (1 - self.vignette * (x**2 + y**2) / 2).astype(np.float32)
        light = gaussian_filter(cast.radiance, (self.blur, self.blur, 0)) * fade[..., None]
        shown = 255 * self._develop(light)
        noise = rng.standard_normal(shown.shape, dtype=np.float32)
        shown += self.grain * (noise + 0.5 * noise.mean(axis=-1, keepdims=True))
        return np.clip(np.round(shown), 0, 255).astype(np.uint8)

    def _develop(self, radiance: np.ndarray) -> np.ndarray:
        light = radiance * (self.exposure * self.balance).astype(np.float32)
        light = 1.25 * light / (1 + 0.25 * light)  # a soft shoulder, so bright windows keep some colour
        return np.clip(light, 0, 1) ** np.float32(1 / 2.2)

    def depth(self, cast: Cast, rng: np.random.Generator) -> np.ndarray:
        """(H, W) float32 metres, 0 = none: noise of 1.2 mm at 1 m growing with the square of the distance,
        whole millimetres, ragged edges, holes at edges, at grazing angles, on dark or glossy surfaces and
        beyond MAX_RANGE."""
        height, width = cast.depth.shape
        v, u = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
        shift = np.round(rng.normal(0, 0.45, (2, height, width))).astype(int)
        z = cast.depth[np.clip(v + shift[0], 0, height - 1), np.clip(u + shift[1], 0, width - 1)]
        white, coarse = rng.standard_normal((2, height, width), dtype=np.float32)
        coarse = gaussian_filter(coarse, 1.0) * 3.5  # back to deviation 1
        measured = z + 0.0012 * z**2 * (0.8 * white + 0.6 * coarse)
        step = maximum_filter(cast.depth, 3) - minimum_filter(cast.depth, 3)
        blotch = gaussian_filter(rng.standard_normal(z.shape, dtype=np.float32), 2.0) * 7.0  # deviation 1
        luma = cast.albedo.mean(axis=-1) / 255
        weak = (
            2.2 * np.maximum(cast.gloss - 0.45, 0)
            + 4 * np.maximum(0.12 - luma, 0)
            + 0.12 * np.maximum(z - 4.0, 0)
        )
        # The mirror-like are lost head-on or grazing, the dark where little light comes back.
        lost = blotch > 2.4 - 2.2 * weak
        lost |= cast.facing < 0.1 + 0.05 * white
        # A slanted surface has steps too: an edge is more than its own slope explains.
        slope = 3 * cast.depth / (0.75 * width) / np.maximum(cast.facing, 0.1)
        lost |= (step > np.maximum(0.04 * z, 2 * slope)) & (rng.random(z.shape) < 0.55)
        lost |= (z > MAX_RANGE) | (z <= 0)
        return np.where(lost, 0, np.round(measured * 1000) / 1000).astype(np.float32)

# SPDX-License-Identifier: Apache-2.0
"""Light outside and what lens and sensor make of it, drawn once a seed."""
from __future__ import annotations

from dataclasses import dataclass
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_ros.sim.cars import Light
from seg_ros.sim.textures import to_uint8


@dataclass(frozen=True)
class Weather:
    """Sun and air of a seed."""

    azimuth: float  # of the sun, radians to the right of heading 0
    elevation: float  # radians
    strength: float  # of direct light, 0 = overcast
    ambient: float
    haze_m: float  # distance at which two thirds of the contrast is gone
    shadow: float  # how dark shadows are, 0..1

    def light(self, heading: float) -> Light:
        """Return the light in a level frame that looks along a heading."""
        angle = self.azimuth - heading
        flat = math.cos(self.elevation)
        sun = np.array([flat * math.sin(angle), -math.sin(self.elevation), flat * math.cos(angle)])
        return Light(sun=sun, strength=self.strength, ambient=self.ambient)

    def haze(self, depth_m: float) -> float:
        """Return how much of a surface the air hides, 0..1."""
        return 1 - math.exp(-max(0.0, depth_m - 15.0) / self.haze_m)


def random_weather(rng: np.random.Generator) -> Weather:
    """Draw the weather of one seed."""
    sunny = rng.uniform() < 0.45
    strength = float(rng.uniform(0.35, 0.65) if sunny else rng.uniform(0.0, 0.2))
    return Weather(azimuth=float(rng.uniform(0, 2 * math.pi)),
                   elevation=float(rng.uniform(0.3, 0.95)), strength=strength,
                   ambient=float(rng.uniform(0.6, 0.8) if sunny else rng.uniform(0.72, 0.98)),
                   haze_m=float(rng.choice([220.0, 450.0, 1200.0])),
                   shadow=float(rng.uniform(0.4, 0.65) if sunny else rng.uniform(0.1, 0.3)))


class Sensor:
    """Turns the ideal picture into what a cheap camera behind a windscreen gives."""

    def __init__(self, rng: np.random.Generator, width: int, height: int) -> None:
        """Draw exposure, colour and noise."""
        self._table = _tone_table(rng)
        self._vignette = _vignette(rng, width, height)
        noise = rng.normal(128, rng.uniform(1.0, 5.5), (height + 64, width + 64, 1))
        chroma = rng.normal(0, rng.uniform(0.3, 1.8), (height + 64, width + 64, 3))
        both = to_uint8(noise + chroma)
        middle = np.full_like(both, 128)
        self._lighter, self._darker = cv2.subtract(both, middle), cv2.subtract(middle, both)
        self._blur = float(rng.choice([0.45, 0.6, 0.8]))

    def expose(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Blur, darken the corners, map the tones and add noise; image (H, W, 3)."""
        height, width = image.shape[:2]
        x, y = rng.integers(0, 64, 2).tolist()
        image = cv2.GaussianBlur(image, (3, 3), self._blur)
        cv2.multiply(image, self._vignette, dst=image, scale=1 / 255)
        cv2.LUT(image, self._table, dst=image)
        area = np.s_[y:y + height, x:x + width]
        cv2.add(image, self._lighter[area], dst=image)
        return cv2.subtract(image, self._darker[area], dst=image)


def _tone_table(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a (1, 256, 3) table: exposure, contrast and white balance."""
    x = np.linspace(0, 1, 256)
    exposure = float(rng.choice([rng.uniform(0.8, 1.3), rng.uniform(0.45, 0.8)], p=[0.8, 0.2]))
    gamma = float(rng.uniform(0.85, 1.3))
    contrast = float(rng.uniform(0.0, 0.8))
    y = np.clip(x * exposure, 0, 1) ** gamma
    y = (1 - contrast) * y + contrast * (3 * y ** 2 - 2 * y ** 3)
    balance = 1 + rng.normal(0, 0.035, 3)
    table = y[:, None] * balance * 255 + rng.uniform(0, 10)
    return to_uint8(table)[None]


def _vignette(rng: np.random.Generator, width: int, height: int) -> NDArray[np.uint8]:
    """Return the falloff to the corners and the dashboard's reflection, (h, w, 3), 255 = none."""
    x = np.linspace(-1, 1, width)[None]
    y = np.linspace(-1, 1, height)[:, None]
    falloff = 1 - rng.uniform(0.0, 0.28) * (x ** 2 + y ** 2) / 2
    return np.repeat(to_uint8(falloff * 255)[..., None], 3, axis=2)

# SPDX-License-Identifier: Apache-2.0
"""What a real depth camera makes of true depth: noise, fattened edges, holes, misregistration."""
from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_ros.core.pinhole import Pinhole


@dataclass(frozen=True)
class DepthSensor:
    """A passive stereo pair of the size that robots carry; pixels are of the depth image.

    The defaults are of the kind that makers publish for such cameras: a base line of 12 cm, an
    error of 0.08 pixels in disparity (at 640 pixels across 60 degrees 0.2 % of the distance a
    metre, so 2 % at 10 m), blocks of 7 pixels.
    """

    baseline_m: float = 0.12
    disparity_noise_px: float = 0.08
    disparity_step_px: float = 1 / 32  # finest disparity that it tells
    block_px: int = 7  # width of the window that it matches
    min_m: float = 0.6
    max_m: float = 40.0
    dark: int = 14  # grey values up to here give no match
    bright: int = 250  # nor do those from here on, which are glare
    holes: float = 0.02  # share of the image lost in patches without a cause that can be seen
    shift_px: tuple[float, float] = (0.7, 0.4)  # how far registration puts depth off

    def measure(self, depth: NDArray[np.float32], *, image: NDArray[np.uint8], camera: Pinhole,
                seed: int) -> NDArray[np.float32]:
        """Return what it measures (H, W), metres, NaN for holes, of true depth with +inf = sky.

        image is (H, W, 3) RGB. The same seed gives the same bits.
        """
        rng = np.random.default_rng([seed, 6])
        focal_baseline = camera.fx * self.baseline_m
        disparity = self._shifted(focal_baseline / depth)
        hidden = _hidden_from_the_right(disparity)
        disparity = _fattened(disparity, radius=self.block_px // 2, rng=rng)
        disparity += self.disparity_noise_px * _smooth_noise(disparity.shape, rng)
        disparity = np.rint(disparity / self.disparity_step_px) * self.disparity_step_px
        with np.errstate(divide='ignore', invalid='ignore'):
            measured = (focal_baseline / disparity).astype(np.float32)
        lost = hidden | self._unmatched(image) | (_patches(disparity.shape, rng) < self.holes)
        lost |= ~((measured >= self.min_m) & (measured <= self.max_m))
        measured[lost] = np.nan
        return measured

    def _shifted(self, disparity: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the disparity as imperfect registration places it; no pixel is a mixture."""
        move = np.array([[1.0, 0.0, self.shift_px[0]], [0.0, 1.0, self.shift_px[1]]])
        return cv2.warpAffine(disparity, move, disparity.shape[::-1], flags=cv2.INTER_NEAREST,
                              borderMode=cv2.BORDER_REPLICATE)

    def _unmatched(self, image: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return where the picture is too dark or too bright to be matched."""
        grey = cv2.blur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (self.block_px, self.block_px))
        return (grey <= self.dark) | (grey >= self.bright)


def _hidden_from_the_right(disparity: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the pixels (H, W) that the right camera cannot see: something is before them there.

    Column u lands on u - d; it is hidden where a column further right lands left of it.
    """
    lands = np.arange(disparity.shape[1], dtype=np.float32) - disparity
    right = np.full_like(lands, np.inf)
    right[:, :-1] = np.minimum.accumulate(lands[:, :0:-1], axis=1)[:, ::-1]
    return right < lands - 0.5


def _fattened(disparity: NDArray[np.float32], *, radius: int, rng: np.random.Generator
              ) -> NDArray[np.float32]:
    """Return the disparity (H, W) with near things grown at their rims and points between.

    A block at a rim sees both surfaces: it takes the nearer one over a ragged width of up to its
    radius, and at the end of it something in between.
    """
    shape = disparity.shape
    reach = rng.integers(0, radius + 1, ((shape[0] + 3) // 4, (shape[1] + 3) // 4), np.uint8)
    reach = cv2.resize(reach, shape[::-1], interpolation=cv2.INTER_NEAREST)
    grown = disparity.copy()
    for r in range(1, radius + 1):
        wide = cv2.dilate(disparity, np.ones((2 * r + 1, 2 * r + 1), np.uint8))
        np.copyto(grown, wide, where=reach == r)
    flying = (grown > disparity + 1) & (rng.uniform(size=shape) < 0.3)
    grown[flying] -= (rng.uniform(size=shape) * (grown - disparity))[flying]
    return grown


def _smooth_noise(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return noise (H, W) of variance 1 that neighbours share, as blocks overlap."""
    white = rng.standard_normal(shape, np.float32)
    smooth = cv2.GaussianBlur(white, (0, 0), 1.0)
    return smooth / np.float32(smooth.std())


def _patches(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a field (H, W), uniform in 0..1, whose lowest values lie together in patches."""
    coarse = rng.standard_normal((shape[0] // 12 + 2, shape[1] // 12 + 2)).astype(np.float32)
    field = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
    rank = np.empty(field.size)
    rank[np.argsort(field, axis=None)] = np.linspace(0, 1, field.size)
    return rank.reshape(shape)

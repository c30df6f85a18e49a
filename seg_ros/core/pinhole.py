# SPDX-License-Identifier: Apache-2.0
"""Pinhole: the geometry of a rectified image, between pixels and rays."""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Pinhole:
    """A camera without distortion; pixel (u, v) has its centre at integer u, v.

    The optical frame is that of REP 103: x right, y down, z forward, metres.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        """Raise ValueError where this is no camera."""
        if self.width < 1 or self.height < 1:
            raise ValueError(f'image is {self.width}x{self.height} pixels, expected at least 1x1')
        lengths = np.array([self.fx, self.fy, self.cx, self.cy])
        if not (np.isfinite(lengths).all() and self.fx > 0 and self.fy > 0):
            raise ValueError(f'fx, fy, cx, cy are {lengths.tolist()}, expected finite numbers '
                             'and focal lengths above 0: is the camera calibrated?')

    @cached_property
    def ray_x(self) -> NDArray[np.float32]:
        """Return x / z of each column (W,)."""
        return ((np.arange(self.width) - self.cx) / self.fx).astype(np.float32)

    @cached_property
    def ray_y(self) -> NDArray[np.float32]:
        """Return y / z of each row (H,)."""
        return ((np.arange(self.height) - self.cy) / self.fy).astype(np.float32)

    def pixels_of(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return u, v (N, 2) of points (N, 3) in the optical frame; NaN behind the camera."""
        with np.errstate(divide='ignore', invalid='ignore'):
            slopes = points[:, :2] / np.where(points[:, 2:] > 0, points[:, 2:], np.nan)
        return slopes * (self.fx, self.fy) + (self.cx, self.cy)

    def resized(self, *, width: int, height: int) -> Pinhole:
        """Return the camera of the same view on another raster: u becomes s (u + 0.5) - 0.5."""
        x, y = width / self.width, height / self.height
        return Pinhole(width=width, height=height, fx=x * self.fx, fy=y * self.fy,
                       cx=x * (self.cx + 0.5) - 0.5, cy=y * (self.cy + 0.5) - 0.5)

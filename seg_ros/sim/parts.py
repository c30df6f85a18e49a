# SPDX-License-Identifier: Apache-2.0
"""Objects made of flat coloured parts: drawn in a small window, then painted in one go."""
from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_ros.sim.canvas import SUBPIXEL_BITS, Canvas, Window, subpixels

GLASSY = -1.0  # a colour below zero: belongs to the object, but shows what is behind


@dataclass
class PartsWindow:
    """A window in which the parts of one object are drawn over each other, farthest first."""

    canvas: Canvas
    window: Window
    index: NDArray[np.uint8] = field(init=False)  # (h, w) 0 = no part
    _colours: list[NDArray[np.float64]] = field(default_factory=list)
    _planes: list[NDArray[np.float64]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start with no part anywhere."""
        self.index = np.zeros(self.window.shape, np.uint8)

    def part(self, colour: NDArray[np.float64], plane: NDArray[np.float64]) -> int:
        """Register a colour (3,) and an inverse depth plane (3,), return the part's number."""
        self._colours.append(colour)
        self._planes.append(plane)
        return len(self._colours)

    def polygon(self, pixels: NDArray[np.float64], part: int) -> None:
        """Fill a convex polygon (N, 2)."""
        cv2.fillConvexPoly(self.index, subpixels(pixels, self.window), part, shift=SUBPIXEL_BITS)

    def stroke(self, start: tuple[int, int], end: tuple[int, int], thickness: int,
               part: int) -> None:
        """Draw a line with round ends between two subpixel positions of the window."""
        cv2.line(self.index, start, end, part, thickness, cv2.LINE_8, SUBPIXEL_BITS)

    def paint(self, tag: int, *, gain: float, haze: float,
              grain: NDArray[np.uint8] | None = None) -> None:
        """Paint all parts through the z-buffer with one tag."""
        colours = np.array([np.zeros(3), *self._colours])
        glassy = colours[:, 0] < 0
        lit = np.clip(colours * (gain * (1 - haze)) + 190 * haze, 0, 255).astype(np.uint8)
        colour = lit.take(self.index, axis=0)
        if grain is not None:
            rows, columns = self.window.shape
            grain = cv2.merge([grain[:rows, :columns]] * 3)
            colour = cv2.multiply(colour, grain, scale=1 / 128)
        mask = self.index > 0
        ink = np.logical_not(glassy).take(self.index) if glassy.any() else None
        self.canvas.paint(self.window, colour=colour, mask=mask, tag=tag, ink=ink,
                          inverse_depth=self._inverse_depth())

    def _inverse_depth(self) -> NDArray[np.float32]:
        planes = np.array([np.zeros(3), *self._planes], np.float32)
        if not planes[:, :2].any():  # every part faces the camera
            return planes[:, 2].take(self.index)
        rows, columns = self.window.slices
        u = np.arange(columns.start, columns.stop, dtype=np.float32)
        v = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
        inverse = planes[:, 0].take(self.index)
        inverse *= u
        inverse += planes[:, 1].take(self.index) * v
        inverse += planes[:, 2].take(self.index)
        return inverse


def facing_plane(depth_m: float) -> NDArray[np.float64]:
    """Return the inverse depth plane of a picture that faces the camera."""
    return np.array([0.0, 0.0, 1.0 / depth_m])

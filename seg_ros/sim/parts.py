# SPDX-License-Identifier: Apache-2.0
"""Objects made of flat coloured parts: drawn in a small window, then painted in one go."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_ros.sim.camera import NEAR_M
from seg_ros.sim.canvas import Canvas, SUBPIXEL_BITS, subpixels, Window

_NOTHING = (0.0, 0.0, 0.0)
GLASSY = -1.0  # a colour below zero: belongs to the object, but shows what is behind


@dataclass
class PartsWindow:
    """A window in which the parts of one object are drawn over each other, farthest first."""

    canvas: Canvas
    window: Window
    index: NDArray[np.uint8] = field(init=False)  # (h, w) 0 = no part
    _colours: list[Sequence[float]] = field(default_factory=list)
    _planes: list[Sequence[float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start with no part anywhere."""
        self.index = np.zeros(self.window.shape, np.uint8)

    def part(self, colour: Sequence[float], plane: Sequence[float]) -> int:
        """Register a colour (3,) and an inverse depth plane (3,), return the part's number."""
        self._colours.append(colour)
        self._planes.append(plane)
        return len(self._colours)

    def use(self, colours: NDArray[np.float64], planes: NDArray[np.float64]) -> None:
        """Register many parts (N, 3) and (N, 3) at once, numbered on from the last."""
        self._colours += colours.tolist()
        self._planes += planes.tolist()

    def polygon(self, pixels: NDArray[np.float64], part: int) -> None:
        """Fill a convex polygon (N, 2)."""
        self.fill(subpixels(pixels, self.window), part)

    def fill(self, corners: NDArray[np.int32], part: int) -> None:
        """Fill a convex polygon (N, 2) given in subpixels of the window."""
        cv2.fillConvexPoly(self.index, corners, part, shift=SUBPIXEL_BITS)

    def stroke(self, start: tuple[int, int], end: tuple[int, int], thickness: int,
               part: int) -> None:
        """Draw a line with round ends between two subpixel positions of the window."""
        cv2.line(self.index, start, end, part, thickness, cv2.LINE_8, SUBPIXEL_BITS)

    def paint(self, tag: int, *, gain: float, haze: float,
              between_m: tuple[float, float] = (NEAR_M, 1e6),
              grain: NDArray[np.uint8] | None = None) -> None:
        """Paint all parts through the z-buffer with one tag; no depth outside of `between_m`."""
        inverse_depth = self._inverse_depth()
        np.minimum(inverse_depth, np.float32(1 / between_m[0]), out=inverse_depth)
        np.maximum(inverse_depth, np.float32(1 / between_m[1]), out=inverse_depth)
        seen = self.canvas.claim(self.window, mask=self.index > 0, tag=tag,
                                 inverse_depth=inverse_depth)
        if seen is None:
            return
        colours = np.array([_NOTHING, *self._colours])
        lit = np.zeros((len(colours), 4), np.uint8)
        lit[:, :3] = np.maximum(np.minimum(colours * (gain * (1 - haze)) + 190 * haze, 255), 0)
        rows, columns = self.window.shape
        # one take of four bytes instead of four of one
        colour = lit.view(np.uint32)[:, 0].take(self.index).view(np.uint8)
        colour = colour.reshape(rows, columns, 4)
        if grain is not None and rows * columns > 300:
            colour = cv2.multiply(colour, grain[:rows, :columns], scale=1 / 128)
        glassy = colours[:, 0] < 0
        if glassy.any():
            seen &= np.logical_not(glassy).take(self.index)
        self.canvas.ink(self.window, colour, seen)

    def _inverse_depth(self) -> NDArray[np.float32]:
        planes = np.array([_NOTHING, *self._planes], np.float32)
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


def facing_plane(depth_m: float) -> tuple[float, float, float]:
    """Return the inverse depth plane of a picture that faces the camera."""
    return 0.0, 0.0, 1.0 / depth_m

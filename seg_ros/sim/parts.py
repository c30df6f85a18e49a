# SPDX-License-Identifier: Apache-2.0
"""Objects made of flat coloured parts: drawn in a small window, then painted in one go."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_ros.sim.camera import NEAR_M
from seg_ros.sim.canvas import Canvas, SUBPIXEL_BITS, subpixels, Window

GLASSY = -1.0  # a colour below zero: belongs to the object, but shows what is behind


@dataclass
class PartsWindow:
    """A window in which the parts of one object are drawn over each other, farthest first."""

    canvas: Canvas
    window: Window
    index: NDArray[np.uint8] = field(init=False)  # (h, w) 0 = no part
    _colours: list[Sequence[float]] | NDArray[np.float64] = field(default_factory=list)
    _planes: list[Sequence[float]] | NDArray[np.float64] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start with no part anywhere."""
        self.index = np.zeros(self.window.shape, np.uint8)

    def part(self, colour: Sequence[float], plane: Sequence[float]) -> int:
        """Register a colour (3,) and an inverse depth plane (3,), return the part's number."""
        self._colours.append(colour)
        self._planes.append(plane)
        return len(self._colours)

    def use(self, colours: NDArray[np.float64], planes: NDArray[np.float64]) -> None:
        """Register all parts (N, 3) and (N, 3) at once, numbered from 1."""
        self._colours, self._planes = colours, planes

    def polygon(self, pixels: NDArray[np.float64], part: int) -> None:
        """Fill a convex polygon (N, 2)."""
        self.fill(subpixels(pixels, self.window), part)

    def polygons(self, pixels: NDArray[np.float64], ends: Iterable[int],
                 parts: Iterable[int]) -> None:
        """Fill convex polygons that lie one after the other in (N, 2); each ends before `ends`."""
        fixed, start = subpixels(pixels, self.window), 0
        for end, part in zip(ends, parts, strict=False):
            self.fill(fixed[start:end], part)
            start = end

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
        inverse_depth = self._inverse_depth(1 / between_m[1], 1 / between_m[0])
        claimed = self.canvas.claim(self.window, mask=self.index, tag=tag,
                                    inverse_depth=inverse_depth)
        if claimed is None:
            return
        shown, seen = claimed
        piece = shown.inside(self.window)
        index, colours = self.index[piece], np.array(self._colours)
        lit = np.zeros((256, 4), np.uint8)
        lit[1:len(colours) + 1, :3] = np.maximum(
            np.minimum(colours * (gain * (1 - haze)) + 190 * haze, 255), 0)
        # one look-up of four bytes instead of four of one
        colour = cv2.LUT(index, lit.view(np.int32)).view(np.uint8).reshape(*index.shape, 4)
        if grain is not None and self.index.size > 300:
            colour = cv2.multiply(colour, grain[piece], scale=1 / 128)
        if colours.min() < 0:
            solid = _table(np.where(colours[:, 0] < 0, np.uint8(0), np.uint8(255)))
            seen = cv2.bitwise_and(seen, cv2.LUT(index, solid))
        self.canvas.ink(shown, colour, seen)

    def _inverse_depth(self, low: float, high: float) -> NDArray[np.float32]:
        """Return the inverse depth (h, w) of the parts, kept between `low` and `high`."""
        planes = np.array(self._planes, np.float32)
        if not planes[:, :2].any():  # every part faces the camera
            return cv2.LUT(self.index, _table(_between(planes[:, 2], low, high)))
        rows, columns = self.window.slices
        u = np.arange(columns.start, columns.stop, dtype=np.float32)
        v = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
        a, b, c = (cv2.LUT(self.index, _table(column)) for column in planes.T)
        a *= u
        b *= v
        a += b
        a += c
        return _between(a, low, high)


def _table(values: NDArray[Any]) -> NDArray[Any]:
    """Return what all values of the index stand for (256,): 0 for no part, then `values`."""
    table = np.zeros(256, values.dtype)
    table[1:len(values) + 1] = values
    return table


def _between(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    np.minimum(values, np.float32(high), out=values)
    return np.maximum(values, np.float32(low), out=values)


def facing_plane(depth_m: float) -> tuple[float, float, float]:
    """Return the inverse depth plane of a picture that faces the camera."""
    return 0.0, 0.0, 1.0 / depth_m

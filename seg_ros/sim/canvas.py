# SPDX-License-Identifier: Apache-2.0
"""One z-buffer that colour, class, instance and depth are all painted through."""
from __future__ import annotations

from dataclasses import dataclass
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_ros.sim.camera import CameraView, clip_near, cross

SUBPIXEL_BITS = 4
_ONE = 1 << SUBPIXEL_BITS


@dataclass(frozen=True)
class Window:
    """A rectangle of the image, half-open, pixels."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Return rows, columns."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Return the numpy index of the rectangle."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)


class Canvas:
    """The picture under way: every pixel belongs to the nearest surface painted on it."""

    def __init__(self, view: CameraView) -> None:
        """Start with a black image that is sky all over."""
        self.view = view
        self.width, self.height = view.model.width, view.model.height
        # four channels, the last unused: OpenCV warps four faster than three
        self.image = np.zeros((self.height, self.width, 4), np.uint8)
        self.inverse_depth = np.zeros((self.height, self.width), np.float32)
        self.tag = np.zeros((self.height, self.width), np.uint16)
        self._classes = [0]
        self._instances = [0]
        self._u = np.arange(self.width, dtype=np.float32)
        self._v = np.arange(self.height, dtype=np.float32)[:, None]

    def new_tag(self, class_id: int, instance_id: int = 0) -> int:
        """Register a surface's class and instance and return the number to paint it with."""
        self._classes.append(class_id)
        self._instances.append(instance_id)
        return len(self._classes) - 1

    def window(self, pixels: NDArray[np.float64], margin: float = 1.0) -> Window | None:
        """Return the part of the image that a set of pixels (N, 2) spans, None where outside."""
        if len(pixels) > 12:
            (x0, y0), (x1, y1) = pixels.min(axis=0).tolist(), pixels.max(axis=0).tolist()
        else:  # lists are faster than arrays for a handful
            columns, rows = pixels.T.tolist()
            x0, x1, y0, y1 = min(columns), max(columns), min(rows), max(rows)
        if x1 < 0 or y1 < 0 or x0 >= self.width or y0 >= self.height:
            return None
        left, top = max(0, int(x0 - margin)), max(0, int(y0 - margin))
        right = min(self.width, int(x1 + margin) + 2)
        bottom = min(self.height, int(y1 + margin) + 2)
        if left >= right or top >= bottom:
            return None
        return Window(left, top, right, bottom)

    def plane(self, window: Window, abc: NDArray[np.float64], *, nearest_m: float,
              farthest_m: float) -> NDArray[np.float32]:
        """Return the inverse depth of a piece of a plane over a window.

        Its range is bounded: a pixel on the outline has its centre just outside of the piece.
        """
        a, b, c = abc.astype(np.float32)
        rows, columns = window.slices
        inverse = (self._u[columns] * a) + (self._v[rows] * b + c)
        np.minimum(inverse, np.float32(1 / nearest_m), out=inverse)
        return np.maximum(inverse, np.float32(1 / farthest_m), out=inverse)

    def buried(self, window: Window, inverse_depth: float) -> bool:
        """Say whether everything in a window is nearer already."""
        return float(self.inverse_depth[window.slices].min()) > inverse_depth

    def claim(self, window: Window, *, mask: NDArray[np.bool_],
              inverse_depth: NDArray[np.float32] | np.float32,
              tag: int) -> NDArray[np.bool_] | None:
        """Give a surface the pixels of `mask` where it is nearest; None where it is nowhere."""
        nearest = self.inverse_depth[window.slices]
        seen = np.greater(inverse_depth, nearest)
        seen &= mask
        if not seen.any():
            return None
        np.copyto(nearest, inverse_depth, where=seen)
        np.copyto(self.tag[window.slices], np.uint16(tag), where=seen)
        return seen

    def ink(self, window: Window, colour: NDArray[np.uint8], where: NDArray[np.bool_]) -> None:
        """Colour claimed pixels; colour (h, w, 4).

        Between the bars of a railing the label is fence while the image keeps what is behind.
        """
        cv2.copyTo(colour, where.view(np.uint8), self.image[window.slices])

    def seen_instances(self) -> set[int]:
        """Return the ids of the instances that own at least one pixel."""
        count = len(self._instances)
        histogram = cv2.calcHist([self.tag], [0], None, [count], [0, count]).ravel()
        return set(np.array(self._instances)[histogram > 0].tolist()) - {0}

    def finished_image(self) -> NDArray[np.uint8]:
        """Return the image (H, W, 3) RGB."""
        return cv2.cvtColor(self.image, cv2.COLOR_RGBA2RGB)

    def class_map(self) -> NDArray[np.uint8]:
        """Return the class ids (H, W)."""
        return np.array(self._classes, np.uint8).take(self.tag)

    def instance_map(self) -> NDArray[np.int32]:
        """Return the instance ids (H, W), 0 = none."""
        return np.array(self._instances, np.int32).take(self.tag)

    def depth(self) -> NDArray[np.float32]:
        """Return metres along the optical axis (H, W), +inf for the sky."""
        with np.errstate(divide='ignore'):
            return np.reciprocal(self.inverse_depth)


@dataclass(frozen=True)
class Texture:
    """Pictures of one surface, each half the size of the one before."""

    levels: tuple[NDArray[np.uint8], ...]  # (h, w, 4): red, green, blue, ink
    opaque: bool = True  # False: the ink channel says where


def subpixels(pixels: NDArray[np.float64], window: Window) -> NDArray[np.int32]:
    """Return pixels (N, 2) relative to a window in OpenCV's fixed point."""
    return np.rint((pixels - (window.x0, window.y0)) * _ONE).astype(np.int32)


def paint_quad(canvas: Canvas, *, corner: NDArray[np.float64], along: NDArray[np.float64],
               down: NDArray[np.float64], texture: Texture, tag: int, gain: float = 1.0,
               haze: float = 0.0, outline: NDArray[np.float64] | None = None) -> None:
    """Paint a textured parallelogram given by optical vectors (3,) in metres.

    `outline` (N, 2), in units of `along` and `down`, cuts a convex piece out of it.
    """
    unit = _CORNERS if outline is None else outline
    points = clip_near(corner + unit[:, :1] * along + unit[:, 1:] * down)
    if len(points) < 3:
        return
    pixels = canvas.view.project(points)
    window = canvas.window(pixels)
    if window is None:
        return
    depth = points[:, 2].tolist()
    nearest_m, farthest_m = min(depth), max(depth)
    if canvas.buried(window, 1 / nearest_m):
        return
    normal = cross(along, down)
    offset = float(normal @ corner)
    if abs(offset) < 1e-4:  # seen from its edge
        return
    mask = np.zeros(window.shape, np.uint8)
    cv2.fillConvexPoly(mask, subpixels(pixels, window), 1, shift=SUBPIXEL_BITS)
    to_plane = _row_in_pixels(canvas.view, normal / offset, Window(0, 0, 0, 0))
    seen = canvas.claim(window, mask=mask.view(np.bool_), tag=tag,
                        inverse_depth=canvas.plane(window, to_plane, nearest_m=nearest_m,
                                                   farthest_m=farthest_m))
    if seen is None:
        return
    if texture.opaque and seen.size < 500:  # too small for a picture
        tone = texture.levels[-1][0, 0] * (gain * (1 - haze)) + 190 * haze
        canvas.image[window.slices][seen] = np.minimum(tone, 255).astype(np.uint8)
        return
    level = texture.levels[_level(texture, pixels, points, along)]
    rows = (cross(down, corner) * level.shape[1], cross(corner, along) * level.shape[0], normal)
    from_pixel = np.array([_row_in_pixels(canvas.view, row, window) for row in rows])
    colour = cv2.warpPerspective(level, from_pixel, window.shape[::-1],
                                 flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                                 borderMode=cv2.BORDER_REPLICATE)
    if not texture.opaque:
        seen &= colour[..., 3] > 110
    if gain != 1.0 or haze > 0.01:
        colour = cv2.convertScaleAbs(colour, alpha=gain * (1 - haze), beta=190 * haze)
    canvas.ink(window, colour, seen)


_CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])


def _row_in_pixels(view: CameraView, row: NDArray[np.float64],
                   window: Window) -> NDArray[np.float64]:
    """Turn a linear form of optical rays (3,) into one of a window's homogeneous pixels (3,)."""
    model = view.model
    x, y, z = row.tolist()
    x, y = x / model.fx, y / model.fy
    return np.array([x, y, z - x * (model.cx - window.x0) - y * (model.cy - window.y0)])


def _level(texture: Texture, pixels: NDArray[np.float64], points: NDArray[np.float64],
           along: NDArray[np.float64]) -> int:
    """Choose the picture whose texels are about as dense as the pixels."""
    u0, v0 = pixels[0].tolist()
    u1, v1 = pixels[len(pixels) // 2].tolist()
    length = math.dist(points[0].tolist(), points[len(points) // 2].tolist())
    texels = texture.levels[0].shape[1] * length / max(math.hypot(*along.tolist()), 1e-3)
    ratio = texels / max(math.hypot(u1 - u0, v1 - v0), 1.0)
    return min(max(int(math.log2(max(ratio, 1e-3)) + 0.3), 0), len(texture.levels) - 1)

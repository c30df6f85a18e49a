# SPDX-License-Identifier: Apache-2.0
"""One z-buffer that colour, class, instance and depth are all painted through."""
from __future__ import annotations

from dataclasses import dataclass
import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_ros.sim.camera import CameraView, clip_near, cross

SUBPIXEL_BITS = 4
_ONE = 1 << SUBPIXEL_BITS


class Window(NamedTuple):
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

    def inside(self, outer: Window) -> tuple[slice, slice]:
        """Return the numpy index of the rectangle in an array that covers `outer`."""
        return (slice(self.y0 - outer.y0, self.y1 - outer.y0),
                slice(self.x0 - outer.x0, self.x1 - outer.x0))


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

    def plane(self, window: Window, abc: tuple[float, float, float], *, nearest_m: float,
              farthest_m: float) -> NDArray[np.float32]:
        """Return the inverse depth of a piece of a plane over a window.

        Its range is bounded: a pixel on the outline has its centre just outside of the piece.
        """
        a, b, c = map(np.float32, abc)
        rows, columns = window.slices
        inverse = (self._u[columns] * a) + (self._v[rows] * b + c)
        np.minimum(inverse, np.float32(1 / nearest_m), out=inverse)
        return np.maximum(inverse, np.float32(1 / farthest_m), out=inverse)

    def buried(self, window: Window, inverse_depth: float) -> bool:
        """Say whether everything in a window is nearer already."""
        return cv2.minMaxLoc(self.inverse_depth[window.slices])[0] > inverse_depth

    def claim(self, window: Window, *, mask: NDArray[np.uint8],
              inverse_depth: NDArray[np.float32],
              tag: int) -> tuple[Window, NDArray[np.uint8]] | None:
        """Give a surface the pixels where `mask` is not 0 and it is nearest.

        Return the smallest window around them and its mask, not 0 where claimed; None if there
        are none.
        """
        nearest = self.inverse_depth[window.slices]
        seen = cv2.compare(inverse_depth, nearest, cv2.CMP_GT)
        cv2.bitwise_and(seen, mask, dst=seen)
        x, y, columns, rows = cv2.boundingRect(seen)
        if not rows:
            return None
        left, top = window.x0 + x, window.y0 + y
        shown = Window(left, top, left + columns, top + rows)
        part = shown.inside(window)
        seen = seen[part]
        cv2.copyTo(inverse_depth[part], seen, nearest[part])
        cv2.copyTo(np.full(seen.shape, tag, np.uint16), seen, self.tag[shown.slices])
        return shown, seen

    def ink(self, window: Window, colour: NDArray[np.uint8], where: NDArray[np.uint8]) -> None:
        """Colour claimed pixels; colour (h, w, 4), where (h, w) not 0.

        Between the bars of a railing the label is fence while the image keeps what is behind.
        """
        cv2.copyTo(colour, where, self.image[window.slices])

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
    to_plane = _row_in_pixels(canvas.view, normal / offset, _ORIGIN)
    claimed = canvas.claim(window, mask=mask, tag=tag,
                           inverse_depth=canvas.plane(window, to_plane, nearest_m=nearest_m,
                                                      farthest_m=farthest_m))
    if claimed is None:
        return
    shown, seen = claimed
    if texture.opaque and mask.size < 500:  # too small for a picture
        tone = texture.levels[-1][0, 0] * (gain * (1 - haze)) + 190 * haze
        colour = np.minimum(tone, 255).astype(np.uint8)
        canvas.ink(shown, np.full((*seen.shape, 4), colour), seen)
        return
    level = texture.levels[_level(texture, pixels, points, along)]
    rows = (cross(down, corner) * level.shape[1], cross(corner, along) * level.shape[0], normal)
    from_pixel = np.array([_row_in_pixels(canvas.view, row, window) for row in rows])
    # OpenCV rounds by the distance from the origin: cut at the far sides, never move the origin
    width = min(-(-(shown.x1 - window.x0) // 32) * 32, window.x1 - window.x0)
    colour = cv2.warpPerspective(level, from_pixel, (width, shown.y1 - window.y0),
                                 flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                                 borderMode=cv2.BORDER_REPLICATE)[shown.inside(window)]
    if not texture.opaque:
        seen = inked(colour, seen)
    if gain != 1.0 or haze > 0.01:
        colour = cv2.convertScaleAbs(colour, alpha=gain * (1 - haze), beta=190 * haze)
    canvas.ink(shown, colour, seen)


def inked(colour: NDArray[np.uint8], seen: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return where a picture (h, w, 4) has ink among the claimed pixels (h, w)."""
    _, ink = cv2.threshold(cv2.extractChannel(colour, 3), 110, 255, cv2.THRESH_BINARY)
    return cv2.bitwise_and(seen, ink)


_ORIGIN = Window(0, 0, 0, 0)
_CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])


def _row_in_pixels(view: CameraView, row: NDArray[np.float64],
                   window: Window) -> tuple[float, float, float]:
    """Turn a linear form of optical rays (3,) into one of a window's homogeneous pixels (3,)."""
    model = view.model
    x, y, z = row.tolist()
    x, y = x / model.fx, y / model.fy
    return x, y, z - x * (model.cx - window.x0) - y * (model.cy - window.y0)


def _level(texture: Texture, pixels: NDArray[np.float64], points: NDArray[np.float64],
           along: NDArray[np.float64]) -> int:
    """Choose the picture whose texels are about as dense as the pixels."""
    u0, v0 = pixels[0].tolist()
    u1, v1 = pixels[len(pixels) // 2].tolist()
    length = math.dist(points[0].tolist(), points[len(points) // 2].tolist())
    texels = texture.levels[0].shape[1] * length / max(math.hypot(*along.tolist()), 1e-3)
    ratio = texels / max(math.hypot(u1 - u0, v1 - v0), 1.0)
    return min(max(int(math.log2(max(ratio, 1e-3)) + 0.3), 0), len(texture.levels) - 1)

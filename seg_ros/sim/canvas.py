# SPDX-License-Identifier: Apache-2.0
"""One z-buffer that colour, class, instance and depth are all painted through."""
from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_ros.sim.camera import CameraView, clip_near

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
        self.image = np.zeros((self.height, self.width, 3), np.uint8)
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
        (x0, y0), (x1, y1) = pixels.min(axis=0).tolist(), pixels.max(axis=0).tolist()
        left, top = max(0, int(x0 - margin)), max(0, int(y0 - margin))
        right = min(self.width, int(x1 + margin) + 2)
        bottom = min(self.height, int(y1 + margin) + 2)
        if left >= right or top >= bottom or x1 < 0 or y1 < 0:
            return None
        return Window(left, top, right, bottom)

    def plane(self, window: Window, abc: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the inverse depth of a plane over a window."""
        a, b, c = abc.astype(np.float32)
        rows, columns = window.slices
        return (self._u[columns] * a) + (self._v[rows] * b + c)

    def paint(self, window: Window, *, colour: NDArray[np.uint8], mask: NDArray[np.bool_],
              inverse_depth: NDArray[np.float32] | np.float32, tag: int,
              ink: NDArray[np.bool_] | None = None) -> None:
        """Paint a surface where it is nearest.

        `mask` says what belongs to the surface, `ink` where it is opaque: between the bars of a
        railing the label is fence while the image shows what is behind.
        """
        nearest = self.inverse_depth[window.slices]
        seen = np.greater(inverse_depth, nearest)
        seen &= mask
        np.copyto(nearest, inverse_depth, where=seen)
        np.copyto(self.tag[window.slices], np.uint16(tag), where=seen)
        if ink is not None:
            seen &= ink
        cv2.copyTo(colour, seen.view(np.uint8), self.image[window.slices])

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

    levels: tuple[NDArray[np.uint8], ...]  # (h, w, 3)
    inks: tuple[NDArray[np.uint8], ...] = ()  # (h, w) opacity, 0 or 255; none = opaque all over


def subpixels(pixels: NDArray[np.float64], window: Window) -> NDArray[np.int32]:
    """Return pixels (N, 2) relative to a window in OpenCV's fixed point."""
    return np.rint((pixels - (window.x0, window.y0)) * _ONE).astype(np.int32)


def paint_quad(canvas: Canvas, *, corner: NDArray[np.float64], along: NDArray[np.float64],
               down: NDArray[np.float64], texture: Texture, tag: int, gain: float = 1.0,
               haze: float = 0.0, outline: NDArray[np.float64] | None = None) -> None:
    """Paint a textured parallelogram given by optical vectors (3,) in metres.

    `outline` (N, 2), in units of `along` and `down`, cuts a convex piece out of it.
    """
    unit = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]]) if outline is None else outline
    points = clip_near(corner + unit[:, :1] * along + unit[:, 1:] * down)
    if len(points) < 3:
        return
    pixels = canvas.view.project(points)
    window = canvas.window(pixels)
    if window is None:
        return
    mask = np.zeros(window.shape, np.uint8)
    cv2.fillConvexPoly(mask, subpixels(pixels, window), 1, shift=SUBPIXEL_BITS)
    if not mask.any():
        return
    abc = canvas.view.inverse_depth_plane(np.stack([corner, corner + along, corner + down]))
    level = _level(texture, pixels, points, along)
    from_pixel = _pixel_to_texture(canvas.view, window, corner, along, down,
                                   texture.levels[level].shape)
    size = window.shape[::-1]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    colour = cv2.warpPerspective(texture.levels[level], from_pixel, size, flags=flags,
                                 borderMode=cv2.BORDER_REPLICATE)
    if gain != 1.0 or haze > 0.01:
        colour = cv2.convertScaleAbs(colour, alpha=gain * (1 - haze), beta=190 * haze)
    ink = None
    if texture.inks:
        ink = cv2.warpPerspective(texture.inks[level], from_pixel, size, flags=flags,
                                  borderMode=cv2.BORDER_REPLICATE) > 110
    canvas.paint(window, colour=colour, mask=mask.view(np.bool_), tag=tag, ink=ink,
                 inverse_depth=canvas.plane(window, abc))


def _level(texture: Texture, pixels: NDArray[np.float64], points: NDArray[np.float64],
           along: NDArray[np.float64]) -> int:
    """Choose the picture whose texels are about as dense as the pixels."""
    spread = pixels.max(axis=0) - pixels.min(axis=0)
    share = np.ptp(points, axis=0)
    length = max(float(np.sqrt((share ** 2).sum())), 1e-3)
    texels = texture.levels[0].shape[1] * length / max(float(np.sqrt((along ** 2).sum())), 1e-3)
    ratio = texels / max(float(np.sqrt((spread ** 2).sum())), 1.0)
    return int(np.clip(np.log2(max(ratio, 1e-3)) + 0.2, 0, len(texture.levels) - 1))


def _pixel_to_texture(view: CameraView, window: Window, corner: NDArray[np.float64],
                      along: NDArray[np.float64], down: NDArray[np.float64],
                      shape: tuple[int, ...]) -> NDArray[np.float64]:
    model = view.model
    pixel = np.array([[model.fx, 0, model.cx - window.x0], [0, model.fy, model.cy - window.y0],
                      [0, 0, 1]])
    texel = np.array([along / shape[1], down / shape[0], corner]).T
    return np.linalg.pinv(pixel @ texel)

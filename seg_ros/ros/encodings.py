# SPDX-License-Identifier: Apache-2.0
"""Raw images to RGB: one table says what each encoding must hold and how it is converted.

The table serves every encoding exactly, padded and big-endian rows too, which cv_bridge skews or
refuses; where it was built for another NumPy it even ends the process. So it is not used here.

Names and layouts are those of sensor_msgs/image_encodings.hpp. 16-bit samples become v >> 8, the
high byte, before anything else: an image in 16 bits is the 8-bit image of its high bytes, exactly.
YUV is BT.601 with luma in 16..235, as OpenCV converts it. Bayer is bilinear; the outermost pixels
repeat their neighbours.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image

SHOWN_CHARACTERS = 40
"""How much of a sender's text a sentence repeats."""


class BadImageError(Exception):
    """An image that cannot be read: a stable reason for counters, one sentence for people."""

    def __init__(self, reason: str, sentence: str) -> None:
        """Keep both."""
        super().__init__(sentence)
        self.reason = reason


@dataclass(frozen=True)
class Encoding:
    """What a message must hold, and the way from its rows of 8-bit samples to RGB."""

    pixel_bytes: int  # of one pixel in a row; in the luma plane where chroma has its own
    # (rows (R, >= row bytes) uint8, height=, width=) -> (H, W, 3) RGB in memory of its own
    to_rgb: Callable[..., NDArray[np.uint8]]
    sample_bytes: int = 1
    data_rows: Fraction = Fraction(1)  # rows of the data for one row of pixels
    even_width: bool = False
    even_height: bool = False
    smallest: int = 1  # pixels, of both sides


def _packed(rows: NDArray[np.uint8], *, height: int, width: int, channels: int,
            conversion: int | None) -> NDArray[np.uint8]:
    """Convert pixels of 1 to 4 samples each."""
    pixels = rows[:, :width * channels].reshape(height, width, channels)
    # OpenCV reads padded rows in place: what it writes is the only copy
    return pixels.copy() if conversion is None else cv2.cvtColor(pixels, conversion)


def _luma_and_quarter_chroma(rows: NDArray[np.uint8], *, height: int, width: int, conversion: int
                             ) -> NDArray[np.uint8]:
    """Convert a luma plane and a plane of chroma pairs, one for 2x2 pixels, of the same step."""
    chroma = rows[height:, :width].reshape(height // 2, width // 2, 2)
    return cv2.cvtColorTwoPlane(rows[:height, :width], chroma, conversion)


def _luma_and_full_chroma(rows: NDArray[np.uint8], *, height: int, width: int
                          ) -> NDArray[np.uint8]:
    """Convert a luma plane and a plane of chroma pairs, one a pixel, of twice the step."""
    luma = rows[:height, :width]
    chroma = rows[height:].reshape(height, -1)[:, :2 * width].reshape(height, width, 2)
    # OpenCV has no such format: each pixel becomes a pair of UYVY with the same luma twice
    pairs = np.stack((chroma[..., 0], luma, chroma[..., 1], luma), axis=-1)
    doubled = cv2.cvtColor(pairs.reshape(height, 2 * width, 2), cv2.COLOR_YUV2RGB_UYVY)
    return doubled[:, ::2].copy()


def _pixels(channels: int, conversion: int | None) -> Encoding:
    """Return an encoding of interleaved 8-bit samples."""
    return Encoding(pixel_bytes=channels,
                    to_rgb=partial(_packed, channels=channels, conversion=conversion))


def _bayer(conversion: int) -> Encoding:
    """Return a mosaic of 8-bit samples; OpenCV makes black of one that has no inner pixel."""
    return replace(_pixels(1, conversion), smallest=3)


def _quarter_chroma(conversion: int) -> Encoding:
    """Return an encoding in two planes with chroma at half the size."""
    return Encoding(pixel_bytes=1, data_rows=Fraction(3, 2), even_width=True, even_height=True,
                    to_rgb=partial(_luma_and_quarter_chroma, conversion=conversion))


_RGB, _BGR = _pixels(3, None), _pixels(3, cv2.COLOR_BGR2RGB)
_RGBA, _BGRA = _pixels(4, cv2.COLOR_RGBA2RGB), _pixels(4, cv2.COLOR_BGRA2RGB)
_MONO = _pixels(1, cv2.COLOR_GRAY2RGB)
_UYVY = replace(_pixels(2, cv2.COLOR_YUV2RGB_UYVY), even_width=True)
_YUYV = replace(_pixels(2, cv2.COLOR_YUV2RGB_YUYV), even_width=True)
# ROS names a mosaic by its first four pixels, OpenCV by the two from row 1, column 1 on
_MOSAICS = {
    'bayer_rggb': _bayer(cv2.COLOR_BayerBG2RGB),
    'bayer_bggr': _bayer(cv2.COLOR_BayerRG2RGB),
    'bayer_gbrg': _bayer(cv2.COLOR_BayerGR2RGB),
    'bayer_grbg': _bayer(cv2.COLOR_BayerGB2RGB),
}
_DEEP = {'rgb': _RGB, 'bgr': _BGR, 'rgba': _RGBA, 'bgra': _BGRA, 'mono': _MONO} | _MOSAICS

ENCODINGS: dict[str, Encoding] = (
    {f'{name}8': encoding for name, encoding in _DEEP.items()}
    # OpenCV's own names, with OpenCV's order of colours
    | {'8UC1': _MONO, '8UC3': _BGR, '8UC4': _BGRA}
    | {f'{name}16': replace(encoding, sample_bytes=2, pixel_bytes=2 * encoding.pixel_bytes)
       for name, encoding in _DEEP.items()}
    | {'uyvy': _UYVY, 'yuv422': _UYVY, 'yuyv': _YUYV, 'yuv422_yuy2': _YUYV,
       'nv12': _quarter_chroma(cv2.COLOR_YUV2RGB_NV12),
       'nv21': _quarter_chroma(cv2.COLOR_YUV2RGB_NV21),
       'nv24': Encoding(pixel_bytes=1, data_rows=Fraction(3), to_rgb=_luma_and_full_chroma)})
_DEPTHS = {'16UC1': 'millimetres', '32FC1': 'metres'}


def check_image(message: Image, *, max_pixels: int) -> None:
    """Raise BadImageError unless size, step, length and encoding agree; touches no pixel."""
    encoding = _encoding_named(message.encoding)
    check_size(message.width, message.height, max_pixels=max_pixels)
    _check_shape(message, encoding)
    row = message.width * encoding.pixel_bytes
    if message.step < row:
        raise BadImageError('step', f'step is {message.step} bytes, expected at least {row} for '
                            f'{message.width} pixels of {message.encoding}')
    rows = int(message.height * encoding.data_rows)
    if len(message.data) != message.step * rows:
        factor = '' if encoding.data_rows == 1 else f' x {encoding.data_rows}'
        raise BadImageError(
            'length', f'data has {len(message.data)} bytes, expected step x height{factor} = '
            f'{message.step} x {rows} = {message.step * rows}')


def check_size(width: int, height: int, *, max_pixels: int) -> None:
    """Raise BadImageError unless there is at least one pixel and at most max_pixels."""
    if width < 1 or height < 1:
        raise BadImageError('size', f'image is {width}x{height} pixels, expected at least 1x1')
    if width * height > max_pixels:
        raise BadImageError('size', f'image is {width}x{height} = {width * height} pixels, '
                            f'expected at most max_image_pixels = {max_pixels}')


def _encoding_named(name: str) -> Encoding:
    """Return a row of the table, or raise BadImageError."""
    if name in _DEPTHS:
        raise BadImageError('encoding', f'encoding {name} is a depth image in {_DEPTHS[name]} '
                            '(REP 118), expected colour, or mono8 or mono16 for grey')
    if name not in ENCODINGS:
        raise BadImageError('encoding', f'unsupported encoding {name[:SHOWN_CHARACTERS]!r}, '
                            f'expected one of {", ".join(ENCODINGS)}')
    return ENCODINGS[name]


def _check_shape(message: Image, encoding: Encoding) -> None:
    """Raise BadImageError where an encoding cannot have an image of this size."""
    odd = [f'an even {side}' for side, fits in (
        ('width', not encoding.even_width or message.width % 2 == 0),
        ('height', not encoding.even_height or message.height % 2 == 0)) if not fits]
    small = min(message.width, message.height) < encoding.smallest
    if odd or small:
        rule = ' and '.join(odd) or f'at least {encoding.smallest}x{encoding.smallest}'
        raise BadImageError('size', f'image is {message.width}x{message.height} pixels, '
                            f'expected {rule} for {message.encoding}')


def rgb_of(message: Image) -> NDArray[np.uint8]:
    """Return (H, W, 3) RGB of a checked message, in memory of its own."""
    encoding = ENCODINGS[message.encoding]
    rows = np.frombuffer(message.data, np.uint8).reshape(-1, message.step)
    if encoding.sample_bytes == 2:
        rows = rows[:, (0 if message.is_bigendian else 1)::2]
    return encoding.to_rgb(rows, height=message.height, width=message.width)

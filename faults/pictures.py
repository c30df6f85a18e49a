# SPDX-License-Identifier: Apache-2.0
"""Images of every encoding, whole and broken, and by plain rules what must become of them."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image

# what a pixel holds, in the order of its samples; x is alpha
PACKED = {'rgb': 'rgb', 'bgr': 'bgr', 'rgba': 'rgbx', 'bgra': 'bgrx', 'mono': 'y'}
ORDER = {f'{name}{bits}': order for name, order in PACKED.items() for bits in (8, 16)} | {
    '8UC1': 'y', '8UC3': 'bgr', '8UC4': 'bgrx'}
BAYER = [f'bayer_{pattern}{bits}' for pattern in ('rggb', 'bggr', 'gbrg', 'grbg')
         for bits in (8, 16)]
YUV_PAIRS = ('uyvy', 'yuv422', 'yuyv', 'yuv422_yuy2')
YUV_PLANES = {'nv12': 1.5, 'nv21': 1.5, 'nv24': 3.0}  # rows of data for one of pixels
MAX_PIXELS = 1 << 26  # the parameter's default


def sample_bytes(encoding: str) -> int:
    """Return the bytes of one sample."""
    return 2 if encoding.endswith('16') else 1


def image_fields(picture: NDArray[np.uint8], encoding: str, *, rng: np.random.Generator,
                 padding: int = 0, is_bigendian: int = 0) -> dict[str, Any]:
    """Return the fields of an (H, W, 3) RGB picture in a packed encoding.

    Grey ones hold the red channel; low bytes of 16 bits, alpha and padding are noise.
    """
    height, width = picture.shape[:2]
    planes = {'r': picture[..., 0], 'g': picture[..., 1], 'b': picture[..., 2],
              'y': picture[..., 0], 'x': rng.integers(0, 256, (height, width), dtype=np.uint8)}
    samples = np.stack([planes[c] for c in ORDER[encoding]], axis=-1).reshape(height, -1)
    return laid_out(samples, encoding, rng=rng, padding=padding, is_bigendian=is_bigendian) | {
        'height': height, 'width': width}


def laid_out(samples: NDArray[np.uint8], encoding: str, *, rng: np.random.Generator, padding: int,
             is_bigendian: int) -> dict[str, Any]:
    """Return (R, S) samples as data of a step, with what a 16-bit encoding adds."""
    rows = samples
    if sample_bytes(encoding) == 2:
        low = rng.integers(0, 256, samples.shape, dtype=np.uint8)
        pair = (samples, low) if is_bigendian else (low, samples)
        rows = np.stack(pair, axis=-1).reshape(len(samples), -1)
    noise = rng.integers(0, 256, (len(rows), padding), dtype=np.uint8)
    padded = np.concatenate((rows, noise), axis=1)
    return {'encoding': encoding, 'step': padded.shape[1], 'data': padded.tobytes(),
            'is_bigendian': is_bigendian}


def flat_fields(encoding: str, colour: Sequence[int], *, height: int, width: int,
                rng: np.random.Generator, padding: int = 0, is_bigendian: int = 0
                ) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """Return the fields of one colour all over, and the RGB that it must become.

    A mosaic of one colour is that colour whatever the interpolation; of YUV only grey is asked,
    by BT.601 with luma in 16..235.
    """
    picture = np.empty((height, width, 3), np.uint8)
    if encoding in BAYER:
        mosaic = np.empty((height, width), np.uint8)
        for place, name in enumerate(encoding[6:10]):
            mosaic[place // 2::2, place % 2::2] = colour['rgb'.index(name)]
        picture[:] = colour
        samples = mosaic
    else:
        luma = colour[0]
        picture[:] = np.clip(round(255 / 219 * (luma - 16)), 0, 255)
        samples = np.full((height, 2 * width), 128, np.uint8)
        if encoding in YUV_PAIRS:
            samples[:, (1 if encoding in YUV_PAIRS[:2] else 0)::2] = luma
        else:
            samples = np.full((int(height * YUV_PLANES[encoding]), width), 128, np.uint8)
            samples[:height] = luma
    fields = laid_out(samples, encoding, rng=rng, padding=padding, is_bigendian=is_bigendian)
    return fields | {'height': height, 'width': width}, picture


def refusal(message: Image) -> str:
    """Return the reason why an image must be refused, by the README's rules, or nothing."""
    encoding, height, width = message.encoding, message.height, message.width
    known = (*ORDER, *BAYER, *YUV_PAIRS, *YUV_PLANES)
    if encoding not in known:
        return 'encoding'
    even_width = encoding in YUV_PAIRS or encoding in ('nv12', 'nv21')
    if height < 1 or width < 1 or height * width > MAX_PIXELS \
            or (even_width and width % 2) or (encoding in ('nv12', 'nv21') and height % 2) \
            or (encoding in BAYER and min(height, width) < 3):
        return 'size'
    samples = len(ORDER[encoding]) if encoding in ORDER else 2 if encoding in YUV_PAIRS else 1
    if message.step < width * samples * sample_bytes(encoding):
        return 'step'
    if len(message.data) != message.step * int(height * YUV_PLANES.get(encoding, 1)):
        return 'length'
    return ''


def rgb(message: Image) -> NDArray[np.uint8] | None:
    """Return the (H, W, 3) picture that a valid packed image holds; None for other encodings."""
    order = ORDER.get(message.encoding)
    if order is None:
        return None
    size = sample_bytes(message.encoding)
    rows = np.frombuffer(bytes(message.data), np.uint8).reshape(message.height, message.step)
    high = rows[:, :message.width * len(order) * size].reshape(
        message.height, message.width, len(order), size)[..., 0 if message.is_bigendian else -1]
    return np.stack([high[..., order.index('y' if order == 'y' else c)] for c in 'rgb'], axis=-1)

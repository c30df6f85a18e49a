# SPDX-License-Identifier: Apache-2.0
"""Files that hold the true classes and identities of a frame's pixels, as users have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from seg_ros.core.types import VOID

Ids = NDArray[np.int32]
_PER_CLASS = 1000
_VOID_16 = 65535
_MAX_CLASS_16 = (_VOID_16 - _PER_CLASS) // _PER_CLASS


@dataclass(frozen=True)
class TruthFormat:
    """How pixels say class and identity."""

    modes: frozenset[str]  # Pillow's
    expected: str  # in words
    decode: Callable[[NDArray[np.generic]], tuple[NDArray[np.uint8], Ids]]


def read_truth(path: Path, format_name: str) -> tuple[NDArray[np.uint8], Ids]:
    """Return (H, W) class ids, 255 = void, and (H, W) identities, 0 = none.

    An identity is one object over all frames; two classes never share one. Raises ValueError for
    a file that is damaged or of another format.
    """
    truth_format = FORMATS[format_name]
    try:
        with Image.open(path) as image:
            if image.mode not in truth_format.modes:
                raise ValueError(
                    f'truth {str(path)!r} has mode {image.mode}, expected {truth_format.expected}'
                )
            pixels = np.array(image)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f'cannot decode truth {str(path)!r}: {error}') from error
    return truth_format.decode(pixels)


def encode_grey16(class_map: NDArray[np.uint8], numbers: Ids) -> NDArray[np.uint16]:
    """Return (H, W) class * 1000 + k: k is the object's number within its class, 0 = none.

    Raises ValueError for what the format has no room for.
    """
    known = class_map != VOID
    for value, limit, what in (
        (int(class_map[known].max(initial=0)), _MAX_CLASS_16, 'class id'),
        (int(numbers.max(initial=0)), _PER_CLASS - 1, 'object of one class'),
    ):
        if value > limit:
            raise ValueError(f'{what} {value} does not fit 16-bit truth, expected at most {limit}')
    return np.where(known, class_map.astype(np.int64) * _PER_CLASS + numbers, _VOID_16).astype(
        np.uint16
    )


def _decode_grey16(pixels: NDArray[np.generic]) -> tuple[NDArray[np.uint8], Ids]:
    values = pixels.astype(np.int32)
    void = values == _VOID_16
    class_map = np.where(void, VOID, values // _PER_CLASS).astype(np.uint8)
    return class_map, np.where((values % _PER_CLASS > 0) & ~void, values, 0).astype(np.int32)


def _decode_kitti_step(pixels: NDArray[np.generic]) -> tuple[NDArray[np.uint8], Ids]:
    red, green, blue = np.moveaxis(pixels.astype(np.int32), -1, 0)
    number = 256 * green + blue
    owned = (number > 0) & (red != VOID)
    # each class counts its objects from 1
    return red.astype(np.uint8), np.where(owned, 65536 * red + number, 0).astype(np.int32)


FORMATS: Mapping[str, TruthFormat] = {
    'grey16': TruthFormat(
        frozenset(('I;16', 'I;16B', 'I')), 'a 16-bit grey PNG (class * 1000 + k)', _decode_grey16
    ),
    'kitti-step': TruthFormat(
        frozenset(('RGB',)), 'an RGB PNG (R class, G * 256 + B object)', _decode_kitti_step
    ),
}

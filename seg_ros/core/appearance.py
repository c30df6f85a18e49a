# SPDX-License-Identifier: Apache-2.0
"""What instances look like: the mean colour of their upper, middle and lower third."""
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_ros.core.types import Segmentation

Floats = NDArray[np.float64]

BANDS = 3
_COLUMNS, _ROWS = 8, 5 * BANDS  # of the lattice of pixels that each box is sampled at
_SAME_STD = 20.0  # grey levels by which the colour of one object varies


def unknown_looks(count: int) -> Floats:
    """Return (count, BANDS, 3) looks of which nothing is known."""
    return np.full((count, BANDS, 3), np.nan)


def looks_of(segmentation: Segmentation, image: NDArray[np.uint8]) -> Floats:
    """Return (N, BANDS, 3) mean RGB of the instances' pixels by third of the box, from the top.

    NaN where an instance has no pixel of the lattice. The image is (H, W, 3) uint8 RGB.
    """
    boxes = segmentation.instances.boxes
    u = (np.arange(_COLUMNS) + 0.5) / _COLUMNS
    v = (np.arange(_ROWS) + 0.5) / _ROWS
    columns = (boxes[:, :1] + u * (boxes[:, 2:3] - boxes[:, :1])).astype(np.intp)[:, None]
    rows = (boxes[:, 1:2] + v * (boxes[:, 3:] - boxes[:, 1:2])).astype(np.intp)[:, :, None]
    values = np.arange(1, len(boxes) + 1)[:, None, None]
    pixels = rows * segmentation.instance_map.shape[1] + columns
    own = segmentation.instance_map.ravel()[pixels] == values  # (N, rows, columns)
    colours = image.reshape(-1, 3)[pixels] * own[..., None]
    bands = (len(boxes), BANDS, _ROWS // BANDS * _COLUMNS)
    count = own.reshape(bands).sum(axis=2)[..., None]
    total = colours.reshape(*bands, 3).sum(axis=2, dtype=np.int64)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def likeness(tracks: Floats, instances: Floats) -> Floats:
    """Return (T, N) in 0..1 for looks (T, BANDS, 3) and (N, BANDS, 3); 1 where unknown."""
    squares = ((tracks[:, None] - instances[None]) ** 2).mean(axis=-1)  # (T, N, BANDS)
    known = np.isfinite(squares)
    mean = np.where(known, squares, 0).sum(axis=-1) / np.maximum(known.sum(axis=-1), 1)
    return np.exp(-mean / (2 * _SAME_STD ** 2))


def blended(old: Floats, new: Floats, *, share: float) -> Floats:
    """Return looks of which a share is new; what one does not know comes from the other."""
    mixed = (1 - share) * old + share * new
    return np.where(np.isnan(old), new, np.where(np.isnan(new), old, mixed))

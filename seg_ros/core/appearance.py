# SPDX-License-Identifier: Apache-2.0
"""What instances look like: the mean colour of their upper, middle and lower third."""
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_ros.core.lattice import COLUMNS, Lattice, ROWS

Floats = NDArray[np.float64]

BANDS = 3
_SAME_STD = 20.0  # grey levels by which the colour of one object varies


def unknown_looks(count: int) -> Floats:
    """Return (count, BANDS, 3) looks of which nothing is known."""
    return np.full((count, BANDS, 3), np.nan)


def looks_of(lattice: Lattice, image: NDArray[np.uint8]) -> Floats:
    """Return (N, BANDS, 3) mean RGB of the instances' pixels by third of the box, from the top.

    NaN where an instance has no pixel of the lattice. The image is (H, W, 3) uint8 RGB.
    """
    bands = (len(lattice.own) * BANDS, ROWS // BANDS * COLUMNS)
    own = lattice.own.reshape(*bands[:1], 1, bands[1]).astype(np.float32)
    colours = image.reshape(-1, 3).take(lattice.pixels.ravel(), axis=0).astype(np.float32)
    total = (own @ colours.reshape(*bands, 3)).reshape(-1, BANDS, 3)  # small whole numbers: exact
    count = own.sum(axis=(1, 2)).reshape(-1, BANDS, 1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def likeness(tracks: Floats, instances: Floats, *, part: NDArray[np.bool_]) -> Floats:
    """Return (P,) in 0..1 for pairs of looks, both (P, BANDS, 3); 1 where unknown.

    Thirds are compared with thirds; those of which part (P,) says that the box is not whole, with
    whichever they are most like.
    """
    squares = ((tracks[:, :, None] - instances[:, None]) ** 2).mean(axis=-1)
    squares[np.isnan(squares)] = np.inf  # (P, track's, instance's band)
    same = np.diagonal(squares, axis1=1, axis2=2)
    nearest = np.where(part[:, None], squares.min(axis=1), same)
    known = np.isfinite(nearest)
    mean = np.where(known, nearest, 0).sum(axis=-1) / np.maximum(known.sum(axis=-1), 1)
    return np.exp(-mean / (2 * _SAME_STD ** 2))


def blended(old: Floats, new: Floats, *, share: float) -> Floats:
    """Return looks of which a share is new; what one does not know comes from the other."""
    mixed = (1 - share) * old + share * new
    return np.where(np.isnan(old), new, np.where(np.isnan(new), old, mixed))

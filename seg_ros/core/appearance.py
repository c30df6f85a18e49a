# SPDX-License-Identifier: Apache-2.0
"""What instances look like: the mean colour of their upper, middle and lower third."""
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_ros.core.lattice import Lattice, ROWS

Floats = NDArray[np.float64]

BANDS = 3
_SAME_STD = 20.0  # grey levels by which the colour of one object varies


def unknown_looks(count: int) -> Floats:
    """Return (count, BANDS, 3) looks of which nothing is known."""
    return np.full((count, BANDS, 3), np.nan)


def row_colours(lattice: Lattice, image: NDArray[np.uint8]) -> Floats:
    """Return (N, ROWS, 4): RGB of the instances' pixels, summed, and their number, by row.

    The image is (H, W, 3) uint8 RGB.
    """
    colours = np.ones((*lattice.own.shape, 4), np.float32)
    colours[..., :3] = image.reshape(-1, 3).take(lattice.pixels, axis=0)
    return np.einsum('nrck,nrc->nrk', colours, lattice.own.astype(np.float32))


def looks_in(rows: Floats, bands: NDArray[np.intp]) -> Floats:
    """Return (N, BANDS, 3) mean RGB of row colours (N, ROWS, 4) by the band of a row.

    The bands are (N, ROWS), or (ROWS,) for all. NaN where a band has no pixel.
    """
    chosen = bands[..., None, :] == np.arange(BANDS)[:, None]
    total = chosen.astype(rows.dtype) @ rows
    count = total[..., 3:]
    return np.divide(total[..., :3], count, out=np.full((*count.shape[:2], 3), np.nan),
                     where=count > 0)


def bands_of(boxes: Floats, *, within: Floats) -> NDArray[np.intp]:
    """Return (N, ROWS) in which third of `within` the lattice's rows of boxes lie.

    Both are (N, 4) centre and size; what lies beyond belongs to the outer thirds.
    """
    share = (np.arange(ROWS) + 0.5) / ROWS - 0.5
    places = boxes[:, 1, None] + share * boxes[:, 3, None] - within[:, 1, None]
    return np.clip(BANDS * (places / within[:, 3, None] + 0.5), 0, BANDS - 1).astype(np.intp)


def likeness(tracks: Floats, instances: Floats) -> Floats:
    """Return (P,) in 0..1 for pairs of looks, both (P, BANDS, 3); 1 where unknown."""
    squares = ((tracks - instances) ** 2).mean(axis=-1)
    known = np.isfinite(squares)
    mean = np.where(known, squares, 0).sum(axis=-1) / np.maximum(known.sum(axis=-1), 1)
    return np.exp(-mean / (2 * _SAME_STD ** 2))


def blended(old: Floats, new: Floats, *, share: float) -> Floats:
    """Return looks of which a share is new; what one does not know comes from the other."""
    mixed = (1 - share) * old + share * new
    return np.where(np.isnan(old), new, np.where(np.isnan(new), old, mixed))

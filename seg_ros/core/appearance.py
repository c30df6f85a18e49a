# SPDX-License-Identifier: Apache-2.0
"""What instances look like: the mean colour of each fifth of them, from top to bottom."""
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_ros.core.lattice import Lattice, ROWS

Floats = NDArray[np.float64]

BANDS = 5
WEIGHTS = 0.1, 0.1, 150.0
"""Powers of e by which two looks are less likely one object's, for each grey level of brightness
and of its pattern and each 1 of chromaticity, as `difference` has them: those of a logistic
regression on streets (benchmarks.track_odds), rounded."""

_USUAL = 2.0  # powers of e that say nothing: light, pose and outline change
_DARK = 30.0  # grey levels of R + G + B: what is much darker has no hue


def unknown_looks(count: int) -> Floats:
    """Return (count, BANDS, 3) looks of which nothing is known."""
    return np.full((count, BANDS, 3), np.nan)


def known_looks(looks: Floats) -> NDArray[np.bool_]:
    """Return (N,) of which looks (N, BANDS, 3) something is known."""
    known: NDArray[np.bool_] = np.isfinite(looks).sum(axis=(1, 2)) > 0
    return known


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
    """Return (N, ROWS) in which band of `within` the lattice's rows of boxes lie.

    Both are (N, 4) centre and size; what lies beyond belongs to the outer bands.
    """
    share = (np.arange(ROWS) + 0.5) / ROWS - 0.5
    places = boxes[:, 1, None] + share * boxes[:, 3, None] - within[:, 1, None]
    return np.clip(BANDS * (places / within[:, 3, None] + 0.5), 0, BANDS - 1).astype(np.intp)


def unlikeness(tracks: Floats, instances: Floats) -> Floats:
    """Return (P,) powers of e by which pairs of looks (P, BANDS, 3) are less likely one object's.

    0 where they are as alike as one object usually is, and where nothing is known.
    """
    return np.maximum(difference(tracks, instances) @ WEIGHTS - _USUAL, 0)


def difference(tracks: Floats, instances: Floats) -> Floats:
    """Return (P, 3) how pairs of looks (P, BANDS, 3) differ, 0 where nothing is known.

    Light and shadow change brightness more than hue, so they stand apart. The columns: brightness
    of the mean colour; by how much more the bands differ in it, root of the mean square, both in
    grey levels; chromaticity of the mean colour, root of the mean square.
    """
    known: NDArray[np.bool_] = np.isfinite((tracks - instances).sum(axis=-1))
    count = np.maximum(known.sum(axis=-1), 1)
    tracks, instances = (np.where(known[..., None], looks, 0) for looks in (tracks, instances))
    of_tracks, of_instances = (looks.sum(axis=1) / count[:, None] for looks in (tracks, instances))
    brighter = (of_tracks - of_instances).mean(axis=-1)
    squares = ((tracks - instances).mean(axis=-1) ** 2).sum(axis=-1) / count
    pattern = np.sqrt(np.maximum(squares - brighter ** 2, 0))
    hue = np.sqrt(((_chromaticity(of_tracks) - _chromaticity(of_instances)) ** 2).mean(axis=-1))
    return np.stack((np.abs(brighter), pattern, hue), axis=-1)


def _chromaticity(colours: Floats) -> Floats:
    """Return (P, 3) by how much the shares of R, G and B in colours (P, 3) are not those of grey.

    Gevers and Smeulders 1999, "Color-based object recognition"; 0 for what is dark.
    """
    grey = colours.mean(axis=-1, keepdims=True)
    return (colours - grey) / (3 * grey + _DARK)


def blended(old: Floats, new: Floats, *, share: float) -> Floats:
    """Return looks of which a share is new; what one does not know comes from the other."""
    mixed = (1 - share) * old + share * new
    return np.where(np.isnan(old), new, np.where(np.isnan(new), old, mixed))

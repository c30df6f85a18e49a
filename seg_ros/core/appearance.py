# SPDX-License-Identifier: Apache-2.0
"""What instances look like: which colours they have, and how much of each."""
from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from seg_ros.core.lattice import Lattice

Floats = NDArray[np.float64]

HUES, GREYS = 6, 8  # cells along each of two axes of hue, and along brightness
CELLS = HUES * HUES * GREYS
WEIGHT, USUAL = 20.0, 3.5
"""Powers of e by which two looks are less likely one object's, for all that `difference` can be,
and how many of them say nothing: light, pose and outline change. By the id switches on streets
(docs/tracking.md); a logistic regression finds somewhat more (benchmarks.track_odds)."""

_SHAPE = np.array((HUES, HUES, GREYS))
_STRIDES = np.array((HUES * GREYS, GREYS, 1))
_CORNERS = np.array(tuple(product((0, 1), repeat=3)))  # of the cube of cells around a colour
_SATURATED = 0.12  # chromaticity, of the outermost cells: what has more colour belongs there, too
_DARK = 30.0  # grey levels of R + G + B: what is much darker has no hue


def known_looks(looks: Floats) -> NDArray[np.bool_]:
    """Return (N,) of which looks (N, CELLS) something is known."""
    known: NDArray[np.bool_] = np.any(looks, axis=1)
    return known


def looks_of(lattice: Lattice, image: NDArray[np.uint8]) -> Floats:
    """Return (N, CELLS) how much of each instance has which colours, all 0 where nothing is seen.

    The image is (H, W, 3) uint8 RGB. A colour counts for the eight cells around it, the more the
    nearer it is, so that no small change of light moves much (Swain and Ballard 1991, "Color
    indexing").
    """
    owner = lattice.own.nonzero()[0]
    places = _places(image.reshape(-1, 3)[lattice.pixels[lattice.own]])
    low = np.minimum(places.astype(np.intp), _SHAPE - 2)
    shares = np.stack((1 - (places - low), places - low))
    cells = owner * CELLS + low @ _STRIDES + (_CORNERS @ _STRIDES)[:, None]
    weights = shares[_CORNERS, :, np.arange(3)].prod(axis=1)
    count = len(lattice.own)
    looks = np.bincount(cells.ravel(), weights.ravel(), minlength=count * CELLS)
    pixels = np.bincount(owner, minlength=count)
    return looks.reshape(count, CELLS) / np.maximum(pixels, 1)[:, None]


def _places(colours: NDArray[np.uint8]) -> Floats:
    """Return (P, 3) where RGB colours (P, 3) lie among the cells: on two axes of hue, brightness.

    Hue is by how much the shares of R, G and B are not those of grey (Gevers and Smeulders 1999,
    "Color-based object recognition"), which light changes least.
    """
    rgb = colours.astype(np.float64)
    grey = rgb.mean(axis=1, keepdims=True)
    red, green, blue = ((rgb - grey) / (3 * grey + _DARK)).T
    hue = np.stack((red - green, np.sqrt(3) * blue), axis=1) / np.sqrt(2)
    from_0_to_1 = np.clip(hue / (2 * _SATURATED) + 0.5, 0, 1), np.sqrt(grey / 255)
    return np.concatenate(from_0_to_1, axis=1) * (_SHAPE - 1)


def unlikeness(tracks: Floats, instances: Floats) -> Floats:
    """Return (T, N) powers of e by which looks (T, CELLS) and (N, CELLS) are less likely of one.

    0 where they are as alike as one object usually is, and where nothing is known.
    """
    return np.maximum(WEIGHT * difference(tracks, instances) - USUAL, 0)


def difference(tracks: Floats, instances: Floats) -> Floats:
    """Return (T, N) how looks (T, CELLS) and (N, CELLS) differ, 0..1, 0 where nothing is known.

    The distance of Comaniciu, Ramesh and Meer 2003, "Kernel-based object tracking".
    """
    shared = np.sqrt(tracks) @ np.sqrt(instances).T
    known = known_looks(tracks)[:, None] & known_looks(instances)
    return np.sqrt(np.maximum(1 - shared, 0) * known)


def blended(old: Floats, new: Floats, *, share: float) -> Floats:
    """Return looks (N, CELLS) of which a share is new; where one is not known, the other."""
    shares = known_looks(new) * np.where(known_looks(old), share, 1.0)
    return old + shares[:, None] * (new - old)

# SPDX-License-Identifier: Apache-2.0
"""A lattice of pixels in and around the box of each instance: whose they are, at any size."""
from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

COLUMNS, ROWS = 8, 15  # in a box; one more on each side lies outside
_OUTER_SHARE = 0.3  # of a box: where its side is looked for
_HIDDEN_SHARE = 0.5  # of the outline there that touches nearer objects, if the side is hidden


@dataclass(frozen=True, eq=False)
class Lattice:
    """Samples of N boxes."""

    pixels: NDArray[np.intp]  # (N, ROWS, COLUMNS) inside of the box, index into the flat image
    own: Bools  # (N, ROWS, COLUMNS) whether the pixel is the instance's
    hidden: Bools  # (N, 4) sides (left, top, right, bottom) that a nearer object hides
    reach: Floats  # (N, 4) how far the instance may go on there: to the far side of what hides it

    @staticmethod
    def of(instance_map: NDArray[np.int32], boxes: NDArray[np.float32]) -> Lattice:
        """Sample the (H, W) map, values 1 + row, at the boxes (N, 4) xyxy of its instances."""
        height, width = instance_map.shape
        corners = boxes.astype(np.intp)
        columns = _spread(corners[:, 0], corners[:, 2], count=COLUMNS, limit=width)[:, None]
        rows = _spread(corners[:, 1], corners[:, 3], count=ROWS, limit=height)[:, :, None]
        pixels = rows * width + columns
        values = instance_map.ravel()[pixels]
        own = values == np.arange(1, len(boxes) + 1)[:, None, None]
        # what stands lower in the image is nearer
        bottoms = np.concatenate((np.zeros(1, np.intp), corners[:, 3]))
        nearer = bottoms[values] > corners[:, 3, None, None]
        hidden, reach = np.zeros(boxes.shape, bool), boxes.astype(np.float64)
        touched = np.flatnonzero(nearer.any(axis=(1, 2)))
        for side in range(4 if len(touched) else 0):
            hidden[touched, side], reach[touched, side] = _hidden_side(
                values[touched], own[touched], nearer[touched], edges=reach[:, side],
                own_edges=reach[touched, side], side=side)
        return Lattice(pixels=pixels[:, 1:-1, 1:-1], own=own[:, 1:-1, 1:-1], hidden=hidden,
                       reach=reach)


def _spread(low: NDArray[np.intp], high: NDArray[np.intp], *, count: int, limit: int
            ) -> NDArray[np.intp]:
    """Return (N, count + 2) places between low and high, and one beyond either end."""
    length = high - low
    inside = low[:, None] + ((np.arange(count) + 0.5) / count * length[:, None]).astype(np.intp)
    beyond = np.maximum(length // (2 * count), 1)
    places = np.concatenate(((low - beyond)[:, None], inside, (high - 1 + beyond)[:, None]),
                            axis=1)
    return np.clip(places, 0, limit - 1)


def _hidden_side(values: NDArray[np.int32], own: Bools, nearer: Bools, *,
                 edges: Floats, own_edges: Floats, side: int) -> tuple[Bools, Floats]:
    """Return (n,) whether a side is hidden and how far the instance may go on behind it.

    The cells are (n, ROWS + 2, COLUMNS + 2); edges (N,) is where the side of each object is. A
    side is where the outline is outermost: hidden if most of the outline there touches nearer
    objects.
    """
    values, own, nearer = (_from_side(cells, side) for cells in (values, own, nearer))
    outer = 1 + math.ceil(_OUTER_SHARE * (own.shape[1] - 2))
    outline = own[:, 1:outer] & ~own[:, :outer - 1]
    touching = outline & nearer[:, :outer - 1]
    hidden = touching.sum(axis=(1, 2)) > _HIDDEN_SHARE * outline.sum(axis=(1, 2))
    sign = 1 if side < 2 else -1  # outwards is down, or up
    edge_of_value = np.concatenate((np.full(1, np.inf), sign * edges))
    far = np.where(touching, edge_of_value[values[:, :outer - 1]], np.inf).min(axis=(1, 2))
    return hidden, np.where(hidden, sign * np.minimum(far, sign * own_edges), own_edges)


def _from_side(cells: NDArray[Any], side: int) -> NDArray[Any]:
    """Return the cells (N, rows, columns) so that the second axis leads inwards from a side."""
    turned = np.swapaxes(cells, 1, 2) if side in (0, 2) else cells
    return turned[:, ::-1] if side >= 2 else turned

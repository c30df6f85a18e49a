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
_BESIDE_SHARE = 0.5  # of a side, of which what goes on hiding an object covers so much


@dataclass(frozen=True, eq=False)
class Lattice:
    """Samples of N boxes."""

    pixels: NDArray[np.intp]  # (N, ROWS, COLUMNS) inside of the box, index into the flat image
    own: Bools  # (N, ROWS, COLUMNS) whether the pixel is the instance's
    hidden: Bools  # (N, 4) sides (left, top, right, bottom) that a nearer object hides
    reach: Floats  # (N, 4) how far the instance may go on there: as far as nearer ones hide it

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
                values[touched], own[touched], nearer[touched], edges=boxes[:, side],
                own_edges=boxes[touched, side], side=side)
            reach[:, side] = _continued(reach[:, side], hidden[:, side], boxes, side=side)
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
                 edges: NDArray[np.float32], own_edges: NDArray[np.float32], side: int
                 ) -> tuple[Bools, Floats]:
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


def _continued(reach: Floats, hidden: Bools, boxes: NDArray[np.float32], *, side: int) -> Floats:
    """Return (N,) how far the objects may go on: one nearer object beside the other hides them.

    Boxes are (N, 4) xyxy; reach (N,) is to the far side of the first one, hidden (N,) whether the
    side is.
    """
    axis, across = side % 2, 1 - side % 2
    shared = np.minimum(boxes[:, None, across + 2], boxes[:, across + 2]) \
        - np.maximum(boxes[:, None, across], boxes[:, across])
    lengths = boxes[:, across + 2] - boxes[:, across]
    hides = hidden[:, None] & (boxes[:, None, 3] < boxes[:, 3]) \
        & (shared >= _BESIDE_SHARE * lengths[:, None])
    farther = np.minimum if side < 2 else np.maximum
    while True:
        adjoins = hides & (boxes[:, axis] <= reach[:, None] + 1) \
            & (boxes[:, axis + 2] >= reach[:, None] - 1)
        edges = np.where(adjoins, boxes[:, side], reach[:, None])
        continued = farther.reduce(edges, axis=1)
        if (continued == reach).all():
            return continued
        reach = continued


def _from_side(cells: NDArray[Any], side: int) -> NDArray[Any]:
    """Return the cells (N, rows, columns) so that the second axis leads inwards from a side."""
    turned = np.swapaxes(cells, 1, 2) if side in (0, 2) else cells
    return turned[:, ::-1] if side >= 2 else turned

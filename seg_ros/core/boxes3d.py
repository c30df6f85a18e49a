# SPDX-License-Identifier: Apache-2.0
"""Boxes in space around instances, from their own pixels, with background cut away."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seg_ros.core.points import PointMap

EDGE_M, EDGE_SHARE = 0.2, 0.05
"""A step in depth between neighbours is an edge above 0.2 m and above 5 % of the distance."""
GAP_M, GAP_SHARE = 0.4, 0.04
"""Surfaces are apart when no point lies within 0.4 m, or 4 % of the distance, between them."""
NEAR_SHARE = 0.4
"""The nearest surface with this share of an instance's points is the object.

Less would take what is before the object and spills into its mask for the object, more would take
what shows through it.
"""
MASK_SHARE = 0.2
"""A surface with a smaller share of the mask's pixels, measured or not, says too little."""
TRIM = 0.01
"""The share of points beyond each face of a box."""
MAX_SAMPLES = 2000
"""How many points of one instance are looked at."""
MIN_SAMPLES = 8
"""An instance with fewer points has no box."""
NOISE_ROWS = 4
"""Depth noise is measured on pixels so far apart that they share none of it."""


@dataclass(frozen=True, eq=False)
class Boxes3D:
    """Boxes along the axes of the optical frame; row i is of row `rows[i]` in Instances."""

    rows: NDArray[np.intp]  # (B,) ascending
    centres: NDArray[np.float64]  # (B, 3) metres
    sizes: NDArray[np.float64]  # (B, 3) metres, along x, y and z
    covariances: NDArray[np.float64]  # (B, 3, 3) of the points, square metres

    def __len__(self) -> int:
        """Count the boxes."""
        return len(self.rows)


def behind_an_edge(z: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the pixels (H, W) that have a neighbour (of 8) nearer by a step in depth.

    At the rim of an object these are the background that a mask or a coarse depth image spilled
    over, and the points that a sensor lets fly between the two; the rim itself is not among them.
    """
    nearest = np.where(np.isfinite(z), z, np.float32(np.inf))
    for axis in (0, 1):
        before, after = _ahead(axis, 1), _ahead(axis, -1)
        wide = nearest.copy()
        np.minimum(wide[before], nearest[after], out=wide[before])
        np.minimum(wide[after], nearest[before], out=wide[after])
        nearest = wide
    with np.errstate(invalid='ignore'):
        return z - nearest > np.maximum(np.float32(EDGE_M), np.float32(EDGE_SHARE) * nearest)


def _ahead(axis: int, shift: int) -> tuple[slice, ...]:
    """Return the index that leaves out the last (1) or the first (-1) row or column."""
    piece = slice(None, -1) if shift > 0 else slice(1, None)
    return (piece,) if axis == 0 else (slice(None), piece)


def fit_boxes(points: PointMap, instance_map: NDArray[np.int32], count: int) -> Boxes3D:
    """Return the boxes of instances 1..count, all there are in an (H, W) map, that have depth.

    Pixels behind an edge are left out. Of what remains, sorted by depth, a gap parts the object
    from the background that shows through it or beside it; the nearest part with enough points
    is the object. Its box leaves out the outermost points on each side.
    """
    owned = (instance_map > 0) & points.measured
    owned &= ~behind_an_edge(points.z)
    flat = np.flatnonzero(owned)
    rows = instance_map.ravel()[flat].astype(np.intp) - 1
    steps = -(-np.bincount(rows, minlength=count) // MAX_SAMPLES)
    flat, rows = _every(steps, flat, rows)
    samples, roughness = points.take(flat), _roughness(points.z, instance_map, flat)
    order = np.lexsort((samples[:, 2], rows))
    rows, samples, roughness = rows[order], samples[order], roughness[order]
    front = _nearest_surface(rows, samples[:, 2], count)
    areas = np.bincount(instance_map.ravel(), minlength=count + 1)[1:]
    enough = np.maximum(MIN_SAMPLES, MASK_SHARE * areas / np.maximum(steps, 1))
    front &= (np.bincount(rows[front], minlength=count) >= enough)[rows]
    return _boxes(rows[front], samples[front].astype(np.float64), roughness[front], count)


def _roughness(z: NDArray[np.float32], instance_map: NDArray[np.int32],
               flat: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return the second difference of depth (N,) down the column at pixels; NaN at a rim.

    On a plane it is nearly 0 but for noise, of which it has the variance times 6.
    """
    reach = NOISE_ROWS * z.shape[1]
    above, below = np.maximum(flat - reach, 0), np.minimum(flat + reach, z.size - 1)
    depth, owner = z.ravel(), instance_map.ravel()
    rough = depth[above] - 2 * depth[flat] + depth[below]
    rough[(owner[above] != owner[flat]) | (owner[below] != owner[flat])] = np.nan
    return rough


def _every(steps: NDArray[np.intp], flat: NDArray[np.intp], rows: NDArray[np.intp]
           ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return every steps[row]-th pixel of each row, and its row."""
    sizes = np.bincount(rows, minlength=len(steps))
    order = np.argsort(rows, kind='stable')
    rank = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    kept = rank % np.repeat(steps, sizes) == 0
    return flat[order[kept]], rows[order[kept]]


def _nearest_surface(rows: NDArray[np.intp], z: NDArray[np.float32], count: int
                     ) -> NDArray[np.bool_]:
    """Return which samples, sorted by row and depth, belong to the nearest surface of their row.

    Where none has enough points the largest does.
    """
    if not len(rows):
        return np.zeros(0, bool)
    gap = np.maximum(np.float32(GAP_M), np.float32(GAP_SHARE) * z[:-1])
    starts = np.ones(len(rows), bool)
    starts[1:] = (np.diff(rows) > 0) | (np.diff(z) > gap)
    surface = np.cumsum(starts) - 1
    sizes, row_of = np.bincount(surface), rows[starts]
    enough = sizes >= NEAR_SHARE * np.bincount(rows, minlength=count)[row_of]
    # the best surface of a row: those with enough points first, of them the nearest, else by size
    best = np.lexsort((np.where(enough, np.arange(len(sizes)), -sizes), ~enough, row_of))
    chosen = best[np.flatnonzero(np.diff(row_of[best], prepend=-1))]
    return np.isin(surface, chosen)


def _boxes(rows: NDArray[np.intp], points: NDArray[np.float64], roughness: NDArray[np.float32],
           count: int) -> Boxes3D:
    """Return the boxes of the rows that have points (N, 3)."""
    found = np.flatnonzero(np.bincount(rows, minlength=count))
    covariances = _covariances(rows, points, count)[found]
    low, middle, high = np.stack([_quantiles(rows, column, count, (TRIM, 0.5, 1 - TRIM))[found]
                                  for column in points.T], axis=2).transpose(1, 0, 2)
    # what is left of the depth's spread without the noise, as a share
    noise = _quantiles(rows, np.abs(roughness), count, (0.5,))[found, 0]
    noise_variance = (1.4826 ** 2 / 6) * np.nan_to_num(noise) ** 2
    kept = np.sqrt(np.maximum(1 - noise_variance / np.maximum(covariances[:, 2, 2], 1e-12), 0))
    for face in (low, high):
        face[:, 2] = middle[:, 2] + kept * (face[:, 2] - middle[:, 2])
    return Boxes3D(rows=found, centres=(low + high) / 2, sizes=high - low,
                   covariances=covariances)


def _quantiles(rows: NDArray[np.intp], values: NDArray[np.floating], count: int,
               shares: tuple[float, ...]) -> NDArray[np.float64]:
    """Return quantiles (count, S) of the values (N,) of each row; NaN is left out, or the answer.

    They are values that occur: with few of them the outermost ones.
    """
    ordered = values[np.lexsort((values, rows))]  # NaN is last
    sizes = np.bincount(rows, minlength=count)
    valid = np.bincount(rows, weights=~np.isnan(values), minlength=count).astype(np.intp)
    last = np.maximum(valid - 1, 0)
    steps = np.stack([np.floor(share * last) if share < 0.5 else np.ceil(share * last)
                      for share in shares], axis=1).astype(np.intp)
    places = (np.cumsum(sizes) - sizes)[:, None] + steps
    quantiles = ordered.astype(np.float64)[np.minimum(places, max(len(ordered) - 1, 0))] \
        if len(ordered) else np.full(places.shape, np.nan)
    quantiles[valid == 0] = np.nan
    return quantiles


def _covariances(rows: NDArray[np.intp], points: NDArray[np.float64], count: int
                 ) -> NDArray[np.float64]:
    """Return the covariance (count, 3, 3) of the points of each row; zeros for none."""
    sizes = np.maximum(np.bincount(rows, minlength=count), 1)
    sums = np.stack([np.bincount(rows, weights=column, minlength=count)
                     for column in points.T], axis=1)
    offsets = points - (sums / sizes[:, None])[rows]
    products = (offsets[:, :, None] * offsets[:, None, :]).reshape(-1, 9)
    totals = np.stack([np.bincount(rows, weights=column, minlength=count)
                       for column in products.T], axis=1)
    return (totals / sizes[:, None]).reshape(-1, 3, 3)

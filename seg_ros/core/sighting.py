# SPDX-License-Identifier: Apache-2.0
"""What one frame shows, as the tracker needs it: boxes, a reduced map, cut sides, colours."""
from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

from seg_ros.core.appearance import looks_of, unknown_looks
from seg_ros.core.motion import centres_and_sizes, Floats
from seg_ros.core.types import Instances, Segmentation

Rows = NDArray[np.intp]
Bools = NDArray[np.bool_]

_SAMPLES = 1 << 14  # pixels of the reduced map, about: masks are compared on these
_HIDDEN_SHARE = 0.3  # of a side that touches a nearer object, from which on it counts as hidden


@dataclass(frozen=True, eq=False)
class Samples:
    """The pixels of masks, on a grid, relative to boxes."""

    owner: Rows  # (P,) row of the track or instance
    offset: Floats  # (P, 2) x, y from the box's centre, in widths and heights of the box

    @staticmethod
    def none() -> Samples:
        """Return no samples."""
        return Samples(np.zeros(0, np.intp), np.zeros((0, 2)))

    def take(self, rows: Rows, *, count: int) -> Samples:
        """Return the samples of some of `count` owners, which are numbered anew."""
        new_row = np.full(count, -1)
        new_row[rows] = np.arange(len(rows))
        owner = new_row[self.owner]
        kept = owner >= 0
        return Samples(owner[kept], self.offset[kept])

    def join(self, other: Samples, *, count: int) -> Samples:
        """Return both; the other's owners are numbered behind these `count`."""
        return Samples(np.concatenate((self.owner, other.owner + count)),
                       np.concatenate((self.offset, other.offset)))


@dataclass(frozen=True, eq=False)
class Sighting:
    """The instances of one frame."""

    instances: Instances
    measured: Floats  # (N, 4) centre x, centre y, width, height
    grid: NDArray[np.int32]  # (h, w) the instance map at every step-th pixel
    step: int
    areas: NDArray[np.int64]  # (N,) pixels of the grid
    cut: Bools  # (N, 4) sides (left, top, right, bottom) at the image's border
    hidden: Bools  # (N, 4) the same, and sides that a nearer object hides
    looks: Floats  # (N, BANDS, 3) as `looks_of` gives them

    @staticmethod
    def of(segmentation: Segmentation, image: NDArray[np.uint8] | None) -> Sighting:
        """Return what a frame shows; image (H, W, 3) RGB, where there is one."""
        instances = segmentation.instances
        height, width = segmentation.size
        step = max(1, math.ceil(math.sqrt(height * width / _SAMPLES)))
        grid = segmentation.instance_map[step // 2::step, step // 2::step]
        cut = np.concatenate((instances.boxes[:, :2] <= 0,
                              instances.boxes[:, 2:] >= (width, height)), axis=1)
        return Sighting(
            instances=instances, measured=centres_and_sizes(instances.boxes), grid=grid, step=step,
            areas=np.bincount(grid.ravel(), minlength=len(instances) + 1)[1:],
            cut=cut, hidden=cut | hidden_sides(grid, instances.boxes / step),
            looks=unknown_looks(len(instances)) if image is None
            else looks_of(segmentation, image))

    def samples(self, boxes: Floats) -> Samples:
        """Return the grid's pixels relative to boxes (N, 4); the owner is the instance's row."""
        rows, columns = np.nonzero(self.grid)
        owner = (self.grid[rows, columns] - 1).astype(np.intp)
        pixels = np.stack((columns, rows), axis=1) * self.step + (self.step // 2 + 0.5)
        return Samples(owner, (pixels - boxes[owner, :2]) / boxes[owner, 2:])


def completed(measured: Floats, *, cut: Bools, sizes: Floats) -> Floats:
    """Return boxes (..., 4) that are cut at one side of an axis, made as large as sizes there.

    The side that is seen stays where it is; a height that is seen whole tells how the width has
    grown. Boxes are centre and size, cut is (..., 4) left, top, right, bottom, sizes are (..., 2)
    width and height.
    """
    low, high = cut[..., :2], cut[..., 2:]
    growth = np.where(low[..., 1] | high[..., 1], 1.0, measured[..., 3] / sizes[..., 1])
    wanted = np.stack(np.broadcast_arrays(sizes[..., 0] * growth, sizes[..., 1]), axis=-1)
    missing = np.maximum(wanted - measured[..., 2:], 0) * (low ^ high)
    centre = measured[..., :2] + missing / 2 * np.where(high, 1, -1)
    return np.concatenate((centre, measured[..., 2:] + missing), axis=-1)


def hidden_sides(grid: NDArray[np.int32], boxes: NDArray[np.floating]) -> Bools:
    """Return (N, 4): sides of which a good part touches an object that stands nearer.

    What stands lower in the image is nearer. Boxes are xyxy in cells of the (h, w) grid, whose
    values are 1 + row.
    """
    nearer = boxes[None, :, 3] > boxes[:, None, 3] + 0.5  # (N, N)
    enough = _HIDDEN_SHARE * np.maximum(boxes[:, 2:] - boxes[:, :2], 1)
    touching = (_touching(grid[:, :-1], grid[:, 1:], count=len(boxes)),
                _touching(grid[:-1], grid[1:], count=len(boxes)))
    sides = [(counts * nearer).sum(axis=1) > enough[:, 1 - axis]
             for counts, axis in ((touching[0].T, 0), (touching[1].T, 1),
                                  (touching[0], 0), (touching[1], 1))]
    return np.stack(sides, axis=1)


def _touching(first: NDArray[np.int32], second: NDArray[np.int32], *, count: int
              ) -> NDArray[np.int64]:
    """Return (N, N) how many cells of each instance have each other instance next to them."""
    apart = (first != second) & (first > 0) & (second > 0)
    joint = (first[apart].astype(np.intp) - 1) * count + second[apart] - 1
    return np.bincount(joint, minlength=count * count).reshape(count, count)

# SPDX-License-Identifier: Apache-2.0
"""What one frame shows, as the tracker needs it: boxes, a reduced map, cut sides, colours."""
from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

from seg_ros.core.appearance import CELLS, looks_of
from seg_ros.core.lattice import Lattice
from seg_ros.core.motion import centres_and_sizes, Floats
from seg_ros.core.types import Instances, Segmentation

Rows = NDArray[np.intp]
Bools = NDArray[np.bool_]

_SAMPLES = 1 << 14  # pixels of the reduced map, about: masks are compared on these


@dataclass(frozen=True, eq=False)
class Samples:
    """The pixels of masks, on a grid, relative to boxes."""

    owner: Rows  # (P,) row of the track or instance
    offset: Floats  # (2, P) x, y from the box's centre, in widths and heights of the box

    @staticmethod
    def none() -> Samples:
        """Return no samples."""
        return Samples(np.zeros(0, np.intp), np.zeros((2, 0)))

    def take(self, rows: Rows, *, count: int) -> Samples:
        """Return the samples of some of `count` owners, which are numbered anew."""
        new_row = np.full(count, -1)
        new_row[rows] = np.arange(len(rows))
        owner = new_row[self.owner]
        kept = owner >= 0
        return Samples(owner[kept], self.offset[:, kept])

    def join(self, other: Samples, *, count: int) -> Samples:
        """Return both; the other's owners are numbered behind these `count`."""
        return Samples(np.concatenate((self.owner, other.owner + count)),
                       np.concatenate((self.offset, other.offset), axis=1))


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
    reach: Floats  # (N, 4) how far the instance may go on at each side, pixels
    looks: Floats  # (N, CELLS) as `looks_of` gives them, none without an image

    @staticmethod
    def of(segmentation: Segmentation, image: NDArray[np.uint8] | None) -> Sighting:
        """Return what a frame shows; image (H, W, 3) RGB, where there is one."""
        instances = segmentation.instances
        height, width = segmentation.size
        step = max(1, math.ceil(math.sqrt(height * width / _SAMPLES)))
        grid = segmentation.instance_map[step // 2::step, step // 2::step].copy()
        cut = np.concatenate((instances.boxes[:, :2] <= 0,
                              instances.boxes[:, 2:] >= (width, height)), axis=1)
        lattice = Lattice.of(segmentation.instance_map, instances.boxes)
        return Sighting(
            instances=instances, measured=centres_and_sizes(instances.boxes), grid=grid, step=step,
            areas=np.bincount(grid.ravel(), minlength=len(instances) + 1)[1:],
            cut=cut, hidden=cut | lattice.hidden,
            reach=np.where(cut, (-np.inf, -np.inf, np.inf, np.inf), lattice.reach),
            looks=np.zeros((len(instances), CELLS)) if image is None
            else looks_of(lattice, image))

    def samples(self, boxes: Floats) -> Samples:
        """Return the grid's pixels relative to boxes (N, 4); the owner is the instance's row."""
        cells = np.flatnonzero(self.grid)
        owner = self.grid.ravel().take(cells).astype(np.intp) - 1
        rows, columns = np.divmod(cells, self.grid.shape[1])
        offset = np.stack([
            (places * self.step + (self.step // 2 + 0.5) - boxes[:, axis].take(owner))
            / boxes[:, axis + 2].take(owner) for axis, places in enumerate((columns, rows))])
        return Samples(owner, offset)


def completed(measured: Floats, *, cut: Bools, sizes: Floats, expected: Floats | None = None
              ) -> Floats:
    """Return boxes (..., 4) that are cut at a side of an axis, made as large as sizes there.

    The side that is seen stays where it is; a height that is seen whole tells how the width has
    grown. Where both sides are cut, the box goes as far towards the expected (..., 2) centre as
    it still holds what is seen; it stays as it is where nothing is expected. Boxes are centre and
    size, cut is (..., 4) left, top, right, bottom, sizes are (..., 2) width and height.
    """
    low, high = cut[..., :2], cut[..., 2:]
    growth = np.where(low[..., 1] | high[..., 1], 1.0, measured[..., 3] / sizes[..., 1])
    wanted = np.stack(np.broadcast_arrays(sizes[..., 0] * growth, sizes[..., 1]), axis=-1)
    one, both = low ^ high, low & high & (expected is not None)
    missing = np.maximum(wanted - measured[..., 2:], 0) * (one | both)
    shift = missing / 2 * np.where(high, 1, -1)
    if expected is not None:
        towards = np.clip(expected - measured[..., :2], -missing / 2, missing / 2)
        shift = np.where(both, towards, shift)
    return np.concatenate((measured[..., :2] + shift, measured[..., 2:] + missing), axis=-1)

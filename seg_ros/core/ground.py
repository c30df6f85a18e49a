# SPDX-License-Identifier: Apache-2.0
"""Flat ground ahead of a camera without depth: a class map seen from above.

Every pixel is taken to show the ground, which is true of ground and of the foot of what stands on
it, and of nothing else. So from the camera outwards an obstacle counts from its foot for a given
depth; what its height covers beyond that is unknown. Ground that is not flat, or a pitch that is
off by e, puts what is at distance r off by about e r^2 / height (1 degree, 1.4 m high: 1.2 m at
10 m, 5 m at 20 m); obstacles whose foot is hidden are not found. Whose lowest edge is c above the
ground, as a bumper, is seen at r although it stands at r (1 - c / height): a clearance c makes the
ground between the two an obstacle as well.
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
import math

import numpy as np
from numpy.typing import NDArray

from seg_ros.core.pinhole import Pinhole
from seg_ros.core.types import look_up

DRIVABLE, OBSTACLE, UNKNOWN = 0, 100, -1
"""Cells of a nav_msgs/OccupancyGrid: probability of an obstacle in percent, -1 = unknown."""
_LEVEL_FROM_OPTICAL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])


@dataclass(frozen=True, eq=False)
class CameraPose:
    """Where a camera is above flat ground; the grid's frame has z up and the ground at z = 0."""

    grid_from_optical: NDArray[np.float64]  # (3, 3) rotation
    position_m: NDArray[np.float64]  # (3,) of the camera in the grid's frame

    def __post_init__(self) -> None:
        """Raise ValueError for a camera that cannot see the ground ahead."""
        if not self.position_m[2] > 0:
            raise ValueError(f'the camera is {self.position_m[2]:.3f} m above the ground, '
                             'expected more than 0')
        if math.hypot(*self.grid_from_optical[:2, 2]) < 1e-3:
            raise ValueError('the camera looks straight down or up, expected a direction ahead')

    @property
    def heading(self) -> float:
        """Return where the optical axis points in the ground plane, radians from x to y."""
        return math.atan2(self.grid_from_optical[1, 2], self.grid_from_optical[0, 2])

    def level_from_optical(self) -> NDArray[np.float64]:
        """Return the rotation (3, 3) into a frame with x along the heading, y left, z up."""
        cos, sin = math.cos(self.heading), math.sin(self.heading)
        turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1.0]])
        return turn @ self.grid_from_optical


def mounted(*, height_m: float, pitch: float) -> CameraPose:
    """Return the pose of a camera above the origin that looks along x, `pitch` radians down."""
    cos, sin = math.cos(pitch), math.sin(pitch)
    nod = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    return CameraPose(grid_from_optical=nod @ _LEVEL_FROM_OPTICAL,
                      position_m=np.array([0.0, 0.0, height_m]))


@dataclass(frozen=True)
class GridShape:
    """A grid that begins below the camera: x along its heading, y left, both in metres."""

    resolution_m: float
    length_m: float  # along x
    width_m: float  # along y, half on each side

    @property
    def cells(self) -> tuple[int, int]:
        """Return how many cells there are along y and along x, as arrays have them."""
        return (max(1, round(self.width_m / self.resolution_m)),
                max(1, round(self.length_m / self.resolution_m)))


@dataclass(frozen=True, eq=False)
class GroundView:
    """Which pixel shows which piece of ground, for one camera at one pose; made once, used often.

    The ground is sampled along as many bearings as the image has columns, outwards in steps of
    half a cell.
    """

    camera: Pinhole
    pose: CameraPose
    shape: GridShape

    def grid(self, class_map: NDArray[np.uint8], *, drivable: NDArray[np.bool_],
             obstacle: NDArray[np.bool_], obstacle_depth_m: float, clearance_m: float = 0.0
             ) -> NDArray[np.int8]:
        """Return the cells (rows along y, columns along x) of an OccupancyGrid.

        class_map is (H, W) as the camera is; drivable and obstacle are (256,) tables of classes.
        clearance_m is how far above the ground the lowest edge of an obstacle may be.
        """
        kind = np.full(257, UNKNOWN, np.int8)  # the last one is for samples off the image
        kind[:256][drivable] = DRIVABLE
        kind[:256][obstacle] = OBSTACLE
        seen = class_map.ravel().take(self._pixels, mode='clip')
        ground = look_up(kind, np.where(self._on_image, seen, np.uint16(256)))
        _keep_feet(ground, steps=max(1, round(obstacle_depth_m / self._step_m)),
                   nearer=max(0.0, 1 - clearance_m / float(self.pose.position_m[2])))
        cells = np.full(self.shape.cells, UNKNOWN, np.int8)
        cells[self._covered] = ground.ravel()[self._samples_of_cells]
        # a pole is thinner than a cell: every sample of an obstacle counts
        hit = self._cells_of_samples[(ground == OBSTACLE).ravel()]
        cells.ravel()[hit[hit >= 0]] = OBSTACLE
        return cells

    @property
    def _step_m(self) -> float:
        return self.shape.resolution_m / 2

    @cached_property
    def _bearings(self) -> NDArray[np.float64]:
        """Return as many directions (B,) as there are columns, radians to the left, ascending."""
        width, height = self.camera.width, self.camera.height
        v, u = np.indices((height, width))
        rim = (u % (width - 1 or 1) == 0) | (v % (height - 1 or 1) == 0)
        rays = np.column_stack([self.camera.ray_x[u[rim]], self.camera.ray_y[v[rim]],
                                np.ones(int(rim.sum()))]) @ self.pose.level_from_optical().T
        bearings = np.arctan2(rays[:, 1], rays[:, 0])[rays[:, 2] < 0]
        if not len(bearings):
            return np.zeros(1)  # it looks into the sky
        return np.linspace(bearings.min(), bearings.max(), width)

    @cached_property
    def _ranges(self) -> NDArray[np.float64]:
        """Return the distances (R,) of the samples, metres."""
        farthest = math.hypot(self.shape.length_m, self.shape.width_m / 2)
        count = math.ceil(farthest / self._step_m)
        return np.linspace(0.5, count - 0.5, count) * self._step_m

    @cached_property
    def _ground(self) -> NDArray[np.float64]:
        """Return x and y (B, R, 2) of the samples, level frame below the camera."""
        directions = np.exp(1j * self._bearings).view(np.float64).reshape(-1, 2)  # cos, sin
        return directions[:, None] * self._ranges[:, None]

    @cached_property
    def _rounded(self) -> NDArray[np.float64]:
        """Return u and v (B, R, 2) of the samples, whole numbers; NaN behind the camera."""
        flat = self._ground.reshape(-1, 2)
        points = np.column_stack([flat, np.full(len(flat), -self.pose.position_m[2])])
        pixels = self.camera.pixels_of(points @ self.pose.level_from_optical())
        return np.floor(pixels + 0.5).reshape(self._ground.shape)

    @cached_property
    def _on_image(self) -> NDArray[np.bool_]:
        """Return which samples (B, R) the image shows."""
        u, v = self._rounded[..., 0], self._rounded[..., 1]
        with np.errstate(invalid='ignore'):
            return (u >= 0) & (u < self.camera.width) & (v >= 0) & (v < self.camera.height)

    @cached_property
    def _pixels(self) -> NDArray[np.int32]:
        """Return the flat pixel (B, R) of the samples, 0 where the image does not show one."""
        pixels = self._rounded[..., 1] * self.camera.width + self._rounded[..., 0]
        return np.where(self._on_image, pixels, 0).astype(np.int32)

    @cached_property
    def _cells_of_samples(self) -> NDArray[np.int32]:
        """Return the flat cell (B * R,) that each sample is in, -1 outside of the grid."""
        rows, columns = self.shape.cells
        column = np.floor(self._ground[..., 0] / self.shape.resolution_m)
        row = np.floor(self._ground[..., 1] / self.shape.resolution_m + rows / 2)
        inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
        return np.where(inside, row * columns + column, -1).astype(np.int32).ravel()

    @cached_property
    def _nearest(self) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
        """Return the cells that the image may show, and the flat sample nearest to each."""
        rows, columns = self.shape.cells
        x = (np.arange(columns) + 0.5) * self.shape.resolution_m
        y = (np.arange(rows)[:, None] + 0.5 - rows / 2) * self.shape.resolution_m
        bearing = np.arctan2(y, x)
        between = (self._bearings[1:] + self._bearings[:-1]) / 2
        ray = np.searchsorted(between, bearing)
        step = np.minimum((np.hypot(x, y) / self._step_m).astype(np.int32), len(self._ranges) - 1)
        covered = (bearing >= self._bearings[0]) & (bearing <= self._bearings[-1])
        return covered, (ray * len(self._ranges) + step)[covered].astype(np.int32)

    @property
    def _covered(self) -> NDArray[np.bool_]:
        return self._nearest[0]

    @property
    def _samples_of_cells(self) -> NDArray[np.int32]:
        return self._nearest[1]


def _keep_feet(ground: NDArray[np.int8], *, steps: int, nearer: float) -> None:
    """Make unknown, in place, what is more than `steps` beyond the start of an obstacle.

    What lies before it, beyond `nearer` times its distance, becomes an obstacle where it is
    ground. ground is (B, R), each row outwards from the camera.
    """
    is_obstacle = ground == OBSTACLE
    place = np.arange(ground.shape[1], dtype=np.int32)
    # of each sample, the last one before it, or itself, that is no obstacle
    last_free = np.maximum.accumulate(np.where(is_obstacle, np.int32(-1), place), axis=1)
    # obstacles that begin where the image begins have their foot there at the latest
    seen_from = np.argmax(ground != UNKNOWN, axis=1).astype(np.int32)[:, None]
    np.maximum(last_free, seen_from - 1, out=last_free)
    ground[is_obstacle & (place - last_free > steps)] = UNKNOWN
    if nearer < 1:
        starts = is_obstacle & (last_free == place - 1)
        edges = np.zeros((ground.shape[0], ground.shape[1] + 1), np.int32)
        bearing, foot = np.nonzero(starts)
        np.add.at(edges, (bearing, np.ceil(foot * nearer).astype(np.intp)), 1)
        np.add.at(edges, (bearing, foot), -1)
        before = np.cumsum(edges, axis=1)[:, :-1] > 0
        ground[before & (ground == DRIVABLE)] = OBSTACLE

# SPDX-License-Identifier: Apache-2.0
"""Ground from above without depth: geometry, feet of obstacles, what stays unknown."""
from __future__ import annotations

import math

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from seg_ros.core.ground import (
    CameraPose,
    DRIVABLE,
    GridShape,
    GroundView,
    mounted,
    OBSTACLE,
    UNKNOWN,
)
from seg_ros.core.pinhole import Pinhole

CAMERA = Pinhole(width=160, height=120, fx=120.0, fy=120.0, cx=79.5, cy=59.5)
SHAPE = GridShape(resolution_m=0.25, length_m=10.0, width_m=6.0)
HEIGHT_M = 1.2
ROAD, CAR, SKY = 0, 1, 2
DRIVABLE_CLASSES, OBSTACLE_CLASSES = np.zeros((2, 256), bool)
DRIVABLE_CLASSES[ROAD] = OBSTACLE_CLASSES[CAR] = True


def painted(boxes: list[tuple[float, float, float, float, float]], *, pitch: float = 0.0
            ) -> np.ndarray:
    """Return the class map of flat ground below sky with upright boards on it.

    A board is x, left y, right y, low z, high z in metres; the nearest is to be the last.
    """
    pose = mounted(height_m=HEIGHT_M, pitch=pitch)
    v, u = np.indices((CAMERA.height, CAMERA.width))
    rays = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, np.ones(u.shape)],
                    axis=-1) @ pose.grid_from_optical.T
    class_map = np.where(rays[..., 2] < 0, ROAD, SKY).astype(np.uint8)
    for x, left, right, low, high in boxes:
        y, z = rays[..., 1] / rays[..., 0] * x, HEIGHT_M + rays[..., 2] / rays[..., 0] * x
        class_map[(y <= left) & (y >= right) & (z >= low) & (z <= high)] = CAR
    return class_map


def grid_of(class_map: np.ndarray, *, pitch: float = 0.0, depth_m: float = 0.5) -> np.ndarray:
    """Return the grid of a class map."""
    view = GroundView(CAMERA, mounted(height_m=HEIGHT_M, pitch=pitch), SHAPE)
    return view.grid(class_map, drivable=DRIVABLE_CLASSES, obstacle=OBSTACLE_CLASSES,
                     obstacle_depth_m=depth_m)


def at(grid: np.ndarray, x: float, y: float) -> int:
    """Return the cell at a place in metres."""
    return int(grid[math.floor((y + SHAPE.width_m / 2) / SHAPE.resolution_m),
                    math.floor(x / SHAPE.resolution_m)])


@pytest.mark.parametrize('pitch', [0.0, 0.2, -0.1])
def test_free_ground_is_drivable_where_the_image_shows_it_and_unknown_elsewhere(pitch):
    grid = grid_of(painted([], pitch=pitch), pitch=pitch)
    assert grid.shape == SHAPE.cells and grid.dtype == np.int8
    lowest = math.atan(60 / CAMERA.fy) + pitch
    nearest_m = HEIGHT_M / math.tan(lowest)
    for x in np.arange(0.125, 10, 0.25):
        wanted = UNKNOWN if x < nearest_m - 0.25 else DRIVABLE if x > nearest_m + 0.25 else None
        assert wanted is None or at(grid, x, 0.1) == wanted
    assert at(grid, 3.6, 2.9) == UNKNOWN  # outside of the field of view
    assert at(grid, 6.0, 2.9) == DRIVABLE


@pytest.mark.parametrize('pitch', [0.0, 0.15])
def test_an_obstacle_stands_at_its_foot_and_hides_what_is_behind_it(pitch):
    grid = grid_of(painted([(6.0, 0.5, -0.5, 0.0, 1.6)], pitch=pitch), pitch=pitch)
    column = [at(grid, x, 0.1) for x in np.arange(0.125, 10, 0.25)]
    hit = np.flatnonzero(np.array(column) == OBSTACLE)
    assert 6.0 - 0.25 <= hit[0] * 0.25 <= 6.25
    assert len(hit) <= 4
    assert set(column[hit[-1] + 1:]) == {UNKNOWN}
    assert at(grid, 6.1, 1.5) == DRIVABLE
    assert at(grid, 9.0, 1.5) == DRIVABLE


def test_a_bumper_is_found_where_it_stands_with_its_clearance():
    class_map = painted([(6.0, 0.5, -0.5, 0.24, 1.1)])
    view = GroundView(CAMERA, mounted(height_m=HEIGHT_M, pitch=0.0), SHAPE)
    for clearance_m, nearest_m in ((0.0, 7.5), (0.24, 6.0)):  # 6 / (1 - 0.24 / 1.2) = 7.5
        grid = view.grid(class_map, drivable=DRIVABLE_CLASSES, obstacle=OBSTACLE_CLASSES,
                         obstacle_depth_m=0.5, clearance_m=clearance_m)
        column = [at(grid, x, 0.1) for x in np.arange(0.125, 10, 0.25)]
        hit = np.flatnonzero(np.array(column) == OBSTACLE)
        assert hit[0] * 0.25 == pytest.approx(nearest_m, abs=0.26)
        assert column[hit[0] - 2] == DRIVABLE


def test_ground_that_is_seen_over_a_low_obstacle_is_drivable_again():
    grid = grid_of(painted([(4.0, 0.5, -0.5, 0.0, 0.2)]))
    assert at(grid, 4.1, 0.1) == OBSTACLE
    assert at(grid, 4.7, 0.1) == UNKNOWN
    assert at(grid, 8.0, 0.1) == DRIVABLE


def test_a_pole_thinner_than_a_cell_is_found():
    grid = grid_of(painted([(4.0, 0.03, -0.03, 0.0, 2.0)]))
    assert (grid == OBSTACLE).any()


def test_an_obstacle_whose_foot_is_below_the_image_is_not_lost():
    class_map = painted([])
    class_map[40:, 60:100] = CAR
    grid = grid_of(class_map)
    assert (grid == OBSTACLE).any()
    assert at(grid, 9.0, 0.0) == UNKNOWN


def test_a_pixel_that_is_neither_is_unknown():
    class_map = painted([])
    class_map[class_map == ROAD] = 255
    assert (grid_of(class_map) == UNKNOWN).all()


def test_left_is_towards_higher_rows():
    grid = grid_of(painted([(5.0, 2.0, 1.0, 0.0, 1.0)]))
    assert at(grid, 5.1, 1.5) == OBSTACLE
    assert at(grid, 5.1, -1.5) == DRIVABLE


@hypothesis.given(st.floats(0.3, 3), st.floats(-0.3, 0.6), st.integers(0, 2 ** 32 - 1))
@hypothesis.settings(max_examples=30, deadline=None)
def test_every_cell_shows_the_pixel_at_its_middle_give_or_take_a_cell(height_m, pitch, seed):
    rng = np.random.default_rng(seed)
    class_map = rng.choice([ROAD, SKY], (CAMERA.height // 20, CAMERA.width // 20)) \
        .repeat(20, axis=0).repeat(20, axis=1).astype(np.uint8)
    pose = mounted(height_m=height_m, pitch=pitch)
    grid = GroundView(CAMERA, pose, SHAPE).grid(class_map, drivable=DRIVABLE_CLASSES,
                                                obstacle=OBSTACLE_CLASSES, obstacle_depth_m=0.5)
    rows, columns = SHAPE.cells
    around = np.array([(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)]) * SHAPE.resolution_m / 2
    for row in range(0, rows, 3):
        for column in range(0, columns, 3):
            middle = ((column + 0.5) * SHAPE.resolution_m,
                      (row + 0.5 - rows / 2) * SHAPE.resolution_m)
            places = np.column_stack([middle + around, np.full(9, -height_m)])
            pixels = CAMERA.pixels_of(places @ pose.grid_from_optical)
            nearest = np.floor(pixels + 0.5)
            on = (nearest >= 0).all(axis=1) & (nearest < (CAMERA.width, CAMERA.height)).all(axis=1)
            if not on.all():
                continue
            u, v = nearest.astype(int).T
            seen = set(class_map[v, u].tolist())
            if len(seen) == 1:
                assert grid[row, column] == (DRIVABLE if seen == {ROAD} else UNKNOWN)


def test_a_camera_that_looks_aside_has_its_heading_and_the_same_grid():
    class_map = painted([(6.0, 0.5, -0.5, 0.0, 1.6)])
    ahead = mounted(height_m=HEIGHT_M, pitch=0.0)
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # 90 degrees to the left
    aside = CameraPose(turn @ ahead.grid_from_optical, np.array([3.0, 4.0, HEIGHT_M]))
    assert aside.heading == pytest.approx(math.pi / 2)
    grid = GroundView(CAMERA, aside, SHAPE).grid(
        class_map, drivable=DRIVABLE_CLASSES, obstacle=OBSTACLE_CLASSES, obstacle_depth_m=0.5)
    assert np.array_equal(grid, grid_of(class_map))


def test_a_camera_that_cannot_see_the_ground_ahead_is_refused():
    with pytest.raises(ValueError, match='the camera is 0.000 m above the ground'):
        mounted(height_m=0.0, pitch=0.0)
    with pytest.raises(ValueError, match='the camera looks straight down or up'):
        mounted(height_m=1.0, pitch=math.pi / 2)

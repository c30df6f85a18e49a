# SPDX-License-Identifier: Apache-2.0
"""The figures of docs/integration.md: what the benchmark calls an error, on the street itself."""
from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from benchmarks import space
from seg_ros.core.ground import DRIVABLE, OBSTACLE, UNKNOWN
from seg_ros.core.types import segmentation_from_ids
from seg_ros.sim import Street


@cache
def scene() -> space.Scene:
    """Return a frame whose labels are true."""
    street = Street(seed=10_011, width=320, height=240)
    frame = street.frame(60)
    truth = segmentation_from_ids(frame.class_map, frame.instance_map)
    return space.Scene(street=street, frame=frame, truth=truth, labels=truth,
                       first=street.frame(0), seed=0)


def test_true_depth_and_labels_find_the_near_face_of_every_object():
    rows = space.box_errors(scene(), scene().true_points(), scene().truth)
    assert len(rows) >= 3 and np.isfinite(rows).all()
    assert np.median(rows[:, 3]) < 0.05
    worse = space.box_errors(scene(), scene().measured_points(), scene().truth)
    near = rows[:, 0] < 40
    assert np.nanmedian(worse[near, 1]) > np.median(rows[near, 1])


def test_an_object_without_its_instance_counts_as_without_a_box():
    nothing = segmentation_from_ids(scene().frame.class_map,
                                    np.zeros_like(scene().frame.instance_map))
    rows = space.box_errors(scene(), scene().true_points(), nothing)
    figures = space.box_figures(rows)
    assert len(rows) == sum(row['objects'] for row in figures.values())
    assert all(row['with_box'] == 0 and 'centre_m' not in row for row in figures.values())


def test_a_grid_that_is_the_truth_has_no_errors_and_an_empty_one_finds_nothing():
    grid = space.grid_of(scene(), space.true_pose(scene()), scene().truth, 0.0)
    perfect = np.full(grid.cells.shape, UNKNOWN, np.int8)
    perfect[grid.ground & ~grid.blocked], perfect[grid.blocked] = DRIVABLE, OBSTACLE
    for row in space.grid_figures([space.Grid(perfect, grid.ground, grid.blocked)]).values():
        if row['bearings']:
            assert (row['bearings_with_obstacle'], row['free_but_blocked']) == (1.0, 0.0)
            assert row['nearest_obstacle_m'] == {'p50': 0.0, 'p90': 0.0}
    empty = np.full(grid.cells.shape, UNKNOWN, np.int8)
    for row in space.grid_figures([space.Grid(empty, grid.ground, grid.blocked)]).values():
        assert row['drivable_found'] == row['bearings_with_obstacle'] == 0.0


def test_a_clearance_frees_fewer_blocked_cells():
    pose = space.true_pose(scene())
    wrong = [int(((grid.cells == DRIVABLE) & grid.blocked).sum()) for grid in (
        space.grid_of(scene(), pose, scene().truth, clearance_m) for clearance_m in (0.0, 0.3))]
    assert wrong[1] < wrong[0]


def test_the_mounting_is_the_pose_at_the_start_and_not_that_of_the_frame():
    assert space.mounting_pose(scene()).position_m == pytest.approx(
        space.true_pose(scene()).position_m)
    assert not np.allclose(space.mounting_pose(scene()).level_from_optical(),
                           space.true_pose(scene()).level_from_optical())

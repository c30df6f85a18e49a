# SPDX-License-Identifier: Apache-2.0
"""Boxes in space: what is measured of an object, and what must not be taken for it."""
from __future__ import annotations

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from seg_ros.core.boxes3d import behind_an_edge, Boxes3D, fit_boxes
from seg_ros.core.pinhole import Pinhole
from seg_ros.core.points import back_project

CAMERA = Pinhole(width=64, height=48, fx=50.0, fy=50.0, cx=31.5, cy=23.5)
WALL_M = 12.0


def boxes_of(depth: np.ndarray, instance_map: np.ndarray, count: int = 1) -> Boxes3D:
    """Return the boxes in a depth image in metres."""
    return fit_boxes(back_project(depth.astype(np.float32), CAMERA),
                     instance_map.astype(np.int32), count)


def board(depth_m: float = 5.0) -> tuple[np.ndarray, np.ndarray]:
    """Return depth and instance map of a board, 20 columns and 30 rows, before a wall."""
    depth, instances = np.full((48, 64), WALL_M), np.zeros((48, 64), np.int32)
    depth[10:40, 20:40], instances[10:40, 20:40] = depth_m, 1
    return depth, instances


def assert_is_the_board(boxes: Boxes3D, depth_m: float = 5.0, pixels: float = 2.0) -> None:
    """Check a box against the board: how many pixels its sides may be off."""
    assert boxes.rows.tolist() == [0]
    pixel_m = depth_m / CAMERA.fx
    np.testing.assert_allclose(boxes.sizes[0], [19 * pixel_m, 29 * pixel_m, 0],
                               atol=pixels * pixel_m)
    np.testing.assert_allclose(boxes.centres[0], [-2 * pixel_m, 1 * pixel_m, depth_m],
                               atol=pixels * pixel_m)


def test_a_board_before_a_wall_has_its_box():
    assert_is_the_board(boxes_of(*board()))


def test_a_mask_that_spills_over_the_wall_gives_the_same_box():
    depth, instances = board()
    instances[8:42, 18:42] = 1
    assert_is_the_board(boxes_of(depth, instances))


def test_background_that_shows_through_half_of_the_mask_is_cut_away():
    depth, instances = board()
    depth[10:40, 26:34] = WALL_M
    assert_is_the_board(boxes_of(depth, instances))


def test_what_is_before_the_object_and_covers_a_fifth_of_its_mask_is_cut_away():
    depth, instances = board()
    depth[10:40, 20:24] = 2.0
    assert boxes_of(depth, instances).centres[0, 2] == pytest.approx(5.0, abs=0.05)


def test_points_that_fly_between_rim_and_wall_are_cut_away():
    depth, instances = board()
    depth[10:40, 39] = 8.0
    depth[39, 20:40] = 9.0
    assert_is_the_board(boxes_of(depth, instances))


def test_holes_do_not_move_the_box():
    depth, instances = board()
    depth[np.random.default_rng(0).uniform(size=depth.shape) < 0.5] = np.nan
    assert_is_the_board(boxes_of(depth, instances))


def test_noise_of_the_sensor_does_not_make_a_flat_thing_deep():
    depth, instances = board()
    depth += np.random.default_rng(0).normal(0, 0.08, depth.shape)
    assert boxes_of(depth, instances).sizes[0, 2] < 0.15


def test_a_thing_that_is_deep_keeps_its_depth_under_noise():
    depth, instances = board()
    depth[10:40, 20:40] = np.linspace(5, 8, 30)[:, None]
    depth += np.random.default_rng(0).normal(0, 0.05, depth.shape)
    assert boxes_of(depth, instances).sizes[0, 2] == pytest.approx(3.0, abs=0.25)


def test_the_covariance_is_that_of_the_points():
    depth, instances = board()
    covariance = boxes_of(depth, instances).covariances[0]
    pixel_m = 5.0 / CAMERA.fx
    np.testing.assert_allclose(np.diag(covariance)[:2],
                               [(20 ** 2 - 1) / 12 * pixel_m ** 2,
                                (30 ** 2 - 1) / 12 * pixel_m ** 2], rtol=0.02)
    assert abs(covariance[0, 1]) < 1e-6 and covariance[2, 2] < 1e-6


def test_instances_without_depth_have_no_box_and_the_others_keep_their_rows():
    depth, instances = board()
    instances[10:40, 45:60], depth[10:40, 45:60] = 2, np.nan
    instances[0:8, 0:30], depth[0:8, 0:30] = 3, 4.0
    boxes = boxes_of(depth, instances, count=3)
    assert boxes.rows.tolist() == [0, 2]
    assert boxes.centres[1, 2] == pytest.approx(4.0)


def test_a_few_points_at_the_rim_of_a_mask_without_depth_are_no_object():
    depth, instances = board()
    depth[10:40, 22:40] = np.nan
    assert len(boxes_of(depth, instances)) == 0


@pytest.mark.parametrize('count', [0, 1, 5])
def test_an_image_without_instances_or_without_depth_has_no_boxes(count):
    nothing = np.zeros((48, 64), np.int32)
    assert len(boxes_of(np.full((48, 64), 3.0), nothing, count)) == 0
    everything = nothing + (count > 0)
    boxes = boxes_of(np.full((48, 64), np.nan), everything, count)
    assert boxes.sizes.shape == (0, 3) and boxes.covariances.shape == (0, 3, 3)


def test_pixels_behind_a_nearer_neighbour_are_behind_an_edge_and_the_rim_is_not():
    z = np.full((5, 6), 9.0, np.float32)
    z[:, :2], z[2, 4] = 3.0, np.nan
    expected = np.zeros((5, 6), bool)
    expected[:, 2] = True
    assert behind_an_edge(z).tolist() == expected.tolist()


@hypothesis.given(st.integers(0, 2 ** 32 - 1))
def test_edges_are_the_plain_loop_over_neighbours(seed):
    rng = np.random.default_rng(seed)
    z = rng.choice([1.0, 1.1, 3.0, 3.1, 9.0, np.nan], (7, 9)).astype(np.float32)
    padded = np.pad(z, 1, constant_values=np.nan)
    for row, column in np.ndindex(z.shape):
        window = padded[row:row + 3, column:column + 3]
        near = np.nanmin(window) if np.isfinite(window).any() else np.inf
        expected = bool(z[row, column] - near > max(0.2, 0.05 * near))
        assert behind_an_edge(z)[row, column] == expected


@hypothesis.given(st.integers(0, 2 ** 32 - 1), st.integers(1, 5))
def test_an_instance_alone_has_the_box_that_it_has_among_others(seed, count):
    rng = np.random.default_rng(seed)
    depth = rng.uniform(2, 9, (6, 8)).repeat(8, axis=0).repeat(8, axis=1)
    instances = rng.integers(0, count + 1, (6, 8)).repeat(8, axis=0).repeat(8, axis=1)
    together = boxes_of(depth, instances, count)
    for place, row in enumerate(together.rows):
        alone = boxes_of(depth, instances == row + 1)
        np.testing.assert_allclose(alone.centres[0], together.centres[place])
        np.testing.assert_allclose(alone.sizes[0], together.sizes[place], atol=1e-9)
        np.testing.assert_allclose(alone.covariances[0], together.covariances[place], atol=1e-9)

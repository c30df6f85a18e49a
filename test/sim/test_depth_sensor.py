# SPDX-License-Identifier: Apache-2.0
"""The simulated depth camera errs as real ones do, and the street's boxes are exact."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from seg_ros.core.pinhole import Pinhole
from seg_ros.sim import DepthSensor, Street

CAMERA = Pinhole(width=160, height=120, fx=150.0, fy=150.0, cx=79.5, cy=59.5)
GREY = np.full((120, 160, 3), 120, np.uint8)
IDEAL = DepthSensor(disparity_noise_px=0.0, disparity_step_px=1e-6, block_px=1, holes=0.0,
                    shift_px=(0.0, 0.0))


def measured(sensor: DepthSensor, depth: np.ndarray, image: np.ndarray = GREY) -> np.ndarray:
    """Return what a sensor makes of true depth."""
    return sensor.measure(depth.astype(np.float32), image=image, camera=CAMERA, seed=1)


def step(near_m: float = 2.0, far_m: float = 8.0) -> np.ndarray:
    """Return a wall with a board before it, columns 60 to 99."""
    depth = np.full((120, 160), far_m)
    depth[:, 60:100] = near_m
    return depth


def test_without_its_faults_it_measures_the_truth():
    depth = np.full((120, 160), 5.0)
    np.testing.assert_allclose(measured(IDEAL, depth), depth, rtol=1e-4)


def test_noise_grows_with_the_square_of_the_distance():
    sensor = replace(IDEAL, disparity_noise_px=0.05, max_m=100.0)
    spread = [float(np.nanstd(measured(sensor, np.full((120, 160), z)))) for z in (2.0, 4.0)]
    assert spread[1] / spread[0] == pytest.approx(4.0, rel=0.1)
    assert spread[0] == pytest.approx(2.0 ** 2 / (150 * 0.12) * 0.05, rel=0.1)


def test_what_only_the_left_camera_sees_is_a_hole_left_of_near_things():
    holes = np.isnan(measured(IDEAL, step()))
    disparity = 150 * 0.12 * (1 / 2 - 1 / 8)
    widths = holes.sum(axis=1)
    assert np.abs(widths - disparity).max() <= 1
    assert holes[:, 61 - round(disparity):59].all() and not holes[:, 60:].any()


def test_near_things_grow_at_their_rims():
    fat = measured(replace(IDEAL, block_px=7), step())
    assert (fat[:, 100:103] < 3).any()
    assert (fat[:, 104:] > 7.5).all()


def test_sky_dark_and_glaring_pixels_and_what_is_out_of_range_are_holes():
    image = GREY.copy()
    image[:40], image[40:80] = 3, 255
    assert np.isnan(measured(IDEAL, np.full((120, 160), 5.0), image)[:36]).all()
    assert np.isnan(measured(IDEAL, np.full((120, 160), 5.0), image)[44:76]).all()
    for far in (np.inf, 41.0, 0.3):
        assert np.isnan(measured(IDEAL, np.full((120, 160), far))).all()


def test_patches_are_lost_without_a_cause():
    share = np.isnan(measured(replace(IDEAL, holes=0.05), np.full((120, 160), 5.0))).mean()
    assert share == pytest.approx(0.05, abs=0.002)


def test_registration_is_off_by_the_shift():
    moved = measured(replace(IDEAL, shift_px=(5.0, 0.0)), step())
    assert moved[60, 104] == pytest.approx(2.0, rel=1e-3)
    assert moved[60, 106] == pytest.approx(8.0, rel=1e-3)


def test_the_same_seed_measures_the_same_bits():
    depth = step()
    assert measured(DepthSensor(), depth).tobytes() == measured(DepthSensor(), depth).tobytes()


def test_every_visible_point_of_a_car_is_inside_its_box():
    checked = 0
    for seed in (3, 17, 10_001):
        street = Street(seed=seed, width=320, height=240)
        frame = street.frame(20)
        camera = street.camera
        for pose in frame.objects:
            v, u = np.nonzero((frame.instance_map == pose.instance_id)
                              & (frame.class_map == 8) & (frame.depth < 40))
            if len(v) < 20:
                continue
            z = frame.depth[v, u].astype(float)
            points = np.stack([(u - camera.cx) / camera.fx * z, (v - camera.cy) / camera.fy * z,
                               z], axis=1)
            axes = (pose.corners_m[[4, 2, 1]] - pose.corners_m[0]) / pose.size_m[:, None]
            np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-9)
            inside = (points - pose.centre_m) @ axes.T
            # a pixel's centre may lie half a pixel outside, and mirrors stick out a little
            slack = 0.15 + 1.0 * z[:, None] / camera.fx
            assert (np.abs(inside) <= pose.size_m / 2 + slack).all()
            checked += 1
    assert checked > 5


def test_corners_are_those_of_an_upright_box_on_the_ground():
    frame = Street(seed=3, width=320, height=240).frame(0)
    for pose in frame.objects:
        level = pose.corners_m @ frame.optical_from_level
        lowest = level[:, 1].max()
        assert lowest == pytest.approx(frame.camera_height_m, abs=1e-6)
        assert lowest - level[:, 1].min() == pytest.approx(pose.size_m[1], abs=1e-6)
        np.testing.assert_allclose(pose.corners_m.mean(axis=0), pose.centre_m, atol=1e-9)

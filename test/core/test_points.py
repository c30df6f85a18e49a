# SPDX-License-Identifier: Apache-2.0
"""Depth to points: units, invalid values, other rasters, packing and thinning."""
from __future__ import annotations

import hypothesis
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
import numpy as np
import pytest

from seg_ros.core.pinhole import Pinhole
from seg_ros.core.points import (
    back_project,
    chosen_points,
    metres_of,
    on_raster,
    pack_points,
    POINT,
    PointMap,
    thin_out,
)

CAMERA = Pinhole(width=4, height=3, fx=2.0, fy=2.0, cx=1.5, cy=1.0)


def test_millimetres_and_metres_agree_and_what_is_invalid_is_nan():
    millimetres = np.array([[0, 500, 1234, 65535]], np.uint16)
    metres = np.array([[0.0, 0.5, 1.234, 65.535]], np.float32)
    expected = [[np.nan, 0.5, 1.234, 65.535]]
    np.testing.assert_allclose(metres_of(millimetres), expected, rtol=1e-6)
    np.testing.assert_allclose(metres_of(metres), expected, rtol=1e-6)


def test_nan_infinite_zero_and_negative_metres_are_invalid():
    raw = np.array([[np.nan, np.inf, -np.inf, 0.0, -1.0, 2.0]], np.float32)
    assert np.isnan(metres_of(raw)).tolist() == [[True] * 5 + [False]]
    assert np.isinf(raw[0, 1]), 'the message is not written to'


def test_depth_out_of_range_is_invalid():
    raw = np.array([[0.2, 0.3, 5.0, 5.1]], np.float32)
    assert np.isnan(metres_of(raw, min_m=0.3, max_m=5.0)).tolist() == [[True, False, False, True]]


def test_depth_of_another_type_is_refused():
    with pytest.raises(ValueError, match='depth is float64, expected uint16 millimetres'):
        metres_of(np.zeros((2, 2)))  # type: ignore[arg-type]


def test_points_lie_on_the_rays_of_their_pixels():
    points = back_project(np.full((3, 4), 2.0, np.float32), CAMERA)
    assert points.x[0].tolist() == [-1.5, -0.5, 0.5, 1.5]
    assert points.y[:, 0].tolist() == [-1.0, 0.0, 1.0]
    assert (points.z == 2.0).all()


@hypothesis.given(st.integers(1, 40), st.integers(1, 30), st.floats(5, 500), st.floats(5, 500),
                  st.floats(-50, 50), st.floats(-50, 50), st.floats(0.1, 100))
def test_projection_undoes_back_projection(width, height, fx, fy, cx, cy, depth):
    camera = Pinhole(width=width, height=height, fx=fx, fy=fy, cx=cx, cy=cy)
    points = back_project(np.full((height, width), depth, np.float32), camera)
    pixels = camera.pixels_of(points.take(np.arange(width * height)))
    v, u = np.indices((height, width))
    np.testing.assert_allclose(pixels, np.stack([u.ravel(), v.ravel()], axis=1), atol=1e-3)


def test_points_behind_the_camera_have_no_pixel():
    assert np.isnan(CAMERA.pixels_of(np.array([[0.0, 0, -1], [0, 0, 0]]))).all()


@pytest.mark.parametrize('broken', [{'fx': 0.0}, {'fy': -1.0}, {'cx': np.nan}, {'width': 0}])
def test_what_is_no_camera_is_refused(broken):
    values = {'width': 4, 'height': 3, 'fx': 2.0, 'fy': 2.0, 'cx': 1.5, 'cy': 1.0} | broken
    with pytest.raises(ValueError, match='expected'):
        Pinhole(**values)


def test_depth_of_half_the_size_is_looked_up_along_the_same_rays():
    half = np.arange(1.0, 7.0, dtype=np.float32).reshape(2, 3)
    full = Pinhole(width=6, height=4, fx=4, fy=4, cx=2.5, cy=1.5)
    moved = on_raster(half, camera=full.resized(width=3, height=2), raster=full)
    assert moved.tolist() == np.repeat(np.repeat(half, 2, axis=0), 2, axis=1).tolist()


def test_a_wider_image_has_no_depth_outside_of_the_depth_cameras_view():
    narrow = Pinhole(width=2, height=1, fx=2, fy=2, cx=0.5, cy=0.0)
    wide = Pinhole(width=6, height=1, fx=2, fy=2, cx=2.5, cy=0.0)
    moved = on_raster(np.array([[3.0, 4.0]], np.float32), camera=narrow, raster=wide)
    np.testing.assert_array_equal(moved, [[np.nan, np.nan, 3, 4, np.nan, np.nan]])


@hypothesis.given(st.integers(1, 20), st.integers(1, 15), st.integers(1, 20), st.integers(1, 15),
                  st.floats(3, 40), st.floats(3, 40), st.floats(-3, 20), st.floats(-3, 20))
def test_the_raster_is_the_plain_loop_over_pixels(w, h, w2, h2, f, f2, cx, cy):
    camera = Pinhole(width=w, height=h, fx=f, fy=f, cx=w / 2, cy=h / 2)
    raster = Pinhole(width=w2, height=h2, fx=f2, fy=f2, cx=cx, cy=cy)
    depth = np.arange(1, w * h + 1, dtype=np.float32).reshape(h, w)
    moved = on_raster(depth, camera=camera, raster=raster)
    for v in range(h2):
        for u in range(w2):
            column = int(np.floor(raster.ray_x[u].astype(float) * camera.fx + camera.cx + 0.5))
            row = int(np.floor(raster.ray_y[v].astype(float) * camera.fy + camera.cy + 0.5))
            inside = 0 <= column < w and 0 <= row < h
            np.testing.assert_equal(moved[v, u], depth[row, column] if inside else np.nan)


def test_depth_that_disagrees_with_its_camera_is_refused():
    with pytest.raises(ValueError, match='depth is 2x2 pixels, but its camera_info says 4x3'):
        on_raster(np.ones((2, 2), np.float32), camera=CAMERA, raster=CAMERA)
    with pytest.raises(ValueError, match='depth is 2x2 pixels, expected 4x3'):
        back_project(np.ones((2, 2), np.float32), CAMERA)


def test_a_packed_point_has_the_bytes_that_pcl_and_rviz_read():
    one = np.full((1, 1), 1.5, np.float32)
    packed = pack_points(PointMap(x=one, y=2 * one, z=3 * one),
                         image=np.array([[[1, 2, 3]]], np.uint8),
                         class_map=np.array([[7]], np.uint8),
                         id_map=np.array([[70_000]], np.int32))
    assert packed.tobytes() == (np.array([1.5, 3.0, 4.5], '<f4').tobytes() + bytes([3, 2, 1, 0])
                                + (7).to_bytes(4, 'little') + (70_000).to_bytes(4, 'little'))


def test_points_are_packed_into_given_memory():
    memory = np.zeros((3, 4), POINT)
    packed = pack_points(back_project(np.full((3, 4), np.nan, np.float32), CAMERA),
                         image=np.zeros((3, 4, 3), np.uint8),
                         class_map=np.full((3, 4), 9, np.uint8),
                         id_map=np.zeros((3, 4), np.int32), out=memory)
    assert packed is memory
    assert (memory['label'] == 9).all() and np.isnan(memory['z']).all()


def test_only_measured_points_of_chosen_classes_are_taken():
    depth = np.array([[1, 2, 3, np.nan]] * 3, np.float32)
    classes = np.array([[0, 1, 2, 1]] * 3, np.uint8)
    chosen = np.zeros(256, bool)
    chosen[[1, 2]] = True
    points = chosen_points(back_project(depth, CAMERA), classes, chosen)
    assert points.dtype == np.float32
    assert sorted(points[:, 2].tolist()) == [2, 2, 2, 3, 3, 3]


def test_planes_of_different_sizes_are_no_points():
    plane = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match=r'x is float32 \(3, 2\), expected float32 \(2, 3\)'):
        PointMap(x=plane.T, y=plane, z=plane)


def test_thinning_keeps_the_mean_of_each_cube():
    points = np.array([[0.1, 0, 0], [0.3, 0, 0], [1.5, 0, 0], [-0.2, 0, 0]], np.float32)
    np.testing.assert_allclose(thin_out(points, voxel_m=1.0),
                               [[-0.2, 0, 0], [0.2, 0, 0], [1.5, 0, 0]], atol=1e-6)
    assert thin_out(points, voxel_m=0.0) is points
    assert thin_out(points[:0], voxel_m=1.0).shape == (0, 3)


@hypothesis.given(arrays.arrays(np.float32, st.tuples(st.integers(1, 60), st.just(3)),
                                elements=st.floats(-50, 50, width=32)),
                  st.floats(0.0625, 30, width=32))
def test_thinning_is_the_plain_loop_over_cubes(points, voxel_m):
    cubes: dict[tuple[int, ...], list[np.ndarray]] = {}
    for point in points:
        key = tuple(np.floor(point * np.float32(1 / voxel_m)).astype(int).tolist())
        cubes.setdefault(key, []).append(point)
    expected = [np.mean(cubes[key], axis=0, dtype=float)
                for key in sorted(cubes, key=lambda key: key[::-1])]
    np.testing.assert_allclose(thin_out(points, voxel_m=voxel_m), expected, atol=1e-4)

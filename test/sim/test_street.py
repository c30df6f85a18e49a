# SPDX-License-Identifier: Apache-2.0
"""What the synthetic street promises: determinism, exact labels, depth and lasting ids."""
from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from hashlib import sha256
import subprocess
import sys

import cv2
import numpy as np
import pytest

from seg_ros.sim import CLASS_NAMES, Street, StreetFrame, THINGS
from seg_ros.sim.camera import CameraModel, CameraView, clip_near, rotation
from seg_ros.sim.canvas import Canvas, paint_quad, Texture

SIZE = {'width': 320, 'height': 240}
THING_IDS = [CLASS_NAMES.index(name) for name in THINGS]
ROAD, CAR = CLASS_NAMES.index('road'), CLASS_NAMES.index('car')


@cache
def played(seed: int, *, count: int = 4, step: int = 40) -> tuple[StreetFrame, ...]:
    """Return some frames of a seed, made once for all tests."""
    street = Street(seed=seed, **SIZE)
    return tuple(street.frame(i * step) for i in range(count))


def digest(frame: StreetFrame) -> str:
    """Return a hash over everything in a frame."""
    poses = np.array([[p.instance_id, p.class_id, *p.centre_m, *p.size_m, p.yaw]
                      for p in frame.objects])
    parts = (frame.image, frame.depth, frame.class_map, frame.instance_map, poses)
    return sha256(b''.join(part.tobytes() for part in parts)).hexdigest()


def every_frame() -> Iterator[StreetFrame]:
    """Yield frames of several seeds."""
    for seed in (3, 17, 10_001):
        yield from played(seed)


def test_the_same_seed_and_index_give_the_same_bits_in_any_order() -> None:
    order = [0, 1, 2, 300, 7]
    forward = Street(seed=5, **SIZE)
    backward = Street(seed=5, **SIZE)
    first = {index: digest(forward.frame(index)) for index in order}
    second = {index: digest(backward.frame(index)) for index in reversed(order)}
    assert first == second


@pytest.mark.parametrize(('width', 'height'), [(848, 480), (96, 64), (375, 1242)])
def test_a_street_has_any_camera_size(width: int, height: int) -> None:
    frame = Street(seed=4, width=width, height=height).frame(0)
    assert frame.image.shape == (height, width, 3)
    assert frame.image.std() > 10


def test_another_process_and_another_thread_count_give_the_same_bits() -> None:
    code = ('import cv2; cv2.setNumThreads(2)\n'
            'from hashlib import sha256\n'
            'from seg_ros.sim import Street\n'
            f'frame = Street(seed=6, width={SIZE["width"]}, height={SIZE["height"]}).frame(33)\n'
            'print(sha256(frame.image.tobytes() + frame.depth.tobytes()).hexdigest())')
    there = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                           check=True).stdout.strip()
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        frame = Street(seed=6, **SIZE).frame(33)
    finally:
        cv2.setNumThreads(threads)
    assert sha256(frame.image.tobytes() + frame.depth.tobytes()).hexdigest() == there


def test_another_seed_gives_another_street() -> None:
    assert digest(played(3)[0]) != digest(played(17)[0])


def test_a_frame_has_the_promised_shapes_and_types() -> None:
    frame = played(3)[1]
    shape = (SIZE['height'], SIZE['width'])
    assert (frame.image.shape, frame.image.dtype) == ((*shape, 3), np.uint8)
    assert (frame.depth.shape, frame.depth.dtype) == (shape, np.float32)
    assert (frame.class_map.shape, frame.class_map.dtype) == (shape, np.uint8)
    assert (frame.instance_map.shape, frame.instance_map.dtype) == (shape, np.int32)
    assert frame.image.flags.c_contiguous
    assert frame.time_s == pytest.approx(4.0)


def test_every_thing_pixel_has_an_instance_of_its_class() -> None:
    for frame in every_frame():
        is_thing = np.isin(frame.class_map, THING_IDS)
        assert np.array_equal(is_thing, frame.instance_map > 0)
        class_of = {pose.instance_id: pose.class_id for pose in frame.objects}
        ids, first = np.unique(frame.instance_map, return_index=True)
        assert {int(i) for i in ids if i} == set(class_of)
        for ident in class_of:
            classes = np.unique(frame.class_map[frame.instance_map == ident])
            assert classes.tolist() == [class_of[ident]]


def test_nothing_is_void() -> None:
    for frame in every_frame():
        assert frame.class_map.max() < len(CLASS_NAMES)


def test_ids_stay_with_their_object() -> None:
    frames = played(17, count=6, step=1)
    shared = 0
    for before, after in zip(frames[:-1], frames[1:], strict=True):
        was = {pose.instance_id: pose for pose in before.objects}
        for pose in after.objects:
            if pose.instance_id in was:
                shared += 1
                old = was[pose.instance_id]
                assert (pose.class_id, pose.size_m.tolist()) == (old.class_id,
                                                                 old.size_m.tolist())
                # 0.1 s at no more than 30 m/s against the camera
                assert np.linalg.norm(pose.centre_m - old.centre_m) < 3.0 + 0.02 * old.centre_m[2]
    assert shared > 10


def test_an_object_that_was_out_of_sight_comes_back_with_its_id() -> None:
    street = Street(seed=10_001, **SIZE)
    seen = [{pose.instance_id for pose in street.frame(i).objects} for i in range(0, 120, 4)]
    returned = {ident for now in range(2, len(seen)) for ident in seen[now] - seen[now - 1]
                if any(ident in early for early in seen[:now - 1])}
    assert returned


def test_all_eleven_classes_occur() -> None:
    for seed in (10_001, 10_002):
        there = np.unique([np.bincount(f.class_map.ravel(), minlength=11) > 0
                           for f in played(seed, count=8, step=50)], axis=0).any(axis=0)
        assert there.all(), [CLASS_NAMES[i] for i in np.flatnonzero(~there)]


def test_crowded_frames_are_common() -> None:
    counts = [len(f.objects) for seed in (3, 17, 10_001, 10_002) for f in played(seed)]
    assert np.median(counts) >= 5


def test_depth_of_the_road_is_the_ray_plane_intersection() -> None:
    street = Street(seed=3, **SIZE)
    frame = street.frame(0)
    camera = street.camera
    v, u = np.nonzero((frame.class_map == ROAD) & (frame.depth < 60))
    z = frame.depth[v, u].astype(float)
    points = np.stack([(u - camera.cx) / camera.fx * z, (v - camera.cy) / camera.fy * z, z], 1)
    middle = points.mean(axis=0)
    _, spread, axes = np.linalg.svd(points - middle, full_matrices=False)
    off_plane = np.abs((points - middle) @ axes[2])
    assert off_plane.max() < 1e-3  # metres
    height = abs(float(middle @ axes[2]))
    assert 1.3 <= height <= 1.6


def test_only_the_sky_is_infinitely_far() -> None:
    for frame in every_frame():
        assert np.array_equal(np.isinf(frame.depth), frame.class_map == 0)
        assert (frame.depth > 0).all()


def test_projection_of_object_pose_lies_on_its_pixels() -> None:
    street = Street(seed=17, **SIZE)
    camera = street.camera
    checked = 0
    for index in (0, 40, 80):
        frame = street.frame(index)
        for pose in frame.objects:
            v, u = np.nonzero(frame.instance_map == pose.instance_id)
            if pose.centre_m[2] < 5:
                continue
            checked += 1
            x, y, z = pose.centre_m
            radius = np.linalg.norm(pose.size_m) / 2 * camera.fx / (z - pose.size_m[2] / 2)
            centre = np.array([camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy])
            off = np.hypot(u - centre[0], v - centre[1])
            assert off.max() < radius + 4
            depth = frame.depth[v, u]
            assert np.abs(depth - z).max() < np.linalg.norm(pose.size_m) / 2 + 0.5
    assert checked > 5


def level_view() -> CameraView:
    """Return a small level camera 1.5 m above the ground."""
    model = CameraModel(width=64, height=48, fx=60, fy=60, cx=31.5, cy=23.5)
    return CameraView(model, rotation(yaw=0, pitch=0, roll=0), 1.5)


def board(depth_m: float, half_m: float) -> dict[str, np.ndarray]:
    """Return a square board that faces the camera."""
    return {'corner': np.array([-half_m, -half_m, depth_m]),
            'along': np.array([2 * half_m, 0, 0]), 'down': np.array([0, 2 * half_m, 0])}


@pytest.mark.parametrize('order', [(0, 1), (1, 0)])
def test_a_nearer_object_hides_a_farther_one(order: tuple[int, int]) -> None:
    canvas = Canvas(level_view())
    plain = Texture(levels=(np.full((4, 4, 4), 200, np.uint8),))
    boards = [board(10.0, 4.0), board(5.0, 1.0)]
    tags = [canvas.new_tag(1), canvas.new_tag(2)]
    for i in order:
        paint_quad(canvas, **boards[i], texture=plain, tag=tags[i])
    assert canvas.class_map()[24, 32] == 2
    assert canvas.depth()[24, 32] == pytest.approx(5.0)
    assert canvas.class_map()[24, 10] == 1
    assert canvas.depth()[24, 10] == pytest.approx(10.0)


def test_a_polygon_is_cut_at_the_near_plane() -> None:
    square = np.array([[0, 0, -1], [1, 0, -1], [1, 0, 3], [0, 0, 3.0]])
    cut = clip_near(square)
    assert cut[:, 2].min() == pytest.approx(0.6)
    assert len(clip_near(square - (0, 0, 9.0))) == 0


@pytest.mark.parametrize(('wrong', 'words'), [
    ({'seed': -1}, 'seed is -1'),
    ({'seed': 0, 'width': 8}, 'image size is 8 x'),
    ({'seed': 0, 'width': 800, 'height': 100}, 'at most 7 times'),
    ({'seed': 0, 'rate_hz': 0.0}, 'rate is 0.0 Hz'),
    ({'seed': 0, 'rate_hz': float('nan')}, 'rate is nan Hz'),
])
def test_what_cannot_be_is_refused(wrong: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Street(**wrong)


def test_a_negative_index_is_refused() -> None:
    with pytest.raises(ValueError, match='frame index is -1'):
        Street(seed=0, **SIZE).frame(-1)

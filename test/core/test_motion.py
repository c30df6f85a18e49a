# SPDX-License-Identifier: Apache-2.0
"""Sides that are hidden tell neither motion nor size."""
from __future__ import annotations

import numpy as np
import pytest

from seg_ros.core.motion import centres_and_sizes, Motion

SEEN = (False, False, False, False)
RIGHT_HIDDEN = (False, False, True, False)


def follow(boxes, *, hidden=SEEN, motion=None, seconds=0.1):
    """Return the motion after one object's xyxy boxes; hidden is (left, top, right, bottom)."""
    for box in boxes:
        measured = centres_and_sizes(np.array([box], np.float32))
        motion = Motion.start(measured) if motion is None else motion.predict(
            seconds=seconds, unseen=np.zeros(1, bool)).update(
                measured, hidden=np.array([hidden]), seconds=seconds)
    return motion


@pytest.fixture
def standing():
    return follow([(40, 40, 80, 60)] * 20)


def test_what_slides_behind_another_neither_moves_nor_shrinks(standing):
    covered = [(40, 40, 80 - 2 * i, 60) for i in range(1, 15)]
    motion = follow(covered, hidden=RIGHT_HIDDEN, motion=standing)
    np.testing.assert_allclose(motion.position, [[60, 50, 40, 20]], atol=0.5)
    np.testing.assert_allclose(motion.speed, 0, atol=2)


def test_a_side_that_jumps_is_hidden_though_nobody_says_so(standing):
    motion = follow([(40, 40, 50, 60)], motion=standing)
    np.testing.assert_allclose(motion.position, [[60, 50, 40, 20]], atol=0.5)
    np.testing.assert_allclose(motion.speed, 0, atol=2)


def test_what_stays_smaller_becomes_smaller(standing):
    motion = follow([(40, 40, 50, 60)] * 45, motion=standing)
    np.testing.assert_allclose(motion.boxes(), [[40, 40, 50, 60]], atol=1)


def test_what_slides_behind_a_wall_keeps_its_size_and_speed_though_nobody_says_it_is_hidden():
    # 20 wide, to the right by 30 pixels a second; the wall stands at 70
    walking = follow([(10 + 3 * i, 40, 30 + 3 * i, 80) for i in range(14)])
    sliding = follow([(10 + 3 * i, 40, 70, 80) for i in range(14, 20)], motion=walking)
    np.testing.assert_allclose(sliding.boxes(), [[67, 40, 87, 80]], atol=2.5)
    assert sliding.speed[0, 0] == pytest.approx(30, abs=6)


def test_what_shrinks_on_both_sides_is_not_behind_a_wall():
    motion = follow([(40 + i, 40, 70 - i, 80) for i in range(10)])
    np.testing.assert_allclose(motion.boxes(), [[49, 40, 61, 80]], atol=2.5)


def test_what_comes_out_from_behind_another_is_larger_at_once_and_does_not_move():
    motion = follow([(40, 40, 50 + 2 * i, 60) for i in range(16)], hidden=RIGHT_HIDDEN)
    np.testing.assert_allclose(motion.boxes(), [[40, 40, 80, 60]], atol=1)
    np.testing.assert_allclose(motion.speed, 0, atol=2)


def test_the_side_that_is_seen_tells_the_motion():
    # it goes left by 2 pixels a frame; its right half stays behind the edge at 50
    motion = follow([(40 - 2 * i, 40, 80 - 2 * i, 60) for i in range(5)])
    motion = follow([(32 - 2 * i, 40, 50, 60) for i in range(1, 20)], hidden=RIGHT_HIDDEN,
                    motion=motion)
    assert motion.speed[0, 0] == pytest.approx(-20, abs=3)


def test_what_comes_nearer_at_a_constant_speed_grows_ever_faster():
    halves = [10 / (1 - 0.02 * i) for i in range(20)]  # pixels, over 1.9 s
    motion = follow([(50 - half, 50 - half, 50 + half, 50 + half) for half in halves])
    expected = 20 * 0.2 / (1 - 0.2 * 1.9) ** 2  # pixels a second
    np.testing.assert_allclose(motion.speed, [[0, 0, expected, expected]], rtol=0.1, atol=1e-3)


def test_what_narrows_without_going_away_does_not_vanish_over_a_long_step():
    # 20 pixels a second, as the legs of somebody who walks
    narrowing = follow([(40 + i, 40, 80 - i, 80) for i in range(11)])
    assert narrowing.speed[0, 2] == pytest.approx(-20, abs=2)
    for seconds, width in ((0.2, 16.0), (1.0, 10.4)):
        later = narrowing.predict(seconds=seconds, unseen=np.zeros(1, bool))
        assert later.position[0, 2] == pytest.approx(width, abs=1.0)
        assert later.position[0, 3] == pytest.approx(40, abs=1.0)


def test_what_comes_nearer_grows_on_over_a_long_step():
    motion = follow([(60 - 2 * i, 60 - 2 * i, 80 + 2 * i, 80 + 2 * i) for i in range(11)])
    later = motion.predict(seconds=1.0, unseen=np.zeros(1, bool))
    np.testing.assert_array_less(90, later.position[0, 2:])


def test_an_unseen_box_does_not_grow_without_end():
    motion = follow([(40 - 3 * i, 40 - 3 * i, 60 + 3 * i, 60 + 3 * i) for i in range(10)])
    size = motion.position[0, 2]
    for _ in range(30):
        motion = motion.predict(seconds=0.1, unseen=np.ones(1, bool))
    assert motion.position[0, 2] < 2 * size

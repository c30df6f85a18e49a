# SPDX-License-Identifier: Apache-2.0
"""Depth joins frames by stamp: equal, near, late, never, and however slow the model is."""
from __future__ import annotations

import hypothesis
from hypothesis import strategies as st

from seg_ros.core.joining import Joined, StampJoiner

WAIT = 1000


def joiner(tolerance: int = 10) -> StampJoiner[str, str]:
    """Return a joiner of texts."""
    return StampJoiner(tolerance_ns=tolerance, wait_ns=WAIT)


def test_depth_of_the_same_stamp_that_was_there_first_is_joined_at_once():
    join = joiner(tolerance=0)
    assert join.add_depth(100, 'd', now_ns=0) == Joined()
    assert join.add_frame(100, 'f', now_ns=1) == Joined((('f', 'd'),))


def test_depth_of_the_same_stamp_that_comes_later_is_joined_when_it_comes():
    join = joiner(tolerance=0)
    assert join.add_frame(100, 'f', now_ns=0) == Joined()
    assert join.add_depth(100, 'd', now_ns=5) == Joined((('f', 'd'),))


def test_tolerance_zero_joins_nothing_else():
    join = joiner(tolerance=0)
    join.add_frame(100, 'f', now_ns=0)
    assert join.add_depth(101, 'd', now_ns=1) == Joined()
    assert join.expire(now_ns=WAIT) == Joined((), missing=1)


def test_the_nearest_depth_is_taken_once_no_nearer_one_can_come():
    join = joiner()
    join.add_depth(92, 'early', now_ns=0)
    assert join.add_frame(100, 'f', now_ns=1) == Joined(), 'a nearer one may come'
    assert join.add_depth(103, 'late', now_ns=2) == Joined((('f', 'late'),))


def test_an_earlier_depth_is_taken_when_the_wait_is_over():
    join = joiner()
    join.add_depth(92, 'early', now_ns=0)
    join.add_frame(100, 'f', now_ns=1)
    assert join.expire(now_ns=WAIT) == Joined()
    assert join.expire(now_ns=WAIT + 1) == Joined((('f', 'early'),))


def test_a_frame_whose_depth_never_comes_is_counted_once():
    join = joiner()
    join.add_frame(100, 'f', now_ns=0)
    assert join.add_depth(500, 'other', now_ns=WAIT) == Joined((), missing=1)
    assert join.expire(now_ns=9 * WAIT) == Joined()


def test_frames_without_depth_do_not_pile_up():
    join = joiner()
    given_up = sum(join.add_frame(i, f'f{i}', now_ns=0).missing for i in range(1000, 1010))
    assert given_up == 6


def test_depth_is_kept_for_as_long_as_the_model_works_on_its_frame():
    join = joiner(tolerance=2)
    join.expect(100)
    join.add_depth(101, 'mine', now_ns=0)
    join.begin(100)
    for stamp in range(110, 1000, 10):
        join.expect(stamp)  # newer images wait and are replaced
        join.add_depth(stamp, 'other', now_ns=stamp)
    assert join.add_frame(100, 'f', now_ns=1000) == Joined((('f', 'mine'),))


def test_depth_of_the_image_that_waits_for_the_model_is_kept():
    join = joiner(tolerance=2)
    join.begin(100)
    join.expect(200)
    join.add_depth(200, 'mine', now_ns=0)
    for stamp in range(210, 1000, 10):
        join.add_depth(stamp, 'other', now_ns=stamp)
    join.begin(200)
    assert join.add_frame(200, 'f', now_ns=1000) == Joined((('f', 'mine'),))


def test_a_stream_without_frames_keeps_little_depth():
    join = joiner()
    for stamp in range(0, 10_000, 33):
        join.add_depth(stamp, 'd', now_ns=stamp)
    assert len(join._depths) <= 6


EVENTS = st.lists(st.tuples(st.sampled_from(['frame', 'depth']), st.integers(0, 40)), max_size=40)


@hypothesis.given(EVENTS, st.integers(0, 5))
def test_every_frame_is_joined_with_depth_in_tolerance_or_counted_missing(events, tolerance):
    join: StampJoiner[int, int] = StampJoiner(tolerance_ns=tolerance, wait_ns=3)
    pairs, missing, frames = [], 0, []
    for now, (kind, stamp) in enumerate(events):
        if kind == 'frame':
            if stamp in frames:
                continue
            frames.append(stamp)
            result = join.add_frame(stamp, stamp, now_ns=now)
        else:
            result = join.add_depth(stamp, stamp, now_ns=now)
        pairs += result.pairs
        missing += result.missing
    result = join.expire(now_ns=len(events) + 3)
    pairs += result.pairs
    missing += result.missing
    assert len(pairs) + missing == len(frames)
    assert len({frame for frame, _ in pairs}) == len(pairs)
    assert all(abs(frame - depth) <= tolerance for frame, depth in pairs)

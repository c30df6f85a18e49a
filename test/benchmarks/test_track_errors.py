# SPDX-License-Identifier: Apache-2.0
"""Wrong names are told apart by whose they are, and by what became of the right ones."""
from __future__ import annotations

import numpy as np
import pytest

from benchmarks.track_errors import (
    FREE,
    IN_VIEW,
    Names,
    NEW,
    OLD,
    OUT_OF_VIEW,
    TAKEN,
    UNKNOWN,
    wrong_names,
)
from benchmarks.track_scenes import scripted_scenes
from benchmarks.tracking import Shown, true_map
from seg_ros.core.config import TrackingConfig


def shown(scene):
    """Return the frames of a scripted scene's first run."""
    return [Shown.of(moment, true_map(moment)) for moment in scripted_scenes()[scene]()[0]]


@pytest.fixture(scope='module')
def crossing():
    return shown('crossing pedestrians')


@pytest.fixture(scope='module')
def leaving():
    return shown('leaving and coming back')


def found(frames, *renamed):
    """Return what is wrong frame by frame, where everybody has their own name but the renamed."""
    names, kinds = Names(max_lost_s=1.0), []
    for frame, other in zip(frames, renamed, strict=False):
        given = np.array([other.get(i, i) for i in frame.objects().tolist()])
        kinds.append([(wrong.who, wrong.got) for wrong in names.wrong(frame, given)])
    return kinds


@pytest.mark.parametrize('scene', scripted_scenes())
def test_their_own_names_are_right_and_so_is_what_our_tracker_gives(scene):
    frames = shown(scene)
    assert found(frames, *[{}] * len(frames)) == [[]] * len(frames)
    assert list(wrong_names(frames, TrackingConfig(enabled=True))) == []


def test_a_new_name_is_wrong_once_and_the_former_one_is_wrong_then(crossing):
    first = int(crossing[0].truth_ids[0])
    assert found(crossing, {}, {first: 99}, {first: 99}, {}) == [
        [], [(FREE, NEW)], [], [(FREE, OLD)]]


def test_two_who_swap_names_have_taken_each_others(crossing):
    first, second = crossing[0].truth_ids.tolist()[:2]
    swapped = {first: second, second: first}
    assert found(crossing, {}, swapped, swapped) == [[], 2 * [(TAKEN, IN_VIEW)], []]


def test_a_name_of_one_out_of_view_can_go_to_somebody_known(leaving):
    seen = [set(frame.objects().tolist()) for frame in leaving]
    gone = next(i for i in range(1, len(seen)) if seen[i - 1] - seen[i])
    lost, stays = min(seen[gone - 1] - seen[gone]), min(seen[gone])
    assert found(leaving, *[{}] * gone, {stays: lost})[-1] == [(FREE, OUT_OF_VIEW)]


def test_a_name_of_one_out_of_view_can_go_to_somebody_new(leaving):
    seen = [set(frame.objects().tolist()) for frame in leaving]
    known = [set().union(*seen[:i]) for i in range(len(seen))]
    comes = next(i for i in range(1, len(seen)) if seen[i] - known[i])
    new, absent = min(seen[comes] - known[comes]), min(known[comes] - seen[comes])
    assert found(leaving, *[{}] * comes, {new: absent})[-1] == [(UNKNOWN, OUT_OF_VIEW)]


def test_who_is_large_enough_for_the_scores_is_told(crossing):
    names = Names(max_lost_s=1.0)
    names.wrong(crossing[0], crossing[0].objects())
    wrong = names.wrong(crossing[0], crossing[0].objects() + 50)
    assert [w.counts for w in wrong] == crossing[0].counts.tolist()
    assert {w.class_name for w in wrong} <= {'pedestrian', 'car'}

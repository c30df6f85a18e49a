# SPDX-License-Identifier: Apache-2.0
"""An object that an unsure model splits stays one instance, for a while."""
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from seg_ros.core.config import TrackingConfig
from seg_ros.core.labels import LabelSet
from seg_ros.core.splits import united
from seg_ros.core.tracking import MaskTracker
from seg_ros.core.types import segmentation_from_map, tight_boxes

NAMES = LabelSet(('road', 'person', 'rider'), frozenset(('person', 'rider')))
ROAD, PERSON, RIDER = range(3)
MS = 1_000_000
HEAD, BODY = np.s_[10:22, 30:42], np.s_[22:46, 30:42]
WHOLE = np.s_[10:46, 30:42]
BESIDE = np.s_[10:46, 42:54]


def frame(*parts):
    """Return a frame of (slices, class, score)."""
    class_map, instance_map = np.full((60, 80), ROAD, np.uint8), np.zeros((60, 80), np.int32)
    for value, (at, class_id, _) in enumerate(parts, start=1):
        class_map[at], instance_map[at] = class_id, value
    return segmentation_from_map(
        class_map=class_map, instance_map=instance_map, class_ids=[p[1] for p in parts],
        scores=[p[2] for p in parts])


def follow(frames, *, period_ms=100, **config):
    tracker = MaskTracker(TrackingConfig(**config), NAMES)
    return [tracker.update(one, stamp=i * period_ms * MS) for i, one in enumerate(frames)]


def ids(segmentation):
    return segmentation.instances.track_ids.tolist()


PERSON_WHOLE = frame((WHOLE, PERSON, 0.8))
SPLIT = frame((HEAD, PERSON, 0.6), (BODY, PERSON, 0.7))


def test_a_person_split_in_two_is_one_instance_with_the_best_score():
    found = follow([PERSON_WHOLE] * 3 + [SPLIT])[-1]
    assert ids(found) == [1]
    np.testing.assert_array_equal(found.instance_map, PERSON_WHOLE.instance_map)
    np.testing.assert_array_equal(found.instances.boxes, PERSON_WHOLE.instances.boxes)
    assert found.instances.scores.tolist() == [np.float32(0.7)]


def test_the_id_is_the_same_before_and_after():
    assert [ids(f) for f in follow([PERSON_WHOLE, PERSON_WHOLE, SPLIT, SPLIT, PERSON_WHOLE])] \
        == [[1]] * 5


@pytest.mark.parametrize('period_ms', [50, 100, 200])
def test_what_is_split_for_longer_is_two_objects(period_ms):
    found = follow([PERSON_WHOLE] * 3 + [SPLIT] * 20, period_ms=period_ms, max_split_s=0.5)
    one = 500 // period_ms  # frames of the split that are within half a second
    assert [len(f.instances) for f in found[3:]] == [1] * one + [2] * (20 - one)
    assert all(ids(f) == ids(found[-1]) for f in found[3 + one:])


def test_the_time_counts_anew_after_the_object_was_whole():
    frames = [PERSON_WHOLE] * 3 + ([SPLIT] * 3 + [PERSON_WHOLE]) * 5
    assert all(ids(f) == [1] for f in follow(frames, max_split_s=0.35))


def test_with_zero_every_piece_is_an_object():
    assert len(follow([PERSON_WHOLE] * 3 + [SPLIT], max_split_s=0)[-1].instances) == 2


@pytest.mark.parametrize(('what', 'parts'), [
    ('the model is sure of it', ((HEAD, PERSON, 0.95), (BODY, PERSON, 0.95))),
    ('of another class', ((HEAD, RIDER, 0.6), (BODY, PERSON, 0.7))),
    ('beside where the track should be', ((WHOLE, PERSON, 0.7), (BESIDE, PERSON, 0.6)))])
def test_a_new_object_is_no_piece_if(what, parts):
    assert len(follow([PERSON_WHOLE] * 3 + [frame(*parts)])[-1].instances) == 2, what


def test_the_other_person_coming_out_again_is_no_piece():
    two = frame((WHOLE, PERSON, 0.8), (BESIDE, PERSON, 0.8))
    found = follow([two] * 3 + [PERSON_WHOLE] * 2 + [two])
    assert [ids(f) for f in found] == [[1, 2]] * 3 + [[1]] * 2 + [[1, 2]]


def test_each_pixel_of_one_instance_has_its_class_after_the_class_has_changed():
    riders = frame((HEAD, RIDER, 0.6), (BODY, RIDER, 0.7))
    found = follow([PERSON_WHOLE] * 3 + [riders] * 3)
    for one in found:
        for row, class_id in enumerate(one.instances.class_ids, start=1):
            assert set(one.class_map[one.instance_map == row].tolist()) == {class_id}


@given(values=st.lists(st.integers(0, 6), min_size=12, max_size=12),
       groups=st.lists(st.integers(0, 5), min_size=6, max_size=6), seed=st.integers(0, 99))
def test_what_is_united_covers_the_same_pixels_in_tight_boxes(values, groups, seed):
    instance_map = np.array(values, np.int32).reshape(3, 4)
    scores = np.random.default_rng(seed).random(6).astype(np.float32)
    given_ = segmentation_from_map(
        class_map=np.where(instance_map > 0, PERSON, ROAD).astype(np.uint8),
        instance_map=instance_map, class_ids=[PERSON] * 6, scores=scores)
    count = len(given_.instances)
    first_of = {group: row for row, group in reversed(list(enumerate(groups[:count])))}
    whole_of = np.array([first_of[group] for group in groups[:count]], int)
    found = united(given_, np.where(whole_of == np.arange(count), -1, whole_of))
    kept = sorted(set(whole_of.tolist()))
    for row, whole in enumerate(kept):
        members = np.flatnonzero(whole_of == whole)
        np.testing.assert_array_equal(found.instance_map == row + 1,
                                      np.isin(given_.instance_map, members + 1))
        assert found.instances.scores[row] == given_.instances.scores[members].max()
    np.testing.assert_array_equal(tight_boxes(found.instance_map, len(kept)),
                                  found.instances.boxes)

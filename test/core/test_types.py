# SPDX-License-Identifier: Apache-2.0
"""The values that flow refuse what breaks their contract, and are measured on the map."""
from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
import numpy as np
import pytest

from seg_ros.core.types import (
    Frame,
    Instances,
    look_up,
    Segmentation,
    segmentation_from_map,
    tight_boxes,
    VOID,
)

COUNT = 4
instance_maps = arrays(np.int32, st.tuples(st.integers(1, 7), st.integers(1, 7)),
                       elements=st.integers(0, COUNT))


def two_instances(*, track_ids=(0, 0)):
    return Instances(
        boxes=np.zeros((2, 4), np.float32), class_ids=np.zeros(2, np.uint8),
        scores=np.ones(2, np.float32), track_ids=np.array(track_ids, np.int64))


def test_a_frame_wants_a_colour_image_of_bytes():
    Frame(image=np.zeros((2, 3, 3), np.uint8), stamp=1, frame_id='camera')
    with pytest.raises(ValueError, match=r'^image is uint8 \(2, 3\), expected uint8 \(n, n, 3\)$'):
        Frame(image=np.zeros((2, 3), np.uint8), stamp=1, frame_id='camera')
    with pytest.raises(ValueError, match=r'^image is float32 \(2, 3, 3\), expected uint8'):
        Frame(image=np.zeros((2, 3, 3), np.float32), stamp=1, frame_id='camera')


@pytest.mark.parametrize(('field', 'wrong', 'message'), [
    ('boxes', np.zeros((2, 4)), r'^boxes is float64 \(2, 4\), expected float32 \(2, 4\)$'),
    ('boxes', np.zeros((3, 4), np.float32), r'^boxes is float32 \(3, 4\), expected .*\(2, 4\)$'),
    ('class_ids', np.zeros(2, np.int64), r'^class_ids is int64 \(2\,\), expected uint8 \(2\)$'),
    ('class_ids', np.zeros(1, np.uint8), r'^class_ids is uint8 \(1\,\), expected uint8 \(2\)$'),
    ('scores', np.zeros(2), r'^scores is float64'),
    ('track_ids', np.zeros(2, np.int32), r'^track_ids is int32'),
    ('track_ids', np.zeros((2, 1), np.int64), r'^track_ids is int64 \(2, 1\)'),
])
def test_instances_say_which_field_is_wrong_and_what_it_should_be(field, wrong, message):
    with pytest.raises(ValueError, match=message):
        replace(two_instances(), **{field: wrong})


@pytest.mark.parametrize('track_ids', [(7, 7), (0, 3), (-1, 2)])
def test_track_ids_that_are_doubled_missing_or_negative_are_refused(track_ids):
    with pytest.raises(ValueError, match='expected all 0 or positive and unique'):
        two_instances(track_ids=track_ids)


def test_a_slot_names_one_instance_or_none():
    slotted = replace(two_instances(), slots=np.array([-1, -1]))
    assert replace(slotted, slots=np.array([7, 0])).slots.tolist() == [7, 0]
    with pytest.raises(ValueError, match=r'^slots \[3, 3\], expected -1 or unique$'):
        replace(slotted, slots=np.array([3, 3]))
    with pytest.raises(ValueError, match=r'^slots is int64 \(1,\), expected int64 \(2\)$'):
        replace(slotted, slots=np.array([3]))


def test_taking_instances_takes_every_field_along():
    some = replace(two_instances(track_ids=(40, 7)), slots=np.array([5, 6]))
    some.scores[:] = 0.25, 0.5
    for rows in (np.array([False, True]), np.array([1])):
        taken = some.take(rows)
        assert (taken.scores.tolist(), taken.ids.tolist()) == ([0.5], [7])
        assert taken.slots.tolist() == [6]
    assert two_instances().take(np.array([0])).slots is None


def test_published_ids_are_track_ids_or_count_from_one():
    assert two_instances().ids.tolist() == [1, 2]
    assert two_instances(track_ids=(40, 7)).ids.tolist() == [40, 7]
    assert Instances.empty().ids.tolist() == []
    assert len(Instances.empty()) == 0


@pytest.mark.parametrize(('field', 'wrong', 'message'), [
    ('class_map', np.zeros((2, 2), np.int32), r'^class_map is int32 \(2, 2\), expected uint8'),
    ('instance_map', np.zeros((2, 2), np.int64), r'^instance_map is int64'),
    ('instance_map', np.zeros((2, 3), np.int32), r'^instance_map is int32 \(2, 3\)'),
    ('confidence', np.zeros((2, 2)), r'^confidence is float64'),
    ('confidence', np.zeros((3, 2), np.uint8), r'^confidence is uint8 \(3, 2\)'),
    ('class_map', np.zeros((2, 2, 1), np.uint8), r'^class_map is uint8 \(2, 2, 1\), expected'),
])
def test_a_segmentation_says_which_map_is_wrong(field, wrong, message):
    good = Segmentation(class_map=np.zeros((2, 2), np.uint8),
                        instance_map=np.zeros((2, 2), np.int32), instances=Instances.empty())
    with pytest.raises(ValueError, match=message):
        replace(good, **{field: wrong})


def test_values_are_frozen():
    with pytest.raises(FrozenInstanceError):
        two_instances().scores = np.zeros(2, np.float32)


def test_boxes_are_half_open():
    instance_map = np.array([[0, 0, 0, 0],
                             [0, 1, 1, 0],
                             [0, 0, 1, 2]], np.int32)
    assert tight_boxes(instance_map, 3).tolist() == [
        [1, 1, 3, 3],  # x_max and y_max are one behind the last pixel
        [3, 2, 4, 3],
        [0, 0, 0, 0],  # no pixel
    ]


@given(instance_maps)
def test_boxes_are_tight_as_a_plain_loop_finds_them(instance_map):
    boxes = tight_boxes(instance_map, COUNT)
    assert boxes.dtype == np.float32
    for value in range(1, COUNT + 1):
        rows, columns = np.nonzero(instance_map == value)
        expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] \
            if len(rows) else [0, 0, 0, 0]
        assert boxes[value - 1].tolist() == expected


@given(instance_maps)
def test_rows_without_a_pixel_are_dropped_and_values_close_the_gaps(instance_map):
    before = instance_map.copy()
    class_ids, scores = [10, 11, 12, 13], [0.5, 0.25, 0.75, 1.0]
    result = segmentation_from_map(
        class_map=np.full(instance_map.shape, VOID, np.uint8), instance_map=instance_map,
        class_ids=class_ids, scores=scores)
    present = [value for value in range(1, COUNT + 1) if (instance_map == value).any()]
    assert result.instances.class_ids.tolist() == [class_ids[value - 1] for value in present]
    assert result.instances.scores.tolist() == [scores[value - 1] for value in present]
    assert set(np.unique(result.instance_map)) - {0} == set(range(1, len(present) + 1))
    for row, value in enumerate(present, start=1):
        np.testing.assert_array_equal(result.instance_map == row, instance_map == value)
    np.testing.assert_array_equal(result.instances.boxes,
                                  tight_boxes(result.instance_map, len(present)))
    assert not result.instances.track_ids.any()
    np.testing.assert_array_equal(instance_map, before)


def test_class_ids_and_scores_must_be_as_many():
    with pytest.raises(ValueError, match=r'^1 class_ids and 2 scores, expected as many$'):
        segmentation_from_map(
            class_map=np.zeros((1, 1), np.uint8), instance_map=np.zeros((1, 1), np.int32),
            class_ids=[1], scores=[0.5, 0.6])


def test_the_id_map_shows_track_ids_where_there_are_some():
    segmentation = segmentation_from_map(
        class_map=np.zeros((1, 4), np.uint8), instance_map=np.array([[0, 2, 1, 2]], np.int32),
        class_ids=[0, 0], scores=[1, 1])
    assert segmentation.id_map().tolist() == [[0, 2, 1, 2]]
    tracked = replace(segmentation, instances=replace(
        segmentation.instances, track_ids=np.array([70_000, 5])))
    assert tracked.id_map().tolist() == [[0, 5, 70_000, 5]]
    assert tracked.id_map().dtype == np.int32


def test_size_is_height_then_width():
    segmentation = segmentation_from_map(
        class_map=np.zeros((2, 5), np.uint8), instance_map=np.zeros((2, 5), np.int32),
        class_ids=(), scores=())
    assert segmentation.size == (2, 5)


@given(seed=st.integers(0, 10_000))
def test_bytes_are_looked_up_as_any_other_index(seed):
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 256, rng.integers(1, 257)).astype(np.uint8)
    indices = rng.integers(0, len(table), (5, 7)).astype(np.uint8)[:, ::2]
    found = look_up(table, indices)
    np.testing.assert_array_equal(found, table[indices])
    assert found.flags.writeable and found.dtype == np.uint8

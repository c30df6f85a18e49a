# SPDX-License-Identifier: Apache-2.0
"""Fusion, remaps, sizes and packing, against plain loops."""
from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
import numpy as np
import pytest

from seg_ros.core.labels import fused_label_set, LabelSet, remap_classes
from seg_ros.core.panoptic import (
    check_encoding,
    fold_ids,
    fuse,
    instance_part,
    keep_instances,
    pack,
    PanopticEncoding,
    remap,
    resize,
    semantic_part,
    unpack,
)
from seg_ros.core.types import Segmentation, segmentation_from_map, tight_boxes, VOID

LABELS = LabelSet(('road', 'sky', 'car', 'bus'), frozenset({'car', 'bus'}))
CAR, BUS = 2, 3
COUNT = 4
shapes = st.tuples(st.integers(1, 7), st.integers(1, 7))


@st.composite
def segmentations(draw, *, label_set=LABELS, confidence=None, tracked=None):
    """Draw stuff, uncounted things, void and up to four instances, tracked or not."""
    shape = draw(shapes)
    instance_map = draw(arrays(np.int32, shape, elements=st.integers(0, COUNT)))
    things = st.sampled_from(sorted(label_set.thing_ids))
    class_ids = np.array(draw(st.lists(things, min_size=COUNT, max_size=COUNT)), np.uint8)
    ids = st.sampled_from([*range(len(label_set)), VOID])
    background = draw(arrays(np.uint8, shape, elements=ids))
    class_map = np.where(instance_map > 0, class_ids[instance_map - 1], background)
    wanted = draw(st.booleans()) if confidence is None else confidence
    levels = draw(arrays(np.uint8, shape)) if wanted else None
    result = segmentation_from_map(
        class_map=class_map, instance_map=instance_map, class_ids=class_ids,
        scores=[0.9, 0.8, 0.7, 0.6],
        confidence=None if levels is None else np.where(class_map == VOID, np.uint8(0), levels),
        slots=np.array(draw(st.permutations((-1, 0, 5, 199)))))
    if draw(st.booleans()) if tracked is None else tracked:
        count = len(result.instances)
        track_ids = draw(st.lists(st.integers(1, 200_000), min_size=count, max_size=count,
                                  unique=True))
        result = with_tracks(result, track_ids)
    return result


def with_tracks(segmentation, track_ids):
    return replace(segmentation, instances=replace(
        segmentation.instances, track_ids=np.array(track_ids, np.int64)))


def small(class_map, instance_map, class_ids, confidence=None):
    return segmentation_from_map(
        class_map=np.array(class_map, np.uint8), instance_map=np.array(instance_map, np.int32),
        class_ids=class_ids, scores=np.linspace(0.9, 0.5, len(class_ids)),
        confidence=None if confidence is None else np.array(confidence, np.uint8))


def assert_consistent(segmentation: Segmentation):
    """Array and map speak of the same instances, and boxes are tight."""
    count = len(segmentation.instances)
    assert set(np.unique(segmentation.instance_map)) - {0} == set(range(1, count + 1))
    np.testing.assert_array_equal(segmentation.instances.boxes,
                                  tight_boxes(segmentation.instance_map, count))
    if segmentation.confidence is not None:
        assert not segmentation.confidence[segmentation.class_map == VOID].any()


def assert_same(left: Segmentation, right: Segmentation):
    for name in ('class_map', 'instance_map', 'confidence'):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
    for name in ('boxes', 'class_ids', 'scores', 'track_ids', 'slots'):
        np.testing.assert_array_equal(getattr(left.instances, name),
                                      getattr(right.instances, name))


# fusion


def test_instances_lie_over_classes_and_stuff_stays_where_none_is():
    semantic = small([[0, 0, CAR, 255]], [[0, 0, 0, 0]], [], confidence=[[10, 20, 30, 0]])
    instance = small([[255, BUS, 255, CAR]], [[0, 1, 0, 2]], [BUS, CAR])
    whole = fuse(semantic=semantic, instance=instance, fused=fused_label_set(LABELS, LABELS))
    assert whole.class_map.tolist() == [[0, BUS, CAR, CAR]]
    assert whole.instance_map.tolist() == [[0, 1, 0, 2]]
    # an instance's score is its pixels' confidence: 0.9 (a little less as float32) and 0.5
    assert whole.confidence.tolist() == [[10, 229, 30, 128]]


def test_instances_of_a_dropped_class_leave_the_semantic_class():
    detector = LabelSet(('grass', 'car'), frozenset({'car'}))
    semantic = small([[0, 1, 1]], [[0, 0, 0]], [])
    instance = small([[0, 1, 255]], [[1, 2, 0]], [0, 1])
    whole = fuse(semantic=semantic, instance=instance, fused=fused_label_set(LABELS, detector))
    assert whole.class_map.tolist() == [[0, CAR, 1]]
    assert whole.instance_map.tolist() == [[0, 1, 0]]
    assert whole.instances.class_ids.tolist() == [CAR]


def test_maps_of_two_sizes_are_not_fused():
    with pytest.raises(ValueError, match=r'semantic map is \(1, 2\), instance map is \(1, 3\)'):
        fuse(semantic=small([[0, 0]], [[0, 0]], []), instance=small([[0, 0, 0]], [[0, 0, 0]], []),
             fused=fused_label_set(LABELS, LABELS))


@given(segmentations())
def test_a_panoptic_answer_taken_apart_and_fused_is_the_same_again(whole):
    untracked = with_tracks(whole, [0] * len(whole.instances))
    again = fuse(semantic=semantic_part(untracked), instance=instance_part(untracked),
                 fused=fused_label_set(LABELS, LABELS))
    np.testing.assert_array_equal(again.class_map, untracked.class_map)
    np.testing.assert_array_equal(again.instance_map, untracked.instance_map)
    np.testing.assert_array_equal(again.instances.scores, untracked.instances.scores)


@given(segmentations())
def test_the_semantic_part_has_no_instances_and_every_class(whole):
    part = semantic_part(whole)
    np.testing.assert_array_equal(part.class_map, whole.class_map)
    np.testing.assert_array_equal(part.confidence, whole.confidence)
    assert not part.instance_map.any()
    assert len(part.instances) == 0


@given(segmentations())
def test_the_instance_part_is_void_outside_of_instances(whole):
    part = instance_part(whole)
    np.testing.assert_array_equal(part.class_map == VOID, whole.instance_map == 0)
    np.testing.assert_array_equal(part.instance_map, whole.instance_map)
    assert_consistent(part)


# remap


def test_a_remap_merges_renames_and_drops():
    whole = small([[0, 1, CAR, BUS, 255]], [[0, 0, 1, 2, 0]], [CAR, BUS],
                  confidence=[[1, 2, 3, 4, 0]])
    vehicles = remap(whole, remap_classes(LABELS, ('car,bus=vehicle', 'sky')))
    assert vehicles.class_map.tolist() == [[VOID, 1, 0, 0, VOID]]
    assert vehicles.instance_map.tolist() == [[0, 0, 1, 2, 0]]
    assert vehicles.instances.class_ids.tolist() == [0, 0]
    assert vehicles.confidence.tolist() == [[0, 2, 3, 4, 0]]
    buses = remap(whole, remap_classes(LABELS, ('bus',)))
    assert buses.class_map.tolist() == [[VOID, VOID, VOID, 0, VOID]]
    assert buses.instance_map.tolist() == [[0, 0, 0, 1, 0]]
    assert buses.instances.scores.tolist() == [0.5]


@given(segmentations(), st.sampled_from([
    (), ('bus', 'road'), ('car,bus=vehicle', 'road,sky=scene'), ('sky',), ('car', 'bus=bus')]))
def test_a_remap_is_a_table_over_pixels_and_instances(whole, rules):
    classes = remap_classes(LABELS, rules)
    result = remap(whole, classes)
    assert_consistent(result)
    for place in np.ndindex(whole.size):
        new_class = classes.table[whole.class_map[place]]
        assert result.class_map[place] == new_class
        old, new = whole.instance_map[place], result.instance_map[place]
        assert (new > 0) == (old > 0 and new_class != VOID)
        if new:
            assert result.instances.class_ids[new - 1] == new_class
            assert result.instances.scores[new - 1] == whole.instances.scores[old - 1]
            assert result.instances.track_ids[new - 1] == whole.instances.track_ids[old - 1]
            assert result.instances.slots[new - 1] == whole.instances.slots[old - 1]


@given(segmentations())
def test_the_identity_changes_nothing(whole):
    assert_same(remap(whole, remap_classes(LABELS, ())), whole)


@given(segmentations(), st.lists(st.booleans(), min_size=COUNT, max_size=COUNT))
def test_instances_that_are_not_kept_leave_their_class(whole, choice):
    keep = np.array(choice[:len(whole.instances)], bool)
    result = keep_instances(whole, keep)
    assert_consistent(result)
    np.testing.assert_array_equal(result.class_map, whole.class_map)
    np.testing.assert_array_equal(result.instances.scores, whole.instances.scores[keep])
    np.testing.assert_array_equal(result.instances.track_ids, whole.instances.track_ids[keep])
    np.testing.assert_array_equal(result.instances.slots, whole.instances.slots[keep])
    for new, old in enumerate(np.flatnonzero(keep), start=1):
        np.testing.assert_array_equal(result.instance_map == new, whole.instance_map == old + 1)


# size


def test_half_the_size_takes_the_pixel_at_each_centre():
    whole = small([[0, 1, 0, 1]], [[0, 0, 0, 0]], [])
    assert resize(whole, width=2, height=1).class_map.tolist() == [[1, 1]]
    assert resize(whole, width=8, height=2).class_map.tolist() == [[0, 0, 1, 1, 0, 0, 1, 1]] * 2


@given(segmentations(), st.integers(1, 9), st.integers(1, 9))
def test_resizing_is_nearest_neighbour_as_a_plain_loop_does_it(whole, width, height):
    result = resize(whole, width=width, height=height)
    assert result.size == (height, width)
    assert_consistent(result)
    seen = []
    for y, x in np.ndindex(height, width):
        # the centre of the new pixel, in old pixels
        place = int((y + 0.5) * whole.size[0] / height), int((x + 0.5) * whole.size[1] / width)
        assert result.class_map[y, x] == whole.class_map[place]
        if whole.confidence is not None:
            assert result.confidence[y, x] == whole.confidence[place]
        old, new = whole.instance_map[place], result.instance_map[y, x]
        assert (old == 0) == (new == 0)
        if new:
            seen.append(old)
            assert result.instances.track_ids[new - 1] == whole.instances.track_ids[old - 1]
            assert result.instances.slots[new - 1] == whole.instances.slots[old - 1]
            assert result.instances.scores[new - 1] == whole.instances.scores[old - 1]
            assert result.instances.class_ids[new - 1] == whole.instances.class_ids[old - 1]
    assert len(result.instances) == len(set(seen))


# ids and packing


def test_small_ids_stay_and_large_ones_wrap_to_what_is_free():
    assert fold_ids(np.array([1, 9]), limit=10).tolist() == [1, 9]
    assert fold_ids(np.array([10, 12]), limit=10).tolist() == [1, 3]
    # 12 wraps to 3, which is taken, as is 4
    assert fold_ids(np.array([12, 3, 4]), limit=10).tolist() == [5, 3, 4]
    # 18 wraps to 9, and on to 1
    assert fold_ids(np.array([18, 9]), limit=10).tolist() == [1, 9]


@given(st.lists(st.integers(1, 60), max_size=9, unique=True))
def test_folded_ids_are_unique_and_in_range_and_small_ones_stay(ids):
    folded = fold_ids(np.array(ids, np.int64), limit=10)
    assert len(set(folded.tolist())) == len(ids)
    assert all(1 <= value < 10 for value in folded)
    assert all(new == old for new, old in zip(folded, ids, strict=True) if old < 10)


def test_more_ids_than_values_are_refused():
    with pytest.raises(ValueError, match='10 instances in one frame, expected below 10'):
        fold_ids(np.arange(1, 11), limit=10)


def test_the_three_packings_by_hand():
    whole = small([[0, CAR, CAR, BUS, 255]], [[0, 1, 0, 2, 0]], [CAR, BUS])
    assert pack(whole, PanopticEncoding.INSTANCE_HIGH).tolist() == [
        [0, 0x1_0002, 2, 0x2_0003, 255]]
    assert pack(whole, PanopticEncoding.CLASS_HIGH).tolist() == [
        [0, 0x2_0001, 0x2_0000, 0x3_0002, 0xFF_0000]]
    assert pack(whole, PanopticEncoding.CITYSCAPES).tolist() == [[0, 2000, 2, 3001, 255]]


@given(segmentations(), st.sampled_from(list(PanopticEncoding)))
def test_what_is_packed_is_unpacked(whole, encoding):
    packed = pack(whole, encoding)
    assert packed.dtype == np.int32
    assert packed.min() >= 0
    classes, values = unpack(packed, encoding)
    np.testing.assert_array_equal(classes, whole.class_map)
    limit = 1001 if encoding is PanopticEncoding.CITYSCAPES else 1 << 15
    expected = np.concatenate(([0], fold_ids(whole.instances.ids, limit=limit)))
    np.testing.assert_array_equal(values, expected[whole.instance_map])
    assert classes.dtype == np.uint8
    assert values.dtype == np.int32


def test_the_largest_ids_of_each_packing_fit():
    whole = small([[CAR]], [[1]], [CAR])
    high = with_tracks(whole, [(1 << 15) - 1])
    assert pack(high, PanopticEncoding.INSTANCE_HIGH).tolist() == [[0x7FFF_0002]]
    assert pack(with_tracks(whole, [1 << 15]), PanopticEncoding.INSTANCE_HIGH).tolist() == [
        [0x1_0002]]
    assert pack(with_tracks(whole, [1000]), PanopticEncoding.CITYSCAPES).tolist() == [[2999]]
    assert pack(with_tracks(whole, [1001]), PanopticEncoding.CITYSCAPES).tolist() == [[2000]]


def test_cityscapes_refuses_instances_of_class_0_and_says_what_helps():
    bad = LabelSet(('car', 'road'), frozenset({'car'}))
    with pytest.raises(ValueError, match=r"cannot tell instances of class 0 \('car'\).*reorder"):
        check_encoding(PanopticEncoding.CITYSCAPES, bad)
    check_encoding(PanopticEncoding.CITYSCAPES, LABELS)
    check_encoding(PanopticEncoding.INSTANCE_HIGH, bad)
    check_encoding(PanopticEncoding.CLASS_HIGH, bad)

# SPDX-License-Identifier: Apache-2.0
"""mIoU and PQ: numbers that can be checked by hand, and plain loops over segments."""
from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
import numpy as np
import pytest

from seg_ros.core.labels import LabelSet
from seg_ros.core.metrics import ConfusionMatrix, PanopticQuality
from seg_ros.core.types import segmentation_from_map, VOID

LABELS = LabelSet(('road', 'sky', 'car', 'bus'), frozenset({'car', 'bus'}))
CAR, BUS = 2, 3
COUNT = 3
about = pytest.approx


def confusion(truth, prediction, **options):
    result = ConfusionMatrix(LABELS, **options)
    result.update(np.array(truth, np.uint8), np.array(prediction, np.uint8))
    return result


# mIoU


def test_miou_by_hand():
    result = confusion([[0, 0, 0, 1],
                        [1, 1, 2, 2]],
                       [[0, 0, 1, 1],
                        [1, 2, 2, 2]])
    iou = result.iou()
    assert iou['road'] == about(2 / 3)  # one of three is missed
    assert iou['sky'] == about(2 / 4)  # one missed, one too many
    assert iou['car'] == about(2 / 3)  # one too many
    assert np.isnan(iou['bus'])  # neither in truth nor in prediction
    assert result.miou() == about((2 / 3 + 2 / 4 + 2 / 3) / 3)


def test_predicted_void_and_unknown_ids_are_a_miss_of_the_true_class():
    result = confusion([[0, 0, 0, 0]], [[0, VOID, 77, 0]])
    assert result.iou()['road'] == about(2 / 4)
    assert result.matrix.tolist() == [[2, 0, 0, 0, 2]] + [[0] * 5] * 3


def test_a_class_that_is_only_predicted_counts_as_zero():
    result = confusion([[0, 0]], [[0, BUS]])
    assert result.iou()['bus'] == 0
    assert result.miou() == about((1 / 2 + 0) / 2)


def test_truth_that_is_void_or_unknown_is_not_counted_but_reported():
    result = confusion([[0, VOID, 11, 11]], [[0, 0, 1, 2]])
    assert result.miou() == 1
    assert result.ignored == {11: 2, VOID: 1}


def test_an_ignored_class_is_in_no_mean_even_where_it_is_predicted():
    result = confusion([[0, 1, 1]], [[0, 0, 1]], ignore_ids=(0,))
    assert np.isnan(result.iou()['road'])
    assert result.iou()['sky'] == about(1 / 2)
    assert result.miou() == about(1 / 2)
    assert result.ignored == {0: 1}


def test_no_pixels_have_no_mean():
    assert np.isnan(ConfusionMatrix(LABELS).miou())
    assert np.isnan(confusion([[VOID]], [[0]]).miou())


def test_maps_of_two_shapes_are_not_compared():
    with pytest.raises(ValueError, match=r'truth is \(1, 2\), prediction is \(2, 1\), expected'):
        confusion([[0, 0]], [[0], [0]])


class_maps = arrays(np.uint8, (5, 6), elements=st.sampled_from([0, 1, 2, 3, 4, 11, 254, VOID]))


@given(st.lists(st.tuples(class_maps, class_maps), min_size=1, max_size=3))
def test_iou_is_that_of_a_plain_loop_over_all_frames(frames):
    result = ConfusionMatrix(LABELS)
    for truth, prediction in frames:
        result.update(truth, prediction)
    truth, prediction = (np.concatenate(side) for side in zip(*frames, strict=True))
    counted = truth < len(LABELS)
    ious = []
    for class_id, name in enumerate(LABELS.names):
        true, said = (truth == class_id) & counted, (prediction == class_id) & counted
        union = (true | said).sum()
        if not union:
            assert np.isnan(result.iou()[name])
            continue
        ious.append((true & said).sum() / union)
        assert result.iou()[name] == about(ious[-1])
    assert result.miou() == about(np.mean(ious) if ious else np.nan, nan_ok=True)


# panoptic quality


def segmentation(class_map, instance_map, class_ids=(CAR, CAR, CAR)):
    return segmentation_from_map(
        class_map=np.array(class_map, np.uint8), instance_map=np.array(instance_map, np.int32),
        class_ids=class_ids, scores=np.ones(len(class_ids)))


def quality(truth, prediction, **options):
    result = PanopticQuality(LABELS, **options)
    result.update(truth, prediction)
    return result


def test_pq_by_hand():
    truth = segmentation([[CAR, CAR, CAR, 0, 0, CAR]], [[1, 1, 1, 0, 0, 2]])
    said = segmentation([[CAR, CAR, 0, 0, 0, 0]], [[1, 1, 0, 0, 0, 0]])
    by_class = quality(truth, said).by_class()
    # the car on the left is found at IoU 2/3, the one on the right is missed
    car = by_class['car']
    assert (car.sq, car.rq, car.truths) == about((2 / 3, 1 / 1.5, 2))
    assert car.pq == about(2 / 3 / 1.5)
    # road: 2 of 4, which is not more than half: missed, and a false alarm
    assert (by_class['road'].pq, by_class['road'].truths) == (0, 1)
    assert np.isnan(by_class['sky'].pq)


def test_a_perfect_answer_has_pq_one():
    truth = segmentation([[0, CAR, CAR, 255]], [[0, 1, 2, 0]])
    result = quality(truth, truth)
    assert (result.all().pq, result.things().pq, result.stuff().pq) == (1, 1, 1)
    assert (result.all().truths, result.things().truths, result.stuff().truths) == (3, 2, 1)


def test_truth_void_is_taken_out_of_the_union():
    truth = segmentation([[CAR, CAR, 255, 255]], [[1, 1, 0, 0]])
    said = segmentation([[CAR, CAR, CAR, CAR]], [[1, 1, 1, 1]])
    assert quality(truth, said).by_class()['car'].pq == 1


@pytest.mark.parametrize(('on_void', 'excused'), [(1, False), (2, False), (3, True)])
def test_a_false_alarm_is_excused_when_more_than_half_of_it_lies_on_void(on_void, excused):
    truth = segmentation([[VOID] * on_void + [0] * (4 - on_void) + [CAR]], [[0, 0, 0, 0, 1]])
    said = segmentation([[CAR] * 5], [[1, 1, 1, 1, 2]])
    assert quality(truth, said).by_class()['car'].rq == about(1 if excused else 1 / 1.5)


def test_things_that_nobody_counted_are_void_in_truth_and_prediction():
    uncounted = segmentation([[CAR, CAR, 0]], [[0, 0, 0]])
    counted = segmentation([[CAR, CAR, 0]], [[1, 1, 0]])
    assert np.isnan(quality(uncounted, counted).by_class()['car'].pq)
    missed = quality(counted, uncounted).by_class()['car']
    assert (missed.pq, missed.truths) == (0, 1)


def test_truth_instances_below_the_least_area_are_void():
    truth = segmentation([[CAR, CAR, CAR, CAR, 0]], [[1, 1, 1, 2, 0]])
    said = segmentation([[0, 0, 0, CAR, 0]], [[0, 0, 0, 1, 0]])
    assert quality(truth, said, min_area=2).by_class()['car'].truths == 1
    assert quality(truth, truth, min_area=2).by_class()['car'].pq == 1
    assert quality(truth, said).by_class()['car'].truths == 2


def test_a_match_needs_the_same_class():
    truth = segmentation([[CAR, 0]], [[1, 0]])
    said = segmentation([[BUS, 0]], [[1, 0]], class_ids=(BUS,))
    by_class = quality(truth, said).by_class()
    assert (by_class['car'].pq, by_class['car'].truths) == (0, 1)
    assert (by_class['bus'].pq, by_class['bus'].truths) == (0, 0)


def test_segmentations_of_two_sizes_are_not_compared():
    with pytest.raises(ValueError, match=r'truth is \(1, 1\), prediction is \(1, 2\), expected'):
        quality(segmentation([[0]], [[0]]), segmentation([[0, 0]], [[0, 0]]))


@st.composite
def panoptic(draw):
    """Draw a frame of stuff, void, unknown classes, uncounted things and three instances."""
    shape = (4, 6)
    instance_map = draw(arrays(np.int32, shape, elements=st.integers(0, COUNT)))
    class_ids = draw(st.lists(st.sampled_from([CAR, BUS]), min_size=COUNT, max_size=COUNT))
    known = st.sampled_from([0, 0, 1, CAR, BUS, 7, VOID])
    background = draw(arrays(np.uint8, shape, elements=known))
    owners = np.array(class_ids, np.uint8)[instance_map - 1]
    return segmentation(np.where(instance_map > 0, owners, background), instance_map, class_ids)


@st.composite
def pairs(draw):
    """Draw a truth and a prediction that is right in most rows, so that segments match."""
    truth, other = draw(panoptic()), draw(panoptic())
    rows = draw(arrays(bool, (4, 1), elements=st.booleans()))
    # the other's instances come after the truth's, and may be joined to them
    shifted = np.where(other.instance_map > 0, other.instance_map + len(truth.instances), 0)
    instance_map = np.where(rows, shifted, truth.instance_map).astype(np.int32)
    class_ids = np.concatenate((truth.instances.class_ids, other.instances.class_ids))
    class_map = np.where(rows, other.class_map, truth.class_map)
    return truth, segmentation(class_map, instance_map, class_ids)


def segments_of(frame, min_area):
    """Return an id map, 0 = void, and {id: class}, as panopticapi reads them from its files."""
    ids = np.zeros(frame.size, int)
    classes = {}
    for class_id in sorted(set(range(len(LABELS))) - LABELS.thing_ids):
        if (frame.class_map == class_id).any():
            ids[frame.class_map == class_id] = class_id + 1
            classes[class_id + 1] = class_id
    for row, class_id in enumerate(frame.instances.class_ids):
        mask = frame.instance_map == row + 1
        if mask.sum() >= min_area:
            ids[mask] = 1000 + row
            classes[1000 + row] = int(class_id)
    return ids, classes


def panopticapi_counts(truth, prediction, min_area):
    """Return {class: [iou sum, tp, fp, fn]} by the loops of panopticapi's evaluation.py."""
    counts = {class_id: [0.0, 0, 0, 0] for class_id in range(len(LABELS))}
    truth_ids, truth_classes = segments_of(truth, min_area)
    ids, classes = segments_of(prediction, 1)
    matched, used = set(), set()
    for t, truth_class in truth_classes.items():
        for p, class_id in classes.items():
            if truth_class != class_id:
                continue
            intersection = ((truth_ids == t) & (ids == p)).sum()
            on_void = ((truth_ids == 0) & (ids == p)).sum()
            union = (truth_ids == t).sum() + (ids == p).sum() - intersection - on_void
            if intersection / union > 0.5:
                counts[class_id][0] += intersection / union
                counts[class_id][1] += 1
                matched.add(t)
                used.add(p)
    for t, truth_class in truth_classes.items():
        if t not in matched:
            counts[truth_class][3] += 1
    for p, class_id in classes.items():
        on_void = ((truth_ids == 0) & (ids == p)).sum()
        if p not in used and on_void / (ids == p).sum() <= 0.5:
            counts[class_id][2] += 1
    return counts


@settings(max_examples=200)
@given(st.lists(pairs(), min_size=1, max_size=2), st.sampled_from([0, 3]))
def test_pq_is_that_of_panopticapis_loops(frames, min_area):
    result = PanopticQuality(LABELS, min_area=min_area)
    totals = {class_id: np.zeros(4) for class_id in range(len(LABELS))}
    for truth, prediction in frames:
        result.update(truth, prediction)
        for class_id, counts in panopticapi_counts(truth, prediction, max(min_area, 1)).items():
            totals[class_id] += counts
    expected = []
    for class_id, (iou_sum, tp, fp, fn) in totals.items():
        got = result.by_class()[LABELS.names[class_id]]
        if tp + fp + fn == 0:
            assert np.isnan(got.pq)
            continue
        assert got.pq == about(iou_sum / (tp + fp / 2 + fn / 2))
        assert got.pq == about(got.sq * got.rq)
        assert got.truths == tp + fn
        expected.append(got.pq)
    assert result.all().pq == about(np.mean(expected) if expected else np.nan, nan_ok=True)

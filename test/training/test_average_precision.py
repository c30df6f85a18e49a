# SPDX-License-Identifier: Apache-2.0
"""AP by COCO's own evaluation, on scenes that can be counted by hand."""
from __future__ import annotations

import numpy as np
import pytest

from seg_ros.core.labels import LabelSet
from seg_ros.core.types import Segmentation, segmentation_from_map
from training.average_precision import AveragePrecision

LABELS = LabelSet(('road', 'car', 'person'), frozenset({'car', 'person'}))
CAR = 1


def scene(*objects: tuple[slice, float], class_id: int = CAR, crowd: slice | None = None
          ) -> Segmentation:
    """Return a road of 8 x 40 pixels with objects over columns, each with a score."""
    classes, instances = np.zeros((8, 40), np.uint8), np.zeros((8, 40), np.int32)
    for row, (columns, _) in enumerate(objects):
        classes[:, columns], instances[:, columns] = class_id, row + 1
    if crowd is not None:
        classes[:, crowd] = class_id
    return segmentation_from_map(
        class_map=classes, instance_map=instances, class_ids=[class_id] * len(objects),
        scores=[score for _, score in objects])


def measured(truth: Segmentation, answer: Segmentation, *, min_area: int = 0) -> AveragePrecision:
    """Return the precision over one frame."""
    precision = AveragePrecision(LABELS, min_area=min_area)
    precision.update(truth, answer)
    return precision


FIRST, SECOND, ELSEWHERE = slice(0, 8), slice(10, 18), slice(20, 28)


def test_true_objects_have_an_ap_of_one_and_absent_classes_none():
    truth = scene((FIRST, 1), (SECOND, 1))
    precision = measured(truth, truth)
    assert precision.by_class()['car'].ap == pytest.approx(1)
    assert np.isnan(precision.by_class()['person'].ap)
    assert precision.things().ap == pytest.approx(1)


def test_a_false_alarm_between_two_finds_costs_a_third_of_the_second_half():
    answer = scene((FIRST, 0.9), (ELSEWHERE, 0.8), (SECOND, 0.7))
    precision = measured(scene((FIRST, 1), (SECOND, 1)), answer)
    # of 101 recalls, 51 are reached without an error, 50 with a precision of 2/3
    assert precision.things().ap50 == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_mask_counts_at_the_overlaps_that_it_reaches():
    # 8 of 10 columns shared: found at 0.50 to 0.80, 7 of the 10 thresholds
    precision = measured(scene((slice(0, 10), 1)), scene((slice(0, 8), 0.9)))
    assert precision.things().ap == pytest.approx(0.7)
    assert precision.things().ap50 == pytest.approx(1)


def test_finding_nothing_is_zero_and_no_truth_is_no_figure():
    assert measured(scene((FIRST, 1)), scene()).things().ap == 0
    assert np.isnan(measured(scene(), scene((FIRST, 0.9))).things().ap)


def test_small_truths_and_crowds_are_neither_wanted_nor_wrong():
    truth = scene((FIRST, 1), (slice(10, 12), 1), crowd=ELSEWHERE)
    answer = scene((slice(10, 12), 0.95), (ELSEWHERE, 0.9), (FIRST, 0.8))
    assert measured(truth, answer, min_area=30).things().ap == pytest.approx(1)


def test_frames_are_told_apart():
    precision = AveragePrecision(LABELS)
    precision.update(scene((FIRST, 1)), scene())
    precision.update(scene(), scene((FIRST, 0.9)))
    assert precision.things().ap50 == 0


def test_two_sizes_are_refused():
    small = segmentation_from_map(class_map=np.zeros((2, 3), np.uint8), scores=(), class_ids=(),
                                  instance_map=np.zeros((2, 3), np.int32))
    with pytest.raises(ValueError, match='expected one size'):
        measured(small, scene())

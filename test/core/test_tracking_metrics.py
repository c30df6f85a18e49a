# SPDX-License-Identifier: Apache-2.0
"""The metrics give the numbers that their papers' definitions give by hand."""
from __future__ import annotations

from dataclasses import replace
import math

import numpy as np
import pytest

from seg_ros.core.labels import LabelSet
from seg_ros.core.tracking_metrics import (
    IdentityMetrics,
    Reappearances,
    SegmentationTrackingQuality,
    VideoPanopticQuality,
)
from seg_ros.core.types import segmentation_from_map, VOID

NAMES = LabelSet(('road', 'car', 'person'), frozenset(('car', 'person')))
ROAD, CAR, PERSON = range(3)


def row(*ids, class_id=CAR):
    """Return a frame of one row of pixels with these track ids, 0 = road."""
    ids = np.array([ids])
    known = np.unique(ids[ids > 0])
    plain = segmentation_from_map(
        class_map=np.where(ids > 0, class_id, ROAD).astype(np.uint8),
        instance_map=(np.searchsorted(known, ids) + 1).astype(np.int32) * (ids > 0),
        class_ids=np.full(len(known), class_id), scores=np.ones(len(known)))
    return replace(plain, instances=replace(plain.instances, track_ids=known.astype(np.int64)))


def identity(truths, predictions):
    metrics = IdentityMetrics()
    for truth, prediction in zip(truths, predictions, strict=True):
        metrics.update(truth, prediction)
    return metrics.scores()


def test_a_perfect_sequence_has_all_ones():
    frames = [row(1, 1, 0, 2), row(1, 0, 2, 2)]
    scores = identity(frames, frames)
    assert (scores.id_switches, scores.idf1, scores.hota) == (0, 1.0, pytest.approx(1.0))
    assert (scores.frames, scores.object_frames, scores.switches_per_1000) == (2, 4, 0.0)


def test_an_id_that_changes_halfway_is_one_switch():
    # one truth in 4 frames, as 7, 7, 8, 8, with exact masks
    scores = identity([row(1)] * 4, [row(7), row(7), row(8), row(8)])
    assert scores.id_switches == 1
    assert scores.switches_per_1000 == 250.0
    assert scores.idf1 == 0.5  # IDTP 2, IDFP 2, IDFN 2: 2*2 / (2*2 + 2 + 2)
    # TP 4 at each threshold; each TP has TPA 2, FNA 2, FPA 0: A = 1/2
    assert scores.det_a == pytest.approx(1.0)
    assert scores.ass_a == pytest.approx(0.5)
    assert scores.hota == pytest.approx(math.sqrt(0.5))


def test_two_that_swap_ids_are_two_switches():
    scores = identity([row(1, 2)] * 2, [row(1, 2), row(2, 1)])
    assert scores.id_switches == 2
    assert scores.idf1 == 0.5  # each pairing is right in 2 of 4
    assert scores.ass_a == pytest.approx(1 / 3)  # TPA 1, FNA 1, FPA 1


def test_hota_falls_with_the_masks_as_each_threshold_says():
    # IoU 2/3: matched at thresholds .05 to .65, 13 of 19
    scores = identity([row(1, 1, 1)], [row(1, 1, 0)])
    assert scores.hota == pytest.approx(13 / 19)
    assert scores.idf1 == 1.0


def test_misses_and_false_alarms_lower_idf1_but_switch_nothing():
    scores = identity([row(1, 0), row(1, 0)], [row(1, 0), row(0, 3)])
    assert scores.id_switches == 0
    assert scores.idf1 == 0.5  # IDTP 1, IDFN 1, IDFP 1
    assert scores.det_a == pytest.approx(1 / 3)


def test_a_gap_without_a_change_of_id_is_no_switch():
    assert identity([row(1)] * 3, [row(5), row(0), row(5)]).id_switches == 0
    assert identity([row(1)] * 3, [row(5), row(0), row(6)]).id_switches == 1


def test_of_two_good_matches_the_one_of_the_frame_before_is_kept():
    # IoU 1/2 each in the second frame: 5 stays
    assert identity([row(1, 1), row(1, 1)], [row(5, 5), row(4, 5)]).id_switches == 0


def test_nothing_at_all_is_not_a_number():
    scores = identity([row(0)], [row(0)])
    assert math.isnan(scores.idf1) and math.isnan(scores.hota)
    assert scores.switches_per_1000 == 0.0


def test_what_was_out_of_view_for_long_comes_back_under_another_name():
    names = Reappearances(max_gap_s=1.0)
    assert names.names(np.array([70, 30]), time_s=0.0).tolist() == [1, 2]
    assert names.names(np.array([30]), time_s=1.0).tolist() == [2]
    assert names.names(np.array([30, 70]), time_s=1.5).tolist() == [2, 3]
    forever = Reappearances()
    assert [forever.names(np.array([7]), time_s=t).tolist() for t in (0.0, 1e9)] == [[1], [1]]


def stq(truths, predictions):
    metrics = SegmentationTrackingQuality(NAMES)
    for truth, prediction in zip(truths, predictions, strict=True):
        metrics.update(truth, prediction)
    return metrics


def test_stq_of_an_id_that_changes_halfway():
    # two tubes of 2 pixels each share the truth's 4: AQ = (2 * 2/4 + 2 * 2/4) / 4
    metrics = stq([row(1, 1, 0)] * 2, [row(7, 7, 0), row(8, 8, 0)])
    assert metrics.aq == pytest.approx(0.5)
    assert metrics.sq == 1.0
    assert metrics.stq == pytest.approx(math.sqrt(0.5))


def test_stq_does_not_ask_the_identity_for_its_class():
    metrics = stq([row(1, 0)], [row(1, 0, class_id=PERSON)])
    assert metrics.aq == 1.0
    assert metrics.sq == pytest.approx(1 / 3)  # road 1, car 0, person 0


def test_stq_leaves_void_pixels_out():
    truth, prediction = row(1, 1, 0), row(1, 1, 1)
    class_map = truth.class_map.copy()
    class_map[0, 2] = VOID
    assert stq([replace(truth, class_map=class_map)], [prediction]).stq == 1.0


def test_stq_without_a_truth_identity_is_not_a_number():
    assert math.isnan(stq([row(0)], [row(0)]).stq)


def vpq(truths, predictions, windows):
    metrics = VideoPanopticQuality(NAMES, windows=windows)
    for truth, prediction in zip(truths, predictions, strict=True):
        metrics.update(truth, prediction)
    return metrics


def test_vpq_of_one_frame_is_pq_and_a_changed_id_breaks_longer_tubes():
    metrics = vpq([row(1, 0)] * 2, [row(7, 0), row(8, 0)], windows=(1, 2))
    # one frame: car 1, road 1. Two: IoU of each car tube with the truth's is 1/2, no match:
    # car 0 (a miss and two false alarms), road 1
    assert metrics.by_window() == {1: 1.0, 2: 0.5}
    assert metrics.vpq() == 0.75


def test_vpq_counts_every_window_of_a_sequence():
    # windows of 2: (7, 7) right, (7, 7) right, (7, 8) wrong
    metrics = vpq([row(1)] * 4, [row(7), row(7), row(7), row(8)], windows=(2,))
    # TP 2, FN 1, FP 2: 2 / (2 + 1/2 + 1)
    assert metrics.vpq() == pytest.approx(2 / 3.5)


def test_vpq_splits_a_tube_that_changes_its_class():
    metrics = vpq([row(1)] * 2, [row(7), row(7, class_id=PERSON)], windows=(2,))
    assert metrics.vpq() == 0.0


def test_windows_longer_than_the_sequence_do_not_count():
    assert vpq([row(1)], [row(1)], windows=(1, 4)).vpq() == 1.0

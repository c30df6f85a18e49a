# SPDX-License-Identifier: Apache-2.0
"""STQ and VPQ are what their papers' formulas give, taken pixel by pixel from sets."""
from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
import math

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
import numpy as np
import pytest

from seg_ros.core.labels import LabelSet
from seg_ros.core.tracking_metrics import SegmentationTrackingQuality, VideoPanopticQuality
from seg_ros.core.types import segmentation_from_ids, VOID

NAMES = LabelSet(('road', 'car', 'person'), frozenset(('car', 'person')))
CLASS_OF = np.array([0, 1, 1, 2, 2, VOID], np.uint8)  # of 0 = road, objects 1 to 4, 5 = void
UNLABELLED = 5
WINDOWS = (1, 2, 3)


def segmentation(pixels):
    """Return a frame of one row of pixels 0 to 5."""
    ids = np.where(pixels < UNLABELLED, pixels, 0)[None].astype(np.int32)
    plain = segmentation_from_ids(CLASS_OF[pixels][None], ids)
    names = np.unique(ids[ids > 0]).astype(np.int64)
    return replace(plain, instances=replace(plain.instances, track_ids=names))


def sets(frames, *, skip=()):
    """Return value -> the set of (frame, pixel) that have it, without those to skip."""
    found = defaultdict(set)
    for place, value in np.ndenumerate(frames):
        if place not in skip:
            found[int(value)].add(place)
    return found


def oracle_stq(truths, predictions):
    """Return SQ and AQ by section 4 of "STEP" (Weber et al. 2021)."""
    void = sets(truths)[UNLABELLED]
    truth, prediction = sets(truths, skip=void), sets(predictions, skip=void)
    truth_classes, classes = (sets(CLASS_OF[frames], skip=void)
                              for frames in (truths, predictions))
    ious = [len(truth_classes[c] & classes[c]) / len(truth_classes[c] | classes[c])
            for c in range(3) if truth_classes[c] | classes[c]]
    objects = [g for g in truth if 0 < g < UNLABELLED]
    aq = [sum(len(truth[g] & prediction[p]) * len(truth[g] & prediction[p])
              / len(truth[g] | prediction[p]) for p in range(1, UNLABELLED)
              if truth[g] & prediction[p]) / len(truth[g]) for g in objects]
    return np.mean(ious) if ious else math.nan, np.mean(aq) if aq else math.nan


def oracle_vpq(truths, predictions):
    """Return window -> VPQ by section 4 of "Video Panoptic Segmentation" (Kim et al. 2020)."""
    result = {}
    for k in WINDOWS:
        tally = defaultdict(lambda: [0.0, 0, 0, 0])  # class -> sum of IoU, TP, FP, FN
        for start in range(len(truths) - k + 1):
            _count_tubes(sets(truths[start:start + k]), sets(predictions[start:start + k]), tally)
        qualities = [total / (tp + fp / 2 + fn / 2)
                     for total, tp, fp, fn in tally.values() if tp + fp + fn]
        result[k] = np.mean(qualities) if qualities else math.nan
    return result


def _count_tubes(truth, prediction, tally):
    void = truth.pop(UNLABELLED, set())
    matched = set()
    for g, tube in truth.items():
        best = [(len(tube & other) / len((tube | other) - (void - tube)), p)
                for p, other in prediction.items() if CLASS_OF[p] == CLASS_OF[g]]
        iou, p = max(best, default=(0.0, None))
        row = tally[CLASS_OF[g]]
        if iou > 0.5:
            row[0], row[1] = row[0] + iou, row[1] + 1
            matched.add(p)
        else:
            row[3] += 1
    for p, tube in prediction.items():
        if p not in matched and len(tube & void) <= 0.5 * len(tube):
            tally[CLASS_OF[p]][2] += 1


@st.composite
def sequences(draw):
    """Draw truths, and predictions that are noise or mostly right."""
    shape = (draw(st.integers(1, 5)), 8)
    truths = draw(arrays(np.int64, shape, elements=st.integers(0, UNLABELLED)))
    noise = draw(arrays(np.int64, shape, elements=st.integers(0, UNLABELLED - 1)))
    right = draw(arrays(np.bool_, shape, elements=st.sampled_from((True, True, True, False))))
    copied = np.where(truths == UNLABELLED, noise, truths)
    return truths, np.where(right, copied, noise) if draw(st.booleans()) else noise


@settings(deadline=None)
@given(sequences())
def test_random_sequences_have_the_quality_that_the_papers_define(case):
    truths, predictions = case
    stq, vpq = SegmentationTrackingQuality(NAMES), VideoPanopticQuality(NAMES, windows=WINDOWS)
    for truth, prediction in zip(*case, strict=True):
        pair = segmentation(truth), segmentation(prediction)
        stq.update(*pair)
        vpq.update(*pair)
    sq, aq = oracle_stq(truths, predictions)
    assert stq.sq == pytest.approx(sq, nan_ok=True)
    assert stq.aq == pytest.approx(aq, nan_ok=True)
    assert stq.stq == pytest.approx(math.sqrt(sq * aq), nan_ok=True)
    assert vpq.by_window() == pytest.approx(oracle_vpq(truths, predictions), nan_ok=True)

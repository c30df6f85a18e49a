# SPDX-License-Identifier: Apache-2.0
"""HOTA, IDF1 and id switches are TrackEval's, on random sequences of masks."""
from __future__ import annotations

from contextlib import redirect_stdout
from dataclasses import replace
import io

from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
import numpy as np
import pytest

from seg_ros.core.tracking_metrics import IdentityMetrics
from seg_ros.core.types import segmentation_from_ids

with redirect_stdout(io.StringIO()):  # it greets
    from trackeval.metrics import CLEAR, HOTA, Identity

FEW, PIXELS = 4, 12  # identities; pixels of a frame, so that IoUs fall on thresholds too


def segmentation(ids):
    plain = segmentation_from_ids(np.zeros(ids.shape, np.uint8), ids)
    names = np.unique(ids[ids > 0]).astype(np.int64)
    return replace(plain, instances=replace(plain.instances, track_ids=names))


def mask_iou(truth, prediction):
    """Return (T, P) by the definition, a pair at a time."""
    rows, columns = np.unique(truth[truth > 0]), np.unique(prediction[prediction > 0])
    iou = np.zeros((len(rows), len(columns)))
    for row, column in np.ndindex(iou.shape):
        one, other = truth == rows[row], prediction == columns[column]
        iou[row, column] = (one & other).sum() / (one | other).sum()
    return iou


def indices(frames):
    """Return the names of each frame as TrackEval wants them: from 0, without gaps."""
    known = np.unique(np.concatenate(frames))
    known = known[known > 0]
    rows = [np.searchsorted(known, np.unique(ids[ids > 0])) for ids in frames]
    return rows, len(known)


def trackeval(truths, predictions):
    """Return HOTA, DetA, AssA, IDF1 and id switches."""
    (truth_rows, truth_count), (rows, row_count) = indices(truths), indices(predictions)
    data = {
        'gt_ids': truth_rows, 'tracker_ids': rows, 'num_timesteps': len(truths),
        'num_gt_ids': truth_count, 'num_tracker_ids': row_count,
        'num_gt_dets': sum(map(len, truth_rows)), 'num_tracker_dets': sum(map(len, rows)),
        'similarity_scores': [mask_iou(*pair) for pair in zip(truths, predictions, strict=True)]}
    with redirect_stdout(io.StringIO()):
        quiet = {'PRINT_CONFIG': False}
        hota = HOTA().eval_sequence(data)
        identity = Identity(quiet).eval_sequence(data)
        clear = CLEAR(quiet).eval_sequence(data)
    return (hota['HOTA'].mean(), hota['DetA'].mean(), hota['AssA'].mean(), identity['IDF1'],
            clear['IDSW'])


def ours(truths, predictions):
    metrics = IdentityMetrics()
    for truth, prediction in zip(truths, predictions, strict=True):
        metrics.update(segmentation(truth[None]), segmentation(prediction[None]))
    scores = metrics.scores()
    return scores.hota, scores.det_a, scores.ass_a, scores.idf1, scores.id_switches


@st.composite
def sequences(draw):
    """Draw truths and predictions: noise, or truths with names that change and pixels lost."""
    shape = (draw(st.integers(1, 6)), PIXELS)
    names = arrays(np.int32, shape, elements=st.integers(0, FEW))
    truths, noise = draw(names), draw(names)
    if draw(st.booleans()):
        return truths, noise
    kept = draw(arrays(np.bool_, shape, elements=st.sampled_from((True, True, True, False))))
    renamed = np.array([[0, *(1 + np.array(draw(st.permutations(range(FEW)))))]
                        for _ in range(shape[0])])
    return truths, np.where(kept, np.take_along_axis(renamed, truths, axis=1), 0).astype(np.int32)


@given(sequences())
def test_random_sequences_have_trackevals_scores(case):
    truths, predictions = case
    assume(truths.any() and predictions.any())  # of nothing ours are not a number
    assert ours(truths, predictions) == pytest.approx(trackeval(truths, predictions), abs=1e-12)


def test_a_long_sequence_of_large_masks_has_trackevals_scores():
    rng = np.random.default_rng(3)
    truths = np.repeat(rng.integers(0, 12, (60, 40)), 25, axis=1).astype(np.int32)
    swapped = np.where(np.arange(60)[:, None] % 7 < 5, truths, truths % 11 + 1)
    predictions = np.where(rng.random(truths.shape) < 0.9, swapped, 0).astype(np.int32)
    found = ours(truths, predictions)
    assert found == pytest.approx(trackeval(truths, predictions), abs=1e-12)
    assert found[-1] > 20


def test_a_frame_of_nothing_does_not_end_a_match():
    # IoU 1/2 with either in the last frame: 5 goes on
    truths, predictions = (np.array(ids, np.int32) for ids in (
        [[1, 1], [0, 0], [1, 1]], [[5, 5], [0, 0], [4, 5]]))
    assert ours(truths, predictions) == pytest.approx(trackeval(truths, predictions))
    assert ours(truths, predictions)[-1] == 0

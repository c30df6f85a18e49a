# SPDX-License-Identifier: Apache-2.0
"""From overlapping masks to one answer, as Kirillov et al. 2019 tell it."""
from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
import numpy as np
import pytest
import torch

from seg_ros.core.labels import fused_label_set, LabelSet
from seg_ros.core.panoptic import fuse
from seg_ros.core.types import segmentation_from_map, tight_boxes, VOID
from seg_ros.models.contract import ModelOptions
from seg_ros.models.postprocess import settle_overlaps

SHAPE = (4, 5)
SEMANTIC = LabelSet(('road', 'sky', 'car'), frozenset({'car'}))
# another order, a new thing, and stuff that an instance model has no business with
DETECTOR = LabelSet(('dog', 'grass', 'car'), frozenset({'dog', 'car'}))
DOG, GRASS, CAR = range(3)


def settle(masks, class_ids, scores, **options):
    return settle_overlaps(
        masks=torch.from_numpy(np.array(masks, bool)),
        class_ids=torch.tensor(class_ids, dtype=torch.uint8),
        scores=torch.tensor(scores, dtype=torch.float32), options=ModelOptions(**options))


@st.composite
def detections(draw):
    """Draw up to six masks with scores that may be equal."""
    count = draw(st.integers(0, 6))
    masks = draw(arrays(bool, (count, *SHAPE)))
    class_ids = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    scores = draw(st.lists(st.sampled_from([0.25, 0.5, 0.625, 0.75, 1.0]),
                           min_size=count, max_size=count))
    return masks, class_ids, scores


def paper_merge(masks, class_ids, scores, *, semantic, table, score_threshold, overlap_threshold):
    """Return (class map, instance map, rows kept) by the loop of section 7.

    Sort by score, remove low scores, then from the most confident on: remove pixels that are
    taken, keep the rest if it is a large enough part of the mask. Then the semantic answer
    fills what is free.
    """
    class_map = semantic.copy()
    instance_map = np.zeros(SHAPE, np.int32)
    taken = np.zeros(SHAPE, bool)
    kept = []
    for row in sorted(range(len(scores)), key=lambda i: -scores[i]):
        if scores[row] < score_threshold or not masks[row].any():
            continue
        free = masks[row] & ~taken
        if (masks[row] & taken).sum() / masks[row].sum() > overlap_threshold or not free.any():
            continue
        taken |= free
        if table[class_ids[row]] == VOID:
            continue  # it took its pixels from the others, and has no place among the classes
        kept.append(row)
        instance_map[free] = len(kept)
        class_map[free] = table[class_ids[row]]
    return class_map, instance_map, kept


@settings(max_examples=200)
@given(detections(), arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 1, 2, VOID])),
       st.sampled_from([SEMANTIC, DETECTOR]), st.sampled_from([0.0, 0.25, 0.5, 1.0]),
       st.sampled_from([0.0, 0.5, 0.75]))
def test_settling_and_fusing_is_the_papers_loop(found, semantic, detector, overlap, score):
    masks, class_ids, scores = found
    fused = fused_label_set(SEMANTIC, detector)
    whole = fuse(
        semantic=segmentation_from_map(class_map=semantic, class_ids=(), scores=(),
                                       instance_map=np.zeros(SHAPE, np.int32)),
        instance=settle(masks, class_ids, scores, overlap_threshold=overlap,
                        score_threshold=score),
        fused=fused)
    class_map, instance_map, kept = paper_merge(
        masks, class_ids, scores, semantic=semantic, table=fused.table,
        score_threshold=score, overlap_threshold=overlap)
    np.testing.assert_array_equal(whole.class_map, class_map)
    np.testing.assert_array_equal(whole.instance_map, instance_map)
    assert whole.instances.scores.tolist() == [scores[row] for row in kept]
    assert whole.instances.class_ids.tolist() == [fused.table[class_ids[row]] for row in kept]
    np.testing.assert_array_equal(whole.instances.boxes, tight_boxes(instance_map, len(kept)))


def test_the_better_score_owns_the_overlap():
    result = settle([[[1, 1, 0]], [[0, 1, 1]]], [DOG, CAR], [0.5, 0.75])
    assert result.instance_map.tolist() == [[2, 1, 1]]
    assert result.class_map.tolist() == [[DOG, CAR, CAR]]
    assert result.instances.scores.tolist() == [0.75, 0.5]


def test_the_first_of_two_equal_scores_wins():
    result = settle([[[1, 1, 0]], [[0, 1, 1]]], [DOG, CAR], [0.75, 0.75])
    assert result.class_map.tolist() == [[DOG, DOG, CAR]]


def test_what_is_covered_too_much_is_dropped_and_leaves_its_pixels_to_the_next():
    masks = [[[1, 1, 0, 0]],
             [[1, 1, 1, 0]],  # two thirds are covered
             [[0, 0, 1, 1]]]
    result = settle(masks, [DOG, CAR, CAR], [1.0, 0.75, 0.625])
    assert result.instance_map.tolist() == [[1, 1, 2, 2]]
    kept = settle(masks, [DOG, CAR, CAR], [1.0, 0.75, 0.625], overlap_threshold=0.75)
    assert kept.instance_map.tolist() == [[1, 1, 2, 3]]


def test_outside_of_instances_is_void():
    result = settle([[[1, 0]]], [CAR], [1.0])
    assert result.class_map.tolist() == [[CAR, VOID]]


@pytest.mark.parametrize('asked', [False, True])
def test_an_owners_score_is_its_pixels_confidence(asked):
    result = settle([[[1, 1, 0]], [[0, 1, 1]], [[0, 0, 0]]], [DOG, CAR, CAR], [0.8, 1.0, 0.9],
                    confidence=asked)
    assert (result.confidence.tolist() == [[204, 255, 255]]) if asked else \
        result.confidence is None


def test_no_masks_are_an_empty_answer():
    result = settle(np.zeros((0, 2, 3)), [], [])
    assert len(result.instances) == 0
    assert (result.class_map == VOID).all()
    assert result.size == (2, 3)

# SPDX-License-Identifier: Apache-2.0
"""Crops painted into one label map are what torchvision's paste and the plain loop make."""
from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image

from seg_ros.core.types import tight_boxes
from seg_ros.models import postprocess
from seg_ros.models.contract import ModelOptions, NotFiniteError
from seg_ros.models.postprocess import paint_crops, settle_overlaps

SIZE = (37, 53)


def pasted(crops, boxes, size=SIZE):
    """Return the (N, H, W) masks that torchvision makes."""
    return paste_masks_in_image(crops[:, None], boxes, size)[:, 0] > 0.5


def random_detections(seed, count, size=SIZE, side=28, outside=0.0, binary=False):
    """Return crops, boxes, class ids and scores; scores repeat, boxes may lead out."""
    rng = np.random.default_rng(seed)
    height, width = size
    low = rng.uniform(-outside, 1, (count, 2)) * (width, height)
    high = low + rng.uniform(0, 1, (count, 2)) ** 2 * (width, height)
    # torchvision cannot paste what lies wholly outside
    boxes = np.concatenate((low, np.maximum(high, 2)), axis=1)
    if not outside:
        boxes = np.clip(boxes, 0, [width, height, width, height])
    crops = rng.uniform(0, 1, (count, side, side))
    return (torch.from_numpy(np.round(crops) if binary else crops).float(),
            torch.from_numpy(boxes).float(),
            torch.from_numpy(rng.integers(0, 5, count).astype(np.uint8)),
            torch.from_numpy(rng.choice([0.3, 0.5, 0.7, 0.9], count)).float())


def assert_painted_as_pasted(crops, boxes, class_ids, scores, *, size=SIZE, **options):
    found = paint_crops(crops=crops, boxes=boxes, class_ids=class_ids, scores=scores, size=size,
                        options=ModelOptions(confidence=True, **options))
    expected = settle_overlaps(
        masks=pasted(crops, boxes, size), class_ids=class_ids, scores=scores,
        options=ModelOptions(confidence=True, **options))
    for name in ('class_map', 'instance_map', 'confidence'):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    for name in ('boxes', 'class_ids', 'scores'):
        np.testing.assert_array_equal(getattr(found.instances, name),
                                      getattr(expected.instances, name))
    return found


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 12), side=st.sampled_from([1, 7, 28]),
       outside=st.sampled_from([0.0, 0.4]), binary=st.booleans(),
       overlap=st.sampled_from([0.0, 0.5, 1.0]), score=st.sampled_from([0.0, 0.5, 0.6]))
def test_painting_is_pasting_and_settling(seed, count, side, outside, binary, overlap, score):
    found = random_detections(seed, count, side=side, outside=outside, binary=binary)
    assert_painted_as_pasted(*found, overlap_threshold=overlap, score_threshold=score)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), overlap=st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 1.0]))
def test_a_claim_is_settled_alike_on_host_and_device(seed, overlap):
    rng = np.random.default_rng(seed)
    owner = torch.from_numpy(rng.integers(0, 3, (5, 6)).astype(np.int32))
    mask = torch.from_numpy(rng.random((5, 6)) < rng.random())
    on_host, on_device = owner.clone(), owner.clone()
    postprocess._claim_on_host(on_host.numpy(), mask.numpy(), value=7, overlap_threshold=overlap)
    postprocess._claim_on_device(on_device, mask, value=7, overlap_threshold=overlap)
    assert torch.equal(on_host, on_device)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), side=st.sampled_from([2, 14, 28]), binary=st.booleans(),
       outside=st.sampled_from([0.0, 0.4]))
def test_large_crops_are_painted_as_torchvision_pastes_them(seed, side, binary, outside):
    size = (240, 320)
    found = random_detections(seed, 4, size=size, side=side, outside=outside, binary=binary)
    assert_painted_as_pasted(*found, size=size, overlap_threshold=1.0)


@pytest.mark.parametrize('seed', range(5))
def test_where_rounding_decides_over_a_large_crop_torchvisions_rounding_does(seed):
    generator = torch.Generator().manual_seed(seed)
    crops = 0.5 + torch.randint(-2, 3, (1, 28, 28), generator=generator) * 2.0 ** -24
    found = assert_painted_as_pasted(
        crops, torch.tensor([[20.0, 10.0, 220.0, 170.0]]), torch.tensor([1], dtype=torch.uint8),
        torch.tensor([0.9]), size=(180, 240))
    assert 1000 < (found.class_map == 1).sum() < 31_000


def test_a_crowd_at_720p_is_the_same_pixel_for_pixel():
    found = random_detections(3, 40, size=(720, 1280))
    result = assert_painted_as_pasted(*found, size=(720, 1280), overlap_threshold=1.0)
    assert len(result.instances) > 5


@pytest.mark.parametrize('box', [
    [0, 0, 53, 37], [52.9, 36.9, 53, 37], [10, 10, 10, 10], [20, 5, 10, 30], [-40, -40, -5, -5],
    [60, 40, 70, 50], [-20, -10, 20, 20], [0.49, 0.5, 0.51, 36.5]])
def test_boxes_at_the_rim_without_area_and_outside_are_pasted_alike(box):
    crops = torch.ones(1, 28, 28)
    args = torch.tensor([1], dtype=torch.uint8), torch.tensor([0.9])
    boxes = torch.tensor([box], dtype=torch.float32)
    try:
        pasted(crops, boxes)
    except RuntimeError:  # torchvision cannot paste what lies outside of the frame
        found = paint_crops(crops=crops, boxes=boxes, class_ids=args[0], scores=args[1],
                            size=SIZE, options=ModelOptions())
        assert len(found.instances) == 0
    else:
        assert_painted_as_pasted(crops, boxes, *args)


def test_a_box_of_any_size_costs_no_more_than_a_few_frames():
    boxes = torch.tensor([[-1e9, -1e9, 1e9, 1e9]])
    found = paint_crops(
        crops=torch.ones(1, 28, 28), boxes=boxes, class_ids=torch.tensor([3], dtype=torch.uint8),
        scores=torch.tensor([0.9]), size=SIZE, options=ModelOptions())
    assert (found.class_map == 3).all()


@given(seed=st.integers(0, 10_000))
def test_boxes_are_the_same_when_it_is_known_where_to_look(seed):
    rng = np.random.default_rng(seed)
    ids = rng.choice(4, (6, 9), p=[0.7, 0.1, 0.1, 0.1]).astype(np.uint8)
    everywhere = [(slice(0, 6), slice(0, 9))] * 3
    expected = tight_boxes(ids, 3)
    np.testing.assert_array_equal(postprocess._boxes_within(ids, everywhere), expected)
    known = [(slice(int(y0), int(y1)), slice(int(x0), int(x1))) for x0, y0, x1, y1 in expected]
    np.testing.assert_array_equal(postprocess._boxes_within(ids, known), expected)


def test_painting_alone_leaves_the_number_of_threads_as_it_was():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert_painted_as_pasted(*random_detections(1, 5))
        assert torch.get_num_threads() == 2
        with pytest.raises(NotFiniteError):
            paint_crops(crops=torch.full((1, 28, 28), torch.nan), boxes=torch.zeros(1, 4),
                        class_ids=torch.zeros(1, dtype=torch.uint8), scores=torch.ones(1),
                        size=SIZE, options=ModelOptions())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_more_instances_than_a_byte_can_tell_are_painted_alike():
    crops, boxes, class_ids, scores = random_detections(2, 400, size=(300, 400), side=7)
    boxes[:, 2:] = boxes[:, :2] + 6
    result = assert_painted_as_pasted(crops, boxes, class_ids, scores, size=(300, 400),
                                      overlap_threshold=1.0)
    assert len(result.instances) > 255

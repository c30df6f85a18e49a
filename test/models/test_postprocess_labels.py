# SPDX-License-Identifier: Apache-2.0
"""The class of a pixel is that of the largest logit, all of them resized to the frame."""
from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
import torch

from seg_ros.models.contract import ModelOptions
from seg_ros.models.postprocess_labels import best_channels, label_pixels

SIZE = (37, 53)


def random_logits(seed, channels, cells, patch):
    """Return (C, h, w) logits; neighbours within squares of `patch` cells are alike."""
    generator = torch.Generator().manual_seed(seed)
    height, width = (-(-count // patch) for count in cells)
    logits = torch.randn((channels, height, width), generator=generator)
    return logits.repeat_interleave(patch, 1).repeat_interleave(patch, 2)[
        :, :cells[0], :cells[1]].contiguous()


def resized(logits, size=SIZE):
    return torch.nn.functional.interpolate(
        logits[None], size=size, mode='bilinear', align_corners=False)[0]


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 1000), channels=st.integers(1, 40), patch=st.integers(1, 5),
       cells=st.tuples(st.integers(1, 30), st.integers(1, 30)), last=st.booleans())
def test_labels_are_the_argmax_of_the_resized_logits(seed, channels, patch, cells, last):
    logits = random_logits(seed, channels, cells, patch)
    if last:  # as convolutions leave them
        logits = logits[None].contiguous(memory_format=torch.channels_last)[0]
    generator = torch.Generator().manual_seed(seed)
    table = torch.randint(0, 256, (channels,), generator=generator).to(torch.uint8)
    expected = table[resized(logits).argmax(dim=0)]
    for confidence in (False, True):
        found = label_pixels(logits, size=SIZE, class_table=table,
                             options=ModelOptions(confidence=confidence))
        np.testing.assert_array_equal(found.class_map, expected.numpy())
        assert len(found.instances) == 0
        assert (found.confidence is not None) == confidence
    best = resized(logits).softmax(dim=0).amax(dim=0).masked_fill(expected == 255, 0)
    assert np.abs(found.confidence - 255.0 * best.numpy()).max() <= 0.51


def test_of_equal_logits_the_first_wins():
    logits = torch.zeros((3, 4, 5))
    logits[0, :, 2:] = -1.0
    for confidence in (False, True):
        channels, _ = best_channels(logits, size=(8, 10), want_confidence=confidence)
        assert sorted(set(channels.flatten().tolist())) == [0, 1]
        np.testing.assert_array_equal(channels, resized(logits, (8, 10)).argmax(dim=0))


@pytest.mark.parametrize('channels', [256, 257, 300])
def test_there_may_be_more_channels_than_a_byte_can_tell(channels):
    logits = random_logits(5, channels, (9, 7), 2)
    logits[-1, :4] += 100.0
    expected = resized(logits).argmax(dim=0)
    assert expected.max() == channels - 1
    for confidence in (False, True):
        found, _ = best_channels(logits, size=SIZE, want_confidence=confidence)
        np.testing.assert_array_equal(found, expected)


def test_many_pixels_are_compared_in_parts_without_a_difference():
    logits = random_logits(1, 150, (64, 64), 1)
    found, _ = best_channels(logits, size=(200, 300))
    np.testing.assert_array_equal(found, resized(logits, (200, 300)).argmax(dim=0))

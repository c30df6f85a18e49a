# SPDX-License-Identifier: Apache-2.0
"""Colours on the image: what people see follows the ids."""
from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
import numpy as np

from seg_ros.core.labels import LabelSet
from seg_ros.core.overlay import colour_map, draw_overlay, segment_colours
from seg_ros.core.types import segmentation_from_map, VOID

LABELS = LabelSet(('road', 'sky', 'car'), frozenset({'car'}))
COUNT = 3


def pattern(class_map, instance_map=None):
    class_map = np.array(class_map, np.uint8)
    instance_map = np.zeros_like(class_map) if instance_map is None else instance_map
    return segmentation_from_map(
        class_map=class_map, instance_map=np.array(instance_map, np.int32),
        class_ids=[2] * COUNT, scores=[1.0] * COUNT)


@st.composite
def cases(draw):
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    instance_map = draw(arrays(np.int32, shape, elements=st.integers(0, COUNT)))
    classes = draw(arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 3, 254, VOID])))
    image = draw(arrays(np.uint8, (*shape, 3)))
    return image, pattern(np.where(instance_map > 0, 2, classes), instance_map)


@given(cases())
def test_the_overlay_is_what_a_plain_loop_paints(case):
    image, segmentation = case
    before = image.copy()
    overlay = draw_overlay(image, segmentation, LABELS)
    colours = segment_colours(segmentation, LABELS).astype(int)
    height, width = segmentation.size
    instances = segmentation.instance_map
    for y, x in np.ndindex(height, width):
        own, class_id = instances[y, x], segmentation.class_map[y, x]
        neighbours = [instances[v, u] for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
                      if 0 <= v < height and 0 <= u < width]
        if own and any(value != own for value in neighbours):
            expected = [255, 255, 255]
        elif class_id >= len(LABELS):
            expected = image[y, x].tolist()
        else:
            colour = colours[255 + own] if own else colours[class_id]
            expected = [c // 2 + i // 2 for c, i in zip(colour, image[y, x].tolist(),
                                                        strict=True)]
        assert overlay[y, x].tolist() == expected
    np.testing.assert_array_equal(image, before)
    assert overlay.dtype == np.uint8


def test_a_void_pixel_shows_the_image_even_beside_an_instance():
    image = np.full((1, 4, 3), 77, np.uint8)
    overlay = draw_overlay(image, pattern([[VOID, 2, 2, VOID]], [[0, 1, 1, 0]]), LABELS)
    assert overlay[0, :, 0].tolist() == [77, 255, 255, 77]


def test_an_overlay_of_a_strided_image_is_that_of_its_copy():
    wide = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    bgr = wide[:, 1:5, ::-1]
    segmentation = pattern(np.tile([0, 1, 2, 255], (4, 1)), np.tile([0, 0, 1, 0], (4, 1)))
    np.testing.assert_array_equal(draw_overlay(bgr, segmentation, LABELS),
                                  draw_overlay(bgr.copy(), segmentation, LABELS))
    wide.setflags(write=False)
    assert draw_overlay(wide[:, 1:5], segmentation, LABELS).flags.writeable


def test_an_instance_keeps_its_colour_with_its_track_wherever_its_row_is():
    first = pattern([[2, 2]], [[1, 2]])
    tracked = replace(first, instances=replace(first.instances, track_ids=np.array([40, 41])))
    later = replace(first, instances=replace(first.instances, track_ids=np.array([41, 40])))
    np.testing.assert_array_equal(colour_map(tracked, LABELS)[0, 0],
                                  colour_map(later, LABELS)[0, 1])


def test_instances_of_one_class_have_colours_that_differ():
    everybody = segmentation_from_map(
        class_map=np.full((1, 30), 2, np.uint8),
        instance_map=np.arange(1, 31, dtype=np.int32)[None], class_ids=[2] * 30, scores=[1] * 30)
    assert len(np.unique(colour_map(everybody, LABELS)[0], axis=0)) == 30


def test_the_colour_map_has_class_colours_and_black_void():
    colours = colour_map(pattern([[0, 1, 2, VOID, 9]]), LABELS)[0]
    np.testing.assert_array_equal(colours[:3], LABELS.colours()[:3])
    assert not colours[3:].any()


def test_an_image_without_pixels_has_an_overlay_without_pixels():
    empty = np.zeros((0, 5, 3), np.uint8)
    assert draw_overlay(empty, pattern(np.zeros((0, 5))), LABELS).shape == (0, 5, 3)

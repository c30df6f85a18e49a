# SPDX-License-Identifier: Apache-2.0
"""The checkerboard is a known function of the colours, exact to the pixel."""
from __future__ import annotations

import numpy as np
import pytest

from seg_ros.models import load_model
from seg_ros.models.checkerboard import (
    class_of_colour,
    instance_of_colour,
    masks_of_colour,
    OVERLAPPING_MASKS,
)
from seg_ros.models.contract import ModelError, ModelOptions


def row(*pixels):
    return np.array([pixels], np.uint8)


def predict(spec, image, **options):
    return load_model(spec, ModelOptions(**options)).predict([image])[0]


def test_red_modulo_six_is_the_class_and_five_is_void():
    image = row(*((red, 0, 0) for red in (0, 1, 2, 3, 4, 5, 6, 255)))
    assert class_of_colour(image).tolist() == [[0, 1, 2, 3, 4, 255, 0, 3]]
    assert predict('checkerboard', image).class_map.tolist() == [[0, 1, 2, 3, 4, 255, 0, 3]]


def test_greens_top_bits_name_the_instance_of_a_thing():
    # boxes (class 3) are 1 to 4, balls (class 4) are 5 to 8; an odd green is not counted
    image = row((3, 0, 0), (3, 64, 0), (3, 255, 0), (4, 0, 0), (4, 254, 0), (0, 64, 0), (5, 0, 0))
    assert instance_of_colour(image).tolist() == [[1, 2, 0, 5, 8, 0, 0]]
    result = predict('checkerboard', image)
    assert result.instance_map.tolist() == [[1, 2, 0, 3, 4, 0, 0]]
    assert result.instances.class_ids.tolist() == [3, 3, 4, 4]
    # instance k of eight has score 0.95 - 0.05 k
    np.testing.assert_allclose(result.instances.scores, [0.95, 0.9, 0.75, 0.6], atol=1e-6)


def test_blue_is_the_confidence_when_asked_for_and_void_has_none():
    image = row((0, 0, 10), (5, 0, 20))
    assert predict('checkerboard', image).confidence is None
    assert predict('checkerboard', image, confidence=True).confidence.tolist() == [[10, 0]]


def test_every_colour_is_what_a_plain_loop_says():
    image = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    result = predict('checkerboard', image, confidence=True)
    for place in np.ndindex(image.shape[:2]):
        red, green, blue = map(int, image[place])
        class_id = red % 6 if red % 6 < 5 else 255
        assert result.class_map[place] == class_id
        assert (result.instance_map[place] > 0) == (class_id in (3, 4) and green % 2 == 0)
        assert result.confidence[place] == (0 if class_id == 255 else blue)


def test_each_bit_of_blue_is_a_mask():
    masks, class_ids, scores = masks_of_colour(row((0, 0, 0b1000_0101), (0, 0, 0)))
    assert masks[:, 0, 0].tolist() == [True, False, True, False, False, False, False, True]
    assert not masks[:, 0, 1].any()
    assert class_ids.tolist() == [0, 1] * 4
    assert len(scores) == OVERLAPPING_MASKS
    assert (np.diff(scores) < 0).all()


def test_the_fixed_pattern_is_one_answer_for_each_size():
    black, white = np.zeros((48, 64, 3), np.uint8), np.full((48, 64, 3), 255, np.uint8)
    first, second = (predict('checkerboard/fixed', image) for image in (black, white))
    np.testing.assert_array_equal(first.class_map, second.class_map)
    np.testing.assert_array_equal(first.instance_map, second.instance_map)
    assert len(first.instances) == 20
    assert set(np.unique(first.class_map)) == {0, 1, 2, 3}


def test_what_it_does_not_have_is_refused():
    with pytest.raises(ModelError, match='unknown model checkerboard/chess, expected checkerb'):
        load_model('checkerboard/chess', ModelOptions())
    with pytest.raises(ModelError, match=r"checkerboard has no weights, but 'w\.pt' is given"):
        load_model('checkerboard', ModelOptions(weights='w.pt'))

# SPDX-License-Identifier: Apache-2.0
"""The pictures of failures show the worst frame of a class, and what is wrong in it."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg_ros.core.labels import LabelSet
from seg_ros.core.types import Segmentation, segmentation_from_map, VOID
from training.evaluate import Example
from training.failures import failure, MISSED, sheet, worst, WRONG

LABELS = LabelSet(('road', 'pole', 'car'), frozenset({'car'}))


def segmentation(classes: np.ndarray) -> Segmentation:
    """Return classes without instances."""
    return segmentation_from_map(class_map=classes, instance_map=np.zeros(classes.shape, np.int32),
                                 class_ids=(), scores=())


def example(*columns: int, void: int | None = None) -> Example:
    """Return a frame with poles at columns; the image's brightness says how many."""
    classes = np.zeros((30, 40), np.uint8)
    classes[:, list(columns)] = 1
    if void is not None:
        classes[:, void] = VOID
    image = np.full((30, 40, 3), 40 * len(columns), np.uint8)
    return Example(image, segmentation(classes))


@dataclass
class Blind:
    """A model that sees one pole at column 3, always."""

    label_set = LABELS

    def predict(self, images):
        """Answer."""
        classes = np.zeros((30, 40), np.uint8)
        classes[:, 3] = 1
        return [segmentation(classes) for _ in images]


def test_missed_and_wrong_pixels_are_told_apart_and_void_is_neither():
    one = failure(example(5, 6), Blind().predict([0])[0], class_id=1)
    assert np.flatnonzero(one.missed.any(axis=0)).tolist() == [5, 6]
    assert np.flatnonzero(one.wrong.any(axis=0)).tolist() == [3]
    assert failure(example(void=3), Blind().predict([0])[0], class_id=1).pixels == 0


def test_the_worst_frame_of_each_class_is_found_and_faultless_classes_have_none():
    found = worst(Blind(), [example(3), example(5, 6, 7), example(5)], ('pole', 'car'))
    assert list(found) == ['pole']
    assert found['pole'].example.image[0, 0, 0] == 120


def test_a_frame_stands_for_one_class_only():
    examples = [example(3), example(5, 6, 7), example(5)]
    found = worst(Blind(), examples, ('pole', 'road'))
    assert found['pole'].example is examples[1]
    assert found['road'].example is examples[2]


def test_a_sheet_has_a_row_a_class_with_the_wrong_pixels_in_colour():
    one = failure(example(5, 6), Blind().predict([0])[0], class_id=1)
    picture = sheet({'pole': one, 'again': one}, LABELS)
    height, width = picture.shape[:2]
    assert (height, width) == (2 * (30 + 26) + 6, 3 * 40 + 2 * 6)
    right = picture[26:56, -40:]
    assert (right[:, 5] == MISSED).all() and (right[:, 3] == WRONG).all()
    assert (right[:, 20] == 40).all()

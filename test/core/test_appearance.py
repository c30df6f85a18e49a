# SPDX-License-Identifier: Apache-2.0
"""Looks are the mean colours of thirds: those of the whole object, also where a part is seen."""
from __future__ import annotations

import numpy as np
import pytest

from seg_ros.core.appearance import BANDS, bands_of, likeness, looks_in, row_colours
from seg_ros.core.lattice import Lattice
from seg_ros.core.motion import centres_and_sizes
from seg_ros.core.types import tight_boxes


def test_looks_are_the_means_over_the_lattice_by_the_definition():
    rng = np.random.default_rng(0)
    instance_map = np.zeros((60, 80), np.int32)
    for value, (y, x) in enumerate(((3, 5), (20, 30), (41, 60)), start=1):
        instance_map[y:y + 17, x:x + 13][rng.random((17, 13)) < 0.7] = value
    image = rng.integers(0, 256, (60, 80, 3), np.uint8)
    boxes = tight_boxes(instance_map, 3)
    lattice, measured = Lattice.of(instance_map, boxes), centres_and_sizes(boxes)
    found = looks_in(row_colours(lattice, image), bands_of(measured, within=measured))
    for i, band in np.ndindex(3, BANDS):
        rows = slice(5 * band, 5 * band + 5)
        pixels = lattice.pixels[i, rows][lattice.own[i, rows]]
        np.testing.assert_allclose(found[i, band], image.reshape(-1, 3)[pixels].mean(axis=0))


def looks(*greys):
    """Return one object's looks by the grey of each third, None = unknown."""
    return np.array([[[np.nan if grey is None else grey] * 3 for grey in greys]], float)


@pytest.mark.parametrize(('instance', 'alike'), [
    (looks(10, 100, 200), True), (looks(10, 100, None), True), (looks(200, 100, 10), False),
    (looks(None, None, None), True), (looks(60, 60, 60), False)])
def test_thirds_are_compared_with_thirds_as_far_as_both_are_known(instance, alike):
    found = likeness(looks(10, 100, 200), instance)
    assert found.shape == (1,)
    assert found[0] == 1.0 if alike else found[0] < 0.2


def test_a_part_shows_those_thirds_of_the_whole_in_which_it_lies():
    # of a person between rows 0 and 30, hair, coat and trousers, only the lower half is seen
    instance_map, image = np.zeros((30, 8), np.int32), np.zeros((30, 8, 3), np.uint8)
    instance_map[15:] = 1
    image[10:20], image[20:] = 100, 200
    whole = np.array([[4.0, 15.0, 8.0, 30.0]])
    boxes = tight_boxes(instance_map, 1)
    seen = looks_in(row_colours(Lattice.of(instance_map, boxes), image),
                    bands_of(centres_and_sizes(boxes), within=whole))
    np.testing.assert_array_equal(seen, looks(None, 100, 200))

# SPDX-License-Identifier: Apache-2.0
"""Looks are the mean colours of bands: those of the whole object, also where a part is seen."""
from __future__ import annotations

import numpy as np
import pytest

from seg_ros.core.appearance import BANDS, bands_of, looks_in, row_colours, unlikeness
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
        rows = slice(3 * band, 3 * band + 3)
        pixels = lattice.pixels[i, rows][lattice.own[i, rows]]
        np.testing.assert_allclose(found[i, band], image.reshape(-1, 3)[pixels].mean(axis=0))


def looks(*bands):
    """Return one object's looks by the grey or RGB of each band, None = unknown."""
    colours = [np.nan if band is None else band for band in bands]
    return np.array([[np.broadcast_to(colour, 3) for colour in colours]], float)


@pytest.mark.parametrize(('instance', 'expected'), [
    (looks(50, 50, 100, 100, 200), 0),
    (looks(65, 65, 115, 115, 215), 0),  # the sun comes out: within what one object varies by
    (looks(150, 150, 200, 200, 300), 8),  # 100 levels brighter
    (looks(100, 100, 50, 50, 200), 2.472),  # the same brightness in other bands
    (looks(50, 50, 100, 100, None), 0),
    (looks(None, None, None, None, None), 0),
    (looks((90, 60, 0), (90, 60, 0), (140, 110, 50), (140, 110, 50), (240, 210, 150)), 15.008)])
def test_looks_are_unlike_in_brightness_in_its_pattern_and_in_hue(instance, expected):
    found = unlikeness(looks(50, 50, 100, 100, 200), instance)
    assert found == pytest.approx([expected], abs=1e-3)


def test_half_the_light_is_less_unlike_than_another_hue_as_bright():
    red = looks(*5 * [(120, 60, 60)])
    shadow, blue = unlikeness(red, red / 2), unlikeness(red, red[..., ::-1])
    assert 0 < shadow < blue / 4


def test_what_is_dark_has_no_hue():
    assert unlikeness(looks(*5 * [(4, 1, 1)]), looks(*5 * [(1, 1, 4)])) < 10
    assert unlikeness(looks(*5 * [(160, 40, 40)]), looks(*5 * [(40, 40, 160)])) > 40


def test_a_part_shows_those_bands_of_the_whole_in_which_it_lies():
    # of a person between rows 0 and 30, in coat and trousers, the head and shoulders are hidden
    instance_map, image = np.zeros((30, 8), np.int32), np.zeros((30, 8, 3), np.uint8)
    instance_map[12:] = 1
    image[12:18], image[18:] = 100, 200
    whole = np.array([[4.0, 15.0, 8.0, 30.0]])
    boxes = tight_boxes(instance_map, 1)
    seen = looks_in(row_colours(Lattice.of(instance_map, boxes), image),
                    bands_of(centres_and_sizes(boxes), within=whole))
    np.testing.assert_array_equal(seen, looks(None, None, 100, 200, 200))

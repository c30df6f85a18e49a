# SPDX-License-Identifier: Apache-2.0
"""Looks are soft histograms of colours: a part, or another pose, has most of them in common."""
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
import numpy as np

from seg_ros.core.appearance import (
    blended,
    CELLS,
    difference,
    GREYS,
    HUES,
    known_looks,
    looks_of,
    unlikeness,
)
from seg_ros.core.lattice import Lattice
from seg_ros.core.types import tight_boxes

COAT, TROUSERS, RED = (90, 100, 130), (60, 55, 50), (170, 50, 45)


def looks(*instances):
    """Return the looks of instances, each the colours of its rows from top to bottom."""
    instance_map = np.zeros((60, 10 * len(instances)), np.int32)
    image = np.zeros((*instance_map.shape, 3), np.uint8)
    for i, rows in enumerate(instances):
        columns = slice(10 * i, 10 * i + 8)
        instance_map[:len(rows), columns] = i + 1
        image[:len(rows), columns] = np.array(rows)[:, None]
    boxes = tight_boxes(instance_map, len(instances))
    return looks_of(Lattice.of(instance_map, boxes), image)


def by_the_definition(colours):
    """Return the looks of pixels of colours, one after the other."""
    cells = np.zeros((HUES, HUES, GREYS))
    for r, g, b in np.asarray(colours, float):
        grey = (r + g + b) / 3
        red, green, blue = ((c - grey) / (3 * grey + 30) for c in (r, g, b))
        hues = (red - green) / 2 ** 0.5, (2 * blue - red - green) / 6 ** 0.5
        places = [min(max(hue / 0.24 + 0.5, 0), 1) * (HUES - 1) for hue in hues]
        places.append((grey / 255) ** 0.5 * (GREYS - 1))
        for cell in np.ndindex(cells.shape):
            cells[cell] += np.prod([max(1 - abs(i - place), 0)
                                    for i, place in zip(cell, places, strict=True)])
    return cells.ravel() / len(colours)


def test_looks_are_what_they_are_by_the_definition():
    rng = np.random.default_rng(0)
    instance_map = np.zeros((60, 80), np.int32)
    for value, (y, x) in enumerate(((3, 5), (20, 30), (41, 60)), start=1):
        instance_map[y:y + 17, x:x + 13][rng.random((17, 13)) < 0.7] = value
    image = rng.integers(0, 256, (60, 80, 3), np.uint8)
    image[:20] //= 16  # dark
    image[20:40] = 255  # as bright as can be
    lattice = Lattice.of(instance_map, tight_boxes(instance_map, 3))
    for found, pixels, own in zip(looks_of(lattice, image), lattice.pixels, lattice.own,
                                  strict=True):
        np.testing.assert_allclose(found, by_the_definition(image.reshape(-1, 3)[pixels[own]]),
                                   atol=1e-12)


def test_difference_is_the_distance_of_distributions():
    left, right = np.zeros((2, CELLS)), np.zeros((3, CELLS))
    left[0, :2], left[1, 5] = 0.5, 1.0
    right[0, :2], right[1, 1:3], right[2, 9] = 0.5, 0.5, 1.0
    np.testing.assert_allclose(difference(left, right), [[0, 0.5 ** 0.5, 1], [1, 1, 1]],
                               atol=1e-7)


known = arrays(float, (3, CELLS), elements=st.floats(0, 1)).map(
    lambda cells: (cells + 1e-3) / (cells + 1e-3).sum(axis=1, keepdims=True))


@given(known, known)
def test_difference_is_a_distance_between_0_and_1(left, right):
    between = difference(left, right)
    assert between.min() >= 0 and between.max() <= 1
    np.testing.assert_allclose(between, difference(right, left).T, atol=1e-7)
    np.testing.assert_allclose(difference(left, left).diagonal(), 0, atol=1e-7)
    within = difference(left, left)
    assert (between[:, None] <= within[..., None] + between[None] + 1e-7).all()


def test_somebody_in_other_clothes_is_unlike_and_a_part_or_another_pose_of_one_less_so():
    person, legs_hidden, stooping, other = looks(
        30 * [COAT] + 30 * [TROUSERS], 30 * [COAT] + 12 * [TROUSERS],
        22 * [COAT] + 30 * [TROUSERS], 30 * [RED] + 30 * [TROUSERS])[:, None]
    assert unlikeness(person, stooping) == 0
    assert unlikeness(person, legs_hidden) < 1 < 8 < unlikeness(person, other)


def shaded(colour):
    """Return the rows of something of one colour, by how much light falls on each."""
    light = np.random.default_rng(0).uniform(0.6, 1.4, 60)
    return np.clip(light[:, None] * colour, 0, 255).tolist()


def test_a_little_more_light_is_nothing_and_half_of_it_less_than_another_hue_as_bright():
    red = np.array((120, 60, 60))
    as_it_is, lighter, shadow, blue = looks(
        shaded(red), shaded(1.1 * red), shaded(red / 2), shaded(red[::-1]))[:, None]
    assert unlikeness(as_it_is, lighter) == 0
    assert 5 < unlikeness(as_it_is, shadow) < 12 < unlikeness(as_it_is, blue)


def test_noise_of_what_is_dark_is_far_less_than_another_hue():
    rng = np.random.default_rng(1)
    once, again, red, blue = looks(
        *rng.integers(6, 15, (2, 60, 3)).tolist(), 60 * [(40, 8, 8)], 60 * [(8, 8, 40)])[:, None]
    assert 3 * unlikeness(once, again) < unlikeness(red, blue)


def test_nothing_speaks_against_what_is_not_known():
    unknown, red = np.zeros((1, CELLS)), looks(60 * [RED])
    assert unlikeness(unknown, red) == unlikeness(red, unknown) == 0
    assert known_looks(np.concatenate((unknown, red))).tolist() == [False, True]


def test_looks_follow_what_is_seen_and_stay_where_nothing_is():
    unknown, red, coat = np.zeros((1, CELLS)), looks(60 * [RED]), looks(60 * [COAT])
    np.testing.assert_allclose(blended(red, coat, share=0.25), 0.75 * red + 0.25 * coat)
    np.testing.assert_array_equal(blended(red, unknown, share=0.25), red)
    np.testing.assert_array_equal(blended(unknown, red, share=0.25), red)

# SPDX-License-Identifier: Apache-2.0
"""A side is hidden where the outline touches a nearer object, as far as that one reaches."""
from __future__ import annotations

import numpy as np
import pytest

from seg_ros.core.lattice import COLUMNS, Lattice, ROWS
from seg_ros.core.types import tight_boxes


def lattice(*objects, size=(60, 80)):
    """Return the lattice of (left, top, right, bottom) rectangles, later ones in front."""
    instance_map = np.zeros(size, np.int32)
    for value, (left, top, right, bottom) in enumerate(objects, start=1):
        instance_map[top:bottom, left:right] = value
    return Lattice.of(instance_map, tight_boxes(instance_map, len(objects)))


def test_a_free_object_has_no_hidden_side_and_goes_on_nowhere():
    found = lattice((10, 10, 20, 30))
    assert not found.hidden.any()
    np.testing.assert_array_equal(found.reach, [[10, 10, 20, 30]])
    assert found.own.shape == (1, ROWS, COLUMNS) and found.own.all()


@pytest.mark.parametrize(('nearer', 'hidden', 'reach'), [
    ((2, 5, 14, 40), (1, 0, 0, 0), (2, 10, 30, 30)),
    ((25, 5, 50, 40), (0, 0, 1, 0), (10, 10, 50, 30)),
    ((5, 20, 40, 45), (0, 0, 0, 1), (10, 10, 30, 45)),
])
def test_a_nearer_object_hides_the_side_that_it_touches(nearer, hidden, reach):
    found = lattice((10, 10, 30, 30), nearer)
    np.testing.assert_array_equal(found.hidden, [hidden, (0, 0, 0, 0)])
    np.testing.assert_array_equal(found.reach[0], reach)


@pytest.mark.parametrize(('beside', 'reach'), [
    ((44, 0, 70, 50), 70), ((50, 0, 70, 50), 45), ((40, 28, 70, 50), 45), ((40, 0, 70, 25), 45)])
def test_what_stands_beside_the_nearer_object_hides_on_if_it_adjoins_covers_the_side_and_is_nearer(
        beside, reach):
    found = lattice((10, 10, 30, 30), beside, (25, 5, 45, 40))
    np.testing.assert_array_equal(found.reach[0], (10, 10, reach, 30))


def test_what_touches_a_corner_hides_no_side():
    assert not lattice((10, 10, 30, 30), (28, 25, 60, 45)).hidden.any()


def test_a_strip_of_one_row_has_sides_too():
    found = lattice((10, 10, 70, 30), (5, 11, 75, 40))
    np.testing.assert_array_equal(found.hidden[0], (0, 0, 0, 1))
    np.testing.assert_array_equal(found.reach[0], (10, 10, 70, 40))


def test_no_objects_have_no_sides():
    assert lattice().hidden.shape == (0, 4)

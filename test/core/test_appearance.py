# SPDX-License-Identifier: Apache-2.0
"""Looks are the mean colours of thirds, and a part is compared with the third it is most like."""
from __future__ import annotations

import numpy as np
import pytest

from seg_ros.core.appearance import BANDS, likeness, looks_of
from seg_ros.core.lattice import Lattice
from seg_ros.core.types import tight_boxes


def test_looks_are_the_means_over_the_lattice_by_the_definition():
    rng = np.random.default_rng(0)
    instance_map = np.zeros((60, 80), np.int32)
    for value, (y, x) in enumerate(((3, 5), (20, 30), (41, 60)), start=1):
        instance_map[y:y + 17, x:x + 13][rng.random((17, 13)) < 0.7] = value
    image = rng.integers(0, 256, (60, 80, 3), np.uint8)
    lattice = Lattice.of(instance_map, tight_boxes(instance_map, 3))
    found = looks_of(lattice, image)
    for i, band in np.ndindex(3, BANDS):
        rows = slice(5 * band, 5 * band + 5)
        pixels = lattice.pixels[i, rows][lattice.own[i, rows]]
        np.testing.assert_allclose(found[i, band], image.reshape(-1, 3)[pixels].mean(axis=0))


def looks(*greys):
    """Return one object's looks by the grey of each third, None = unknown."""
    return np.array([[[np.nan if grey is None else grey] * 3 for grey in greys]], float)


@pytest.mark.parametrize(('instance', 'part', 'alike'), [
    (looks(10, 100, 200), False, True), (looks(10, 100, None), False, True),
    (looks(200, 100, 10), False, False), (looks(None, None, None), False, True),
    (looks(10, 10, 100), True, True),  # the upper half
    (looks(10, 10, 100), False, False), (looks(60, 60, 60), True, False)])
def test_thirds_are_compared_with_thirds_but_those_of_a_part_with_any(instance, part, alike):
    found = likeness(looks(10, 100, 200), instance, part=np.array([part]))
    assert found.shape == (1,)
    assert found[0] == 1.0 if alike else found[0] < 0.2

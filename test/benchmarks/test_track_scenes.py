# SPDX-License-Identifier: Apache-2.0
"""Streets in which cars drive through one another have no truth that could be seen."""
from __future__ import annotations

import numpy as np
import pytest

from benchmarks.track_scenes import in_one_another
from seg_ros.sim import CLASS_NAMES
from seg_ros.sim.street import ObjectPose


def standing(name, distance_m):
    """Return an object some metres ahead."""
    return ObjectPose(instance_id=1, class_id=CLASS_NAMES.index(name), size_m=np.ones(3), yaw=0.0,
                      centre_m=np.array([0, 0, distance_m], float), corners_m=np.zeros((8, 3)))


@pytest.mark.parametrize('objects, expected', [
    ([], False), ([standing('car', 9)], False),
    ([standing('car', 9), standing('car', 10)], True),
    ([standing('car', 9), standing('car', 14)], False),  # one behind the other
    ([standing('car', 9), standing('pedestrian', 9)], False)])  # a pavement is wide
def test_only_cars_in_one_place_are_in_one_another(objects, expected):
    assert in_one_another(objects) is expected

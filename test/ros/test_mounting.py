# SPDX-License-Identifier: Apache-2.0
"""The camera's pose from parameters and from a tf2 buffer agree, and a missing one is a sentence.

tf2_ros is not on PyPI: a buffer that answers as tf2's does stands in for it.
"""
from __future__ import annotations

from dataclasses import replace
import math
import sys

from geometry_msgs.msg import Quaternion, TransformStamped, Vector3
import numpy as np
import pytest
from std_msgs.msg import Header

from seg_ros.core.config import GroundConfig
from seg_ros.core.ground import mounted
from seg_ros.ros.mounting import (
    GivenMounting,
    make_mounting,
    TransformMounting,
    UnknownPoseError,
)

CONFIG = GroundConfig(frame='base', height_m=1.2, pitch=0.1)
HEADER = Header(frame_id='camera')


def times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the product of two quaternions (x, y, z, w)."""
    (x1, y1, z1, w1), (x2, y2, z2, w2) = a, b
    return np.array([w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2, w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
                     w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2, w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2])


def answer(target, source, time):
    """Answer as tf2 does: an optical frame, 1.2 m high, pitched 0.1 rad down about y."""
    assert (target, source) == ('base', 'camera')
    nod = np.array([0, math.sin(0.05), 0, math.cos(0.05)])
    optical = np.array([-0.5, 0.5, -0.5, 0.5])  # REP 103's rotation of an optical frame
    x, y, z, w = times(nod, optical).tolist()
    found = TransformStamped()
    found.transform.translation = Vector3(z=1.2)
    found.transform.rotation = Quaternion(x=x, y=y, z=z, w=w)
    return found


def test_tf_and_parameters_say_the_same_of_the_same_camera():
    given, told = GivenMounting(), TransformMounting(answer)
    expected, found = given.pose(HEADER, CONFIG), told.pose(HEADER, CONFIG)
    np.testing.assert_allclose(found.grid_from_optical, expected.grid_from_optical, atol=1e-12)
    np.testing.assert_allclose(found.position_m, expected.position_m)
    assert found.heading == pytest.approx(0.0)
    np.testing.assert_allclose(mounted(height_m=1.2, pitch=0.1).grid_from_optical,
                               expected.grid_from_optical)


def test_a_transform_that_is_not_known_is_one_sentence():
    def unknown(target, source, time):
        raise LookupError('"camera" does not exist')
    with pytest.raises(UnknownPoseError, match="no pose of 'camera' in 'base': .*does not exist"):
        TransformMounting(unknown).pose(HEADER, CONFIG)


def test_tf_without_tf2_ros_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, 'tf2_ros', None)
    with pytest.raises(ValueError, match="ground.pose is 'tf' but tf2_ros cannot be imported"):
        make_mounting(None, replace(CONFIG, pose='tf'))

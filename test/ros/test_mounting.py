# SPDX-License-Identifier: Apache-2.0
"""The camera's pose from parameters and from a tf2 buffer agree, and a missing one is a sentence.

tf2_ros is not on PyPI: a buffer that answers as tf2's does stands in for it.
"""
from __future__ import annotations

from dataclasses import replace
import math
import os
import sys

from geometry_msgs.msg import Quaternion, TransformStamped, Vector3
from nav_msgs.msg import OccupancyGrid
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from seg_ros.core.config import GroundConfig
from seg_ros.core.ground import mounted
from seg_ros.ros.mounting import (
    GivenMounting,
    make_mounting,
    TransformMounting,
    UnknownPoseError,
)

TF2_ROS = """
from geometry_msgs.msg import TransformStamped

class Buffer:
    def lookup_transform(self, target, source, time):
        if source != 'camera':
            raise LookupError(f'"{source}" passed to lookupTransform does not exist')
        found = TransformStamped()
        found.transform.translation.z = 1.2
        q = found.transform.rotation
        q.x, q.y, q.z, q.w = -0.5, 0.5, -0.5, 0.5
        return found

class TransformListener:
    def __init__(self, buffer, node):
        pass
"""

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


def test_a_frame_whose_pose_tf_does_not_know_is_counted_and_the_next_has_its_grid(
        launch, make_robot, tmp_path):
    (tmp_path / 'tf2_ros.py').write_text(TF2_ROS)
    robot, grids = make_robot({'semantic/image_raw': Image}), []
    infos = robot.publisher(CameraInfo, 'camera_info')
    robot.node.create_subscription(OccupancyGrid, 'drivable_grid', grids.append, 10)
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get('PYTHONPATH', ''))))
    launch('segmentation_node', environment={'PYTHONPATH': path}, parameters={
        'panoptic_model': 'checkerboard', 'ground.grid': True, 'ground.pose': 'tf',
        'drivable_classes': ['ground']})
    robot.wait_for_node()
    robot.spin_until(lambda: infos.get_subscription_count()
                     and robot.node.count_publishers('drivable_grid'), what='it is connected')
    infos.publish(robot.camera_info(width=64, height=48))

    def ask(frame_id):
        image = robot.image(np.zeros((48, 64, 3), np.uint8))
        image.header.frame_id = frame_id
        robot.ask(image)
        return image.header.stamp

    def has_grid():
        stamps.append(ask('camera'))
        return any(grid.header.stamp in stamps for grid in grids)
    stamps = []
    robot.spin_until(has_grid, what='a grid')
    lost = ask('elsewhere')
    robot.wait_for_diagnostic('failed.pose', '1'.__eq__)
    sentence = robot.wait_for_diagnostic('last_error', lambda text: 'no pose' in text)
    assert sentence.startswith("no pose of 'elsewhere' in 'base_footprint': ")
    stamps.clear()
    robot.spin_until(has_grid, what='a grid again')
    assert lost not in [grid.header.stamp for grid in grids]
